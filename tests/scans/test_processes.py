"""A scan from the Hub by several processes, killed, stopped and shared: the points of one that nobody disturbed."""

import json
import os
import random
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hf_llc import DataSettings, SamplerSettings
from hf_llc.scans.request import Request
from hf_llc.scans.scan import run_scan
from tests.helpers.processes import Starter
from tests.helpers.tiny_model import jsonl, read_files, save_tiny_model
from tests.hub_server.environment import client_environment, use_hub
from tests.hub_server.server import HubServer

pytestmark = pytest.mark.processes

SAMPLER = SamplerSettings(batch_size=8, chains=4, draws=25, burn_in=10, threads=1, gamma=1000, checks=False)
OPTIONS = "--batch-size 8 --chains 4 --draws 25 --burn-in 10 --threads 1 --gamma 1000 --no-checks --json"
CLOCK = {"seconds", "run_dir"}
ROOM = 550_000
"""Bytes for two checkpoints, each of them about 200 kB and the tokenizer."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubServer]:
    """`org/series`: step1, step2 damaged, step4, step8, and step16 with the weights of step4; `org/text`."""
    folder = tmp_path_factory.mktemp("series")
    files = [dict(read_files(save_tiny_model(folder / str(seed), seed))) for seed in range(3)]
    with HubServer() as running:
        running.add_dataset("org/text", {"t.jsonl": jsonl(200)})
        repo = running.add_model("org/series", files[2])
        for step, content in {1: files[0], 4: files[1], 8: files[2], 16: files[1]}.items():
            repo.commit(content, f"step{step}")
        repo.commit({**files[0], "model.safetensors": b"broken"}, "step2")
        yield running


@pytest.fixture(autouse=True)
def undisturbed(server: HubServer) -> None:
    server.faults.clear()


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory, server: HubServer) -> Iterator[Starter]:
    """Starts a scan of the series; ends what a failed test leaves."""
    place = tmp_path_factory.mktemp("scans")
    starter = Starter(place, ["scan", "org/series", "--dataset", "org/text", *OPTIONS.split()])
    starter.environment |= client_environment(server.url, place / "home") | {"HF_HUB_OFFLINE": "0"}
    yield starter
    starter.stop()


@pytest.fixture(scope="module")
def reference(start: Starter, server: HubServer) -> list[dict[str, Any]]:
    """The points of a scan in one process, this one, that nobody disturbed."""
    finish_here(start, server, "reference")
    return points(start.place / "reference")


def finish_here(start: Starter, server: HubServer, folder: str) -> None:
    """The same command in this process, which has everything imported already, and with an empty cache."""
    request = Request(
        model="org/series",
        data=DataSettings(dataset="org/text"),
        sampler=SAMPLER,
        output_dir=Path(folder),
        max_disk=ROOM,
    )
    with pytest.MonkeyPatch.context() as patch:
        use_hub(patch, server.url, start.place / f"home-{folder}")
        patch.chdir(start.place)
        run_scan(request, processes=1)


def points(folder: Path) -> list[dict[str, Any]]:
    """What scan.json says of each point, without what is measured by the clock or names the folder."""
    stored = json.loads((folder / "scan.json").read_bytes())["points"]
    for point in stored:
        if point["estimate"] is not None:
            point["estimate"] = {name: value for name, value in point["estimate"].items() if name not in CLOCK}
    return list(stored)


def chains(folder: Path) -> dict[Path, int]:
    """The finished chains with the time of their writing."""
    return {path: path.stat().st_mtime_ns for path in folder.glob("points/*/chains/*.json")}


def weights(folder: Path) -> list[Path]:
    """What is left of downloads."""
    return [*folder.glob(".sessions/**/*.safetensors"), *folder.glob(".sessions/**/*.incomplete")]


def test_the_series_is_what_it_should_be(reference: list[dict[str, Any]]) -> None:
    assert [(p["revision"], p["llc"] is None, p["duplicate_of"]) for p in reference] == [
        ("step1", False, None),
        ("step2", True, None),
        ("step4", False, None),
        ("step8", False, None),
        ("step16", False, "step4"),
    ]
    assert "damaged" in reference[1]["error"]


def test_two_processes_give_the_points_of_one_and_rows_as_they_come(
    start: Starter, reference: list[dict[str, Any]]
) -> None:
    """With γ and ε fixed before, so that it is the workers who load the damaged checkpoint first."""
    (start.place / "two").mkdir()
    for name in ("inputs.json", "shared.json"):
        shutil.copy(start.place / "reference" / name, start.place / "two")
    running = start("--num-processes", 2, "--output-dir", "two")
    running.wait_until(lambda: any(line.startswith("step1 ") for line in running.err.splitlines()))
    assert "step8" not in {point["revision"] for point in points(start.place / "two")}
    assert not any(line.startswith("step8 ") for line in running.err.splitlines())
    ran = running.finish()
    assert ran.code == 1, ran.err
    assert list((start.place / "two/points").glob("step2-*/failed.json"))
    assert "damaged" in next(line for line in ran.err.splitlines() if line.startswith("step2"))
    assert points(start.place / "two") == reference


def test_a_scan_killed_five_times_goes_on_to_the_same_points(
    start: Starter, server: HubServer, reference: list[dict[str, Any]]
) -> None:
    """At random moments: while weights come, between chains and within them, by one process and by two."""
    folder, moments = start.place / "killed", random.Random(1)
    kept: dict[Path, int] = {}
    server.faults.add("model.safetensors", "slow", rate=400_000, times=None)
    for trial in range(5):
        asked = len(server.requests("/refs"))
        running = start("--num-processes", 1 + trial % 2, "--output-dir", "killed", "--max-disk", ROOM)
        running.wait_until(lambda asked=asked: len(server.requests("/refs")) > asked)  # type: ignore[misc]
        time.sleep(moments.uniform(0, 2))
        before = chains(folder)
        running.kill()
        assert before.items() <= chains(folder).items()
        assert kept.items() <= before.items()
        kept = before
    assert not (folder / "asked.json").exists()
    server.faults.clear()
    finish_here(start, server, "killed")
    assert points(folder) == reference
    assert kept.items() <= chains(folder).items()
    assert weights(folder) == []


def test_two_scans_share_one_folder(start: Starter, reference: list[dict[str, Any]]) -> None:
    both = [start("--num-processes", 1, "--output-dir", "shared", "--max-disk", ROOM) for _ in range(2)]
    for running in both:
        ran = running.finish()
        assert ran.code == 1, ran.err
        assert [point["llc"] for point in ran.json["points"]] == [point["llc"] for point in reference]
    assert points(start.place / "shared") == reference
    assert weights(start.place / "shared") == []


def test_ranks_of_the_users_own_launch_share_a_scan_and_print_once(
    start: Starter, reference: list[dict[str, Any]]
) -> None:
    launcher = ["torchrun", "--nproc-per-node", "2", "--standalone", "--no-python"]
    ran = start("--output-dir", "ranks", launcher=launcher).finish()
    assert ran.code == 1, ran.err  # because of the damaged one
    assert [point["llc"] for point in ran.json["points"]] == [point["llc"] for point in reference]
    assert points(start.place / "ranks") == reference
    assert ran.err.count("lr = ") == 1


def test_ranks_share_components_and_each_checkpoint_is_downloaded_once(start: Starter, server: HubServer) -> None:
    """Two ranks of the user's own launch, within a limit of disk, against one process."""
    asked = ["--component", "l0h0,l0.mlp", "--max-disk", ROOM, "--revisions", "step1,step4"]
    # Other tests leave checkpoints in the cache, from which nothing is downloaded.
    environment = dict(start.environment)
    start.environment["HF_HOME"] = start.environment["HF_HUB_CACHE"] = str(start.place / "empty-for-ranks")
    one = start(*asked, "--num-processes", 1, "--output-dir", "components-one").finish()
    assert one.code == 0, one.err
    before = len(server.requests("model.safetensors", "GET"))
    launcher = ["torchrun", "--nproc-per-node", "2", "--standalone", "--no-python"]
    ran = start(*asked, "--output-dir", "components-ranks", launcher=launcher).finish()
    start.environment = environment
    assert ran.code == 0, ran.err
    assert len(server.requests("model.safetensors", "GET")) - before == 2
    assert list(ran.json["components"]) == ["l0h0", "l0.mlp"]
    for name in ran.json["components"]:
        assert points(start.place / "components-ranks" / name) == points(start.place / "components-one" / name)


def test_ctrl_c_ends_a_download_too(start: Starter, server: HubServer) -> None:
    server.faults.add("model.safetensors", "slow", rate=2000, times=None)
    asked = len(server.requests("model.safetensors", "GET"))
    environment = dict(start.environment)
    start.environment["HF_HOME"] = start.environment["HF_HUB_CACHE"] = str(start.place / "empty")
    running = start("--num-processes", 1, "--output-dir", "stopped")
    start.environment = environment
    running.wait_until(lambda: len(server.requests("model.safetensors", "GET")) > asked)
    time.sleep(0.3)
    os.killpg(running.pid, signal.SIGINT)
    stopped = time.monotonic()
    ran = running.finish()
    assert time.monotonic() - stopped < 20
    assert (ran.code, ran.out) == (130, "")
    assert ran.complaints[-1] == "Interrupted. Finished work is kept: run the same command to resume."


def test_parts_that_run_at_once_on_one_folder_write_about_the_whole(
    start: Starter, reference: list[dict[str, Any]]
) -> None:
    running = [start("--num-processes", 1, "--shard", f"{part}/2", "--output-dir", "parts") for part in (1, 2)]
    ended = [each.finish() for each in running]
    assert sorted(ran.code for ran in ended) == [0, 1], [ran.err for ran in ended]
    assert points(start.place / "parts") == reference
