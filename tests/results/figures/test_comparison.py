"""The picture of several curves: a line each, and what may not be compared."""

from pathlib import Path

import pytest
from matplotlib.figure import Figure

from hf_llc.results.curve import Point
from hf_llc.results.figures.axes import folded
from hf_llc.results.figures.comparison import APART, comparison
from tests.helpers.estimates import estimate
from tests.results.figures.test_plots import data, drawn, svg_text

__all__ = ["drawn"]
REASON = "γ/nβ is 29.04 for one, γ/nβ is 14.52 for two: curvatures below it are not seen."


def points(*steps: int, llc: float | None = 10.0) -> list[Point]:
    return [Point(revision=f"step{step}", step=step, estimate=estimate(step, llc)) for step in steps]


def test_curves_share_an_axis_and_each_has_its_line(drawn: list[Figure], tmp_path: Path) -> None:
    comparison(tmp_path / "c.png", [("one", points(1, 2, 4), False), ("two", points(2, 8, llc=5.0), False)], [])
    upper, lower = drawn[0].axes
    lines = {str(line.get_label()): data(line) for line in upper.lines if line.get_label() in {"one", "two"}}
    assert lines == {"one": ([1, 2, 3], [10, 10, 10]), "two": ([2, 4], [5, 5])}
    assert [label.get_text() for label in lower.get_xticklabels()] == ["1", "2", "4", "8"]
    assert {line.get_linestyle() for line in lower.lines} == {"-"}


def test_what_is_not_comparable_is_dashed_and_the_reason_is_above(drawn: list[Figure], tmp_path: Path) -> None:
    comparison(tmp_path / "c.svg", [("one", points(1, 2), False), ("two", points(1, 2), True)], [REASON])
    upper, lower = drawn[0].axes
    dashed = [line.get_label() for line in upper.lines if line.get_linestyle() == "--"]
    assert dashed == [f"two ({APART})"]
    assert [line.get_linestyle() for line in lower.lines] == ["-", "--"]
    text = svg_text(tmp_path / "c.svg")
    assert all(line in text for line in folded([f"Not comparable: {REASON}"]))


def test_points_without_number_are_crosses_and_copies_are_left_out(drawn: list[Figure], tmp_path: Path) -> None:
    copy = Point(revision="main", duplicate_of="step2", estimate=estimate(2, 10.0))
    comparison(tmp_path / "c.png", [("one", [*points(1, 2), *points(4, llc=None), copy], False)], [])
    upper = drawn[0].axes[0]
    (cross,) = (line for line in upper.lines if line.get_marker() == "X")
    assert data(cross) == ([3.0], [0.0])
    assert [data(bars[0])[0] for bars in upper.containers] == [[1.0, 2.0]]


@pytest.mark.parametrize("count", [1, 3])
def test_the_axes_keep_their_size_whatever_stands_above(drawn: list[Figure], tmp_path: Path, count: int) -> None:
    curves = [("x" * 200, points(1, 2), False), ("two", points(1, llc=None), True)]
    comparison(tmp_path / "c.png", curves, [REASON] * count)
    extent, dots = drawn[0].axes[0].get_window_extent(), drawn[0].dpi
    assert extent.width / dots > 5.5
    assert extent.height / dots > 2.5
