"""`hf-llc scan --shard` and `hf-llc merge`: parts of a scan are the numbers of one, wherever they were made."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hf_llc.results.curve import Curve
from hf_llc.scans.prepare import MEASURED
from hf_llc.scans.scan import scan
from hf_llc.scans.shard import Shard
from hf_llc.settings.data import DataSettings
from hf_llc.settings.sampler import SamplerSettings
from hf_llc.settings.strict_json import sealed
from tests.cli.conftest import NOWHERE
from tests.helpers.command_line import SMALL, Ran, Run, files_of, refused
from tests.helpers.tiny_model import jsonl, read_files, save_tiny_model
from tests.hub_server.environment import use_hub
from tests.hub_server.server import HubServer

pytestmark = pytest.mark.usefixtures("blank_pictures")

CLOCK = {"seconds", "run_dir", "versions"}
PLAIN = {"gradient": "minibatch", "batches": "independent"}
SAMPLER = SamplerSettings(batch_size=4, chains=2, draws=8, burn_in=2, checks=False, threads=1, **PLAIN)  # type: ignore[arg-type]
OPTIONS = [*SMALL, "--threads", "1", "--num-processes", "1"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A series of which one checkpoint has no weights and one those of another; γ and ε are left open.

    Scanned as a whole into `whole`, and in three parts into `part-1` to `part-3`; not to be changed.
    """
    place = tmp_path_factory.mktemp("shards")
    for seed, step in ((0, 1), (1, 4), (2, 8), (3, 32)):
        save_tiny_model(place / f"series/step{step}", seed)
    shutil.copytree(place / "series/step4", place / "series/step16")
    (place / "series/step2").mkdir()
    shutil.copy(place / "series/step1/config.json", place / "series/step2")
    text = place / "text.jsonl"
    text.write_text(jsonl(200))
    with pytest.MonkeyPatch.context() as patch:
        use_hub(patch, NOWHERE, place / "home")
        for name, shard in [("whole", Shard()), *((f"part-{i}", Shard(i, 3)) for i in (1, 2, 3))]:
            scan(
                str(place / "series"),
                DataSettings(dataset=str(text)),
                SAMPLER,
                output_dir=place / name,
                processes=1,
                shard=shard,
            )
        yield place


def scanned(run: Run, place: Path, *more: object) -> Ran:
    return run("scan", place / "series", "--dataset", place / "text.jsonl", *OPTIONS, "--json", *more)


def points(folder: Path) -> list[dict[str, Any]]:
    """The points of a folder, without what the clock and the place decide."""
    stored = json.loads((folder / "scan.json").read_bytes())["points"]
    for point in stored:
        if point["estimate"] is not None:
            point["estimate"] = {name: value for name, value in point["estimate"].items() if name not in CLOCK}
    return list(stored)


def contents(folder: Path) -> dict[str, bytes]:
    """Every file but the locks."""
    return {name: content for name, content in read_files(folder).items() if not name.startswith(".claims")}


@pytest.mark.usefixtures("real_pictures")
def test_parts_merged_are_the_numbers_of_one_scan(run: Run, place: Path) -> None:
    ran = run("merge", *(place / f"part-{i}" for i in (1, 2, 3)), "--output-dir", "merged", "--json")
    assert ran.code == 1, "a checkpoint has no weights"
    assert points(Path("merged")) == points(place / "whole")
    assert [point["revision"] for point in points(Path("merged"))] == [f"step{2**k}" for k in range(6)]
    assert len({point["llc"] for point in points(Path("merged"))}) == 5
    assert ran.json == json.loads(Path("merged/scan.json").read_text())
    assert run("show", "merged", "--json").json == ran.json
    for name in ("results.jsonl", "results.parquet"):
        assert Path("merged", name).read_bytes() == (place / "whole" / name).read_bytes()
    assert Path("merged/llc.png").read_bytes() == (place / "whole/llc.png").read_bytes()


def test_each_part_has_its_own_checkpoints_alone(place: Path) -> None:
    names = [[point["revision"] for point in points(place / f"part-{i}")] for i in (1, 2, 3)]
    assert names == [["step1", "step2", "step32"], ["step4", "step16"], ["step8"]]


def test_merging_again_in_any_order_changes_nothing(run: Run, place: Path) -> None:
    run("merge", *(place / f"part-{i}" for i in (1, 2, 3)), "--output-dir", "merged")
    before = contents(Path("merged"))
    run("merge", *(place / f"part-{i}" for i in (1, 2, 3)), "--output-dir", "merged")
    assert contents(Path("merged")) == before
    run("merge", place / "part-2", "--output-dir", "merged")
    assert contents(Path("merged")) == before


def test_parts_come_one_after_another(run: Run, place: Path) -> None:
    first = run("merge", place / "part-3", place / "part-1", "--output-dir", "merged")
    assert first.code == 1
    assert "Missing parts: 2/3." in first.err.splitlines()
    assert "Missing checkpoints: step4, step16." in first.err.splitlines()
    second = run("merge", place / "part-2", "--output-dir", "merged")
    assert "Missing" not in second.err
    assert points(Path("merged")) == points(place / "whole")


def test_a_scan_goes_on_from_what_was_merged(run: Run, place: Path) -> None:
    run("merge", *(place / f"part-{i}" for i in (1, 2)), "--output-dir", "merged")
    before = files_of(Path("merged/points"))
    assert scanned(run, place, "--output-dir", "merged").code == 1
    assert points(Path("merged")) == points(place / "whole")
    after = files_of(Path("merged/points"))
    assert before.items() <= after.items()
    assert {name.split("-")[0] for name in after.keys() - before.keys()} == {"step8"}


def test_merging_leaves_its_sources_as_they_are(run: Run, place: Path, tmp_path: Path) -> None:
    shutil.copytree(place / "part-3", tmp_path / "damaged")
    chain = next((tmp_path / "damaged/points").glob("*/chains/000.json"))
    chain.write_text(chain.read_text()[:-9])
    before = contents(tmp_path / "damaged")
    assert run("merge", tmp_path / "damaged", "--output-dir", "merged").code == 1
    assert contents(tmp_path / "damaged") == before


def test_parts_in_one_folder_measure_once_and_write_about_the_whole(run: Run, place: Path) -> None:
    first = scanned(run, place, "--output-dir", "one", "--shard", "2/2")
    measured = Path("one/shared.json").stat()
    second = scanned(run, place, "--output-dir", "one", "--shard", "1/2")
    assert Path("one/shared.json").stat().st_ino == measured.st_ino
    assert [point["revision"] for point in first.json["points"]] == ["step4", "step16", "step32"]
    assert [point["revision"] for point in second.json["points"]] == ["step1", "step2", "step8"]
    assert (first.code, second.code) == (0, 1)
    assert points(Path("one")) == points(place / "whole")


def test_folders_of_other_inputs_are_refused_by_what_differs(run: Run, place: Path) -> None:
    for name, option, value in (("draws", "--draws", "9"), ("gamma", "--gamma", "500")):
        scanned(run, place, "--output-dir", name, "--shard", "1/3", option, value)
        ran = run("merge", place / "part-2", name, "--output-dir", "merged")
        refused(ran, 1, rf"not a part of the scan in .*part-2: (sampler\.)?{name} is .* in the first and {value}")
        assert not Path("merged").exists()


def test_folders_with_another_measured_step_size_are_refused(run: Run, place: Path, tmp_path: Path) -> None:
    shutil.copytree(place / "part-2", tmp_path / "other")
    rewrite(tmp_path / "other/shared.json", lambda shared: shared["settings"].update(lr=1e-9))
    refused(
        run("merge", place / "part-1", tmp_path / "other", "--output-dir", "m"),
        1,
        "lr is .* in the first and 1e-09 in the other",
    )


def test_of_unequal_points_the_first_is_kept_and_said(run: Run, place: Path, tmp_path: Path) -> None:
    shutil.copytree(place / "part-2", tmp_path / "other")
    stored = json.loads((tmp_path / "other/scan.json").read_bytes())
    stored["points"][0]["estimate"]["llc"] = stored["points"][0]["llc"] = 77.0
    (tmp_path / "other/scan.json").write_text(json.dumps(sealed(stored)))
    ran = run("merge", place / "part-2", tmp_path / "other", "--output-dir", "merged")
    (line,) = (line for line in ran.err.splitlines() if line.startswith("step4: "))
    assert "has LLC 77.0, not" in line
    assert line.endswith(f"That of {place / 'part-2'} is kept.")
    assert points(Path("merged")) == points(place / "part-2")


def test_a_number_is_kept_rather_than_a_failure(run: Run, place: Path, tmp_path: Path) -> None:
    shutil.copytree(place / "part-2", tmp_path / "failed")
    stored = json.loads((tmp_path / "failed/scan.json").read_bytes())
    failed = replace(Curve.from_dict(stored).points[0], estimate=None, error="out of memory")
    stored["points"][0] = failed.to_dict()
    (tmp_path / "failed/scan.json").write_text(json.dumps(sealed(stored)))
    ran = run("merge", tmp_path / "failed", place / "part-2", "--output-dir", "merged")
    assert "step4: it failed in" in ran.err
    assert points(Path("merged")) == points(place / "part-2")


def rewrite(path: Path, change: Any) -> None:
    """Changes the payload of a part, as somebody else's run would have written it."""
    from hf_llc.execution.store import RunStore

    store = RunStore(path.parent, lambda message: None)
    payload = store.read(path.stem)
    change(payload)
    assert payload is not None
    store.write(path.stem, payload)


def test_what_is_no_scan_is_refused(run: Run, small: Run) -> None:
    assert small("--output-dir", "one").code == 0
    refused(run("merge", "one", "--output-dir", "merged"), 1, "holds no scan")
    refused(run("merge", "nowhere", "--output-dir", "merged"), 1, "holds no scan")


def test_a_part_without_checkpoints_ends_well(run: Run, place: Path) -> None:
    ran = scanned(run, place, "--output-dir", "none", "--shard", "9/9")
    assert (ran.code, ran.json["points"]) == (0, [])
    assert "nothing to do" in ran.err
    refused(run("scan", place / "series", "--shard", "3/2"), 2, "such as 1/8 to 8/8")


def test_a_dry_run_lists_the_part(run: Run, place: Path) -> None:
    ran = run("scan", place / "series", "--shard", "2/3", "--dry-run", "--quiet")
    assert ran.out.split() == ["step4", "step16"]


def test_a_part_downloads_what_is_measured_and_its_own(run: Run, hub: HubServer, tmp_path: Path) -> None:
    hub.add_dataset("org/text", {"train.jsonl": jsonl(200)})
    repo = hub.add_model("org/tiny", read_files(save_tiny_model(tmp_path / "main", 0)))
    weights = [read_files(save_tiny_model(tmp_path / f"{seed}", seed, hidden=8, layers=1)) for seed in range(1, 27)]
    for step, files in enumerate(weights):
        repo.commit(files, f"step{step}")
    ran = run("scan", "org/tiny", "--dataset", "org/text", *OPTIONS, "--shard", "2/13", "--output-dir", "out", "--json")
    assert ran.code == 0, ran.err
    assert [point["revision"] for point in ran.json["points"]] == ["step1", "step14"]
    fetched = {entry.path for entry in hub.log if "/resolve/" in entry.path and "model.safetensors" in entry.path}
    spread = {round(i * 25 / (MEASURED - 1)) for i in range(MEASURED)}
    assert fetched == {f"/org/tiny/resolve/{repo.at(f'step{step}').sha}/model.safetensors" for step in spread | {1, 14}}
