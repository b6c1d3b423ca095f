"""`hf-llc merge`: the folders of a scan's parts made into one."""

from pathlib import Path
from typing import Annotated

import typer

from . import options as o
from .output import Form, chosen
from .progress import ProgressBar

Parts = Annotated[
    list[Path], typer.Argument(parser=o.path_of, help="Run folders of hf-llc scan --shard (their run_dir).")
]
Merged = Annotated[
    Path,
    typer.Option(
        "--output-dir",
        parser=o.path_of,
        metavar="<path>",
        help="Folder of the joined scan; its contents are kept.",
        rich_help_panel="Output",
    ),
]


def merge(
    parts: Parts,
    output_dir: Merged,
    x: o.X = "auto",
    x_tokens: o.XTokens = False,
    format: o.Format = "auto",
    as_json: o.Json = False,
    quiet: o.Quiet = False,
) -> None:
    """Join the folders that the parts of one scan left.

    All must have been made with the same options, text, γ and ε; what differs is named. Says what is missing, and
    ends with 1 if anything is, or if a checkpoint has no number. Merging again changes nothing, and hf-llc scan with
    the same options and --output-dir goes on from there.

    Examples:

    \b
    hf-llc merge part-1 part-2 part-3 --output-dir whole
    hf-llc merge parts/* --output-dir whole --json > curve.json
    """
    from hf_llc.results.figures.axis_options import View
    from hf_llc.scans.merge import merge as join

    from .curve_table import end_with_failures, write_curve

    form, view = chosen(format, as_json, quiet), View(scale=x, tokens=x_tokens)
    with ProgressBar(quiet=form is Form.QUIET) as observer:
        curve, missing = join(parts, output_dir, view=view, observer=observer)
        write_curve(curve, form)
        for sentence in missing:
            observer.tell(sentence)
        observer.tell(f"Numbers and pictures are in {curve.run_dir}; see them again with hf-llc show.")
    if missing:
        raise typer.Exit(1)
    end_with_failures(curve)
