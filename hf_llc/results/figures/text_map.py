"""The picture of a text whose tokens are coloured by a number each (matplotlib)."""

import string
from collections.abc import Sequence
from typing import NamedTuple

import numpy
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.patches import Rectangle

from hf_llc.results.figures.axes import head
from hf_llc.results.figures.heat_map import UNCLEAR, Values, colours, ink

COLUMNS = 88
"""Characters of a line."""
WIDTH, LINE = 0.085, 0.22
"""Inches of a character and of a line."""
FONT_SIZE = 10.0
MOST_TOKENS, MOST_LINES = 4000, 120
"""Tokens and lines that are drawn; a picture of more cannot be looked at."""
NEWLINE, TAB, SPACE = "↵", "→", "·"


class Place(NamedTuple):
    """Where a piece of a token stands."""

    token: int
    text: str
    line: int
    column: int


def text_map(
    tokens: Sequence[str],
    values: Sequence[float] | Values,
    *,
    title: str,
    label: str,
    stderr: Sequence[float] | Values | None = None,
    small_print: str = "",
    warnings: Sequence[str] = (),
) -> Figure:
    """The tokens as running text, blue where their value is below 0 and red above it.

    Args:
        tokens: their text, blanks in it. values, stderr: one each; NaN, as of a token that nothing predicts, is grey.
        label: of the scale, with the unit. small_print, warnings: below the title, the latter in another colour.

    Raises:
        ValueError: there are not as many values as tokens, or none.
    """
    numbers = numpy.asarray(values, dtype=float)
    if numbers.shape != (len(tokens),) or not tokens:
        raise ValueError(f"there must be a value for each of the {len(tokens)} tokens, got {numbers.shape}")
    places = _places(tokens[:MOST_TOKENS])
    shown = 1 + max(place.token for place in places)
    notes = [small_print] if small_print else []
    if shown < len(tokens):
        notes.append(f"The first {shown} of {len(tokens)} tokens are shown.")
    if stderr is not None:
        notes.append(f"Pale: within {UNCLEAR:g} standard errors of 0.")
    scale = colours(numbers[:shown], signed=True)
    errors = None if stderr is None else numpy.asarray(stderr, dtype=float)[:shown]
    painted = scale.of(numbers[:shown], errors)
    lines = 1 + max(place.line for place in places)
    figure = Figure(figsize=(COLUMNS * WIDTH + 1.3, max(1.6, lines * LINE) + 1.2), dpi=150, layout="constrained")
    axes = figure.subplots()
    axes.set_xlim(0, COLUMNS)
    axes.set_ylim(max(lines, 1.6 / LINE), 0)
    axes.set_axis_off()
    for place in places:
        colour = painted[place.token]
        axes.add_patch(Rectangle((place.column, place.line + 0.06), len(place.text), 0.88, color=colour, linewidth=0))
        axes.text(
            place.column + len(place.text) / 2,
            place.line + 0.5,
            place.text,
            family="monospace",
            fontsize=FONT_SIZE,
            ha="center",
            va="center",
            color=ink(colour),
            parse_math=False,
        )
    scale.bar(figure, axes, label)
    head(axes, title, "\n".join(notes), warnings)
    return figure


def _places(tokens: Sequence[str]) -> list[Place]:
    """Tokens one after the other, broken at the end of a line and after the line feeds of the text."""
    known = _known("".join(tokens))
    places: list[Place] = []
    line = column = 0
    for number, token in enumerate(tokens):
        rest = _visible(token, known)
        while rest:
            if column + min(len(rest), COLUMNS) > COLUMNS:
                line, column = line + 1, 0
            if line >= MOST_LINES:
                return places
            feed = rest.find(NEWLINE) + 1 if "\n" in token else 0
            end = min(feed or len(rest), COLUMNS)
            places.append(Place(number, rest[:end], line, column))
            column += end
            if feed and end == feed:
                line, column = line + 1, 0
            rest = rest[end:]
    return places


def _visible(token: str, known: set[str]) -> str:
    """The token in characters that the font has; a token of blanks alone, and an empty one, can be seen as well."""
    text = token.replace("\r\n", "\n").replace("\r", "\n")
    blank = not text.strip(" ")
    text = "".join({"\n": NEWLINE, "\t": TAB}.get(each, each if each in known else "?") for each in text)
    return text.replace(" ", SPACE) if blank and text else text or SPACE


def _known(text: str) -> set[str]:
    font = get_font(findfont(FontProperties(family="monospace")))
    plain = set(string.printable) - set(string.whitespace) | {" "}
    return {each for each in set(text) if each in plain or (each.isprintable() and font.get_char_index(ord(each)))}
