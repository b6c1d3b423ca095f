"""The flat rows: every column is documented, has its type whatever is null, and loads as a dataset."""

import json
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from datasets.load import load_dataset

from hf_llc.report.export import ROWS, TABLE, curve_of, keep
from hf_llc.results.columns import COLUMNS
from hf_llc.results.curve import Point
from tests.helpers.estimates import SETTINGS, estimate
from tests.hub_server.environment import use_hub

TYPES = {"integer": int, "number": float, "text": str}
ARROW = {"integer": "int64", "number": "double", "text": "string"}
FULL = Point(revision="stage1-step8", sha="a" * 40, stage="stage1", step=8, tokens=2**20, estimate=estimate(8, 13.5))
COPY = replace(FULL, revision="main", duplicate_of="stage1-step8", stage=None, step=None, tokens=None)
FAILED = Point(revision="step4", error="no weights")
DIVERGED = Point(revision="step2", step=2, estimate=estimate(2, None))


@pytest.mark.parametrize("point", [FULL, COPY, FAILED, DIVERGED])
def test_rows_have_the_documented_columns(point: Point) -> None:
    row = point.to_row()
    assert list(row) == [column.name for column in COLUMNS]
    for column in COLUMNS:
        assert row[column.name] is None or type(row[column.name]) is TYPES[column.kind], column.name


def test_every_column_can_have_a_value() -> None:
    part = estimate(8, 13.5, settings=replace(SETTINGS, component="l0h1"))
    rows = [point.to_row() for point in (FULL, COPY, FAILED, replace(FULL, estimate=part))]
    assert [column.name for column in COLUMNS if all(row[column.name] is None for row in rows)] == []


def test_a_row_without_number_says_why() -> None:
    for point in (FAILED, DIVERGED):
        assert point.to_row()["llc"] is None
        assert point.to_row()["error"]
    assert DIVERGED.to_row()["error"] == "diverged: R-hat 1.012"
    assert FULL.to_row()["error"] is None


@pytest.mark.parametrize("points", [[FULL, COPY, FAILED, DIVERGED], [FULL], [FAILED]])
@pytest.mark.parametrize("name", [ROWS, TABLE])
def test_files_load_as_a_dataset(
    points: list[Point], name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_hub(monkeypatch, "http://127.0.0.1:9", tmp_path / "home")
    keep(curve_of("org/model", points, tmp_path), tmp_path)
    builder = "json" if name == ROWS else "parquet"
    result = load_dataset(builder, data_files=str(tmp_path / name), split="train")
    assert list(result) == [point.to_row() for point in points]


def test_parquet_columns_have_one_type_whatever_is_null(tmp_path: Path) -> None:
    for name, points in (("full", [FULL]), ("failed", [FAILED]), ("empty", [])):
        keep(curve_of("org/model", points, tmp_path / name), tmp_path / name)
        schema = pq.read_schema(tmp_path / name / TABLE)
        assert {field.name: str(field.type) for field in schema} == {c.name: ARROW[c.kind] for c in COLUMNS}


def test_json_lines_and_parquet_hold_the_same(tmp_path: Path) -> None:
    keep(curve_of("org/model", [FULL, COPY, FAILED, DIVERGED], tmp_path), tmp_path)
    rows = [json.loads(line) for line in (tmp_path / ROWS).read_text().splitlines()]
    assert pq.read_table(tmp_path / TABLE).to_pylist() == rows
