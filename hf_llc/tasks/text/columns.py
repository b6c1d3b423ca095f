"""Which column of a table holds its text."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any

from hf_llc.errors import NotFoundError, SettingsError, UnusableError, did_you_mean


class Kind(StrEnum):
    """What a column holds.

    TEXT: strings alone. MIXED: strings and other values. NUMERAL: strings that are numbers. EMPTY: nothing yet.
    LIST: lists, or objects that hold lists. OTHER: numbers, objects, images, ….
    """

    TEXT = "text"
    MIXED = "mixed"
    NUMERAL = "numeral"
    EMPTY = "empty"
    LIST = "list"
    OTHER = "other"


_READABLE = {Kind.TEXT, Kind.MIXED, Kind.NUMERAL, Kind.EMPTY}

_TEXT_NAME = re.compile(
    r"(plain|raw|clean|full|page|main)?_?(text|texts|content|contents|body|document|article|passage|story|sentence|"
    r"paragraph|markdown|code|source_code|completion|essay|review|poem|lyrics|transcript|abstract|sequence)",
    re.IGNORECASE,
)
_OTHER_NAME = re.compile(
    r"(.*_)?(id|ids|idx|index|uuid|guid|key|hash|md5|sha|sha1|sha256|digest|url|uri|urls|link|href|domain|host|website|"
    r"source|src|origin|dataset|subset|split|lang|language|locale|script|date|time|timestamp|datetime|year|author|user|"
    r"username|name|email|label|labels|class|category|tag|tags|topic|type|kind|format|file|filename|path|filepath|"
    r"license|licence|version|status|model|repo|repository|country|code_?name|at)",
    re.IGNORECASE,
)
_WORDS = re.compile(r"\w\W*\s+\W*\w")
_LONG = 200  # characters; texts without blanks are those of other scripts, of proteins and the like
_MANY, _DISTINCT = 50, 0.1  # rows from which values that repeat this much are names of classes
_NUMERAL = re.compile(r"\s*([-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?|true|false|nan|inf)\s*", re.IGNORECASE)


def kinds_of(rows: Iterable[Mapping[str, Any]], *, typed: bool) -> dict[str, Kind]:
    """What the columns of these rows hold, in order of their first appearance.

    Args:
        typed: False where every value is a string, as in CSV files.
    """
    seen: dict[str, set[Kind]] = {}
    for row in rows:
        for name, value in row.items():
            kinds = seen.setdefault(name, set())
            if value is not None and not (value == "" and not typed):
                kinds.add(_kind(value, typed=typed))
    return {name: _joined(kinds) for name, kinds in seen.items()}


def _kind(value: object, *, typed: bool) -> Kind:
    if isinstance(value, str):
        return Kind.NUMERAL if not typed and _NUMERAL.fullmatch(value) else Kind.TEXT
    if isinstance(value, list) or (isinstance(value, dict) and any(isinstance(each, list) for each in value.values())):
        return Kind.LIST
    return Kind.OTHER


def _joined(kinds: set[Kind]) -> Kind:
    if not kinds:
        return Kind.EMPTY
    if len(kinds) == 1:
        return next(iter(kinds))
    if kinds == {Kind.TEXT, Kind.NUMERAL}:
        return Kind.TEXT
    return Kind.MIXED if Kind.TEXT in kinds else Kind.LIST if Kind.LIST in kinds else Kind.OTHER


def text_columns(
    kinds: Mapping[str, Kind], wanted: str | None, name: str, values: Callable[[str], Sequence[str]]
) -> list[str]:
    """The columns to read: those that commas separate in what was asked for, else that of `text_column`.

    Args:
        kinds, wanted, name, values: as in `text_column`.

    Raises:
        NotFoundError, UnusableError: see `text_column`. SettingsError: there is nothing between two commas.
    """
    if wanted is None or wanted in kinds or "," not in wanted:
        return [text_column(kinds, wanted, name, values)]
    parts = [part.strip() for part in wanted.split(",")]
    if not all(parts) or len(set(parts)) < len(parts):
        raise SettingsError(f"text_column must name different columns between its commas, got {wanted}.")
    return [text_column(kinds, part, name, values) for part in parts]


def text_column(
    kinds: Mapping[str, Kind], wanted: str | None, name: str, values: Callable[[str], Sequence[str]]
) -> str:
    """The column to read: the one that was asked for, `text`, or the only one that must be the text.

    A column of another name is taken if it is the only one of strings, and either has a usual name of texts (`content`,
    `document`, …), or is not named like an id, stands beside no list (of messages, of token ids) and reads like text.

    Args:
        kinds: of all columns. wanted: the name that the user gave. name: of the table, for messages.
        values: the first strings of a column.

    Raises:
        NotFoundError: there is no such column, or several that may be meant.
        UnusableError: the column does not hold strings, or none does that reads like text.
    """
    strings = [column for column, kind in kinds.items() if kind is Kind.TEXT]
    if wanted is not None and wanted not in kinds:
        raise NotFoundError(
            f"{name} has no column {wanted}{did_you_mean(wanted, list(kinds))} Choose with `text_column`."
        )
    if wanted is None and "text" in kinds:
        wanted = "text"
    if wanted is not None:
        if kinds[wanted] not in _READABLE:
            others = f"; columns of strings: {', '.join(strings)}. Choose with `text_column`." if strings else "."
            raise UnusableError(f"Column {wanted} of {name} does not hold strings{others}")
        return wanted
    if len(strings) > 1:
        near = did_you_mean("", strings, 6)
        raise NotFoundError(f"{name} has no column text, and several of strings{near} Choose with `text_column`.")
    if not strings:
        raise UnusableError(f"{name} has no column of strings; its columns are {', '.join(kinds) or 'none'}.")
    (only,) = strings
    if _TEXT_NAME.fullmatch(only):
        return only
    if _OTHER_NAME.fullmatch(only) or Kind.LIST in kinds.values() or not _reads_like_text(values(only)):
        raise UnusableError(
            f"{name} has no column text, and {only}, its only column of strings, may not be one; its "
            f"columns are {', '.join(kinds)}. If it is, set `text_column={only}`."
        )
    return only


def _reads_like_text(values: Sequence[str]) -> bool:
    """True if most values are several words, or long, or of a script that writes no blanks; and are not few classes."""
    values = [value for value in values if value]
    if len(values) >= _MANY and len(set(values)) < _DISTINCT * len(values):
        return False
    count = sum(bool(_WORDS.search(value)) or len(value) > _LONG or not value.isascii() for value in values)
    return 2 * count > len(values)
