"""A finished run seen again: its numbers read back, its pictures redrawn."""

from pathlib import Path

from hf_llc.bounds import checked_arguments
from hf_llc.curve import Curve
from hf_llc.curve_files import draw
from hf_llc.observer import Observer
from hf_llc.runs import folder_of, load
from hf_llc.view import View


@checked_arguments
def show(run: str | Path, view: View | None = None, observer: Observer | None = None) -> tuple[Curve, list[Path]]:
    """The curve of a run, as `runs.load` finds it, and the pictures of it that now are on this disk.

    Raises:
        NotFoundError: there is no run. SourceError: it is damaged. HfLlcError: see `runs.load`.
    """
    curve = load(run, (observer or Observer()).tell)
    return curve, draw(curve, folder_of(run), view, observer)
