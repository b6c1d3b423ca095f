"""Text, document after document, out of rows and plain text files: its column, what is left out, what is refused."""

import itertools
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from typing import IO, Any, Generic, TypeVar

from hf_llc.errors import NotFoundError, UnusableError
from hf_llc.settings.data import DataSettings
from hf_llc.tasks.text.columns import Kind, kinds_of, text_column
from hf_llc.tasks.text.encoding import Text
from hf_llc.tasks.text.rows import Row, csv_rows, json_rows, text_pieces

T = TypeVar("T")

PEEKED_ROWS, PEEKED_CHARACTERS = 1000, 10_000_000
"""How much is read, at most, to see what the columns hold where no schema says so."""

_STRINGS = {"string", "large_string", "string_view"}
Guard = Callable[[], AbstractContextManager[None]]
File = tuple[str, Callable[[], AbstractContextManager[IO[bytes]]]]
"""A file's name for messages, and how to open it."""


@dataclass(kw_only=True)
class _Tally:
    """How many rows were read, how many of them hold no text, and how many an empty one."""

    rows: int = 0
    missing: int = 0
    empty: int = 0


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
    tally = _Tally()
    if format_ == "text":
        if data.text_column not in {None, "text"}:
            raise NotFoundError(f"{name} is plain text and has no columns; leave out `text_column`.")
        rule = "Each plain text file is one document, with its line breaks."
        texts = guarded(_whole_texts(files, options.get("encoding", "utf-8"), tally, guard), guard)
        return Documents(text_column="text", texts=texts, _tally=tally, _notes=[rule, *notes])
    rows = file_rows(files, format_, options)
    with closed_on_error(rows):
        peeked = list(peeked_rows(rows))
        if not peeked:
            raise UnusableError(f"{name} has no rows.")
        kinds = kinds_of(peeked, typed=format_ == "json")
        column = text_column(kinds, data.text_column, name, lambda column: strings_in(peeked, column))
    texts = _documents(guarded(_cells(peeked, rows, column), guard), name, column, tally)
    return Documents(text_column=column, texts=texts, _tally=tally, _notes=notes)


@contextmanager
def closed_on_error(values: Generator[Any]) -> Iterator[None]:
    """Close a generator that is not read to its end, and with it the file that it reads."""
    try:
        yield
    except BaseException:
        values.close()
        raise


def _cells(peeked: Iterable[Row], rows: Generator[Row], column: str) -> Generator[Any]:
    with closing(rows):
        for row in itertools.chain(peeked, rows):
            yield row.get(column)


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


def of_dataset(data: DataSettings, rows: Any, name: str, guard: Guard, notes: Sequence[str] = ()) -> Documents:
    """The documents of rows that `datasets` reads; their types are known, or shown by the first rows."""
    if rows.features is None:
        iterator = iter(rows)
        peeked = list(peeked_rows(iterator))
        if not peeked:
            raise UnusableError(f"{name} has no rows.")
        kinds, rows = kinds_of(peeked, typed=True), itertools.chain(peeked, iterator)
        column = text_column(kinds, data.text_column, name, lambda column: strings_in(peeked, column))
    else:
        kinds = {key: kind_of(feature) for key, feature in rows.features.items()}
        column = text_column(
            kinds,
            data.text_column,
            name,
            lambda column: strings_in(itertools.islice(rows.select_columns([column]), PEEKED_ROWS // 10), column),
        )
        rows = rows.select_columns([column])
    tally = _Tally()
    texts = _documents(guarded((row.get(column) for row in rows), guard), name, column, tally)
    return Documents(text_column=column, texts=texts, _tally=tally, _notes=notes)


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
