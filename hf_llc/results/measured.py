"""What measures beside λ̂ gave at a checkpoint, with the meaning of their columns."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from hf_llc.results.columns import COLUMNS, Column
from hf_llc.settings.bounds import shown
from hf_llc.settings.strict_json import DamagedError
from hf_llc.settings.typed import build


@dataclass(frozen=True, kw_only=True)
class MeasureRecord:
    """What one measure gave at one checkpoint.

    Attributes:
        columns: meanings of the values. values: by the names of the columns; all are None where `error` says why.
        seconds: that it took.
    """

    columns: Sequence[Column]
    values: Mapping[str, Any] = field(default_factory=dict)
    seconds: float | None = None
    error: str | None = None

    def to_row(self) -> dict[str, Any]:
        """The value of every column."""
        return {column.name: self.values.get(column.name) for column in self.columns}

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready mapping of all but the columns."""
        return {"values": dict(self.values), "seconds": self.seconds, "error": self.error}


Columns = Mapping[str, Sequence[Column]]
"""The columns of each measure by its name."""


def columns_from(stored: Any, where: str = "measures") -> dict[str, tuple[Column, ...]]:
    """The columns of measures that `columns_to` wrote.

    Raises:
        DamagedError: if it is something else.
    """
    if not isinstance(stored, Mapping) or not all(isinstance(each, list) for each in stored.values()):
        raise DamagedError(f"{where} must be a mapping of lists, got {shown(stored)}")
    return {
        str(name): tuple(build(Column, column, f"{where}.{name}[{index}]") for index, column in enumerate(each))
        for name, each in stored.items()
    }


def columns_to(columns: Columns) -> dict[str, list[dict[str, Any]]]:
    """The columns of measures, JSON-ready."""
    return {name: [asdict(column) for column in each] for name, each in columns.items()}


def records_from(stored: Any, columns: Columns, where: str) -> dict[str, MeasureRecord]:
    """The records of a checkpoint, of which `to_dict` wrote each.

    Raises:
        DamagedError: if they are something else, or their columns are not known.
    """
    if not isinstance(stored, Mapping):
        raise DamagedError(f"{where} must be a mapping, got {shown(stored)}")
    if unknown := [name for name in stored if name not in columns]:
        raise DamagedError(f"{where} has {shown(unknown[0])}, whose columns are not described")
    return {
        str(name): _record(each, columns[str(name)], f"{where}.{name}") for name, each in stored.items()
    }  # fmt: skip


def _record(stored: Any, columns: Sequence[Column], where: str) -> MeasureRecord:
    if not isinstance(stored, Mapping) or not isinstance(stored.get("values"), Mapping):
        raise DamagedError(f"{where} must have values, got {shown(stored)}")
    seconds, error = stored.get("seconds"), stored.get("error")
    if not (seconds is None or (isinstance(seconds, int | float) and not isinstance(seconds, bool))):
        raise DamagedError(f"{where}.seconds must be a number, got {shown(seconds)}")
    if not (error is None or isinstance(error, str)):
        raise DamagedError(f"{where}.error must be text, got {shown(error)}")
    for column in columns:
        if not _is_of(column.kind, value := stored["values"].get(column.name)):
            raise DamagedError(f"{where}.{column.name} must be of kind {column.kind}, got {shown(value)}")
    return MeasureRecord(columns=columns, values=dict(stored["values"]), seconds=seconds, error=error)


def _is_of(kind: str, value: Any) -> bool:
    if value is None:
        return True
    if kind in {"numbers", "texts"}:
        return isinstance(value, list) and all(_is_of(kind[:-1], each) for each in value)
    kinds: dict[str, Any] = {"integer": int, "number": int | float, "text": str}
    return isinstance(value, kinds[kind]) and not isinstance(value, bool)


def all_columns(columns: Columns) -> list[Column]:
    """The columns of rows: those of every curve, then those of the measures."""
    by_name = {column.name: column for each in columns.values() for column in each}
    return [*COLUMNS, *by_name.values()]
