"""A scan in several processes, and one that is killed: the same points as one that nobody disturbed."""

import json
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.started import Starter
from tests.tiny import save_tiny_model, sentences

pytestmark = pytest.mark.processes

OPTIONS = "--batch-size 8 --chains 4 --draws 60 --burn-in 20 --threads 1 --gamma 1000 --no-checks --json"
CLOCK = {"seconds", "run_dir"}


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Starter]:
    """Starts a scan of four checkpoints, one of them broken and one a duplicate; ends what a failed test leaves."""
    place = tmp_path_factory.mktemp("scans")
    for seed, step in ((0, 1), (1, 4), (2, 8)):
        save_tiny_model(place / f"series/step{step}", seed)
    shutil.copytree(place / "series/step4", place / "series/step16")
    save_tiny_model(place / "series/step2", 3)
    (place / "series/step2/model.safetensors").write_bytes(b"broken")
    (place / "text.jsonl").write_text("".join(json.dumps({"text": line}) + "\n" for line in sentences(200)))
    starter = Starter(place, ["scan", "series", "--dataset", "text.jsonl", *OPTIONS.split()])
    yield starter
    for running in starter.started:
        running.stop()


@pytest.fixture(scope="module")
def reference(start: Starter) -> list[dict[str, Any]]:
    """The points of a scan in one process that nobody disturbed."""
    ran = start("--num-processes", 1, "--output-dir", "reference").finish()
    assert ran.code == 1, ran.err
    return points(start.place / "reference")


def points(folder: Path) -> list[dict[str, Any]]:
    """What scan.json says of each point, without what is measured by the clock or names the folder."""
    stored = json.loads((folder / "scan.json").read_bytes())["points"]
    for point in stored:
        if point["estimate"] is not None:
            point["estimate"] = {name: value for name, value in point["estimate"].items() if name not in CLOCK}
    return list(stored)


def test_the_series_is_what_it_should_be(reference: list[dict[str, Any]]) -> None:
    assert [(p["revision"], p["llc"] is None, p["duplicate_of"]) for p in reference] == [
        ("step1", False, None),
        ("step2", True, None),
        ("step4", False, None),
        ("step8", False, None),
        ("step16", False, "step4"),
    ]


def test_two_processes_give_the_points_of_one_and_rows_as_they_come(
    start: Starter, reference: list[dict[str, Any]]
) -> None:
    running = start("--num-processes", 2, "--output-dir", "two")
    running.wait_until(lambda: any(line.startswith("step1 ") for line in running.err.splitlines()))
    assert "step8" not in {point["revision"] for point in points(start.place / "two")}
    assert not any(line.startswith("step8 ") for line in running.err.splitlines())
    ran = running.finish()
    assert ran.code == 1, ran.err
    assert "damaged" in next(line for line in ran.err.splitlines() if line.startswith("step2"))
    assert points(start.place / "two") == reference


@pytest.mark.parametrize("trial", range(3))
def test_a_killed_scan_goes_on_to_the_same_points(start: Starter, reference: list[dict[str, Any]], trial: int) -> None:
    folder = start.place / f"killed-{trial}"
    running = start("--num-processes", 1 + trial % 2, "--output-dir", folder)
    wanted = random.Random(trial).randint(1, 14)
    running.wait_until(lambda: len(list(folder.glob("points/*/chains/*.json"))) >= min(wanted, 8))
    running.kill()
    assert start("--num-processes", 1, "--output-dir", folder).finish().code == 1
    assert points(folder) == reference


def test_a_checkpoint_that_only_workers_find_broken_does_not_stop_the_others(start: Starter) -> None:
    """Its config and weights disagree, which shows when it is loaded: here, after γ and ε were fixed without it."""
    place = start.place / "later"
    for step in (1, 2, 3):
        save_tiny_model(place / f"series/step{step}", step)
    config = json.loads((place / "series/step2/config.json").read_text())
    (place / "series/step2/config.json").write_text(json.dumps({**config, "num_hidden_layers": 3}))
    command = ["scan", "series", "--dataset", start.place / "text.jsonl", "--output-dir", "out", *OPTIONS.split()]
    starter = Starter(place, list(map(str, command)))
    starter.environment["HF_HOME"] = start.environment["HF_HOME"]
    assert starter("--num-processes", 1, "--revisions", "step1").finish().code == 0
    ran = starter("--num-processes", 2).finish()
    assert ran.code == 1, ran.err
    found = points(place / "out")
    assert [point["error"] is None for point in found] == [True, False, True]
    assert found[1]["error"]
    assert list((place / "out/points").glob("step2-*/failed.json"))


def test_parts_that_run_at_once_on_one_folder_write_about_the_whole(
    start: Starter, reference: list[dict[str, Any]]
) -> None:
    running = [start("--num-processes", 1, "--shard", f"{part}/2", "--output-dir", "parts") for part in (1, 2)]
    ended = [each.finish() for each in running]
    assert sorted(ran.code for ran in ended) == [0, 1], [ran.err for ran in ended]
    assert points(start.place / "parts") == reference
