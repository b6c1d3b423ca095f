"""Where a curve is flat on logarithmic axes, as far as the errors of its readings let one say."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

CONFIDENCE = 2.0
"""Standard errors that a slope must stay within the tolerance by to count as flat, or beyond it to count as steep."""


FLAT_ENOUGH = 0.05
"""Slope on both sides of a reading up to which a flatter place is not looked for: over a factor of ten y changes by no
more than 12 %."""


class Reading(NamedTuple):
    """A point of the curve: x and y above 0, and the standard error of y."""

    x: float
    y: float
    error: float


class Slope(NamedTuple):
    """d log y / d log x over an interval, and its standard error."""

    value: float
    error: float

    def is_flat(self, tolerance: float) -> bool:
        """True if the errors leave no doubt that the slope is within ± `tolerance`."""
        return abs(self.value) + CONFIDENCE * self.error <= tolerance

    def may_be_flat(self, tolerance: float) -> bool:
        """True unless the errors leave no doubt that the slope is beyond ± `tolerance`."""
        return abs(self.value) - CONFIDENCE * self.error <= tolerance


class Plateau(NamedTuple):
    """Readings `first` to `last`, both included; the slope over all of them; the one to stay at (see `_place`)."""

    first: int
    last: int
    slope: Slope
    place: int


def slopes_of(readings: Sequence[Reading]) -> list[Slope]:
    """The slope from each reading to the next, the errors of y taken as independent."""
    slopes = []
    for low, high in pairwise(readings):
        width = math.log(high.x / low.x)
        slopes.append(
            Slope(math.log(high.y / low.y) / width, math.hypot(low.error / low.y, high.error / high.y) / width)
        )
    return slopes


def find_plateau(
    readings: Sequence[Reading],
    tolerance: float,
    span: float,
    change: float = math.inf,
    slopes: Sequence[Slope] | None = None,
) -> Plateau | None:
    """The longest stretch of readings, a factor of `span` in x or more, that is shown to be flat; None without one.

    Shown flat: the slope over the whole stretch is within the tolerance by CONFIDENCE errors, that of no interval in it
    is beyond the tolerance by as much, and log y does not change by more than `change` from one end to the other.

    Args:
        readings: in rising order of x. tolerance: largest |d log y / d log x| of a plateau.
        slopes: of the intervals between neighbours, for readings whose errors are not independent.
    """
    steps = slopes_of(readings) if slopes is None else slopes
    plateaus = [
        window
        for window in _windows(readings, steps, tolerance, span)
        if window.slope.is_flat(tolerance)
        and abs(window.slope.value) * math.log(readings[window.last].x / readings[window.first].x) <= change
    ]
    return max(plateaus, key=lambda window: readings[window.last].x / readings[window.first].x, default=None)


def may_have_plateau(
    readings: Sequence[Reading], tolerance: float, span: float, slopes: Sequence[Slope] | None = None
) -> bool:
    """True unless every stretch of a factor of `span` is shown not to be flat; arguments as in `find_plateau`."""
    steps = slopes_of(readings) if slopes is None else slopes
    return any(window.slope.may_be_flat(tolerance) for window in _windows(readings, steps, tolerance, span))


def _windows(readings: Sequence[Reading], slopes: Sequence[Slope], tolerance: float, span: float) -> list[Plateau]:
    """Every stretch of at least that span in which no interval is shown to be steep."""
    windows = []
    for first in range(len(readings)):
        for last in range(first + 1, len(readings)):
            inside = slopes[first:last]
            # A grid of factors √10 has spans such as 9.999….
            wide = readings[last].x >= span * readings[first].x * (1 - 1e-9)
            if wide and all(slope.may_be_flat(tolerance) for slope in inside):
                widths = [math.log(high.x / low.x) for low, high in pairwise(readings[first : last + 1])]
                windows.append(Plateau(first, last, _mean(inside, widths), _place(slopes, first, last)))
    return windows


def _mean(slopes: Sequence[Slope], widths: Sequence[float]) -> Slope:
    """The slope over neighbouring intervals, with the largest error that it can have however theirs are correlated."""
    total = sum(widths)
    value = sum(slope.value * width for slope, width in zip(slopes, widths, strict=True)) / total
    return Slope(value, sum(slope.error * width for slope, width in zip(slopes, widths, strict=True)) / total)


def _place(slopes: Sequence[Slope], first: int, last: int) -> int:
    """The reading from `first` to `last` at the largest x whose intervals on both sides are together FLAT_ENOUGH; the
    flattest, if none is."""
    beside = {index: slopes[max(index - 1, 0) : index + 1] for index in range(first, last + 1)}
    around = {index: abs(_mean(both, [1.0] * len(both)).value) for index, both in beside.items()}
    limit = max(FLAT_ENOUGH, min(around.values()))
    return max(index for index, slope in around.items() if slope <= limit)


def agreeing(ratios: Sequence[Slope], negligible: float, confidence: float) -> int:
    """How many of the readings, from the first on, agree with the first one: those before the first that does not.

    Args:
        ratios: log(y / y of the first) and its standard error for each reading, the first one included.
        negligible: a difference up to which no error is asked for. confidence: errors that a larger one may amount to.
    """
    for count, ratio in enumerate(ratios):
        if abs(ratio.value) > max(negligible, confidence * ratio.error):
            return count
    return len(ratios)
