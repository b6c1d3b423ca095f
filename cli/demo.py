"""`hf-llc demo`: train, estimate and draw, on this machine alone."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import options as o
from .estimate_table import number
from .output import Form, chosen, write_agent, write_json, write_line, write_table
from .progress import ProgressBar

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
        demonstration = demonstrate(
            output_dir,
            processes=num_processes,
            observer=observer,
            on_point=lambda estimate: None if form is Form.HUMAN else observer.tell("   ".join(_row(estimate))),
        )
    _write(demonstration, form)
    picture = (
        f"The picture is {demonstration.picture}, the model card"
        if demonstration.picture.is_file()
        else "The model card is"
    )
    observer.tell(f"{picture} {demonstration.card}, the numbers {demonstration.results}.")
    if any(estimate.llc is None for estimate in demonstration.estimates):
        raise typer.Exit(1)


def _write(demonstration: "Demonstration", form: Form) -> None:
    if form is Form.JSON:
        write_json(demonstration.to_dict())
    elif form is Form.AGENT:
        points = {_name(estimate): _agent_values(estimate) for estimate in demonstration.estimates}
        named = {key: value for key, value in demonstration.to_dict().items() if key != "points"}
        write_agent({**named, **points})
    elif form is Form.QUIET:
        for estimate in demonstration.estimates:
            write_line("" if estimate.llc is None else repr(estimate.llc))
    else:
        write_table(
            f"LLC over the training of {demonstration.model}",
            HEADERS,
            [_row(estimate) for estimate in demonstration.estimates],
        )


def _row(estimate: "Estimate") -> Sequence[str]:
    r_hat = estimate.diagnostics.r_hat
    return (
        _name(estimate),
        "" if estimate.step is None else str(estimate.step),
        f"{estimate.init_loss:.4f}",
        number(estimate),
        "" if r_hat is None else f"{r_hat:.3f}",
        str(estimate.verdict),
    )


def _agent_values(estimate: "Estimate") -> dict[str, object]:
    return {
        "llc": estimate.llc,
        "stderr": estimate.stderr,
        "init_loss": estimate.init_loss,
        "r_hat": estimate.diagnostics.r_hat,
        "verdict": str(estimate.verdict),
    }


def _name(estimate: "Estimate") -> str:
    return estimate.revision or Path(estimate.model).name
