"""How every picture is drawn: colours, what is left out, and the same bytes for the same numbers (matplotlib)."""

import string
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font

FAILURES = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    ImportError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    SystemError,
    TypeError,
    ValueError,
)
"""What matplotlib, its back ends, its settings files and its fonts raise where no picture can be drawn."""

BLUE, ORANGE, GREY, PALE = "#0072B2", "#D55E00", "#5A5A5A", "#8C8C8C"


def printable(text: str) -> str:
    """The text in one line, with a question mark for each character that the font has not."""
    font = get_font(findfont(FontProperties()))
    known = set(string.printable)
    return "".join(c if c in known or font.get_char_index(ord(c)) else "?" for c in " ".join(text.split()))


def tidy(axes: Axes) -> None:
    """No frame above and to the right, and a pale grid."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#E5E5E5", linewidth=0.8)
    axes.set_axisbelow(True)


def save(figure: Figure, path: Path) -> None:
    """Writes the file; the same figure gives the same bytes at any time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with matplotlib.rc_context({"svg.hashsalt": "hf-llc"}):
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else {"Software": None})
