"""`hf-llc influence`: which items of the data act on which, from a run that recorded their losses."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import options as o
from .estimate_table import with_error
from .output import Form, chosen, write_agent, write_json, write_line, write_pairs, write_table
from .progress import ProgressBar
from .recorded import OutputDir, RecordedRun, Recording, drawn_and_written, folder_for

if TYPE_CHECKING:
    from hf_llc.results.influence import Influence

By = Annotated[
    str | None,
    typer.Option(
        "--by",
        help="Classes in place of items: token for the kinds of recorded tokens, or a file with the class of each item "
        "in a line, in the order of the items' numbers.",
    ),
]
Top = Annotated[int, typer.Option("--top", min=0, max=10_000, help="Pairs that are printed.")]

LEAST_ERROR = 5e-5
"""Error that a correlation is printed with at least: that of one text with its copy is 1 to all digits."""


def influence(
    run: RecordedRun,
    recording: Recording = None,
    by: By = None,
    top: Top = 10,
    output_dir: OutputDir = None,
    format: o.Format = "auto",
    as_json: o.Json = False,
    quiet: o.Quiet = False,
) -> None:
    """Print how the loss of each recorded item answers to the weight of every other one: Bayesian influence.

    The run must have recorded losses (estimate --keep losses). Every entry has a standard error, and the matrix a
    verdict: resolved, partly-resolved or noise. The whole matrix is written to influence.parquet, pictures of it and of
    the correlations to influence.png and loss-kernel.png.

    Examples:

    \b
    hf-llc estimate ORG/NAME --max-sequences 256 --keep losses --recorded-draws 1000 --output-dir run
    hf-llc influence run
    hf-llc influence run --by classes.txt --top 20
    hf-llc estimate ORG/NAME --probe probe.jsonl --keep token-losses --output-dir run
    hf-llc influence run --by token --json
    """
    form = chosen(format, as_json, quiet)
    with ProgressBar(quiet=form is Form.QUIET) as observer:
        from hf_llc.measures.influence.of_run import influence as influence_of
        from hf_llc.measures.influence.of_run import kind_for

        result = influence_of(Path(run), recording, by)
        folder = folder_for(Path(run), recording, kind_for(by), output_dir)
        _write(result, form, top)
        pictures = {"influence.png": result.plot, "loss-kernel.png": lambda: result.plot("kernel")}
        drawn_and_written(result, pictures, folder, observer, is_named=output_dir is not None)


def _write(result: "Influence", form: Form, top: int) -> None:
    pairs = result.top_pairs(top)
    if form is Form.QUIET:
        write_line(result.quality.verdict)
        return
    if form is not Form.HUMAN:
        values = {
            "items": len(result.names),
            "draws": result.draws,
            "n_beta": result.n_beta,
            "gamma": result.gamma,
            "n": result.n,
            "quality": result.quality.to_dict(),
            "kernel_quality": result.kernel_quality.to_dict(),
            "far_pairs": result.far_pairs,
            "far_by_chance": result.far_by_chance,
        }
        if form is Form.JSON:
            write_json({**values, "pairs": [each._asdict() for each in pairs]})
        else:
            write_agent(values)
        return
    rows = [
        ("items", f"{len(result.names)}, at {result.draws} draws"),
        ("influence", str(result.quality)),
        ("loss kernel", str(result.kernel_quality)),
    ]
    write_pairs("Influence of items on each other's loss", rows)
    if pairs:
        from hf_llc.results.matrix import excerpt

        write_line()
        table = [
            (
                str(each.first_index),
                excerpt(each.first),
                str(each.second_index),
                excerpt(each.second),
                with_error(each.influence, each.influence_stderr),
                with_error(each.kernel, max(each.kernel_stderr, LEAST_ERROR)),
            )
            for each in pairs
        ]
        headers = ["#", "first", "#", "second", "influence, nats per unit of weight", "correlation"]
        title = (
            f"Largest {len(pairs)} of {result.far_pairs:,} that lie more than 3 standard errors from 0; "
            f"about {result.far_by_chance:.0f} would by chance"
        )
        write_table(title, headers, table, texts=(1, 3))
