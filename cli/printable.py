"""What comes from outside, as it may be shown: no name or text of a server steers a terminal or forges a line.

Control characters, marks that turn the direction of text, and those that cannot be seen are written as Python does
(`\\x1b`, `\\u202e`); letters of all languages and emoji stay.
"""

import re
import unicodedata
from typing import Any, TextIO

from hf_llc.execution.redaction import redacted

UNSAFE = {"Cc", "Cf", "Cs", "Zl", "Zp"}
"""Unicode categories: control, format (direction, zero width), surrogates, line and paragraph separators."""
INVISIBLE = "\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u2800\u3164\uffa0"
"""Letters and marks that are invisible."""
JOINER = "\u200d"
STYLES = re.compile(r"\x1b\[(?:[0-9;]*[mABCDGHJK]|\?25[lh])")
"""What a table or a progress bar tells a terminal: colours, and where the cursor goes."""


def printable(text: object) -> str:
    """The text on one line, with nothing in it that a terminal obeys or that a reader cannot see."""
    string = str(text)
    if string.isascii() and string.isprintable():
        return string
    return "".join(_shown(string, index) for index in range(len(string)))


def printable_lines(text: str) -> str:
    """Text of several lines, each of them `printable`; tabs and Windows' line ends stay."""
    return "\n".join(
        "\t".join(printable(part) for part in line.removesuffix("\r").split("\t")) for line in text.split("\n")
    )


def printable_json(text: str) -> str:
    """JSON that says the same and holds no character that a terminal obeys or that cannot be encoded."""
    if text.isascii() and "\x7f" not in text:
        return text
    return "".join(_escaped(char) if _is_unsafe(char) else char for char in text)


class Guarded:
    """A stream that hides secrets, and shows what a terminal would obey, but for the styles of tables and bars.

    It is the last look at what libraries write by themselves: log lines, warnings, tracebacks, progress bars.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Writes it, made safe; the length of what was given."""
        self._stream.write(_made_safe(redacted(text)))
        return len(text)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _made_safe(text: str) -> str:
    if text.isascii() and text.isprintable():
        return text
    parts, start = [], 0
    for style in STYLES.finditer(text):
        parts += [_lines(text[start : style.start()]), style[0]]
        start = style.end()
    return "".join([*parts, _lines(text[start:])])


def _lines(text: str) -> str:
    return "".join(char if char in "\n\r\t" else _shown(text, index) for index, char in enumerate(text))


def _shown(text: str, index: int) -> str:
    char = text[index]
    if char == JOINER and _joins_emoji(text, index):
        return char
    return char.encode("unicode_escape").decode() if _is_unsafe(char) else char


def _is_unsafe(char: str) -> bool:
    return unicodedata.category(char) in UNSAFE or char in INVISIBLE


def _joins_emoji(text: str, index: int) -> bool:
    before, after = text[max(0, index - 1) : index], text[index + 1 : index + 2]
    return bool(before and after) and (
        (before == "\ufe0f" or unicodedata.category(before) in {"So", "Sk"}) and unicodedata.category(after) == "So"
    )


def _escaped(char: str) -> str:
    code = ord(char)
    if code < 0x10000:
        return f"\\u{code:04x}"
    code -= 0x10000
    return f"\\u{0xD800 + (code >> 10):04x}\\u{0xDC00 + (code & 0x3FF):04x}"
