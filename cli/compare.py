"""`hf-llc compare`: several models' curves side by side."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import options as o
from .curve_table import sparkline
from .estimate_table import number, with_error
from .output import Form, chosen, write_agent, write_json, write_line, write_table
from .progress import ProgressBar

if TYPE_CHECKING:
    from hf_llc.report.compare import Comparison
    from hf_llc.results.curve import Point

Runs = Annotated[
    list[str],
    typer.Argument(
        help="Run folders of scan, merge, estimate or demo (their run_dir), or published results: "
        "hf://org/name, hf://datasets/org/name."
    ),
]
PictureDir = Annotated[
    Path,
    typer.Option(
        "--output-dir",
        parser=o.path_of,
        metavar="<path>",
        help="Folder of compare.png and compare.svg.",
        rich_help_panel="Output",
    ),
]
Paired = Annotated[
    bool,
    typer.Option(
        "--paired",
        help="Print differences of LLC with the error that common minibatches and noise leave: between two runs, or "
        "from each checkpoint of one scan to the next.",
        rich_help_panel="Output",
    ),
]
NOT_CONVERGED, COPY = "*", "="


def compare(
    runs: Runs,
    paired: Paired = False,
    output_dir: PictureDir = Path("hf-llc-compare"),
    x: o.X = "auto",
    x_tokens: o.XTokens = False,
    format: o.Format = "auto",
    as_json: o.Json = False,
    quiet: o.Quiet = False,
) -> None:
    """Print several models' curves side by side, draw them, and say whether their numbers may be compared.

    They may be at one γ/nβ, on the same items of the same data, with the same weights moving. Curves that may not are
    dashed in the picture, with the reason above it.

    Examples:

    \b
    hf-llc compare hf-llc-runs/EleutherAI__pythia-70m/scan-* hf-llc-runs/EleutherAI__pythia-160m/scan-*
    hf-llc compare hf-llc-demo hf://datasets/me/llc-EleutherAI__pythia-70m
    hf-llc compare one two --x linear --output-dir pictures
    hf-llc compare --paired hf-llc-demo
    """
    if paired:
        _compare_paired(runs, chosen(format, as_json, quiet))
        return
    from hf_llc.report.compare import compare as beside
    from hf_llc.results.figures.axis_options import View

    form, view = chosen(format, as_json, quiet), View(scale=x, tokens=x_tokens)
    with ProgressBar(quiet=form is Form.QUIET) as observer:
        comparison = beside(runs, folder=output_dir, view=view, observer=observer)
        _write(comparison, form)
        if form is not Form.HUMAN:
            for sentence in comparison.differences:
                observer.tell(f"Not comparable: {sentence}")
        if comparison.pictures:
            observer.tell(f"Drawn: {', '.join(map(str, comparison.pictures))}.")


def _compare_paired(runs: Sequence[str], form: Form) -> None:
    from hf_llc.errors import SettingsError
    from hf_llc.measures.llc.paired import compare_paired

    if len(runs) > 2:
        raise SettingsError(f"--paired takes one scan or two runs, got {len(runs)}.")
    differences = compare_paired(*runs)
    if form is Form.JSON:
        write_json([each.to_dict() for each in differences])
    elif form is Form.AGENT:
        for each in differences:
            write_agent(each.to_dict())
    elif form is Form.QUIET:
        for each in differences:
            write_line(f"{each.difference} {each.stderr}")
    else:
        headers = ["first", "second", "difference ± standard error", "unpaired error", "pairs"]
        rows = [
            (
                each.first,
                each.second,
                f"{with_error(each.difference, each.stderr)} {' ' if each.converged else NOT_CONVERGED}",
                f"{each.unpaired_stderr:.2g}",
                str(each.pairs),
            )
            for each in differences
        ]
        write_table(f"LLC of the first minus LLC of the second ({NOT_CONVERGED} not both converged)", headers, rows)
        for sentence in dict.fromkeys(each.reason for each in differences if each.reason):
            write_line(f"Not paired: {sentence}.")


def _write(comparison: "Comparison", form: Form) -> None:
    if form is Form.JSON:
        write_json(comparison.to_dict())
    elif form is Form.AGENT:
        values = {
            name: {point.revision: {"llc": point.llc, "stderr": point.stderr} for point in curve.points}
            for name, curve in zip(comparison.names, comparison.curves, strict=True)
        }
        write_agent({"comparable": not comparison.differences, "differences": list(comparison.differences), **values})
    elif form is Form.QUIET:
        write_line("not comparable" if comparison.differences else "comparable")
    else:
        _write_table(comparison)


def _write_table(comparison: "Comparison") -> None:
    headers = ["step", *(header for name in comparison.names for header in (name, "loss at w*"))]
    rows = [(key, *(cell for point in points for cell in _cells(point))) for key, points in comparison.rows()]
    write_table(f"LLC ± standard error ({NOT_CONVERGED} not converged, {COPY} weights of another)", headers, rows)
    write_line()
    for name, curve in zip(comparison.names, comparison.curves, strict=True):
        line = sparkline([point.llc for point in curve.points if point.duplicate_of is None])
        write_line(f"{line}   {name}")
    write_line()
    for sentence in comparison.differences or ["Comparable: the same γ/nβ, the same data, the same weights moving."]:
        write_line(f"Not comparable. {sentence}" if comparison.differences else sentence)


def _cells(point: "Point | None") -> Sequence[str]:
    if point is None:
        return "", ""
    if point.estimate is None:
        return "failed", ""
    mark = COPY if point.duplicate_of else "" if point.verdict == "converged" else NOT_CONVERGED
    return f"{number(point.estimate)} {mark or ' '}", f"{point.estimate.init_loss:.4f}"
