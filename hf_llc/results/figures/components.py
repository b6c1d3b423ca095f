"""λ̂ of components: a heat map over checkpoints, or points with error bars at a single one (matplotlib)."""

import math
from collections.abc import Sequence
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hf_llc.results.component_curves import ComponentCurves
from hf_llc.results.curve import Point
from hf_llc.results.estimate import Verdict
from hf_llc.results.figures.axes import clipped, spread_out
from hf_llc.results.figures.style import BLUE, PALE, printable, save, tidy

MOST_LABELS = 60
"""Components that are named along the axis; of more, every second or third one."""


def components(path: Path, curves: ComponentCurves) -> None:
    """Draws `figure_of` into a file; PNG, or SVG if `path` ends so."""
    save(figure_of(curves), path)


def figure_of(curves: ComponentCurves) -> Figure:
    """A row a component, from the first at the top.

    In the heat map columns are checkpoints in order of training, an even step each, and a number that did not converge
    has a dot; where there is none the cell is grey. At a single checkpoint the error bars are standard errors, and a
    number that did not converge is hollow.
    """
    names = list(curves.curves)
    figure = Figure(figsize=(7.2, 1.6 + 0.16 * max(8, min(len(names), 80))), dpi=150, layout="constrained")
    axes = figure.subplots()
    columns = _columns(curves)
    if len(columns) == 1:
        _draw_points(axes, [curve.points[0] if curve.points else None for curve in curves.curves.values()])
    else:
        _draw_map(figure, axes, curves, columns)
    every = math.ceil(len(names) / MOST_LABELS)
    axes.set_yticks(range(0, len(names), every), names[::every], fontsize=8, parse_math=False)
    axes.set_ylim(len(names) - 0.5, -0.5)
    title = printable(f"LLC of components of {Path(curves.model).name}")
    axes.set_title(title, loc="left", fontsize=12, parse_math=False)
    return figure


def _columns(curves: ComponentCurves) -> list[str]:
    """Names of the checkpoints in order; those of the curve that has most of them."""
    longest = max(curves.curves.values(), key=len)
    return [point.revision for point in longest]


def _draw_points(axes: Axes, points: Sequence[Point | None]) -> None:
    for place, point in enumerate(points):
        if point is None or point.llc is None:
            continue
        filled = BLUE if point.verdict is Verdict.CONVERGED else "white"
        axes.errorbar(point.llc, place, xerr=point.stderr, fmt="o", color=BLUE, markerfacecolor=filled, markersize=5)
    axes.axvline(0, color=PALE, linewidth=0.8)
    axes.set_xlabel(r"$\hat\lambda$")
    tidy(axes)
    axes.grid(axis="x", color="#E5E5E5", linewidth=0.8)


def _draw_map(figure: Figure, axes: Axes, curves: ComponentCurves, columns: Sequence[str]) -> None:
    cells = [{point.revision: point for point in curve} for curve in curves.curves.values()]
    values = [[_number(row.get(name)) for name in columns] for row in cells]
    colours = matplotlib.colormaps["viridis"].with_extremes(bad="#DDDDDD")
    image = axes.imshow(values, aspect="auto", cmap=colours, interpolation="nearest")
    doubtful = [
        (column, row)
        for row, points in enumerate(cells)
        for column, name in enumerate(columns)
        if (point := points.get(name)) is not None and point.llc is not None and point.verdict != Verdict.CONVERGED
    ]
    if doubtful:
        across, down = zip(*doubtful, strict=True)
        axes.scatter(across, down, s=6, color="white", edgecolors="black", linewidths=0.4)
    shown = spread_out([float(place) for place in range(len(columns))])
    labels = [clipped(printable(columns[place]), 16) for place in shown]
    axes.set_xticks(shown, labels, rotation=45, ha="right", fontsize=8, parse_math=False)
    axes.set_xlabel("checkpoint" + (" (dots: not converged)" if doubtful else ""))
    figure.colorbar(image, ax=axes, label=r"$\hat\lambda$", shrink=0.8)


def _number(point: Point | None) -> float:
    return math.nan if point is None or point.llc is None else point.llc
