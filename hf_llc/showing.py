"""A finished run seen again: its numbers read back, its pictures redrawn."""

from pathlib import Path

from hf_llc.adapters import plots
from hf_llc.curve import Curve
from hf_llc.runs import load_run
from hf_llc.scanning import PICTURES


def show(folder: Path) -> tuple[Curve, list[Path]]:
    """The curve of a folder that scan, estimate or demo left, and the pictures of it that now are there.

    Raises:
        NotFoundError: there is no run. SourceError: it is damaged.
    """
    curve = load_run(folder)
    pictures = [folder / name for name in PICTURES]
    for path in pictures:
        plots.series(path, curve.points, name=Path(curve.model).name)
    return curve, pictures
