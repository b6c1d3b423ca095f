"""Data on stdout, in one of four forms: human, agent, json, quiet; what comes from outside is made printable here."""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

from rich.console import Console
from rich.table import Table

from hf_llc.errors import SettingsError
from hf_llc.settings.bounds import shown

from .flags import with_flags
from .printable import printable, printable_json, printable_lines


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


def write_table(title: str, headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table with a heading for people."""
    table = Table(title=printable(title), title_justify="left", box=None, pad_edge=False)
    for index, header in enumerate(headers):
        table.add_column(printable(header), justify="left" if index == 0 else "right", no_wrap=True)
    for row in rows:
        table.add_row(*map(printable, row))
    wide_console().print(table)


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
