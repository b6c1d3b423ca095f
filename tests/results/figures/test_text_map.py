"""A text coloured by token: every token once, in order, whatever characters it has."""

import re
from itertools import pairwise
from pathlib import Path

import numpy
import pytest
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from hf_llc.results.figures.heat_map import MISSING
from hf_llc.results.figures.style import save
from hf_llc.results.figures.text_map import COLUMNS, MOST_LINES, text_map


def pieces(figure: Figure) -> list[tuple[str, float, float]]:
    """The pieces of text with the middles of their places."""
    return [
        (text.get_text(), *text.get_position())
        for text in figure.axes[0].texts
        if text.get_fontfamily() == ["monospace"]
    ]


def colour(box: Rectangle) -> numpy.ndarray:
    return numpy.asarray(box.get_facecolor(), dtype=float)


def boxes(figure: Figure) -> list[Rectangle]:
    return [patch for patch in figure.axes[0].patches if isinstance(patch, Rectangle)]


def mapped(tokens: list[str], **named: object) -> Figure:
    values = numpy.random.default_rng(0).normal(size=len(tokens))
    return text_map(tokens, values, title="Title", label="χ", **named)  # type: ignore[arg-type]


def test_tokens_stand_in_order_with_their_blanks(tmp_path: Path) -> None:
    figure = mapped(["The", " quick", " ", "fox", "\n", "  ", "jumps", ".\n\n"])
    save(figure, tmp_path / "text.svg")
    assert [text for text, _, _ in pieces(figure)] == ["The", " quick", "·", "fox", "↵", "··", "jumps", ".↵", "↵"]
    assert [int(y) for _, _, y in pieces(figure)] == [0, 0, 0, 0, 0, 1, 1, 1, 2]


def test_boxes_do_not_overlap_and_stay_in_their_lines() -> None:
    tokens = re.findall(r" ?\w+|\W", "some words of different lengths, which are many. " * 60)
    figure = mapped([*tokens, "x" * 300, "\n" * 3])
    by_line: dict[int, list[tuple[float, float]]] = {}
    for box in boxes(figure):
        by_line.setdefault(int(box.get_y()), []).append((box.get_x(), box.get_x() + box.get_width()))
    assert len(by_line) > 10
    for places in by_line.values():
        assert all(end <= start for (_, end), (start, _) in pairwise(places))
        assert places[-1][1] <= COLUMNS
    assert sum(text.count("x") for text, _, _ in pieces(figure) if set(text) == {"x"}) == 300


def test_odd_characters_are_seen_and_never_read_as_formulas(tmp_path: Path) -> None:
    figure = mapped(["$a_1^2$", "\\frac", "漢字", "schön", "\t", "", "\x00\ud800", "\r\n", "<b>&"])
    save(figure, tmp_path / "text.png")
    save(figure, tmp_path / "text.svg")
    assert [text for text, _, _ in pieces(figure)] == ["$a_1^2$", "\\frac", "??", "schön", "→", "·", "??", "↵", "<b>&"]


def test_values_are_colours_and_unknown_ones_grey() -> None:
    figure = text_map(
        ["a", "b", "c", "d"], [numpy.nan, -2.0, 2.0, 2.0], stderr=[1.0, 0.1, 0.1, 5.0], title="", label=""
    )
    missing, below, above, unclear = (colour(box) for box in boxes(figure))
    assert missing.tolist() == pytest.approx(MISSING)
    assert below[2] > below[0]
    assert above[0] > above[2]
    assert unclear[2] > above[2]


def test_a_text_too_long_to_look_at_is_cut_and_says_so() -> None:
    tokens = [" word"] * 20_000
    figure = mapped(tokens)
    shown = len(pieces(figure))
    assert 1 + max(int(y) for _, _, y in pieces(figure)) <= MOST_LINES
    assert f"The first {shown} of 20000 tokens are shown." in "".join(t.get_text() for t in figure.axes[0].texts)
    assert max(figure.get_size_inches()) < 40


def test_a_value_for_each_token_is_needed() -> None:
    with pytest.raises(ValueError, match=r"a value for each of the 2 tokens, got \(1,\)"):
        text_map(["a", "b"], [1.0], title="", label="")
    with pytest.raises(ValueError, match="a value for each of the 0 tokens"):
        text_map([], [], title="", label="")
