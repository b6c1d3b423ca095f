"""`hf-llc report`: finished runs as one HTML file."""

from pathlib import Path
from typing import Annotated

import typer

from . import options as o
from .output import Form, chosen, write_agent, write_json, write_line, write_pairs
from .progress import ProgressBar

Runs = Annotated[
    list[str],
    typer.Argument(
        help="Run folders of scan, estimate, merge or demo (their run_dir), or published results: hf://org/name, "
        "hf://datasets/org/name."
    ),
]
Output = Annotated[
    Path | None,
    typer.Option(
        "--output",
        parser=o.path_of,
        metavar="<path>",
        help="The HTML file. (default: report.html in the run's folder; of several runs hf-llc-report.html)",
        rich_help_panel="Output",
    ),
]
Quiet = Annotated[
    bool, typer.Option("-q", "--quiet", help="Short for --format quiet: the path alone.", rich_help_panel="Output")
]


def report(
    runs: Runs,
    output: Output = None,
    format: o.Format = "auto",
    as_json: o.Json = False,
    quiet: Quiet = False,
) -> None:
    """Write one HTML file that shows runs: curves, verdicts, chains, measures, settings.

    The file loads nothing from anywhere and can be mailed. Of several runs the curves are drawn
    together; components of one model also as a heat map. Of runs that recorded losses it has the
    influence of items on each other, with beginnings of their texts.

    Examples:

    \b
    hf-llc report hf-llc-demo
    hf-llc report RUN RUN --output curves.html
    hf-llc report hf://datasets/me/llc-EleutherAI__pythia-70m
    """
    from hf_llc.report.component_files import read_index
    from hf_llc.report.page.render import write_report
    from hf_llc.results.component_curves import INDEX
    from hf_llc.results.progress import size

    form = chosen(format, as_json, quiet)
    with ProgressBar(quiet=form is Form.QUIET) as observer:
        path = write_report(*runs, path=output, observer=observer).resolve()
    written: dict[str, str | int] = {"path": str(path), "bytes": path.stat().st_size, "runs": len(runs)}
    lists = [folder for folder in map(Path, runs) if (folder / INDEX).is_file()]
    if lists:
        written["components"] = sum(len(read_index(folder)[1]) for folder in lists)
    if form is Form.JSON:
        write_json(written)
    elif form is Form.AGENT:
        write_agent(written)
    elif form is Form.QUIET:
        write_line(path)
    else:
        counts = [(name, str(written[name])) for name in ("runs", "components") if name in written]
        write_pairs("Report", [("file", str(path)), ("size", size(path.stat().st_size)), *counts])
