"""Rows and texts of JSON, CSV and plain text files, as they are written: no value is guessed to be another (pandas)."""

import codecs
import csv
import io
import json
from collections.abc import Generator, Iterator, Mapping
from typing import IO, Any

import pandas

from hf_llc.errors import UnusableError
from hf_llc.tasks.text.tab_quotes import QuoteCheck

Row = Mapping[str, Any]

PIECE_BYTES = 1 << 20
"""How much of a plain text file is read at a time."""

_CSV_ROWS = 1000  # at a time
_AS_WRITTEN = {"dtype": object, "keep_default_na": False, "na_filter": False, "encoding": "utf-8"}
_OTHER_SEPARATORS = ";\t|"


def json_rows(file: IO[bytes], name: str) -> Iterator[Row]:
    """The objects of JSON lines, of one list, or written one after the other; a list of strings gives rows of `text`.

    Args:
        name: of the file, for messages.

    Raises:
        UnusableError: a line is not UTF-8 or not JSON, or a row is no object.
    """
    values = _json_values(file, name)
    try:
        for number, value in enumerate(values, 1):
            if not isinstance(value, dict):
                raise UnusableError(
                    f"Row {number} of {name} is a {type(value).__name__}, where an object with columns is needed."
                )
            yield value
    except UnicodeDecodeError as error:
        raise UnusableError(f"{name} is not UTF-8 text ({error.reason}); convert it first.") from error
    except RecursionError as error:
        raise UnusableError(f"{name} holds JSON that is nested too deeply to be read.") from error
    finally:
        values.close()


def _json_values(file: IO[bytes], name: str) -> Generator[Any]:
    # JSON has no line break inside a string, so that all kinds of line ends can be taken for one.
    text = io.TextIOWrapper(file, encoding="utf-8-sig", newline=None)
    try:
        lines = ((number, line) for number, line in enumerate(text, 1) if line.strip())
        number, line = next(lines, (0, ""))
        rest = (each for _, each in lines)
        if line.lstrip().startswith("["):
            yield from _json_list(line + "".join(rest), name)
            return
        try:
            yield from [_json_line(number, line, name)] if line else []
        except UnusableError:
            yield from _json_sequence(line + "".join(rest), name)
            return
        for number, line in lines:
            yield _json_line(number, line, name)
    finally:
        text.detach()  # otherwise its end would close the file


def _json_line(number: int, line: str, name: str) -> Any:
    try:
        return json.loads(line, strict=False)
    except ValueError as error:
        raise UnusableError(f"Line {number} of {name} is not JSON ({_of_json(error)}).") from error


def _json_list(text: str, name: str) -> Iterator[Any]:
    try:
        values = json.loads(text, strict=False)
    except ValueError as error:
        raise UnusableError(f"{name} is not JSON ({_of_json(error)}).") from error
    yield from ({"text": value} if isinstance(value, str) else value for value in values)


def _json_sequence(text: str, name: str) -> Iterator[Any]:
    """Values that take several lines each, one after the other."""
    decoder, at = json.JSONDecoder(strict=False), 0
    while at < len(text):
        if text[at].isspace():
            at += 1
            continue
        try:
            value, at = decoder.raw_decode(text, at)
        except ValueError as error:
            raise UnusableError(f"{name} is not JSON ({_of_json(error)}).") from error
        yield value


def _of_json(error: ValueError) -> str:
    return (
        f"{error.msg} at character {error.pos}"
        if isinstance(error, json.JSONDecodeError)
        else str(error).partition(";")[0]
    )


def csv_rows(file: IO[bytes], name: str, options: Mapping[str, Any]) -> Iterator[Row]:
    """The rows of a CSV file under its header, every value a string; a field that is not there is an empty one.

    Args:
        options: of `pandas.read_csv`, such as the separator.

    Raises:
        UnusableError: not UTF-8, NUL characters in the header, a row with more fields than the header, another
            separator than was expected, or quotes of a tab-separated file that are no quoting.
    """
    quoted = options.get("quoting", csv.QUOTE_MINIMAL) != csv.QUOTE_NONE and options.get("quotechar", '"') == '"'
    check = QuoteCheck(file, name) if quoted and "\t" in (options.get("sep"), options.get("delimiter")) else None
    source: Any = file if check is None else io.BufferedReader(check)
    try:
        with pandas.read_csv(source, **{**options, **_AS_WRITTEN, "chunksize": _CSV_ROWS}) as frames:
            for frame in frames:
                _refuse_other_layout(frame, name)
                yield from ({str(key): value for key, value in row.items()} for row in frame.to_dict("records"))
    except pandas.errors.EmptyDataError:
        return
    except UnicodeDecodeError as error:
        raise UnusableError(f"{name} is not UTF-8 text ({error.reason}); convert it first.") from error
    except pandas.errors.ParserError as error:
        if check is not None and check.problem is not None:
            raise check.problem from error
        if "Calling read" in str(error):  # of the file, which failed with an error that pandas keeps to itself
            raise OSError(f"{name} could not be read to its end") from error
        reason = " ".join(str(error).removeprefix("Error tokenizing data. C error: ").split())
        raise UnusableError(f"{name} is not CSV ({reason}); put texts that hold commas or quotes in quotes.") from error


def _refuse_other_layout(frame: pandas.DataFrame, name: str) -> None:
    if any("\0" in str(column) for column in frame.columns):
        raise _no_text(name)
    if not isinstance(frame.index, pandas.RangeIndex):
        raise UnusableError(
            f"The rows of {name} have more fields than its header ({', '.join(map(str, frame.columns))}); "
            "put texts that hold commas in quotes."
        )
    header = str(frame.columns[0]) if len(frame.columns) == 1 else ""
    if separator := next((mark for mark in _OTHER_SEPARATORS if mark in header), None):
        raise UnusableError(
            f"{name} has one column, {header!r}; if {separator!r} separates columns, write commas for it, or "
            "tabs into a .tsv file; if not, rename the column."
        )


def text_pieces(file: IO[bytes], name: str, encoding: str = "utf-8") -> Iterator[str]:
    """A plain text file piece by piece, verbatim but for a byte order mark.

    Raises:
        UnusableError: the bytes are not of that encoding, or hold NUL characters.
    """
    decoder = codecs.getincrementaldecoder(encoding)()
    read, first = 0, True
    while True:
        content = file.read(PIECE_BYTES)
        waiting = len(decoder.getstate()[0])
        try:
            piece = decoder.decode(content, final=not content)
        except UnicodeDecodeError as error:
            what = "UTF-8" if encoding == "utf-8" else encoding
            raise UnusableError(
                f"{name} is not {what} text (byte {read - waiting + error.start}); convert it first."
            ) from error
        read += len(content)
        if "\0" in piece:
            raise _no_text(name)
        if piece:
            yield piece.removeprefix("\ufeff") if first else piece
            first = False
        if not content:
            return


def _no_text(name: str) -> UnusableError:
    return UnusableError(f"{name} holds NUL characters and looks like UTF-16 or binary, not text; save it as UTF-8.")
