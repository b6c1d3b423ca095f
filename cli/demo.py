"""`hf-llc demo`: train, estimate and draw, on this machine alone."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import options as o
from .output import Form, chosen, write_agent, write_json, write_line, write_table
from .progress import ProgressBar
from .wording import number

if TYPE_CHECKING:
    from hf_llc.results.estimate import Estimate
    from hf_llc.scans.demo import Demonstration

DemoDir = Annotated[
    Path,
    typer.Option(
        "--output-dir",
        parser=o.path_of,
        metavar="<path>",
        help="Folder of checkpoints, runs, picture and card; an existing one is resumed.",
    ),
]
HEADERS = ("revision", "step", "loss at w*", "LLC ± standard error", "R-hat", "verdict")


def demo(
    output_dir: DemoDir = Path("hf-llc-demo"),
    num_processes: o.NumProcesses = None,
    format: o.Format = "auto",
    as_json: o.Json = False,
    quiet: o.Quiet = False,
) -> None:
    """Follow the LLC over the training of a small model, with no network and no token.

    Trains a small GPT-NeoX on the prose that comes with Python, keeps Pythia-style checkpoints, estimates λ̂ at each,
    and writes the picture of λ̂ over training and a model card. The last number is cross-checked by a few short chains
    of SGLD: one line says whether they agree. The same command again resumes what was interrupted.

    Examples:

      hf-llc demo

      hf-llc demo --output-dir /tmp/demo --num-processes 2

      hf-llc demo --json > demo.json
    """
    form = chosen(format, as_json, quiet)
    from hf_llc.scans.demo import demonstrate

    with ProgressBar(quiet=form is Form.QUIET) as observer:
        made = demonstrate(
            output_dir,
            processes=num_processes,
            observer=observer,
            on_point=lambda found: None if form is Form.HUMAN else observer.tell("   ".join(_row(found))),
        )
    _write(made, form)
    picture = f"The picture is {made.picture}, the model card" if made.picture.is_file() else "The model card is"
    observer.tell(f"{picture} {made.card}, the numbers {made.results}.")
    if any(found.llc is None for found in made.estimates):
        raise typer.Exit(1)


def _write(made: "Demonstration", form: Form) -> None:
    if form is Form.JSON:
        write_json(made.to_dict())
    elif form is Form.AGENT:
        points = {_name(found): _agent_values(found) for found in made.estimates}
        named = {key: value for key, value in made.to_dict().items() if key != "points"}
        write_agent({**named, **points})
    elif form is Form.QUIET:
        for found in made.estimates:
            write_line("" if found.llc is None else repr(found.llc))
    else:
        write_table(f"LLC over the training of {made.model}", HEADERS, [_row(found) for found in made.estimates])


def _row(found: "Estimate") -> Sequence[str]:
    r_hat = found.diagnostics.r_hat
    return (
        _name(found),
        "" if found.step is None else str(found.step),
        f"{found.init_loss:.4f}",
        number(found),
        "" if r_hat is None else f"{r_hat:.3f}",
        str(found.verdict),
    )


def _agent_values(found: "Estimate") -> dict[str, object]:
    return {
        "llc": found.llc,
        "stderr": found.stderr,
        "init_loss": found.init_loss,
        "r_hat": found.diagnostics.r_hat,
        "verdict": str(found.verdict),
    }


def _name(found: "Estimate") -> str:
    return found.revision or Path(found.model).name
