"""The flat rows of a scan as Parquet (pyarrow)."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow
import pyarrow.parquet as pq

from hf_llc.results.columns import COLUMNS

pa: Any = pyarrow  # its stubs leave out what the module takes from its compiled part

TYPES = {"integer": pa.int64(), "number": pa.float64(), "text": pa.string()}


def parquet(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """A Parquet file of rows with `columns.COLUMNS`; a column has the same type whatever is null in it."""
    fields = [pa.field(column.name, TYPES[column.kind]) for column in COLUMNS]
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(list(rows), schema=pa.schema(fields)), buffer)
    return buffer.getvalue()
