"""How every picture is drawn: colours, what is left out, and the same bytes for the same numbers (matplotlib)."""

import io
import string
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font

from hf_llc.settings.files import write_atomically

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
    """Writes the file whole; the same figure gives the same bytes at any time."""
    content, is_vector = io.BytesIO(), path.suffix == ".svg"
    with matplotlib.rc_context({"svg.hashsalt": "hf-llc"}):
        figure.savefig(
            content,
            format="svg" if is_vector else "png",
            backend="svg" if is_vector else "agg",
            metadata={"Date": None} if is_vector else {"Software": None},
        )
    write_atomically(path, content.getvalue())
