"""`hf-llc show`: a finished run again, as a table and a picture."""

from pathlib import Path
from typing import Annotated

import typer

from . import options as o
from .output import Form, chosen
from .progress import ProgressBar

Run = Annotated[
    str,
    typer.Argument(
        help="Run folder of scan, estimate, merge or demo (its run_dir), or published results: "
        "hf://org/name, hf://datasets/org/name."
    ),
]


def show(
    run: Run,
    x: o.X = "auto",
    x_tokens: o.XTokens = False,
    format: o.Format = "auto",
    as_json: o.Json = False,
    quiet: o.Quiet = False,
) -> None:
    """Print a finished run again and redraw its picture; nothing is computed.

    Examples:

    \b
    hf-llc show hf-llc-demo
    hf-llc show hf-llc-runs/EleutherAI__pythia-70m/scan-0123456789ab --json
    hf-llc show hf://datasets/me/llc-EleutherAI__pythia-70m
    """
    from hf_llc.report.component_files import draw_components, load_components
    from hf_llc.report.show import show as redraw
    from hf_llc.results.component_curves import INDEX
    from hf_llc.results.figures.axis_options import View

    from .component_runs import write_components
    from .curve_table import write_curve

    form, view = chosen(format, as_json, quiet), View(scale=x, tokens=x_tokens)
    with ProgressBar(quiet=form is Form.QUIET) as observer:
        if (Path(run) / INDEX).is_file():
            curves = load_components(Path(run))
            write_components(curves, form)
            drawings = draw_components(curves, observer)
            return observer.tell(f"Drawn: {', '.join(map(str, drawings))}.")
        curve, pictures = redraw(run, view, observer)
        write_curve(curve, form)
        if pictures:
            observer.tell(f"Drawn: {', '.join(map(str, pictures))}.")
