"""R² of λ̂ and the bits of quantisation: exact lines, an interval that covers, and what is left out."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy
import pytest

from hf_llc.errors import NotFoundError
from hf_llc.report.export import draw, keep
from hf_llc.report.load import load
from hf_llc.results.columns import Column
from hf_llc.results.curve import Curve, Point
from hf_llc.results.estimate import Verdict
from hf_llc.results.figures.line_fits import figure_of
from hf_llc.results.line_fit import correlation_interval, squared
from hf_llc.results.measured import MeasureRecord
from tests.helpers.estimates import SETTINGS, estimate

COLUMNS = (
    Column("quantisation_bits_10", "number", "bits", "of 10 mnats", has_panel=True),
    Column("quantisation_bits_50", "number", "bits", "of 50 mnats"),
    Column("quantisation_rises", "numbers", "nats", "at each"),
)


def point(step: int, llc: float | None, bits: float | None, **changes: Any) -> Point:
    """A checkpoint with both numbers; changes of its estimate."""
    values = {"quantisation_bits_10": bits, "quantisation_bits_50": None, "quantisation_rises": [0.1]}
    return Point(
        revision=f"step{step}",
        step=step,
        estimate=replace(estimate(step, llc), **changes),
        measures={"quantisation": MeasureRecord(columns=COLUMNS, values=values)},
    )


def curve_of(*points: Point) -> Curve:
    return Curve.of_points("org/model", points, run_dir=".", versions={})


LINE = [point(step, 2.0 * bits - 3.0, bits) for step, bits in ((1, 3.0), (2, 3.5), (3, 5.0), (4, 5.25), (5, 7.0))]


def test_a_line_has_its_slope_and_an_r_squared_of_1() -> None:
    fit = curve_of(*LINE).line_fit()
    assert (fit.count, fit.reason, fit.left_out) == (5, None, {})
    assert fit.slope == pytest.approx(2.0)
    assert fit.intercept == pytest.approx(-3.0)
    assert fit.r_squared == pytest.approx(1.0, abs=1e-12)
    assert 0.99 < (fit.low or 0) <= (fit.high or 0) <= 1
    variance = numpy.var([each.llc or 0.0 for each in LINE])
    assert fit.error_share == pytest.approx(0.42**2 / variance)


def test_r_squared_is_that_of_least_squares() -> None:
    stream = numpy.random.default_rng(0)
    bits = stream.uniform(3, 6, 12)
    numbers = 4 * bits + stream.normal(0, 3, 12)
    points = [point(step, float(numbers[step]), float(bits[step])) for step in range(12)]
    fit = curve_of(*points).line_fit()
    slope, intercept = numpy.polyfit(bits, numbers, 1)
    left = numpy.var(numbers - slope * bits - intercept) / numpy.var(numbers)
    assert fit.slope == pytest.approx(slope)
    assert fit.r_squared == pytest.approx(1 - left)
    assert (fit.low or 0) < 1 - left < (fit.high or 0)


def test_points_that_say_nothing_of_both_are_left_out_and_counted() -> None:
    others = [
        point(6, 100.0, 1.0, verdict=Verdict.NOT_A_MINIMUM),
        point(7, 100.0, 1.0, verdict=Verdict.NOT_A_MINIMUM),
        point(8, None, 1.0),
        point(9, 100.0, None),
        replace(point(10, 100.0, 1.0), duplicate_of="step9"),
        Point(revision="step11", step=11, error="no weights"),
    ]
    curve = curve_of(*LINE, *others)
    fit = curve.line_fit()
    assert fit.count == 5
    assert fit.r_squared == pytest.approx(1.0, abs=1e-12)
    assert fit.left_out == {
        "not-a-minimum": ["step6", "step7"],
        "no λ̂": ["step8", "step11"],
        "no number of this measure": ["step9"],
        "weights of another": ["step10"],
    }
    assert "over 5 checkpoints (95 % interval " in str(fit)
    assert "left out: step6, step7 (2 × not-a-minimum), step8, step11 (2 × no λ̂), step9 (1 × no number" in str(fit)


def test_too_few_points_or_ones_that_are_not_comparable_have_no_r_squared() -> None:
    few = curve_of(*LINE[:3]).line_fit()
    assert (few.r_squared, few.low, few.slope) == (None, None, None)
    assert str(few) == "R² of λ̂ and quantisation_bits_10: none, 3 checkpoints to compare, and it takes 4"
    other = point(6, 9.0, 6.0, settings=replace(SETTINGS, gamma=1.0))
    assert curve_of(*LINE, other).line_fit().reason == "gamma differs between checkpoints, whose λ̂ are not comparable"
    assert curve_of(*(point(i, float(i), 3.0) for i in range(5))).line_fit().reason == "all values are equal"
    assert curve_of(*LINE).line_fit("quantisation_bits_50").count == 0
    with pytest.raises(NotFoundError, match="has no numbers quantisation_bits_11; did you mean quantisation_bits_10"):
        curve_of(*LINE).line_fit("quantisation_bits_11")
    with pytest.raises(NotFoundError, match="has no numbers quantisation_rises"):
        curve_of(*LINE).line_fit("quantisation_rises")


@pytest.mark.parametrize(("count", "correlation"), [(5, 0.0), (5, 0.9), (10, 0.6), (30, 0.95)])
def test_the_interval_covers_at_its_level(count: int, correlation: float) -> None:
    """Normal pairs: 95 % of the intervals hold the true R², to 4 standard errors of the simulation and the 0.6 % by
    which Fisher's z is off at five pairs."""
    trials, stream = 4000, numpy.random.default_rng(1)
    x = stream.normal(size=(trials, count))
    y = correlation * x + math.sqrt(1 - correlation**2) * stream.normal(size=(trials, count))
    x, y = x - x.mean(axis=1, keepdims=True), y - y.mean(axis=1, keepdims=True)
    seen = (x * y).sum(axis=1) / numpy.sqrt((x**2).sum(axis=1) * (y**2).sum(axis=1))
    intervals = [correlation_interval(float(each), count) for each in seen]
    margin = 4 * math.sqrt(0.95 * 0.05 / trials) + 0.006
    assert numpy.mean([low <= correlation <= high for low, high in intervals]) == pytest.approx(0.95, abs=margin)
    # That of the square holds at least as often, since −r has the same square.
    assert numpy.mean([low <= correlation**2 <= high for low, high in map(squared, intervals)]) > 0.95 - margin


def test_the_fit_is_in_the_json_and_a_curve_that_is_read_has_the_same(tmp_path: Path) -> None:
    curve = curve_of(*LINE)
    keep(curve, tmp_path)
    stored = json.loads((tmp_path / "scan.json").read_text())["line_fits"]
    assert list(stored) == ["quantisation_bits_10", "quantisation_bits_50"]
    assert stored["quantisation_bits_10"]["r_squared"] == curve.line_fit().r_squared
    assert load(tmp_path).line_fits == curve.line_fits
    assert curve_of(Point(revision="step1", step=1, measures=LINE[0].measures)).line_fits == {}
    assert "line_fits" not in curve_of(Point(revision="step1", step=1, estimate=estimate(1))).to_dict()


def test_the_picture_has_filled_points_with_errors_hollow_ones_and_the_line(tmp_path: Path) -> None:
    curve = curve_of(*LINE, point(6, 4.0, 4.0, verdict=Verdict.NOT_A_MINIMUM), point(7, 4.0, None))
    figure = figure_of(curve)
    assert [axes.get_xlabel() for axes in figure.axes] == ["quantisation bits 10", "quantisation bits 50"]
    hollow, used = (each.lines[0] for each in figure.axes[0].containers)  # type: ignore[attr-defined]
    assert (list(hollow.get_xdata()), hollow.get_markerfacecolor()) == ([4.0], "white")
    assert list(used.get_xdata()) == [3.0, 3.5, 5.0, 5.25, 7.0]
    line = figure.axes[0].lines[-1]
    assert numpy.asarray(line.get_xdata()).tolist() == [3.0, 7.0]
    assert numpy.asarray(line.get_ydata()).tolist() == pytest.approx([3.0, 11.0])
    told = ["\n".join(text.get_text() for text in axes.texts) for axes in figure.axes]
    assert "R² = 1.00 (1.00 to 1.00), 5 checkpoints\nleft out: 1 × not-a-minimum" in told[0]
    assert "no R²: 0 checkpoints to compare, and it takes 4" in told[1]
    assert [path.name for path in draw(curve, tmp_path)][2:] == ["quantisation.png", "quantisation.svg"]
