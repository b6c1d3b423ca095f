"""Plateaus in curves that have them and in curves that have not, by construction."""

import math

import numpy
import pytest

from hf_llc.measures.llc.calibration.plateau import (
    Plateau,
    Reading,
    Slope,
    agreeing,
    find_plateau,
    may_have_plateau,
    slopes_of,
)

GRID = [10 ** (power / 2) for power in range(-8, 5)]
TOLERANCE, SPAN = 0.2, 4.0


def curve(power: float, error: float = 0.01, grid: list[float] = GRID) -> list[Reading]:
    """y = x^power with errors of that share of y, which the values themselves do not have."""
    return [Reading(x, x**power, error * x**power) for x in grid]


def saturating(error: float = 0.005) -> list[Reading]:
    """y = 1/(1+x): slope −x/(1+x), flat below 1 and −1 far above."""
    return [Reading(x, 1 / (1 + x), error / (1 + x)) for x in GRID]


def result(readings: list[Reading], change: float = math.inf) -> Plateau | None:
    return find_plateau(readings, TOLERANCE, SPAN, change)


def test_a_constant_is_a_plateau_and_its_right_end_is_chosen() -> None:
    plateau = result(curve(0.0))
    assert plateau is not None
    assert (plateau.first, plateau.last, plateau.place) == (0, len(GRID) - 1, len(GRID) - 1)
    assert plateau.slope.value == 0.0


@pytest.mark.parametrize("power", [-1.0, -0.5, 0.5])
def test_a_power_is_no_plateau_and_cannot_be_one(power: float) -> None:
    assert result(curve(power)) is None
    assert not may_have_plateau(curve(power), TOLERANCE, SPAN)


def test_a_curve_that_bends_has_its_plateau_where_it_is_flat() -> None:
    readings = saturating()
    plateau = result(readings)
    assert plateau is not None
    assert plateau.first == 0
    # The interval from 0.1 to 0.316 has the slope log(1.1/1.316)/log(3.16) = −0.156, the next one −0.36.
    assert readings[plateau.last].x == pytest.approx(10**-0.5)
    # At 0.0316 both sides together have −0.039, at 0.1 −0.105.
    assert readings[plateau.place].x == pytest.approx(10**-1.5)


def test_slow_growth_over_decades_is_no_plateau_where_the_whole_change_counts() -> None:
    readings = curve(-0.15, 0.001)
    whole, part = result(readings), result(readings, change=0.4)
    assert whole is not None
    assert (whole.first, whole.last) == (0, len(GRID) - 1)
    assert part is not None
    assert part.last - part.first == 2
    assert result(readings, change=0.3) is None


def test_a_flat_stretch_must_be_wide() -> None:
    x = [1.0, 3.0, 9.0, 27.0]
    narrow = [Reading(a, y, 0.001) for a, y in zip(x, [9.0, 3.0, 3.0, 1.0], strict=True)]
    wide = [Reading(a, y, 0.001) for a, y in zip(x, [3.0, 3.0, 3.0, 1.0], strict=True)]
    assert result(narrow) is None
    assert not may_have_plateau(narrow, TOLERANCE, SPAN)
    plateau = result(wide)
    assert plateau is not None
    assert (plateau.first, plateau.last) == (0, 2)


def test_one_steep_interval_splits_a_plateau() -> None:
    y = [8.0, 8.0, 8.0, 2.0, 2.0, 2.0, 2.0]
    plateau = result([Reading(10.0**k, value, 0.01) for k, value in enumerate(y)])
    assert plateau is not None
    assert (plateau.first, plateau.last) == (3, 6)


def test_errors_too_large_to_tell_leave_it_open() -> None:
    readings = curve(0.0, error=0.2)
    assert result(readings) is None
    assert may_have_plateau(readings, TOLERANCE, SPAN)


def noisy(power: float, error: float, seed: int) -> list[Reading]:
    stream = numpy.random.default_rng(seed)
    grid = GRID[:5]
    return [Reading(x, x**power * (1 + error * stream.standard_normal()), error * x**power) for x in grid]


def test_noise_neither_hides_a_plateau_nor_makes_one() -> None:
    trials = 400
    flat = sum(result(noisy(0.0, 0.02, seed)) is not None for seed in range(trials))
    # On the edge of the tolerance a stretch is called flat if its slope errs by two errors or more: 2.3 % a stretch.
    edge = sum(result(noisy(-TOLERANCE, 0.02, seed)) is not None for seed in range(trials))
    steep = [seed for seed in range(trials) if may_have_plateau(noisy(-0.5, 0.02, seed), TOLERANCE, SPAN)]
    assert flat > 0.98 * trials
    assert edge < 0.05 * trials
    assert not steep


def test_slopes_have_the_error_of_independent_readings() -> None:
    first, second = Reading(1.0, 10.0, 0.3), Reading(math.e, 20.0, 0.8)
    (slope,) = slopes_of([first, second])
    assert slope.value == pytest.approx(math.log(2))
    assert slope.error == pytest.approx(0.05)


def test_sharper_slopes_decide_what_independent_errors_leave_open() -> None:
    readings = curve(0.0, error=0.2)
    sharp = [Slope(0.0, 0.01)] * (len(readings) - 1)
    assert find_plateau(readings, TOLERANCE, SPAN, slopes=sharp) is not None
    steep = [Slope(-1.0, 0.01)] * (len(readings) - 1)
    assert not may_have_plateau(readings, TOLERANCE, SPAN, steep)


@pytest.mark.parametrize("count", [0, 1])
def test_hardly_any_readings_are_no_plateau(count: int) -> None:
    assert result(curve(0.0)[:count]) is None
    assert not may_have_plateau(curve(0.0)[:count], TOLERANCE, SPAN)


def test_agreement_ends_at_the_first_difference_beyond_its_error() -> None:
    same, small, noisy, far = Slope(0.0, 0.0), Slope(-0.01, 0.001), Slope(0.1, 0.05), Slope(0.2, 0.05)
    assert agreeing([same, small, noisy], negligible=0.02, confidence=3) == 3
    assert agreeing([same, far, same], negligible=0.02, confidence=3) == 1
    assert agreeing([same, small], negligible=0.005, confidence=3) == 1
    assert agreeing([], negligible=0.02, confidence=3) == 0
