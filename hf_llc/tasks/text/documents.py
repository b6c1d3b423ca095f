"""Text, document after document, out of rows and plain text files: its column, what is left out, what is refused."""

import itertools
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass, replace
from typing import IO, Any, Generic, Self, TypeVar

from hf_llc.errors import NotFoundError, UnusableError
from hf_llc.settings.data import DataSettings
from hf_llc.tasks.text.columns import Kind, kinds_of, text_columns
from hf_llc.tasks.text.encoding import Text
from hf_llc.tasks.text.rows import Row, csv_rows, json_rows, text_pieces

T = TypeVar("T")

PEEKED_ROWS, PEEKED_CHARACTERS = 1000, 10_000_000
"""How much is read, at most, to see what the columns hold where no schema says so."""

_STRINGS = {"string", "large_string", "string_view"}
Guard = Callable[[], AbstractContextManager[None]]
File = tuple[str, Callable[[], AbstractContextManager[IO[bytes]]]]
"""A file's name for messages, and how to open it."""
BETWEEN_COLUMNS = "\n\n"
"""What joins the texts of several columns."""


@dataclass(kw_only=True)
class _Tally:
    """How many rows were read, how many of them hold no text, and how many an empty one."""

    rows: int = 0
    missing: int = 0
    empty: int = 0


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows of which it is still to be chosen what is read.

    Attributes:
        name: for messages. kinds: of all columns. strings: the first strings of a column.
        rows: rows with these columns at least, to be read once. close: ends the reading, where nothing is chosen.
        notes: sentences that a reader of the numbers must know about what is read.
    """

    name: str
    kinds: Mapping[str, Kind]
    strings: Callable[[str], Sequence[str]]
    rows: Callable[[Sequence[str]], Generator[Row]]
    close: Callable[[], None]
    notes: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class Documents:
    """Text, document after document.

    Attributes:
        text_column: the column that the documents are from.
        texts: the documents in order, to be read once; long ones in pieces.
    """

    text_column: str
    texts: Iterator[Text]
    _tally: _Tally
    _notes: Sequence[str] = ()

    def with_notes(self, notes: Sequence[str]) -> Self:
        """These documents with further remarks."""
        return replace(self, _notes=[*self._notes, *notes])

    def remarks(self) -> list[str]:
        """Sentences that a reader of the numbers must know about the documents read so far; none names the place."""
        tally = self._tally
        parts = [f"{tally.missing} without {self.text_column} (null, or no such column)"] if tally.missing else []
        parts += [f"{tally.empty} with an empty {self.text_column}"] if tally.empty else []
        if not parts:
            return list(self._notes)
        return [*self._notes, f"Of the {tally.rows} rows read, {' and '.join(parts)} are left out."]


@dataclass(frozen=True, kw_only=True)
class Reader(Generic[T]):
    """What is made of a table; both functions take and raise what `of_files` and `of_dataset` do."""

    of_files: Callable[..., T]
    of_dataset: Callable[..., T]


def of_files(
    data: DataSettings,
    format_: str,
    files: Iterable[File],
    options: Mapping[str, Any],
    name: str,
    guard: Guard,
    notes: Sequence[str] = (),
) -> Documents:
    """The documents of JSON, CSV and plain text files, read without guesses at the types of values."""
    if format_ == "text":
        return of_plain_text(data, files, options, name, guard, notes)
    return of_table(data, table_of_files(format_, files, options, name, guard, notes))


def of_dataset(data: DataSettings, rows: Any, name: str, guard: Guard, notes: Sequence[str] = ()) -> Documents:
    """The documents of rows that `datasets` reads; their types are known, or shown by the first rows."""
    return of_table(data, table_of_dataset(rows, name, guard, notes))


def of_plain_text(
    data: DataSettings,
    files: Iterable[File],
    options: Mapping[str, Any],
    name: str,
    guard: Guard,
    notes: Sequence[str],
) -> Documents:
    """The documents of plain text files."""
    if data.text_column not in {None, "text"}:
        raise NotFoundError(f"{name} is plain text and has no columns; leave out `text_column`.")
    tally = _Tally()
    rule = "Each plain text file is one document, with its line breaks."
    texts = guarded(_whole_texts(files, options.get("encoding", "utf-8"), tally, guard), guard)
    return Documents(text_column="text", texts=texts, _tally=tally, _notes=[rule, *notes])


def of_table(data: DataSettings, table: Table) -> Documents:
    """The documents of a table's column of text, or of several columns joined."""
    try:
        columns = text_columns(table.kinds, data.text_column, table.name, table.strings)
    except BaseException:
        table.close()
        raise
    tally, name = _Tally(), ", ".join(columns)
    texts = _documents(_cells(table.rows(columns), columns), table.name, name, tally)
    return Documents(text_column=name, texts=texts, _tally=tally, _notes=table.notes)


def table_of_files(
    format_: str,
    files: Iterable[File],
    options: Mapping[str, Any],
    name: str,
    guard: Guard,
    notes: Sequence[str],
) -> Table:
    """The rows of JSON and CSV files."""
    rows = file_rows(files, format_, options)
    with closed_on_error(rows):
        return _peeked_table(rows, name, guard, notes, rows.close, typed=format_ == "json")


def table_of_dataset(rows: Any, name: str, guard: Guard, notes: Sequence[str]) -> Table:
    """The rows that `datasets` reads."""
    if rows.features is None:
        return _peeked_table(iter(rows), name, guard, notes, lambda: None, typed=True)
    return Table(
        name=name,
        kinds={key: kind_of(feature) for key, feature in rows.features.items()},
        strings=lambda column: strings_in(itertools.islice(rows.select_columns([column]), PEEKED_ROWS // 10), column),
        rows=lambda columns: guarded((row for row in rows.select_columns(list(columns))), guard),
        close=lambda: None,
        notes=notes,
    )


def _peeked_table(
    rows: Iterator[Row], name: str, guard: Guard, notes: Sequence[str], close: Callable[[], None], *, typed: bool
) -> Table:
    """A table whose first rows say what its columns hold."""
    peeked = list(peeked_rows(rows))
    if not peeked:
        raise UnusableError(f"{name} has no rows.")

    def again() -> Generator[Row]:
        try:
            yield from itertools.chain(peeked, rows)
        finally:
            close()

    return Table(
        name=name,
        kinds=kinds_of(peeked, typed=typed),
        strings=lambda column: strings_in(peeked, column),
        rows=lambda columns: guarded(again(), guard),
        close=close,
        notes=notes,
    )


@contextmanager
def closed_on_error(values: Generator[Any]) -> Iterator[None]:
    """Close a generator that is not read to its end, and with it the file that it reads."""
    try:
        yield
    except BaseException:
        values.close()
        raise


def _cells(rows: Generator[Row], columns: Sequence[str]) -> Generator[Any]:
    """The value of the column in each row; of several columns their strings joined, those without any left out."""
    with closing(rows):
        for row in rows:
            values = [row.get(column) for column in columns]
            if len(values) == 1:
                yield values[0]
                continue
            others = [value for value in values if value is not None and not isinstance(value, str)]
            strings = [value for value in values if isinstance(value, str)]
            yield others[0] if others else BETWEEN_COLUMNS.join(filter(None, strings)) if strings else None


def file_rows(files: Iterable[File], format_: str, options: Mapping[str, Any]) -> Generator[Row]:
    """The rows of JSON or CSV files, one file after the other."""
    for name, open_file in files:
        with open_file() as file:
            yield from json_rows(file, name) if format_ == "json" else csv_rows(file, name, options)


def peeked_rows(rows: Iterator[Row]) -> Iterator[Row]:
    """The first rows, as many as it takes to see what the columns hold."""
    characters = 0
    for row in itertools.islice(rows, PEEKED_ROWS):
        yield row
        characters += sum(len(value) for value in row.values() if isinstance(value, str))
        if characters > PEEKED_CHARACTERS:
            return


def strings_in(rows: Iterable[Row], column: str) -> list[str]:
    """The strings of a column."""
    return [value for row in rows if isinstance(value := row.get(column), str)]


def _whole_texts(files: Iterable[File], encoding: str, tally: _Tally, guard: Guard) -> Generator[Text]:
    for file in files:
        # Most pieces of a long text are read by whoever takes it, and so outside the guard of the documents.
        with closing(guarded(_pieces(file, encoding), guard)) as pieces:
            first = list(itertools.islice(pieces, 2))
            tally.rows += 1
            tally.empty += not first
            if len(first) == 1:
                yield first[0]
            elif first:
                yield itertools.chain(first, pieces)


def _pieces(file: File, encoding: str) -> Generator[str]:
    name, open_file = file
    with open_file() as content:
        yield from text_pieces(content, name, encoding)


def kind_of(feature: Any) -> Kind:
    """What a column holds by its feature, as `datasets` calls its type."""
    if getattr(feature, "dtype", "") in _STRINGS:
        return Kind.TEXT
    inner = feature.values() if isinstance(feature, Mapping) else [feature]
    return Kind.LIST if any(hasattr(each, "feature") or isinstance(each, list) for each in inner) else Kind.OTHER


def _documents(values: Generator[Any], name: str, column: str, tally: _Tally) -> Generator[str]:
    """The strings among the values that are not empty; the others are counted."""
    with closing(values):
        for value in values:
            tally.rows += 1
            if value is None:
                tally.missing += 1
            elif not isinstance(value, str):
                raise UnusableError(
                    f"Column {column} of {name} holds a {type(value).__name__} among its strings (row {tally.rows})."
                )
            elif not value:
                tally.empty += 1
            else:
                if not value.isascii():
                    _refuse_surrogates(value, tally.rows, name, column)
                yield value


def _refuse_surrogates(value: str, row: int, name: str, column: str) -> None:
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise UnusableError(
            f"Column {column} of {name} holds an unpaired surrogate (row {row}, character {error.start}); "
            "correct or remove it."
        ) from error


def guarded(values: Generator[T], guard: Guard) -> Generator[T]:
    """The values, each taken inside a guard."""
    with closing(values):
        while True:
            with guard():
                try:
                    value = next(values)
                except StopIteration:
                    return
            yield value


TEXTS = Reader(of_files=of_files, of_dataset=of_dataset)
"""The documents of one column of text."""
