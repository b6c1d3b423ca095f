"""Curves of several models side by side."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hf_llc.errors import SettingsError
from hf_llc.report.comparability import differences
from hf_llc.report.load import load
from hf_llc.results.curve import Curve, Point, training_order
from hf_llc.results.estimate import SCHEMA, Estimate
from hf_llc.results.figures.axis_options import View
from hf_llc.results.figures.safely import drawn
from hf_llc.results.progress import Observer
from hf_llc.settings.bounds import checked_arguments

PICTURES = ("compare.png", "compare.svg")


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Several curves.

    Attributes:
        names: one for each, told apart. curves: in the order given.
        differences: one sentence for each reason why the numbers are not comparable; none if they are.
        apart: the names of those that are not comparable with the first.
        pictures: files that now are there; none if their folder cannot be written.
    """

    names: tuple[str, ...]
    curves: tuple[Curve, ...]
    differences: tuple[str, ...]
    apart: frozenset[str]
    pictures: tuple[Path, ...]

    def rows(self) -> list[tuple[str, list[Point | None]]]:
        """What stands in one line: a step, or else a name, and the point that each curve has there, in order."""
        found: dict[str, dict[str, Point]] = {}
        for name, curve in zip(self.names, self.curves, strict=True):
            for point in curve.points:
                found.setdefault(_key(point), {})[name] = point
        ordered = sorted(found.items(), key=lambda item: _place(next(iter(item[1].values()))))
        return [(key, [by_name.get(name) for name in self.names]) for key, by_name in ordered]

    def to_dict(self) -> dict[str, Any]:
        """The documented JSON object; points are `columns.COLUMNS`."""
        runs = [
            {
                "name": name,
                "comparable": name not in self.apart,
                "model": curve.model,
                "settings": dict(curve.settings),
                "dataset": dict(curve.dataset),
                "points": [point.to_row() for point in curve.points],
                "run_dir": curve.run_dir,
            }
            for name, curve in zip(self.names, self.curves, strict=True)
        ]
        return {
            "schema": SCHEMA,
            "comparable": not self.differences,
            "differences": list(self.differences),
            "runs": runs,
            "pictures": [str(path) for path in self.pictures],
        }


@checked_arguments
def compare(
    runs: Sequence[str | Path | Curve | Estimate],
    folder: Path = Path("hf-llc-compare"),
    view: View | None = None,
    observer: Observer | None = None,
) -> Comparison:
    """Several curves side by side, and every reason why their numbers are not comparable.

    Args:
        runs: two or more folders that scan, merge, estimate or demo left, or `hf://…` of published runs, or
            results themselves.
        folder: where `compare.png` and `compare.svg` are drawn. view: their x axis.
        observer: receives messages; None is silent.

    Raises:
        SettingsError: there are fewer than two runs.
        NotFoundError: a folder holds no finished run. SourceError: a run is damaged or cannot be had.
    """
    if len(runs) < 2:
        raise SettingsError("Give two runs or more to compare; hf-llc show prints one.")
    tell = (observer or Observer()).tell
    curves = [_curve(run, tell) for run in runs]
    places = [
        curve.run_dir if isinstance(run, Curve | Estimate) else str(run)
        for run, curve in zip(runs, curves, strict=True)
    ]
    names = _told_apart(curves, places)
    named = list(zip(names, curves, strict=True))
    first = named[0]
    apart = {name for name, curve in named if differences([first[0], name], [first[1], curve])}
    reasons = differences(names, curves)

    def draw(path: Path) -> None:
        from hf_llc.results.figures import comparison as comparison_plot

        shown = [(name, curve.points, name in apart) for name, curve in named]
        comparison_plot.comparison(path, shown, reasons, view=view)

    pictures = drawn([folder / name for name in PICTURES], draw, tell)
    return Comparison(
        names=tuple(names),
        curves=tuple(curves),
        differences=tuple(reasons),
        apart=frozenset(apart),
        pictures=tuple(pictures),
    )


def _told_apart(curves: Sequence[Curve], runs: Sequence[str]) -> list[str]:
    """The last part of each model's name; with its run, and at last a number, where two would be the same."""
    names = [Path(curve.model).name for curve in curves]
    names = [
        name if names.count(name) == 1 else f"{name} ({Path(run).name})" for name, run in zip(names, runs, strict=True)
    ]
    return [name if names.count(name) == 1 else f"{name} #{index}" for index, name in enumerate(names, start=1)]


def _curve(run: str | Path | Curve | Estimate, tell: Callable[[str], None]) -> Curve:
    if isinstance(run, Estimate):
        return Curve.of_estimate(run)
    return run if isinstance(run, Curve) else load(run, tell)


def _key(point: Point) -> str:
    if point.step is None:
        return point.revision
    return f"{point.stage} {point.step}" if point.stage else str(point.step)


def _place(point: Point) -> tuple[object, ...]:
    return training_order(point.stage, point.step)
