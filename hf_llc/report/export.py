"""The files of a curve beside its points: `scan.json`, flat rows as JSON lines and Parquet, and pictures."""

import json
from collections.abc import Sequence
from pathlib import Path

from hf_llc.report.load import SCAN
from hf_llc.report.parquet import parquet
from hf_llc.results.curve import Curve, Point
from hf_llc.results.figures.axis_options import View
from hf_llc.results.figures.safely import drawn
from hf_llc.results.progress import Observer
from hf_llc.results.provenance import versions
from hf_llc.settings.files import write_atomically

ROWS, TABLE, PICTURES = "results.jsonl", "results.parquet", ("llc.png", "llc.svg")
FITS = ("quantisation.png", "quantisation.svg")
"""Pictures of λ̂ over the bits of quantisation, where both were measured."""


def curve_of(model: str, points: Sequence[Point], folder: Path) -> Curve:
    """`Curve.of_points` of a scan in this folder, made by what runs here now."""
    return Curve.of_points(model, points, run_dir=str(folder), versions=versions())


def keep(curve: Curve, folder: Path) -> None:
    """Writes the curve and its rows; each file is replaced whole."""
    write_scan(curve, folder)
    rows = curve.to_rows()
    write_atomically(folder / ROWS, "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows).encode())
    write_atomically(folder / TABLE, parquet(rows, curve.columns))


def write_scan(curve: Curve, folder: Path) -> None:
    """Writes the file that `load.load_run` reads."""
    write_atomically(folder / SCAN, json.dumps(curve.to_dict(), allow_nan=False).encode())


def draw(curve: Curve, folder: Path, view: View | None = None, observer: Observer | None = None) -> list[Path]:
    """The pictures of the curve that now are in the folder; the observer is told if tokens were asked for in vain.

    None are drawn in a folder that cannot be written, since a finished run may be read wherever it is kept, and none
    that fails: it is told in one line.
    """
    view, tell = view or View(), (observer or Observer()).tell
    if view.tokens and any(point.tokens is None and point.duplicate_of is None for point in curve.points):
        tell("The pictures show steps, since not every checkpoint gives its tokens. Set `tokens_per_step` in the scan.")

    def draw_one(path: Path) -> None:
        from hf_llc.results.figures import line_fits, plots

        if path.name in FITS:
            line_fits.line_fits(path, curve)
        else:
            plots.series(path, curve.points, name=Path(curve.model).name, view=view)

    names = [*PICTURES, *(FITS if curve.line_fits else ())]
    return drawn([folder / name for name in names], draw_one, tell)
