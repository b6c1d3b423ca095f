"""Data on stdout, in one of four forms: human, agent, json, quiet."""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

from rich.console import Console
from rich.table import Table

from hf_llc.bounds import shown
from hf_llc.errors import SettingsError


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
            raise SettingsError(f"There is no --format {shown(format)}; choose one of {', '.join(Form)}.")
        named.append(Form(format))
    if len(set(named)) > 1:
        raise SettingsError("Give only one of --format, --json and --quiet.")
    return named[0] if named else Form.HUMAN


def write_json(value: Any) -> None:
    """One JSON value and a newline on stdout, and nothing else."""
    sys.stdout.write(json.dumps(value, allow_nan=False, ensure_ascii=False) + "\n")


def write_agent(values: Mapping[str, Any]) -> None:
    """One key=value a line; nested keys are joined by dots."""
    for key, value in _flat(values):
        sys.stdout.write(f"{key}={'' if value is None else value}\n")


def write_pairs(title: str, rows: Sequence[tuple[str, str]]) -> None:
    """A table of names and values for people."""
    table = Table(title=title, title_justify="left", show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(name, value)
    wide_console().print(table)


def write_table(title: str, headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table with a heading for people."""
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for index, header in enumerate(headers):
        table.add_column(header, justify="left" if index == 0 else "right", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    wide_console().print(table)


def wide_console(stderr: bool = False) -> Console:
    """stdout or stderr; as wide as it needs to be where it is no terminal, so that nothing is cut off in a file."""
    console = Console(stderr=stderr, highlight=False, markup=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = 160
    return console


def _flat(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for key, value in values.items():
        if isinstance(value, Mapping):
            found += _flat(value, f"{prefix}{key}.")
        else:
            found.append((prefix + key, json.dumps(value) if isinstance(value, list) else value))
    return found
