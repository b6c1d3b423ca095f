"""Curves of several models side by side."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_llc.errors import SettingsError, one_line
from hf_llc.report.comparability import differences
from hf_llc.report.load import load
from hf_llc.results.curve import Curve, Point, training_order
from hf_llc.results.estimate import SCHEMA, Estimate
from hf_llc.results.figures.axis_options import View
from hf_llc.results.figures.safely import drawn, own_settings
from hf_llc.results.progress import Observer
from hf_llc.results.views import grid, picture, with_error
from hf_llc.settings.bounds import checked, checked_arguments, shown

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PICTURES = ("compare.png", "compare.svg")


@dataclass(frozen=True, kw_only=True, repr=False)
class Comparison:
    """Several curves.

    Attributes:
        names: one for each, told apart. curves: in the order given.
        differences: one sentence for each reason why the numbers are not comparable; none if they are.
        apart: the names of those that are not comparable with the first.
        pictures: files that now are there; none if no folder was named, or it cannot be written.
    """

    names: tuple[str, ...]
    curves: tuple[Curve, ...]
    differences: tuple[str, ...]
    apart: frozenset[str]
    pictures: tuple[Path, ...]

    def __str__(self) -> str:
        count = len(self.differences)
        outcome = f"not comparable, {count} reason{'' if count == 1 else 's'}" if count else "comparable"
        return one_line(f"{', '.join(self.names)}: {outcome}")

    def __repr__(self) -> str:
        return f"<Comparison {self}>"

    def _repr_html_(self) -> str:
        rows = [
            (key, *("" if point is None else with_error(point.llc, point.stderr) for point in points))
            for key, points in self.rows()
        ]
        title = " ".join([f"{self}.", *self.differences])
        return grid(title, ("step", *self.names), rows) + picture(self.plot(), "comparison")

    def plot(self, x: str = "auto", *, tokens: bool = False) -> "Figure":
        """λ̂ and the loss of all curves over training, as a matplotlib figure.

        Args:
            x: `log`, `linear` or `auto`, the scale of the x axis. tokens: training tokens along x in place of steps.
        """
        from hf_llc.results.figures.comparison import comparison_figure

        with own_settings():
            return comparison_figure(self._drawn_curves(), self.differences, view=View(scale=x, tokens=tokens))

    def draw(self, path: Path, view: View | None = None) -> None:
        """Draws `plot` to a file: PNG, or SVG if `path` ends so."""
        from hf_llc.results.figures.comparison import comparison

        comparison(path, self._drawn_curves(), self.differences, view=view)

    def _drawn_curves(self) -> list[tuple[str, Sequence[Point], bool]]:
        return [(name, curve.points, name in self.apart) for name, curve in zip(self.names, self.curves, strict=True)]

    def rows(self) -> list[tuple[str, list[Point | None]]]:
        """What stands in one line: a step, or else a name, and the point that each curve has there, in order."""
        by_key: dict[str, dict[str, Point]] = {}
        for name, curve in zip(self.names, self.curves, strict=True):
            for point in curve.points:
                by_key.setdefault(_key(point), {})[name] = point
        ordered = sorted(by_key.items(), key=lambda item: _place(next(iter(item[1].values()))))
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
                "points": curve.to_rows(),
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
    *runs: Any,
    folder: Path | None = None,
    view: View | None = None,
    observer: Observer | None = None,
) -> Comparison:
    """Several curves side by side, and every reason why their numbers are not comparable.

    Args:
        runs: two or more `Curve` or `Estimate`, folders that scan, merge, estimate or demo left, or `hf://…` of
            published runs; or a list of these.
        folder: where `compare.png` and `compare.svg` are drawn; None draws no files. view: their x axis.
        observer: receives messages; None is silent.

    Raises:
        SettingsError: there are fewer than two runs, or one of them is something else.
        NotFoundError: a folder holds no finished run. SourceError: a run is damaged or cannot be read.
    """
    wanted = list(runs)
    if wanted and isinstance(wanted[0], list | tuple):
        if len(wanted) == 2 and isinstance(wanted[1], str | Path) and folder is None:
            folder = checked("folder", wanted.pop(), Path)  # a list and its folder, as earlier versions had it
        wanted = [run for each in wanted for run in (each if isinstance(each, list | tuple) else [each])]
    if len(wanted) < 2:
        raise SettingsError("compare needs two or more runs; hf-llc show prints one.")
    tell = (observer or Observer()).tell
    curves = [_curve(run, index, tell) for index, run in enumerate(wanted)]
    places = [
        curve.run_dir if isinstance(run, Curve | Estimate) else str(run)
        for run, curve in zip(wanted, curves, strict=True)
    ]
    names = _told_apart(curves, places)
    named = list(zip(names, curves, strict=True))
    apart = {name for name, curve in named if differences([names[0], name], [curves[0], curve])}
    comparison = Comparison(
        names=tuple(names),
        curves=tuple(curves),
        differences=tuple(differences(names, curves)),
        apart=frozenset(apart),
        pictures=(),
    )
    if folder is None:
        return comparison
    pictures = drawn([folder / name for name in PICTURES], lambda path: comparison.draw(path, view), tell)
    return replace(comparison, pictures=tuple(pictures))


def _told_apart(curves: Sequence[Curve], runs: Sequence[str]) -> list[str]:
    """The last part of each model's name; with its run, and at last a number, where two would be the same."""
    names = [Path(curve.model).name for curve in curves]
    names = [
        name if names.count(name) == 1 else f"{name} ({Path(run).name})" for name, run in zip(names, runs, strict=True)
    ]
    return [name if names.count(name) == 1 else f"{name} #{index}" for index, name in enumerate(names, start=1)]


def _curve(run: Any, index: int, tell: Callable[[str], None]) -> Curve:
    if isinstance(run, Estimate):
        return Curve.of_estimate(run)
    if isinstance(run, Curve):
        return run
    if not isinstance(run, str | Path):
        raise SettingsError(f"runs[{index}] must be a Curve, an Estimate, a folder or hf://…, got {shown(run)}.")
    return load(run, tell)


def _key(point: Point) -> str:
    if point.step is None:
        return point.revision
    return f"{point.stage} {point.step}" if point.stage else str(point.step)


def _place(point: Point) -> tuple[object, ...]:
    return training_order(point.stage, point.step)
