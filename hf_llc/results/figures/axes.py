"""The x axis of a picture over training, and what stands above it (matplotlib)."""

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator

from hf_llc.results.curve import Point
from hf_llc.results.figures.axis_options import AUTO, LINEAR, LOG, View
from hf_llc.results.figures.style import GREY, ORANGE, printable

MOST_TICKS = 16
ROOM = 64
"""Characters of labels that fit below the axis side by side."""
ROUND_TICKS = 8
LONGEST_LABEL, LONGEST_TITLE = 16, 72
LINE = 90
"""Characters of small print that fit the width of a picture."""
LEADING = 14.0
"""Points from one line of small print to the next."""
STEP, TOKENS, CHECKPOINT = "training step", "training tokens", "checkpoint"
UNITS = ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k"))


@dataclass(frozen=True)
class XAxis:
    """Where checkpoints stand.

    Attributes:
        name: STEP, TOKENS or CHECKPOINT. scale: `log` or `linear`; meaningless for CHECKPOINT.
        marks: the distinct values there are, ascending; or the names of the checkpoints, in order.
    """

    name: str
    scale: str
    marks: tuple[int, ...] | tuple[str, ...]

    def places(self, points: Sequence[Point]) -> list[float]:
        """x of each point."""
        if self.name == CHECKPOINT:
            index = {str(mark): float(place) for place, mark in enumerate(self.marks)}
            return [index[point.revision] for point in points]
        return [self._place(value) for value in _values(points, self.name) if value is not None]

    def draw(self, axes: Axes) -> None:
        """Ticks and the name of the axis."""
        if self.name != CHECKPOINT and self.scale == LINEAR:
            axes.set_xlabel(self.name)
            axes.xaxis.set_major_locator(MaxNLocator(ROUND_TICKS, integer=True))
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, index: number(value, self.name)))
            return
        if self.name == CHECKPOINT:
            axes.set_xlabel(self.name)
            names = [clipped(str(mark), LONGEST_LABEL) for mark in self.marks]
            _label(axes, [float(i) for i in range(len(names))], names, turned=any(len(name) > 7 for name in names))
        else:
            axes.set_xlabel(f"{self.name} (log scale)")
            values = list(map(float, self.marks))
            _label(axes, list(map(self._place, values)), [number(each, self.name) for each in values], turned=False)

    def _place(self, value: float) -> float:
        return log_place(value, _lowest(self.marks)) if self.scale == LOG else float(value)


def x_axis(curves: Sequence[Sequence[Point]], view: View) -> XAxis:
    """One axis for all these curves: tokens if asked for and known, else steps, else checkpoints in order."""
    for name in [TOKENS] * view.tokens + [STEP]:
        values = [_values(points, name) for points in curves]
        if all(None not in curve_values for curve_values in values) and all(
            _told_apart(points, name) for points in curves
        ):
            marks = tuple(sorted({value for curve_values in values for value in curve_values if value is not None}))
            return XAxis(name, evener(marks) if view.scale == AUTO else view.scale, marks)
    return XAxis(CHECKPOINT, LINEAR, tuple(dict.fromkeys(point.revision for points in curves for point in points)))


def evener(values: Sequence[float]) -> str:
    """`linear` for a series that is evenly spaced from its beginning on, else `log`.

    It is where the widest gap between neighbours is a smaller share of the whole than on a logarithmic axis, and the
    first positive value is not far below the usual gap, as it is where a series begins with powers of two.
    """
    if len(values) < 2 or _lowest(values) < median(b - a for a, b in pairwise(values)) / 2:
        return LOG
    places = [log_place(value, _lowest(values)) for value in values]
    return LINEAR if _widest(values) < _widest(places) else LOG


def _widest(places: Sequence[float]) -> float:
    return max(b - a for a, b in pairwise(places)) / (places[-1] - places[0])


def log_place(value: float, lowest: float) -> float:
    """A doubling is one unit; 0 stands one unit before `lowest`, the smallest positive value there is."""
    return math.log2(value / lowest) + 1 if value else 0.0


def number(value: float, name: str) -> str:
    """A step, or tokens to three digits."""
    for limit, unit in UNITS if name == TOKENS else ():
        if value >= limit:
            return f"{value / limit:.3g}{unit}"
    return f"{value:.0f}"


def clipped(text: str, length: int) -> str:
    """The text on one line, cut to `length` characters."""
    text = printable(text)
    return text if len(text) <= length else text[: length - 1] + "…"


def head(axes: Axes, title: str, small_print: str, warnings: Sequence[str] = ()) -> None:
    """The title, and below it small print: `small_print` and, in another colour, warnings."""
    warned = folded(warnings)
    lines = len(small_print.splitlines()) + len(warned)
    axes.set_title(clipped(title, LONGEST_TITLE), loc="left", fontsize=12, parse_math=False, pad=8 + LEADING * lines)
    height = 6.0
    for text, colour in (("\n".join(warned), ORANGE), (small_print, GREY)):
        if text:
            axes.annotate(
                text,
                (0, 1),
                xycoords="axes fraction",
                xytext=(0.0, height),
                textcoords="offset points",
                fontsize=8.5,
                color=colour,
                linespacing=1.4,
                va="bottom",
                parse_math=False,
            ).set_in_layout(False)
            height += LEADING * len(text.splitlines())


def folded(texts: Sequence[str]) -> list[str]:
    """Lines of small print that fit the width of a picture."""
    return [line for text in texts for line in textwrap.wrap(printable(text), LINE)]


def spread_out(places: Sequence[float], most: int = MOST_TICKS) -> list[int]:
    """Indices of at most so many places that are far enough apart to be labelled, the last one among them."""
    gap = (max(places) - min(places)) / most if places else 0.0
    chosen: list[int] = []
    for index in sorted(range(len(places)), key=lambda i: -places[i]):
        if not chosen or places[chosen[-1]] - places[index] > gap:
            chosen.append(index)
    return chosen[::-1]


def _values(points: Sequence[Point], name: str) -> list[int | None]:
    """Step or tokens of each point; a copy without, as `main` often is, has that of the first one."""
    own = {point.revision: _value(point, name) for point in points if point.duplicate_of is None}
    known = [_value(point, name) for point in points]
    return [
        own.get(point.duplicate_of or "") if value is None else value
        for point, value in zip(points, known, strict=True)
    ]


def _value(point: Point, name: str) -> int | None:
    return point.tokens if name == TOKENS else point.step


def _told_apart(points: Sequence[Point], name: str) -> bool:
    """True if no two checkpoints of different weights have the same value, as those of two stages can."""
    own = [_value(point, name) for point in points if point.duplicate_of is None]
    return len(set(own)) == len(own)


def _lowest(values: Sequence[float] | Sequence[str]) -> float:
    return min((float(value) for value in values if float(value) > 0), default=1.0)


def _label(axes: Axes, places: Sequence[float], labels: Sequence[str], *, turned: bool) -> None:
    longest = max(map(len, labels), default=1)
    chosen = spread_out(places, MOST_TICKS if turned else max(2, min(MOST_TICKS, ROOM // longest)))
    axes.set_xticks(
        [places[index] for index in chosen],
        [labels[index] for index in chosen],
        rotation=30 if turned else 0,
        ha="right" if turned else "center",
        parse_math=False,
    )
    # Labels that belong to single points say more than the places between them.
    axes.minorticks_off()
