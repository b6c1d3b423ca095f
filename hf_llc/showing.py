"""A finished run seen again: its numbers read back, its pictures redrawn."""

from pathlib import Path

from hf_llc.curve import Curve
from hf_llc.curve_files import draw
from hf_llc.observer import Observer
from hf_llc.runs import load_run
from hf_llc.view import View


def show(folder: Path, view: View | None = None, observer: Observer | None = None) -> tuple[Curve, list[Path]]:
    """The curve of a folder that scan, estimate, merge or demo left, and the pictures of it that now are there.

    Raises:
        NotFoundError: there is no run. SourceError: it is damaged.
    """
    curve = load_run(folder)
    return curve, draw(curve, folder, view, observer)
