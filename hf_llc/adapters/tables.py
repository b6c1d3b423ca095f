"""The flat rows of a scan as Parquet (pyarrow)."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow
import pyarrow.parquet as pq

pa: Any = pyarrow  # its stubs leave out what the module takes from its compiled part

INTEGERS = {"schema", "step", "tokens", "dimension"}
TEXTS = {"revision", "sha", "stage", "verdict", "verdict_reason", "duplicate_of", "error"}


def parquet(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """A Parquet file of these rows, at least one; a column has the same type whatever is null in it."""
    fields = [pa.field(name, _type(name)) for name in rows[0]]
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(list(rows), schema=pa.schema(fields)), buffer)
    return buffer.getvalue()


def _type(name: str) -> Any:
    if name in INTEGERS:
        return pa.int64()
    return pa.string() if name in TEXTS else pa.float64()
