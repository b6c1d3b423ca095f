"""Which columns of a table, or tensors of a file, are inputs and which are targets."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from hf_llc.errors import NotFoundError, SettingsError, did_you_mean

INPUT_NAMES = ("x", "inputs", "input", "features")
TARGET_NAMES = ("y", "targets", "target", "labels", "label")
"""Names that are looked for where none was asked for, in capitals too; also with a number behind each: x0, x1, …"""


class Columns(NamedTuple):
    """Names of the columns whose numbers, one column after the other, are the inputs and the targets of an item."""

    inputs: Sequence[str]
    targets: Sequence[str]


def chosen_columns(known: Sequence[str], asked_inputs: str | None, asked_targets: str | None, place: str) -> Columns:
    """The columns that were asked for by names that commas join, else those with usual names.

    Args:
        known: names of the columns there are. place: where they are, for messages.

    Raises:
        NotFoundError: there are no such columns; the message names those there are.
        SettingsError: one is asked for twice.
    """
    columns = Columns(
        _chosen(known, asked_inputs, INPUT_NAMES, "text_column", "inputs", place),
        _chosen(known, asked_targets, TARGET_NAMES, "label_column", "targets", place),
    )
    every = [*columns.inputs, *columns.targets]
    if twice := sorted({name for name in every if every.count(name) > 1}):
        raise SettingsError(f"Column {twice[0]} of {place} is named twice; each is an input or a target once.")
    return columns


def _chosen(
    known: Sequence[str], asked: str | None, usual: Sequence[str], setting: str, what: str, place: str
) -> list[str]:
    if asked is not None:
        names = [asked] if asked in known else [part.strip() for part in asked.split(",")]
        if missing := next((name for name in names if name not in known), None):
            raise NotFoundError(
                f"{place} has no column {missing}{did_you_mean(missing, list(known))} Choose with `{setting}`."
            )
        if not all(names):
            raise SettingsError(f"{setting} must be names of columns that commas join, got {asked!r}.")
        return names
    folded: dict[str, str] = {}
    for name in known:
        folded.setdefault(name.lower(), name)
    for name in usual:
        if name in folded:
            return [folded[name]]
        if numbered := _numbered(known, name):
            return numbered
    raise NotFoundError(
        f"{place} has no column of {what} ({', '.join(usual)}, or {usual[0]}0, {usual[0]}1, …); its columns are "
        f"{', '.join(known) or 'none'}. Choose with `{setting}`."
    )


def _numbered(known: Sequence[str], stem: str) -> list[str]:
    """The columns `x0`, `x_1`, … in the order of their numbers."""
    pattern = re.compile(rf"{stem}[_.-]?(\d+)", re.IGNORECASE)
    numbers = {name: int(match.group(1)) for name in known if (match := pattern.fullmatch(name))}
    return sorted(numbers, key=lambda name: numbers[name])
