"""Rows of a text, or of two, and a label, out of a table."""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from datasets.features import ClassLabel

from hf_llc.errors import NotFoundError, UnusableError, did_you_mean
from hf_llc.settings.data import DataSettings
from hf_llc.tasks.text.columns import Kind, kinds_of, text_columns
from hf_llc.tasks.text.documents import (
    PEEKED_ROWS,
    File,
    Guard,
    Reader,
    file_rows,
    guarded,
    kind_of,
    peeked_rows,
    strings_in,
)
from hf_llc.tasks.text.rows import Row

LABELS = ("label", "labels")
"""Names of the column of labels where none was asked for."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows in order, to be read once.

    Attributes:
        text_columns: one, or two of sentence pairs. names: of the classes, where the data says them.
        notes: sentences that a reader of the numbers must know about what was read.
    """

    text_columns: Sequence[str]
    label_column: str
    names: Sequence[str] | None
    rows: Iterator[Row]
    notes: Sequence[str]

    def examples(self, name: str) -> Iterator[tuple[tuple[str, ...], int | str] | None]:
        """The texts and the label of each row; None for a row where one of them is missing.

        Raises:
            UnusableError: a text is no string, or a label neither a whole number nor a string.
        """
        for number, row in enumerate(self.rows, 1):
            texts = [row.get(column) for column in self.text_columns]
            label = row.get(self.label_column)
            if label is None or label == "" or None in texts:
                yield None
                continue
            for column, text in zip(self.text_columns, texts, strict=True):
                if not isinstance(text, str):
                    raise UnusableError(
                        f"Column {column} of {name} holds a {_kind(text)}, not a string (row {number})."
                    )
            if isinstance(label, list | tuple):
                raise UnusableError(
                    f"Column {self.label_column} of {name} holds several labels a row (row {number}); only one class "
                    "for each text is supported."
                )
            if not isinstance(label, int | str) or isinstance(label, bool):
                raise UnusableError(
                    f"Column {self.label_column} of {name} holds a {_kind(label)} (row {number}); labels must be whole "
                    "numbers or names of classes. Choose with `label_column`."
                )
            yield tuple(map(str, texts)), label


def of_files(
    data: DataSettings,
    format_: str,
    files: Iterable[File],
    options: Mapping[str, Any],
    name: str,
    guard: Guard,
    notes: Sequence[str] = (),
) -> Table:
    """The rows of JSON and CSV files; plain text has no labels and is refused."""
    if format_ == "text":
        raise UnusableError(f"{name} is plain text, which has no labels; give a .jsonl, .csv or .parquet file.")
    rows = file_rows(files, format_, options)
    return _peeked(data, rows, name, guard, notes, typed=format_ == "json")


def of_dataset(data: DataSettings, rows: Any, name: str, guard: Guard, notes: Sequence[str] = ()) -> Table:
    """The rows that `datasets` reads, with the names of its classes where it has them."""
    if rows.features is None:
        return _peeked(data, iter(rows), name, guard, notes, typed=True)
    features = rows.features
    kinds = {key: kind_of(feature) for key, feature in features.items()}
    numbers = [
        key for key, feature in features.items() if str(getattr(feature, "dtype", "")).startswith(("int", "uint"))
    ]
    classes = [key for key, feature in features.items() if isinstance(feature, ClassLabel)]
    label = _label_column(data.label_column, kinds, classes or numbers, name)
    columns = _text_columns(
        data.text_column,
        {key: kind for key, kind in kinds.items() if key != label},
        name,
        lambda column: strings_in(itertools.islice(rows.select_columns([column]), PEEKED_ROWS // 10), column),
    )
    return Table(
        text_columns=columns,
        label_column=label,
        names=features[label].names if label in classes else None,
        rows=guarded((row for row in rows.select_columns([*columns, label])), guard),
        notes=notes,
    )


TABLE = Reader(of_files=of_files, of_dataset=of_dataset)


def _peeked(
    data: DataSettings, rows: Iterator[Row], name: str, guard: Guard, notes: Sequence[str], *, typed: bool
) -> Table:
    first = list(peeked_rows(rows))
    if not first:
        raise UnusableError(f"{name} has no rows.")
    kinds = kinds_of(first, typed=typed)
    numbers = [column for column in kinds if all(_is_whole(row.get(column), typed) for row in first)]
    label = _label_column(data.label_column, kinds, numbers, name)
    columns = _text_columns(
        data.text_column,
        {key: kind for key, kind in kinds.items() if key != label},
        name,
        lambda column: strings_in(first, column),
    )
    rows_again = guarded((row for row in itertools.chain(first, rows)), guard)
    return Table(text_columns=columns, label_column=label, names=None, rows=rows_again, notes=notes)


def _is_whole(value: object, typed: bool) -> bool:
    if not typed:
        return isinstance(value, str) and (not value or value.lstrip("-").isdigit())
    return value is None or (isinstance(value, int) and not isinstance(value, bool))


def _label_column(asked: str | None, kinds: Mapping[str, Kind], classes: Sequence[str], name: str) -> str:
    if asked is not None:
        if asked not in kinds:
            raise NotFoundError(
                f"{name} has no column {asked}{did_you_mean(asked, list(kinds))} Choose with `label_column`."
            )
        return asked
    for usual in LABELS:
        if usual in kinds:
            return usual
    if len(classes) != 1:
        raise NotFoundError(
            f"{name} has no column label; its columns are {', '.join(kinds)}. Choose with `label_column`."
        )
    return classes[0]


def _text_columns(asked: str | None, kinds: Mapping[str, Kind], name: str, values: Any) -> list[str]:
    """The column of text, or the two whose names a comma joins."""
    columns = text_columns(kinds, asked, name, values)
    if len(columns) > 2:
        raise UnusableError(f"text_column must name one column or two, got {len(columns)} in {asked}.")
    return columns


def _kind(value: object) -> str:
    return type(value).__name__
