"""Pictures of matrices: names, numbers, what is pale and what is missing, at any size."""

from itertools import pairwise
from pathlib import Path

import numpy
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import imread

from hf_llc.results.figures.heat_map import FADED, MISSING, colours, heat_map, ink
from hf_llc.results.figures.style import save
from tests.results.figures.test_plots import svg_text

ODD = "l0h1 $x_1$ <a&b>\n漢字 \\frac " + "long " * 20


def names(axes: Axes) -> tuple[list[str], list[str]]:
    """The labels of rows and columns."""
    rows, columns = ([label.get_text() for label in axis.get_ticklabels()] for axis in (axes.yaxis, axes.xaxis))
    return rows, columns


def drawn(rows: int, columns: int, **named: object) -> Figure:
    values = numpy.random.default_rng(0).normal(size=(rows, columns))
    row_names, column_names = [f"head {i}" for i in range(rows)], [f"step{i}" for i in range(columns)]
    return heat_map(values, row_names, column_names, title="Title", label="nats²", **named)  # type: ignore[arg-type]


def test_every_row_and_column_has_its_name(tmp_path: Path) -> None:
    figure = drawn(16, 40, row_name="component", column_name="item", small_print="n_beta 30", warnings=["all noise"])
    rows, columns = names(figure.axes[0])
    assert rows == [f"head {i}" for i in range(16)]
    assert columns == [f"step{i}" for i in range(40)]
    save(figure, tmp_path / "map.svg")
    text = svg_text(tmp_path / "map.svg")
    assert all(each in text for each in ("Title", "component", "item", "n_beta 30", "all noise", "nats²", "head 7"))


@pytest.mark.parametrize(("rows", "columns"), [(600, 3), (3, 600), (400, 400), (1, 1)])
def test_any_size_is_drawn_and_labels_do_not_overlap(rows: int, columns: int, tmp_path: Path) -> None:
    figure = drawn(rows, columns)
    save(figure, tmp_path / "map.png")
    assert (tmp_path / "map.png").stat().st_size > 0
    assert max(figure.get_size_inches()) < 20
    for axis, upright in ((figure.axes[0].yaxis, 1), (figure.axes[0].xaxis, 0)):
        boxes = [label.get_window_extent() for label in axis.get_ticklabels()]
        ends = sorted((box.y0, box.y1) if upright else (box.x0, box.x1) for box in boxes)
        assert ends
        assert all(first[1] <= second[0] + 1 for first, second in pairwise(ends))


def test_rows_do_not_run_into_each_other_where_columns_are_averaged(tmp_path: Path) -> None:
    values = numpy.repeat([[1.0], [-1.0]], 1200, axis=1)
    figure = heat_map(values, ["up", "down"], [""] * 1200, title="", label="")
    save(figure, tmp_path / "map.png")
    pixels = imread(tmp_path / "map.png")[..., :3]
    box = figure.axes[0].get_window_extent()
    column = pixels[::-1][int(box.y0) + 2 : int(box.y1) - 2, int(box.x0 + box.width / 2)]
    colours_met = numpy.unique(column.round(2), axis=0)
    ends = numpy.abs(column - column[0]).max(axis=1) < 0.02, numpy.abs(column - column[-1]).max(axis=1) < 0.02
    assert len(colours_met) > 1
    assert (ends[0] | ends[1]).mean() > 0.97


def test_odd_characters_are_drawn_as_they_are_or_as_question_marks(tmp_path: Path) -> None:
    figure = heat_map(numpy.ones((1, 2)), [ODD], ["a", "$"], title=ODD, label=ODD, row_name=ODD, warnings=[ODD])
    save(figure, tmp_path / "map.png")
    rows, columns = names(figure.axes[0])
    assert rows == ["l0h1 $x_1$ <a&b> ?? \\fr…"]
    assert columns == ["a", "$"]


def test_small_matrices_have_their_numbers_and_large_ones_have_not() -> None:
    figure = heat_map(
        numpy.array([[1.0, -0.25], [numpy.nan, 12345.0]]), ["a", "b"], ["c", "d"], title="", label="", signed=False
    )
    assert [text.get_text() for text in figure.axes[0].texts if text.get_text()] == ["1", "-0.25", "1.2e+04"]
    assert not [text for text in drawn(20, 20).axes[0].texts if text.get_text()]


def test_what_is_unclear_is_pale_and_what_is_missing_grey() -> None:
    values, stderr = numpy.array([[-4.0, 4.0, 4.0, numpy.nan]]), numpy.array([[1.0, 1.0, 3.0, 1.0]])
    figure = heat_map(values, ["a"], list("bcde"), title="", label="", stderr=stderr)
    painted = numpy.asarray(figure.axes[0].images[0].get_array())[0]
    assert painted[0, 2] > painted[0, 0]
    assert painted[1, 0] > painted[1, 2]
    numpy.testing.assert_allclose(painted[2, :3], FADED * painted[1, :3] + 1 - FADED, atol=1e-6)
    numpy.testing.assert_allclose(painted[3], MISSING)
    assert any("Pale: within 2 standard errors of 0." in text.get_text() for text in figure.axes[0].texts)


def test_one_outlying_value_does_not_hide_the_others() -> None:
    values = numpy.random.default_rng(0).normal(size=(40, 40))
    values[3, 5] = 1e6
    scale = colours(values, signed=True)
    assert scale.extend == "both"
    assert float(scale.scale.vmax or 0) < 10
    assert colours(values[:3], signed=True).extend == "neither"


@pytest.mark.parametrize("value", [0.0, 7.0, numpy.nan])
@pytest.mark.parametrize("signed", [True, False])
def test_values_all_alike_are_drawn(value: float, signed: bool, tmp_path: Path) -> None:
    save(
        heat_map(numpy.full((2, 2), value), ["a", "b"], ["c", "d"], title="", label="", signed=signed),
        tmp_path / "m.png",
    )


def test_ink_can_be_read_on_its_colour() -> None:
    assert [ink(colour) for colour in ((1, 1, 1), (0, 0, 0), (0.02, 0.19, 0.38), (0.99, 0.9, 0.14))] == [
        "black", "white", "white", "black",
    ]  # fmt: skip


def test_the_same_numbers_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.svg", "b.svg", "a.png", "b.png"):
        save(drawn(5, 5), tmp_path / name)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_names_that_do_not_fit_the_values_are_refused() -> None:
    with pytest.raises(ValueError, match=r"values must have the shape \(1, 2\), none of them 0, got \(2, 1\)"):
        heat_map(numpy.zeros((2, 1)), ["a"], ["b", "c"], title="", label="")
    with pytest.raises(ValueError, match="none of them 0"):
        heat_map(numpy.zeros((0, 1)), [], ["b"], title="", label="")
