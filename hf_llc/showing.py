"""A finished run seen again: its numbers read back, its pictures redrawn."""

from pathlib import Path

from hf_llc.adapters import plots
from hf_llc.adapters.hub_errors import Tell
from hf_llc.curve import Curve
from hf_llc.runs import folder_of, load
from hf_llc.scanning import PICTURES


def show(run: str | Path, tell: Tell = lambda _: None) -> tuple[Curve, list[Path]]:
    """The curve of a run, as `runs.load` finds it, and the pictures of it that now are on this disk.

    Raises:
        NotFoundError: there is no run. SourceError: it is damaged. HfLlcError: see `runs.load`.
    """
    curve = load(run, tell)
    pictures = [folder_of(run) / name for name in PICTURES]
    for path in pictures:
        plots.series(path, curve.points, name=Path(curve.model).name)
    return curve, pictures
