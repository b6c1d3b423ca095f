"""The pictures: what is drawn where, read back from SVG, and the same bytes each time."""

import math
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hf_llc.results.curve import Point
from hf_llc.results.estimate import Estimate, Verdict
from hf_llc.results.figures import axes, plots
from hf_llc.results.figures.axis_options import View
from tests.helpers.estimates import SETTINGS, estimate, trace

STEPS = (0, 1, 8, 64, 512)


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Figure]:
    """Every figure that is saved, kept for looking at."""
    kept: list[Figure] = []
    save = Figure.savefig

    def keep(figure: Figure, *args: Any, **named: Any) -> None:
        kept.append(figure)
        save(figure, *args, **named)

    monkeypatch.setattr(Figure, "savefig", keep)
    return kept


def data(line: Any) -> tuple[list[float], list[float]]:
    """The x and y values of a line."""
    return [float(x) for x in line.get_xdata()], [float(y) for y in line.get_ydata()]


def long_lines(axes: Axes, length: int) -> list[tuple[list[float], list[float]]]:
    """The values of every line of `length` points."""
    return [result for result in map(data, axes.lines) if len(result[0]) == length]


def series() -> list[Estimate]:
    """Step 1 has no number, and step 0 another verdict; λ̂ is 10 + step."""
    results = [
        estimate(step, None if step == 1 else 10.0 + step, init_loss=6.0 - index) for index, step in enumerate(STEPS)
    ]
    return [replace(results[0], verdict=Verdict.NOT_A_MINIMUM), *results[1:]]


def markers(axes: Axes, label: str) -> tuple[list[float], list[float], Any]:
    """Places, values and fill of the points that the legend calls `label`."""
    for container in axes.containers:
        if container.get_label() == label:
            return *data(container[0]), container[0].get_markerfacecolor()
    raise AssertionError(f"nothing is called {label}")


def test_curve_draws_each_number_at_its_step(drawn: list[Figure], tmp_path: Path) -> None:
    plots.curve(tmp_path / "llc.png", series())
    upper, lower = drawn[0].axes
    places = [0.0, 1.0, 4.0, 7.0, 10.0]
    assert markers(upper, "converged")[:2] == (places[2:], [18.0, 74.0, 522.0])
    assert long_lines(lower, len(STEPS)) == [(places, [6.0, 5.0, 4.0, 3.0, 2.0])]
    assert [label.get_text() for label in lower.get_xticklabels()] == ["0", "1", "8", "64", "512"]


def test_curve_draws_error_bars_of_one_standard_error(drawn: list[Figure], tmp_path: Path) -> None:
    plots.curve(tmp_path / "llc.png", [estimate(8, 18.0, stderr=0.5)])
    (bars,) = drawn[0].axes[0].containers
    low, high = (cap.get_ydata()[0] for cap in bars[1])
    assert (low, high) == (17.5, 18.5)


def test_curve_draws_other_verdicts_hollow(drawn: list[Figure], tmp_path: Path) -> None:
    plots.curve(tmp_path / "llc.png", series())
    upper = drawn[0].axes[0]
    assert markers(upper, "converged")[2] != "white"
    assert markers(upper, "not-a-minimum") == ([0.0], [10.0], "white")


def test_curve_marks_a_point_without_number_on_the_axis(drawn: list[Figure], tmp_path: Path) -> None:
    plots.curve(tmp_path / "llc.png", series())
    upper = drawn[0].axes[0]
    (cross,) = (line for line in upper.lines if line.get_label() == plots.NO_NUMBER)
    assert (data(cross), cross.get_transform()) == (([1.0], [0.0]), upper.get_xaxis_transform())
    ((_, heights),) = long_lines(upper, len(STEPS))
    assert math.isnan(heights[1]), "the line must break where there is no number"


def test_series_draws_copies_off_the_line_and_failures_on_the_axis(drawn: list[Figure], tmp_path: Path) -> None:
    results = [Point(revision=f"step{step}", step=step, estimate=estimate(step, 10.0 + step)) for step in (0, 1, 8)]
    copy = replace(results[2], revision="main", step=None, duplicate_of="step8")
    failed = Point(revision="step4", step=4, error="no weights")
    plots.series(tmp_path / "llc.png", [*results[:2], failed, results[2], copy], name="x")
    upper, lower = drawn[0].axes
    assert markers(upper, "converged")[:2] == ([0.0, 1.0, 4.0], [10.0, 11.0, 18.0])
    assert markers(upper, plots.COPY)[:2] == ([4.0], [18.0])
    (cross,) = (line for line in upper.lines if line.get_label() == plots.FAILED)
    assert data(cross) == ([3.0], [0.0])
    ((places, heights),) = long_lines(upper, 4)
    assert (places[:2], math.isnan(heights[2]), heights[3]) == ([0.0, 1.0], True, 18.0)
    assert len(long_lines(lower, 4)) == 1


def test_series_of_failures_alone_is_a_picture(tmp_path: Path) -> None:
    plots.series(tmp_path / "llc.png", [Point(revision="main", error="no weights")], name="x")
    assert (tmp_path / "llc.png").is_file()


def svg_text(path: Path) -> str:
    """All text of an SVG picture, which names its glyphs' text in comments."""
    return " ".join(re.findall(r"<!-- (.*?) -->", path.read_text(encoding="utf-8")))


def test_curve_says_model_settings_and_what_may_be_compared(tmp_path: Path) -> None:
    plots.curve(tmp_path / "llc.svg", series())
    text = svg_text(tmp_path / "llc.svg")
    assert "Local learning coefficient of org/model" in text
    assert "n_beta 268.6, gamma 7800, lr 8.3e-05, n = 2048 sequences of 64 tokens." in text
    assert "Comparable along this curve" in text


def test_curve_of_a_part_of_the_model_says_what_moves(tmp_path: Path) -> None:
    for component, expected in (("l1h3", True), ("full", False)):
        plots.curve(tmp_path / "llc.svg", [estimate(1, settings=replace(SETTINGS, component=component))])
        assert ("Only l1h3 moves, all other weights stay at w*." in svg_text(tmp_path / "llc.svg")) is expected
        assert "Only full" not in svg_text(tmp_path / "llc.svg")


def test_curve_says_when_its_points_may_not_be_compared(tmp_path: Path) -> None:
    other = replace(SETTINGS, gamma=1.0)
    plots.curve(tmp_path / "llc.svg", [estimate(1), estimate(2, settings=other)])
    assert "not comparable with each other" in svg_text(tmp_path / "llc.svg")


def test_curve_of_revisions_without_step_is_in_the_order_given(drawn: list[Figure], tmp_path: Path) -> None:
    results = [estimate(None, 5.0, revision=name) for name in ("main", "early", "late")]
    plots.curve(tmp_path / "llc.png", results)
    assert [label.get_text() for label in drawn[0].axes[1].get_xticklabels()] == ["main", "early", "late"]


def test_names_from_outside_are_drawn_as_they_are(tmp_path: Path) -> None:
    result = estimate(None, 5.0, model="a/$x^{$ \n 名", revision="r$\\frac$")
    plots.curve(tmp_path / "llc.svg", [result])
    assert "Local learning coefficient of a/$x^{$ ?" in svg_text(tmp_path / "llc.svg")


def test_a_local_path_is_not_in_the_picture(tmp_path: Path) -> None:
    results = [
        estimate(step, 5.0, model=f"/home/someone/x/step{step}", revision=None, sha="sha256:ab") for step in (1, 2)
    ]
    plots.curve(tmp_path / "llc.svg", results)
    plots.traces(tmp_path / "traces.svg", [trace(0), trace(1)], results[0])
    assert "someone" not in (tmp_path / "llc.svg").read_text() + (tmp_path / "traces.svg").read_text()


@pytest.mark.parametrize("name", ["llc.png", "llc.svg"])
def test_the_same_numbers_give_the_same_bytes(name: str, tmp_path: Path) -> None:
    for folder in ("one", "two"):
        plots.curve(tmp_path / folder / name, series())
    assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_drawing_leaves_matplotlib_as_it_was(tmp_path: Path) -> None:
    before = dict(matplotlib.rcParams)
    plots.curve(tmp_path / "llc.svg", series())
    assert dict(matplotlib.rcParams) == before


def test_traces_draws_the_running_mean_of_each_chain(drawn: list[Figure], tmp_path: Path) -> None:
    plots.traces(tmp_path / "t.png", [trace(0, level=0.05), trace(1, level=0.06)], estimate())
    lower = drawn[0].axes[1]
    running = long_lines(lower, SETTINGS.draws)
    assert [places for places, _ in running] == [list(range(1, SETTINGS.draws + 1))] * 2
    assert [means[-1] for _, means in running] == pytest.approx([268.6 * 0.05, 268.6 * 0.06])


def test_traces_shades_the_burn_in_and_the_error_of_the_result(drawn: list[Figure], tmp_path: Path) -> None:
    plots.traces(tmp_path / "t.png", [trace(0), trace(1)], estimate(llc=13.0, stderr=0.5))
    upper, lower = drawn[0].axes
    assert upper.patches[0].get_bbox().intervalx == pytest.approx((0, SETTINGS.burn_in))  # type: ignore[attr-defined]
    assert lower.patches[0].get_bbox().intervaly == pytest.approx((12.5, 13.5))  # type: ignore[attr-defined]


def test_traces_says_where_a_chain_failed_and_draws_no_number_of_it(drawn: list[Figure], tmp_path: Path) -> None:
    plots.traces(tmp_path / "t.png", [trace(0), trace(1, failed_at=7)], estimate())
    upper, lower = drawn[0].axes
    assert "chain 1 (failed at step 7)" in [line.get_label() for line in upper.lines]
    assert len(long_lines(lower, SETTINGS.draws)) == 1


def test_the_band_is_one_standard_error_wide_and_breaks_where_there_is_no_number(
    drawn: list[Figure], tmp_path: Path
) -> None:
    plots.curve(tmp_path / "llc.png", [estimate(step, None if step == 8 else 10.0, stderr=0.5) for step in STEPS])
    (band,) = drawn[0].axes[0].collections[:1]
    parts = [path.get_extents() for path in band.get_paths()]
    assert [(part.x0, part.x1) for part in parts] == [(0.0, 1.0), (7.0, 10.0)]
    assert {(part.y0, part.y1) for part in parts} == {(9.5, 10.5)}


@pytest.mark.parametrize(
    ("steps", "scale", "places", "name"),
    [
        ((0, 1, 2, 4, 8), "auto", [0, 1, 2, 3, 4], "training step (log scale)"),
        ((1000, 2000, 4000), "log", [1, 2, 3], "training step (log scale)"),
        ((0, 1000, 2000), "log", [0, 1, 2], "training step (log scale)"),
        ((0, 1000, 2000, 3000), "auto", [0, 1000, 2000, 3000], "training step"),
        ((1, 2, 64), "linear", [1, 2, 64], "training step"),
        ((1, 64, 128, 192, 256), "auto", [1, 7, 8, 8.584962500721156, 9], "training step (log scale)"),
    ],
)
def test_the_scale_is_what_was_asked_for_or_the_one_that_spreads_the_points(
    drawn: list[Figure], tmp_path: Path, steps: tuple[int, ...], scale: str, places: list[float], name: str
) -> None:
    points = [Point(revision=f"step{step}", step=step, estimate=estimate(step)) for step in steps]
    plots.series(tmp_path / "llc.png", points, name="x", view=View(scale=scale))
    upper, lower = drawn[0].axes
    assert (markers(upper, "converged")[0], lower.get_xlabel()) == (places, name)


def test_tokens_are_drawn_where_all_points_have_them(drawn: list[Figure], tmp_path: Path) -> None:
    points = [
        Point(revision=f"step{step}", step=step, tokens=step * 2**21, estimate=estimate(step)) for step in (1000, 2000)
    ]
    copy = replace(points[1], revision="main", step=None, tokens=None, duplicate_of="step2000")
    plots.series(tmp_path / "one.png", [*points, copy], name="x", view=View(tokens=True, scale="log"))
    plots.series(tmp_path / "two.png", [points[0], replace(points[1], tokens=None)], name="x", view=View(tokens=True))
    assert [figure.axes[1].get_xlabel() for figure in drawn] == [
        "training tokens (log scale)",
        "training step (log scale)",
    ]
    assert [label.get_text() for label in drawn[0].axes[1].get_xticklabels()] == ["2.1B", "4.19B"]
    assert markers(drawn[0].axes[0], plots.COPY)[0] == [2.0]


def test_steps_of_two_stages_are_drawn_in_order(drawn: list[Figure], tmp_path: Path) -> None:
    points = [
        Point(revision=f"stage{stage}-step{step}", stage=f"stage{stage}", step=step, estimate=estimate(step))
        for stage in (1, 2)
        for step in (0, 8)
    ]
    plots.series(tmp_path / "llc.png", points, name="x")
    assert drawn[0].axes[1].get_xlabel() == "checkpoint"
    assert markers(drawn[0].axes[0], "converged")[0] == [0, 1, 2, 3]


def labelled(places: Sequence[float]) -> list[int]:
    return axes.spread_out(places)


def test_ticks_are_thinned_from_the_end() -> None:
    assert labelled([0.0, 1.0, 2.0]) == [0, 1, 2]
    many = [float(place) for place in range(154)]
    assert len(labelled(many)) <= axes.MOST_TICKS
    assert labelled(many)[-1] == 153


def test_draws_are_dots_and_the_running_number_ends_at_the_llc(drawn: list[Figure], tmp_path: Path) -> None:
    result = estimate(llc=9.5, stderr=0.5)
    result = replace(result, settings=replace(result.settings, sampler="importance", n_beta=100.0))
    rises = [0.08, 0.12, 0.1, 0.09, 0.11, 0.1]
    groups = [replace(trace(chain), deltas=(0.0, *rises[chain::2]), losses=(1.0, 1.1, 1.1, 1.1)) for chain in range(2)]
    plots.traces(tmp_path / "traces.png", groups, result)
    upper, lower = drawn[0].axes
    (dots,) = (line for line in upper.lines if line.get_label() == "a pair of draws")
    assert data(dots)[1] == pytest.approx([100 * rise for rise in rises])
    running = data(lower.lines[0])[1]
    # What is taken from the mean of the pairs, 10, is half a nat all along.
    assert running == pytest.approx([9.5, 9.5, 9.25, 9.5, 9.5])
    assert upper.get_title(loc="left").startswith("Independent draws at")
