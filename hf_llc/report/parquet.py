"""The flat rows of a scan as Parquet (pyarrow)."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow
import pyarrow.parquet as pq

from hf_llc.results.columns import COLUMNS, Column

pa: Any = pyarrow  # its stubs leave out what the module takes from its compiled part

TYPES = {
    "integer": pa.int64(),
    "number": pa.float64(),
    "text": pa.string(),
    "numbers": pa.list_(pa.float64()),
    "texts": pa.list_(pa.string()),
}


def parquet(rows: Sequence[Mapping[str, Any]], columns: Sequence[Column] = COLUMNS) -> bytes:
    """A Parquet file of rows with these columns; one has the same type whatever is null in it."""
    fields = [pa.field(column.name, TYPES[column.kind]) for column in columns]
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(list(rows), schema=pa.schema(fields)), buffer)
    return buffer.getvalue()
