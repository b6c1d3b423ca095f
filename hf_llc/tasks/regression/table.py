"""Inputs and targets out of tables: columns of numbers, or of lists of numbers."""

import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hf_llc.errors import UnusableError
from hf_llc.settings.bounds import shown
from hf_llc.settings.data import DataSettings
from hf_llc.tasks.regression.columns import Columns, chosen_columns
from hf_llc.tasks.text.documents import File, Guard, Reader, file_rows, guarded, peeked_rows
from hf_llc.tasks.text.rows import Row


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows in order, to be read once.

    Attributes:
        notes: sentences that a reader of the numbers must know about what was read.
    """

    columns: Columns
    rows: Iterator[Row]
    notes: Sequence[str]

    def items(self, place: str) -> Iterator[tuple[list[float], list[float]]]:
        """The numbers of inputs and of targets of each row.

        Args:
            place: where the table is, for messages.

        Raises:
            UnusableError: a cell is empty, holds no number, or rows have different numbers of them.
        """
        widths: tuple[int, int] | None = None
        for number, row in enumerate(self.rows, 1):
            inputs, targets = (
                [value for column in columns for value in _numbers(row.get(column), column, place, number)]
                for columns in self.columns
            )
            widths = widths or (len(inputs), len(targets))
            if (len(inputs), len(targets)) != widths or 0 in widths:
                raise UnusableError(
                    f"Row {number} of {place} has {len(inputs)} inputs and {len(targets)} targets, and the first row "
                    f"{widths[0]} and {widths[1]}; all must have as many, and at least 1."
                )
            yield inputs, targets


def of_files(
    data: DataSettings,
    format_: str,
    files: Iterable[File],
    options: Mapping[str, Any],
    name: str,
    guard: Guard,
    notes: Sequence[str] = (),
) -> Table:
    """The rows of JSON and CSV files; plain text is refused."""
    if format_ == "text":
        raise UnusableError(
            f"{name} is plain text, which has no inputs and targets; give a .csv, .jsonl, .parquet or .safetensors "
            "file."
        )
    return _peeked(data, file_rows(files, format_, options), name, guard, notes)


def of_dataset(data: DataSettings, rows: Any, name: str, guard: Guard, notes: Sequence[str] = ()) -> Table:
    """The rows that `datasets` reads."""
    if rows.features is None:
        return _peeked(data, iter(rows), name, guard, notes)
    columns = chosen_columns(list(rows.features), data.text_column, data.label_column, name)
    chosen = rows.select_columns([*columns.inputs, *columns.targets])
    return Table(columns=columns, rows=guarded((row for row in chosen), guard), notes=notes)


TABLE = Reader(of_files=of_files, of_dataset=of_dataset)


def _peeked(data: DataSettings, rows: Iterator[Row], name: str, guard: Guard, notes: Sequence[str]) -> Table:
    first = list(peeked_rows(rows))
    if not first:
        raise UnusableError(f"{name} has no rows.")
    known = list(dict.fromkeys(str(column) for row in first for column in row))
    columns = chosen_columns(known, data.text_column, data.label_column, name)
    every = itertools.chain(first, rows)
    return Table(columns=columns, rows=guarded((row for row in every), guard), notes=notes)


def _numbers(cell: Any, column: str, place: str, number: int) -> list[float]:
    """The numbers of a cell: one, a list of them, or as text as in CSV files."""
    value = cell
    if isinstance(value, str):
        try:
            # A list as Python and JSON write it.
            value = json.loads(value) if value.lstrip().startswith("[") else float(value)
        except ValueError:
            value = None
    values = value if isinstance(value, list | tuple) else [value]
    if not all(isinstance(each, int | float) and not isinstance(each, bool) for each in values):
        missing = "nothing" if cell in (None, "") else shown(cell)
        raise UnusableError(
            f"Column {column} of {place} holds {missing} (row {number}), where a number or a list of numbers is needed."
        )
    return [float(each) for each in values]
