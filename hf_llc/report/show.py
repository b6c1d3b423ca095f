"""A finished run seen again: its numbers read back, its pictures redrawn."""

from pathlib import Path

from hf_llc.report.export import draw
from hf_llc.report.load import folder_of, load
from hf_llc.results.curve import Curve
from hf_llc.results.figures.axis_options import View
from hf_llc.results.progress import Observer
from hf_llc.settings.bounds import checked_arguments


@checked_arguments
def show(run: str | Path, view: View | None = None, observer: Observer | None = None) -> tuple[Curve, list[Path]]:
    """The curve of a run, as `load.load` finds it, and the pictures of it that now are on this disk.

    Raises:
        NotFoundError: there is no run. SourceError: it is damaged. HfLlcError: see `load.load`.
    """
    curve = load(run, (observer or Observer()).tell)
    return curve, draw(curve, folder_of(run), view, observer)
