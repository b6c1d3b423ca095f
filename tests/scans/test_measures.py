"""Measures beside λ̂ in a scan: columns, panels, resuming, and failures that stay with their measure."""

import json
import math
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from safetensors.torch import load_file

import hf_llc
from hf_llc import scan
from hf_llc.errors import SettingsError
from hf_llc.execution.loaded_model import LoadedModel
from hf_llc.integrations.tracking import values_of
from hf_llc.measures import MEASURES
from hf_llc.measures.distances import SIZE
from hf_llc.measures.rank import WeightRanks
from hf_llc.results.curve import Curve
from hf_llc.results.figures.plots import series_figure
from hf_llc.results.jsonl import curve_from, lines_of
from hf_llc.results.progress import Observer
from hf_llc.scans.shard import Shard
from hf_llc.settings.strict_json import DamagedError, sealed
from tests.helpers.command_line import files_of
from tests.helpers.tiny_model import jsonl, save_tiny_model

SHORT: dict[str, Any] = {
    "gamma": 1000.0, "lr": 1e-4, "chains": 2, "draws": 8, "burn_in": 2, "checks": False, "batch_size": 4,
    "gradient": "minibatch", "batches": "independent", "start": "anchor", "baseline": "paired", "sampler": "sgld-lm",
}  # fmt: skip
BESIDE = ["positions", "rank"]


class Told(Observer):
    """Keeps what is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def tell(self, message: str) -> None:
        self.lines.append(message)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two checkpoints, a copy of the second, and a text; pictures are not written."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", lambda figure, file, **options: file.write(b"blank"))
    for step, seed in ((1, 0), (2, 1), (3, 1)):
        save_tiny_model(Path("run") / f"checkpoint-{step}", seed)
    Path("text.jsonl").write_text(jsonl(100))


def scanned(*measures: str, told: Told | None = None, folder: str = "out", **settings: Any) -> Curve:
    curve = scan(
        "run",
        "text.jsonl",
        measures=measures or ["llc"],
        output_dir=Path(folder),
        num_processes=settings.pop("num_processes", 1),
        observer=told,
        **{**SHORT, **settings},
    )
    assert curve is not None
    return curve


def test_rows_have_the_columns_of_measures_and_the_same_llc_as_without() -> None:
    plain, curve = scanned(folder="plain"), scanned("llc", *BESIDE)
    own = [column for name in BESIDE for column in MEASURES[name].columns]
    assert [column.name for column in curve.columns] == [column.name for column in [*plain.columns, *own]]
    assert [point.llc for point in curve] == [point.llc for point in plain]
    rows = [json.loads(line) for line in Path("out/results.jsonl").read_text().splitlines()]
    assert rows == curve.to_rows() == pq.read_table("out/results.parquet").to_pylist()
    kinds = {"numbers": "list<element: double>", "texts": "list<element: string>"}
    schema = pq.read_schema("out/results.parquet")
    assert {column.name: str(schema.field(column.name).type) for column in own if column.kind in kinds} == {
        column.name: kinds[column.kind] for column in own if column.kind in kinds
    }
    assert rows[0]["stable_rank"] != rows[1]["stable_rank"]
    # Identical weights are measured once.
    assert rows[2]["duplicate_of"] == "checkpoint-2"
    assert rows[2]["stable_rank"] == rows[1]["stable_rank"]
    assert all(record.seconds is not None for record in curve.points[0].measures.values())
    assert list(curve.to_pandas()["text_loss"]) == [row["text_loss"] for row in rows]


def test_a_curve_with_measures_is_read_back_from_its_files_and_from_what_is_published() -> None:
    curve = scanned("llc", *BESIDE)
    read = hf_llc.load("out")
    assert read.to_dict() == curve.to_dict()
    assert read.measure_columns == curve.measure_columns
    published = curve_from(lines_of(curve), "published")
    assert published.to_rows() == curve.to_rows()
    assert published.points[0].measures["rank"].columns == tuple(curve.measure_columns["rank"])
    damaged = json.loads(Path("out/scan.json").read_text())
    damaged["points"][0]["measures"]["rank"]["values"]["stable_rank"] = "high"
    damaged.pop("checksum")
    with pytest.raises(DamagedError, match=r"stable_rank must be of kind number, got 'high'"):
        Curve.from_dict(sealed(damaged))


def test_pictures_have_a_panel_for_each_main_column() -> None:
    curve = scanned("llc", *BESIDE)
    figure = series_figure(curve.points, name="run")
    labels = [axes.get_ylabel().partition("\n")[0] for axes in figure.axes]
    assert labels[2:] == [
        "in context score", "text loss", "bigram kl", "stable rank", "effective rank", "weight norm"
    ]  # fmt: skip
    assert len({axes.get_xlim() for axes in figure.axes}) == 1
    # The value and, dotted, that of random numbers.
    assert len(figure.axes[5].lines) == 2
    assert len(series_figure(scanned("rank", folder="alone").points, name="run").axes) == 3


def test_a_second_call_computes_nothing_and_a_new_measure_only_itself() -> None:
    curve = scanned("llc", "rank")
    before = files_of(Path("out/points"))
    again = scanned("llc", "rank")
    assert files_of(Path("out/points")) == before
    assert again.to_dict() == curve.to_dict()
    more = scanned("llc", "positions")
    after = files_of(Path("out/points"))
    written = {name for name in after if before.get(name) != after[name] and name.endswith(".json")}
    assert {Path(name).name for name in written} == {"positions.json"}
    # What an earlier call has measured stays in the curve.
    assert list(more.points[0].measures) == ["positions", "rank"]
    assert scanned().to_rows() == more.to_rows()


@pytest.mark.parametrize("sampler", ["importance", "sgld-lm"])
def test_a_checkpoint_is_loaded_once_for_all_measures(sampler: str, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[str] = []
    load = LoadedModel._load

    def counted(bench: LoadedModel) -> Any:
        loaded.append(bench._plan.sampler.sampler)
        return load(bench)

    monkeypatch.setattr(LoadedModel, "_load", counted)
    settings = {"sampler": sampler, "gamma": 30_000.0, "chains": 4, "draws": 16}
    short = SHORT if sampler == "sgld-lm" else {}
    curve = scan(
        "run", "text.jsonl", measures=["llc", "rank", "positions"], output_dir=Path("out"), num_processes=1,
        **{**short, **settings},
    )  # fmt: skip
    assert curve is not None
    assert None not in [row["stable_rank"] for row in curve.to_rows()]
    assert len(loaded) == 2, loaded


def test_without_llc_nothing_is_sampled_and_it_can_be_added_later() -> None:
    curve = scanned("rank", gamma=None, lr=None)
    assert [(point.llc, point.error) for point in curve] == [(None, None)] * 3
    assert not Path("out/shared.json").exists()
    assert list(Path("out").rglob("chains")) == []
    ranks = [row["stable_rank"] for row in curve.to_rows()]
    assert None not in ranks
    again = hf_llc.load("out")
    assert [row["stable_rank"] for row in again.to_rows()] == ranks
    assert str(again).endswith("3 checkpoints, no number")
    sampled = scanned("llc", "rank", gamma=None, lr=None)
    assert None not in [point.llc for point in sampled]
    assert [row["stable_rank"] for row in sampled.to_rows()] == ranks


def test_a_measure_that_fails_leaves_its_columns_null_and_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = WeightRanks.run
    tried: list[str] = []

    def failing(self: WeightRanks, context: Any) -> dict[str, Any]:
        tried.append(context.plan.source.id)
        if context.plan.source.id.endswith("checkpoint-1"):
            raise RuntimeError("no convergence\nof singular values")
        return whole(self, context)

    monkeypatch.setattr(WeightRanks, "run", failing)
    observer = Told()
    curve = scanned("llc", "rank", told=observer)
    assert [point.error for point in curve] == [None] * 3
    assert [row["stable_rank"] is None for row in curve.to_rows()] == [True, False, False]
    assert curve.points[0].measures["rank"].error == "no convergence of singular values"
    assert [line for line in observer.lines if "has no numbers" in line] == [
        "rank of checkpoint-1 has no numbers: no convergence of singular values."
    ]
    monkeypatch.setattr(WeightRanks, "run", whole)
    assert None not in [row["stable_rank"] for row in scanned("llc", "rank").to_rows()]
    assert len(tried) == 2


def test_a_measure_that_does_not_apply_is_told_of_once_and_not_tried_again() -> None:
    observer = Told()
    curve = scanned("llc", "induction", told=observer, context_length=8)
    assert [row["induction_score"] for row in curve.to_rows()] == [None] * 3
    assert [line for line in observer.lines if "induction" in line] == [
        "induction of checkpoint-1 has no numbers: sequences have fewer than 12 tokens."
    ]
    before = files_of(Path("out/points"))
    scanned("llc", "induction", context_length=8)
    assert files_of(Path("out/points")) == before


@pytest.mark.processes
def test_two_processes_measure_what_one_does() -> None:
    names = [name for name in MEASURES if name != "llc"]
    one = scanned(*names)
    two = scanned(*names, folder="two", num_processes=2, threads=1)
    alone = scanned(*names, folder="alone", threads=1)
    assert two.to_rows() == alone.to_rows()
    assert [column.name for column in one.columns] == [column.name for column in two.columns]


@pytest.mark.parametrize("measures", [("llc", "rank"), ("rank",)])
def test_parts_of_a_scan_keep_their_measures_when_they_are_merged(measures: tuple[str, ...]) -> None:
    whole = scanned(*measures)
    for index in (1, 2):
        scanned(*measures, folder=f"part{index}", shard=Shard(index, 2))
    merged, missing = hf_llc.merge([Path("part1"), Path("part2")], Path("merged"))
    assert missing == []
    assert merged.to_rows() == whole.to_rows()
    before = files_of(Path("merged/points"))
    assert scanned(*measures, folder="merged").to_rows() == whole.to_rows()
    assert files_of(Path("merged/points")) == before


def test_measures_of_one_checkpoint_in_several_folders_are_joined() -> None:
    whole = scanned("llc", *BESIDE)
    scanned("llc", folder="chains")
    for name in BESIDE:
        scanned(name, folder=name)
    told = Told()
    merged, missing = hf_llc.merge([Path(name) for name in (*BESIDE, "chains")], Path("merged"), observer=told)
    assert (missing, told.lines) == ([], [])
    assert merged.to_rows() == whole.to_rows()
    before = files_of(Path("merged/points"))
    scanned("llc", *BESIDE, folder="merged")
    assert files_of(Path("merged/points")) == before


def test_parts_with_other_measures_are_no_whole_scan() -> None:
    for index, beside in ((1, "rank"), (2, "positions")):
        scanned("llc", beside, folder=f"part{index}", shard=Shard(index, 2))
    _, missing = hf_llc.merge([Path("part1"), Path("part2")], Path("merged"))
    assert missing == [
        "Without the measure positions: checkpoint-1.",
        "Without the measure rank: checkpoint-2, checkpoint-3.",
    ]


def test_losses_that_parts_recorded_are_there_after_merging() -> None:
    whole = scanned("llc", keep="losses", folder="whole")
    for index in (1, 2):
        scanned("llc", keep="losses", folder=f"part{index}", shard=Shard(index, 2))
    merged, _ = hf_llc.merge([Path("part1"), Path("part2")], Path("merged"))
    runs = [next(Path(curve.run_dir, "points").glob("checkpoint-2-*")) for curve in (whole, merged)]
    first, second = map(hf_llc.influence, runs)
    assert first.influence.tolist() == second.influence.tolist()


def moved_between(first: int, second: int) -> float:
    """The distance of the weights of two checkpoints, from their files."""
    before, after = (load_file(Path(f"run/checkpoint-{step}/model.safetensors")) for step in (first, second))
    return math.sqrt(sum(float((after[name].double() - before[name].double()).square().sum()) for name in before))


def test_distances_are_those_of_the_weights_in_whatever_order_checkpoints_are_measured() -> None:
    save_tiny_model(Path("run") / "checkpoint-4", 2)
    curve = scanned("distances")
    rows = {row["revision"]: row for row in curve.to_rows()}
    near = partial(pytest.approx, rel=4 / math.sqrt(2 * SIZE))
    assert rows["checkpoint-1"]["distance_from_first"] == rows["checkpoint-4"]["distance_from_last"] == 0
    assert rows["checkpoint-4"]["distance_from_first"] == near(moved_between(1, 4))
    assert rows["checkpoint-1"]["distance_from_last"] == rows["checkpoint-4"]["distance_from_first"]
    assert rows["checkpoint-2"]["distance_from_last"] == near(moved_between(2, 4))
    # Copies are where the first one is, and no step of their own; independent weights turn by 120 degrees.
    assert rows["checkpoint-3"]["distance_from_last"] == rows["checkpoint-2"]["distance_from_last"]
    assert rows["checkpoint-2"]["displacement_cosine"] is None
    assert rows["checkpoint-4"]["displacement_cosine"] == pytest.approx(-0.5, abs=4 / math.sqrt(SIZE))
    assert curve.distance("checkpoint-2", "checkpoint-4") == rows["checkpoint-2"]["distance_from_last"]
    assert hf_llc.load("out").to_rows() == curve.to_rows()
    part = scanned("distances", folder="later", revisions=["checkpoint-2", "checkpoint-4"])
    assert part.to_rows()[0]["distance_from_first"] == 0
    assert scanned("distances", folder="later").to_rows() == curve.to_rows()
    more = scanned("rank", folder="later")
    assert [row["distance_from_first"] for row in more.to_rows()] == [
        row["distance_from_first"] for row in curve.to_rows()
    ]


def test_measures_after_draws_of_a_relative_prior_are_those_of_the_checkpoint() -> None:
    beside = scanned("llc", "rank", folder="beside", prior="relative")
    alone = scanned("rank", folder="alone", prior="relative")
    for with_llc, without in zip(beside, alone, strict=True):
        assert with_llc.measures["rank"].values == without.measures["rank"].values


def test_a_page_and_trackers_have_the_main_columns() -> None:
    curve = scanned("llc", *BESIDE)
    page = hf_llc.write_report(curve, path=Path("page.html")).read_text()
    panel = '"name": "stable_rank", "error": "", "null": "stable_rank_null"'
    assert panel in page or panel.replace(": ", ":").replace(", ", ",") in page
    # A list is a heat map, and no panel.
    assert '"name":"effective_ranks","error"' not in page.replace(": ", ":").replace(", ", ",")
    values = values_of(curve.points[0])
    assert values["stable_rank"] == curve.to_rows()[0]["stable_rank"]
    assert "stable_rank_null" not in values
    measured = values_of(scanned("rank", folder="alone").points[0])
    assert set(measured) == {"stable_rank", "effective_rank", "weight_norm", "revision"}


def test_names_that_are_no_measures_are_refused() -> None:
    with pytest.raises(SettingsError, match=r"measures must be one of all, activations, .*, got 'ranks'; did you mean"):
        scanned("llc", "ranks")
    with pytest.raises(SettingsError, match="measures is an empty list; name at least one"):
        scan("run", "text.jsonl", measures=[])
