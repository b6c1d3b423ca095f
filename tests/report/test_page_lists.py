"""Measures with a value for each layer or matrix, in the data of the page."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

import hf_llc
from hf_llc.measures import MEASURES
from hf_llc.report.page.lists import lists_of
from hf_llc.results.columns import Column
from hf_llc.results.curve import Curve, Point
from hf_llc.results.measured import MeasureRecord
from tests.helpers.fake_runs import write_run
from tests.report.test_page import Elements

MATRICES = ("model.layers.0.up.weight", "model.layers.1.up.weight")
COLUMNS = (
    Column("stable_rank", "number", "", "mean over weight matrices", has_panel=True),
    Column("rank_matrices", "texts", "", "names of the weight matrices"),
    Column("stable_ranks", "numbers", "", "stable rank of each of `rank_matrices`", entries="rank_matrices",
           panel="stable_rank"),
    Column("by_layer", "numbers", "nats", "in each layer", entries="layer", panel="elsewhere"),
    Column("others", "numbers", "", "which are not drawn"),
)  # fmt: skip


def point(step: int, ranks: Sequence[float | None], names: Sequence[str] = MATRICES) -> Point:
    values = {
        "stable_rank": 2.0,
        "rank_matrices": list(names),
        "stable_ranks": list(ranks),
        "by_layer": [step + 0.5],
        "others": [1.0],
    }
    return Point(revision=f"step{step}", step=step, measures={"rank": MeasureRecord(columns=COLUMNS, values=values)})


def curve_of(*points: Point) -> Curve:
    return Curve.of_points("org/model", points, run_dir="", versions={})


def test_each_list_is_a_matrix_of_its_entries_and_checkpoints() -> None:
    failed = Point(revision="step2", step=2, measures={"rank": MeasureRecord(columns=COLUMNS, error="no weights")})
    ranks, layers = lists_of([curve_of(point(1, [3.0, 4.12345]), failed, point(4, [5.0, None]))], ["stable_rank"])
    assert (ranks["name"], ranks["panel"], ranks["meaning"]) == (
        "stable_ranks", "stable_rank", "stable rank of each of the weight matrices"
    )  # fmt: skip
    assert ranks["runs"] == [
        {"run": 0, "rows": list(MATRICES), "points": [0, 2], "values": [[3.0, 5.0], [4.123, None]], "thinned": ""}
    ]
    assert (layers["name"], layers["unit"]) == ("by_layer", "nats")
    assert layers["runs"][0]["rows"] == ["layer 0"]
    assert layers["runs"][0]["values"] == [[1.5, 4.5]]


def test_entries_are_told_by_their_names_and_not_by_their_places() -> None:
    (ranks, _) = lists_of([curve_of(point(1, [3.0, 4.0]), point(2, [6.0, 5.0], MATRICES[::-1]))], ["stable_rank"])
    assert ranks["runs"][0]["values"] == [[3.0, 5.0], [4.0, 6.0]]


def test_many_checkpoints_are_thinned_to_the_last_one_and_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hf_llc.report.page.lists.MOST_VALUES", 12)
    (ranks, _) = lists_of([curve_of(*(point(step, [step, 2.0 * step]) for step in range(8)))], ["stable_rank"])
    (own,) = ranks["runs"]
    assert own["points"] == [1, 4, 7]
    assert own["values"] == [[1.0, 4.0, 7.0], [2.0, 8.0, 14.0]]
    assert own["thinned"] == "one in 3 of 8 checkpoints is drawn"


def test_the_lists_of_measures_name_a_panel_and_entries_that_there_are() -> None:
    columns = {column.name: column for each in MEASURES.values() for column in each.columns}
    drawn = {name: column for name, column in columns.items() if column.entries}
    assert {"activation_ratios", "rankme_by_layer", "diffusion_entropies", "sign_change_densities", "induction_scores",
            "stable_ranks", "effective_ranks", "loss_by_position"} <= drawn.keys()  # fmt: skip
    for column in drawn.values():
        assert columns[column.panel].has_panel
        assert column.entries == "layer" or columns[column.entries].kind in {"texts", "numbers"}


def test_a_column_is_written_and_read_with_its_entries(tmp_path: Path) -> None:
    kept = hf_llc.load(write_run(tmp_path / "run", curve_of(point(1, [3.0, 4.0]))))
    assert [asdict(column) for column in kept.measure_columns["rank"]] == [asdict(column) for column in COLUMNS]


def data_of(path: Path) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(Elements(path.read_text(encoding="utf-8")).data)
    return data


def test_they_are_in_the_page_and_its_table_has_every_measure(tmp_path: Path) -> None:
    path = hf_llc.write_report(curve_of(point(1, [3.0, 4.0]), point(2, [5.0, 6.0])), path=tmp_path / "page.html")
    assert [each["name"] for each in data_of(path)["lists"]] == ["stable_ranks", "by_layer"]
    text = path.read_text(encoding="utf-8")
    table = text.partition('<table class="many">')[2].partition("</table>")[0]
    assert '<th scope="col">stable_rank</th>' in table
    assert '<tr><th scope="row">step1</th><td>2</td></tr>' in table
