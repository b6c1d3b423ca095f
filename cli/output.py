"""Data on stdout, in one of four forms: human, agent, json, quiet; what comes from outside is made printable here."""

import json
import os
import sys
import textwrap
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, Literal

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table

from hf_llc.errors import SettingsError
from hf_llc.settings.bounds import shown

from .flags import with_flags
from .printable import printable, printable_json, printable_lines

LEAST_TEXT = 8
"""Characters of a text that are shown however narrow the terminal is."""


class Form(StrEnum):
    """How results are written to stdout."""

    HUMAN = "human"
    AGENT = "agent"
    JSON = "json"
    QUIET = "quiet"


def chosen(format: str, as_json: bool, quiet: bool) -> Form:
    """The one form that the options name.

    Raises:
        SettingsError: two of them are given, or there is no such form.
    """
    named = [Form.JSON] * as_json + [Form.QUIET] * quiet
    if format != "auto":
        if format not in set(Form):
            raise SettingsError(f"--format must be one of {', '.join(Form)}, got {shown(format)}.")
        named.append(Form(format))
    if len(set(named)) > 1:
        raise SettingsError("Give only one of --format, --json and --quiet.")
    return named[0] if named else Form.HUMAN


def write_json(value: Any) -> None:
    """One JSON value and a newline on stdout, and nothing else; unsafe characters as JSON's own escapes."""
    sys.stdout.write(printable_json(json.dumps(value, allow_nan=False, ensure_ascii=False)) + "\n")


def write_line(text: object = "") -> None:
    """One line on stdout."""
    sys.stdout.write(f"{printable(text)}\n")


def write_lines(text: str, stderr: bool = False) -> None:
    """Text that has lines of its own, on stdout or stderr, as it is but for what a terminal would obey."""
    stream = sys.stderr if stderr else sys.stdout
    stream.write(printable_lines(text))
    stream.flush()


def write_agent(values: Mapping[str, Any]) -> None:
    """One key=value a line; nested keys are joined by dots."""
    for key, value in _flat(values):
        write_line(f"{_key(key)}={'' if value is None else value}")


def write_pairs(title: str, rows: Sequence[tuple[str, str]]) -> None:
    """A table of names and values for people."""
    table = Table(title=printable(title), title_justify="left", show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(printable(name), printable(with_flags(value)))
    wide_console().print(table)


def write_table(title: str, headers: Sequence[str], rows: Sequence[Sequence[str]], texts: Sequence[int] = ()) -> None:
    """A table with a heading for people.

    Args:
        texts: places of columns of texts that are cut where a line has no room; all other columns are then shown whole,
            for a number that is cut is another number.
    """
    table = Table(title=printable(title), title_justify="left", box=None, pad_edge=False)
    cells = [[printable(cell) for cell in row] for row in rows]
    names, console = [printable(header) for header in headers], wide_console()
    widths: dict[int, int] = {}
    if texts:
        names = _wrapped(names, cells, texts, console.width)
        widths = _text_widths(names, cells, texts, console.width)
        needed = sum(widths.get(index, width) for index, width in enumerate(_widths(names, cells))) + _gaps(names)
        console.width = max(console.width, needed)
    for index, name in enumerate(names):
        justify: Literal["left", "right"] = "left" if index == 0 or index in texts else "right"
        table.add_column(name, justify=justify, no_wrap=True, width=widths.get(index))
    for row in cells:
        table.add_row(*row)
    console.print(table)


def _gaps(names: Sequence[str]) -> int:
    """What rich leaves between the columns, in all."""
    return 2 * (len(names) - 1)


def _widths(names: Sequence[str], cells: Sequence[Sequence[str]]) -> list[int]:
    """The columns that each column of the table takes up."""
    columns = zip(*cells, strict=True) if cells else [()] * len(names)
    return [max(map(cell_len, [*name.split("\n"), *column])) for name, column in zip(names, columns, strict=True)]


def _wrapped(names: Sequence[str], cells: Sequence[Sequence[str]], texts: Sequence[int], most: int) -> list[str]:
    """The headings, in several lines where numbers below them need less room and the table is too wide."""
    if sum(_widths(names, cells)) + _gaps(names) <= most:
        return list(names)
    bare = _widths([""] * len(names), cells)
    return [
        name if index in texts else "\n".join(textwrap.wrap(name, max(width, *map(len, name.split()))))
        for index, (name, width) in enumerate(zip(names, bare, strict=True))
    ]


def _text_widths(
    names: Sequence[str], cells: Sequence[Sequence[str]], texts: Sequence[int], most: int
) -> dict[int, int]:
    """The widths of columns of texts that leave room for all others."""
    widths = _widths(names, cells)
    room = most - _gaps(names) - sum(width for index, width in enumerate(widths) if index not in texts)
    shared: dict[int, int] = {}
    for place, index in enumerate(sorted(texts, key=lambda index: widths[index])):
        shared[index] = min(widths[index], max(LEAST_TEXT, room // (len(texts) - place)))
        room -= shared[index]
    return shared


def wide_console(stderr: bool = False) -> Console:
    """stdout or stderr; as wide as it needs to be where it is no terminal, so that nothing is cut off in a file."""
    console = Console(stderr=stderr, highlight=False, markup=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = 160
    return console


def _key(name: str) -> str:
    """A key without the sign that ends it, so that a name cannot bring a value of its own."""
    return name.replace("=", r"\x3d")


def _flat(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    pairs: list[tuple[str, Any]] = []
    for key, value in values.items():
        if isinstance(value, Mapping):
            pairs += _flat(value, f"{prefix}{key}.")
        else:
            pairs.append((prefix + key, json.dumps(value) if isinstance(value, list) else value))
    return pairs
