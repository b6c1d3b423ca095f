"""Pictures of matrices: components or items in rows, items or checkpoints in columns (matplotlib)."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import matplotlib
import numpy
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray

from hf_llc.results.figures.axes import clipped, head
from hf_llc.results.figures.style import GREY

CELL, LEAST, MOST = 0.24, 3.0, 13.0
"""Inches of a cell, and of a side of the matrix at least and at most."""
NARROWEST, BESIDE, ABOVE = 7.2, 1.6, 1.4
"""Inches of a picture at least, and of what stands beside the matrix and above it."""
ROOM = 0.15
"""Inches of a label, from one to the next."""
LONGEST = 24
"""Characters of a label."""
CHARACTER = 0.075
"""Inches of one."""
BAR = 0.36
"""Inches of the scale, at most."""
NUMBERED = 144
"""Cells up to which their numbers are written in them."""
WIDE_ENOUGH = 0.45
"""Inches of a cell that has room for a number."""
OUTLYING = 99.5
"""Percentile of what lies between the ends of the colours."""
FADED, UNCLEAR = 0.3, 2.0
"""Share of its colour that an entry keeps that lies within so many standard errors of 0."""
FINEST = 500
"""Cells of a side that are drawn without averaging."""
MISSING = (0.92, 0.92, 0.92, 1.0)

Values = NDArray[numpy.float64]


class Colours(NamedTuple):
    """From values to colours."""

    scale: Normalize
    map: Colormap
    extend: str

    def of(self, values: Values, stderr: Values | None) -> Values:
        """Red, green, blue and opacity of each value; pale if it is 0 within its error, grey if it is not finite."""
        finite = numpy.isfinite(values)
        colours = numpy.asarray(self.map(self.scale(numpy.where(finite, values, 0.0))), dtype=float)
        if stderr is not None:
            unclear = ~(numpy.abs(values) > UNCLEAR * stderr)
            colours[unclear, :3] = FADED * colours[unclear, :3] + 1 - FADED
        colours[~finite] = MISSING
        return colours

    def bar(self, figure: Figure, axes: Axes, label: str) -> None:
        """The scale beside the picture."""
        share = min(0.05, BAR / figure.get_figwidth())
        bar = figure.colorbar(
            ScalarMappable(self.scale, self.map), ax=axes, extend=self.extend, fraction=share, aspect=30, shrink=0.9
        )
        bar.set_label(clipped(label, 3 * LONGEST), fontsize=9, parse_math=False)
        bar.ax.tick_params(labelsize=8)


def colours(values: Values, *, signed: bool) -> Colours:
    """Blue below 0 and red above it if `signed`, else from dark to light; few outlying values do not set the scale."""
    finite = values[numpy.isfinite(values)]
    extend = "neither"
    if signed:
        most = float(numpy.abs(finite).max()) if finite.size else 0.0
        end = float(numpy.percentile(numpy.abs(finite), OUTLYING)) if finite.size else 0.0
        if 0 < end < most / 1.5:
            most, extend = end, "both"
        most = most or 1.0
        return Colours(Normalize(-most, most, clip=True), matplotlib.colormaps["RdBu_r"], extend)
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    return Colours(Normalize(low, high if high > low else low + 1, clip=True), matplotlib.colormaps["viridis"], extend)


def heat_map(
    values: Values,
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    title: str,
    label: str,
    stderr: Values | None = None,
    small_print: str = "",
    warnings: Sequence[str] = (),
    row_name: str = "",
    column_name: str = "",
    signed: bool = True,
) -> Figure:
    """A matrix as colours, with the names of its rows and columns, and with its numbers if it is small.

    Args:
        values, stderr: of shape (rows, columns); what is not finite is grey, and what is 0 within its error pale.
        label: of the scale, with the unit. small_print, warnings: below the title, the latter in another colour.
        row_name, column_name: what rows and columns are.
        signed: True if 0 is the middle of the colours.

    Raises:
        ValueError: there are not as many names as rows or columns, or none.
    """
    values = numpy.asarray(values, dtype=float)
    if values.shape != (len(rows), len(columns)) or not values.size:
        raise ValueError(
            f"values must have the shape ({len(rows)}, {len(columns)}), none of them 0, got {values.shape}"
        )
    if stderr is not None:
        small_print = "\n".join(filter(None, [small_print, f"Pale: within {UNCLEAR:g} standard errors of 0."]))
    names = [[clipped(name, LONGEST) for name in each] for each in (rows, columns)]
    width, height = (min(MOST, max(LEAST, CELL * count)) for count in (len(columns), len(rows)))
    margins = [CHARACTER * max(map(len, each)) for each in names]
    width = max(width, NARROWEST - margins[0] - BESIDE)
    figure = Figure(figsize=(width + margins[0] + BESIDE, height + margins[1] + ABOVE), dpi=150, layout="constrained")
    axes = figure.subplots()
    scale = colours(values, signed=signed)
    painted = scale.of(values, stderr)
    _paint(axes, painted)
    _label(axes.yaxis, names[0], height, turned=False)
    _label(axes.xaxis, names[1], width, turned=margins[1] > 0.9 * width / len(columns))
    axes.set_xlabel(clipped(column_name, LONGEST), parse_math=False)
    axes.set_ylabel(clipped(row_name, LONGEST), parse_math=False)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    if values.size <= NUMBERED and width / len(columns) >= WIDE_ENOUGH:
        _write(axes, values, painted)
    scale.bar(figure, axes, label)
    head(axes, title, small_print, warnings)
    return figure


def _paint(axes: Axes, painted: Values) -> None:
    """The colours as cells. Where there are more of them than pixels they are averaged, along that direction alone."""
    rows, columns = painted.shape[:2]
    many = max(rows, columns) > FINEST
    down, across = (max(1, math.ceil(FINEST / count)) if many else 1 for count in (rows, columns))
    axes.imshow(
        painted.repeat(down, axis=0).repeat(across, axis=1),
        aspect="auto",
        interpolation="antialiased" if many else "nearest",
        extent=(-0.5, columns - 0.5, rows - 0.5, -0.5),
    )


def ink(colour: Sequence[float] | Values) -> str:
    """Black or white, whichever can be read on the colour (relative luminance, WCAG 2.1)."""
    red, green, blue = (each / 12.92 if each <= 0.03928 else ((each + 0.055) / 1.055) ** 2.4 for each in colour[:3])
    return "white" if 0.2126 * red + 0.7152 * green + 0.0722 * blue < 0.18 else "black"


def _label(axis: Axis, names: Sequence[str], inches: float, *, turned: bool) -> None:
    """The names, every so many of them where there is no room for all."""
    every = max(1, math.ceil(len(names) * ROOM / inches))
    axis.set_ticks(
        list(range(0, len(names), every)),
        list(names[::every]),
        fontsize=8,
        rotation=90 if turned else 0,
        color=GREY if every > 1 else "black",
        parse_math=False,
    )


def _write(axes: Axes, values: Values, painted: Values) -> None:
    for row, column in numpy.ndindex(values.shape):
        if numpy.isfinite(values[row, column]):
            axes.text(
                column,
                row,
                f"{values[row, column]:.2g}",
                ha="center",
                va="center",
                fontsize=7,
                color=ink(painted[row, column]),
            )
