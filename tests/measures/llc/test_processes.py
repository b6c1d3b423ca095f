"""Several processes on one run: equal draws and a whole folder, whoever is killed and whenever."""

import json
import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from hf_llc import DataSettings, SamplerSettings, estimate
from tests.helpers.command_line import Ran, files_of
from tests.helpers.processes import Starter, starting

pytestmark = pytest.mark.processes

SAMPLER = SamplerSettings(batch_size=8, chains=6, draws=40, burn_in=10, threads=1, checks=False, baseline="linear")
OPTIONS = "--batch-size 8 --chains 6 --draws 40 --burn-in 10 --threads 1 --no-checks --baseline linear --json"
TORCHRUN = "torchrun --nproc-per-node 2 --standalone --no-python"
ACCELERATE = (
    "accelerate launch --multi_gpu --num_processes 2 --num_machines 1 --mixed_precision no "
    "--dynamo_backend no --main_process_port 0 --no_python"
)


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Starter]:
    """Starts a small estimate; what a failed test leaves running is ended."""
    with starting(
        tmp_path_factory.mktemp("processes"), ["estimate", "model", "--dataset", "text.jsonl", *OPTIONS.split()]
    ) as starter:
        yield starter


@pytest.fixture(scope="module")
def reference(start: Starter) -> dict[str, Any]:
    """The parts of a run that nobody disturbed, in one process: this one."""
    finish_here(start, "reference")
    return parts(start.place / "reference")


def finish_here(start: Starter, folder: str) -> None:
    """The same command in this process, which has everything imported already."""
    with start.inside():
        estimate("model", DataSettings(dataset="text.jsonl"), SAMPLER, output_dir=Path(folder))


def parts(folder: Path) -> dict[str, Any]:
    """Every payload of a run by name, without what is measured by the clock or names the folder."""
    results = {}
    for path in sorted(folder.rglob("*.json")):
        if path.name != "plans.json":
            payload = json.loads(path.read_bytes())["payload"]
            for name in ("seconds", "load_seconds", "run_dir"):
                payload.pop(name, None)
            results[path.relative_to(folder).as_posix()] = payload
    return results


def is_whole(ran: Ran, folder: Path, reference: dict[str, Any]) -> None:
    """Fails unless the command ended well and printed and left what an undisturbed run does."""
    assert ran.code == 0, ran.err
    assert ran.json["llc"] == reference["estimate.json"]["llc"]
    assert parts(folder) == reference
    assert list(folder.rglob("*.tmp")) == []


def chains_of(folder: Path) -> dict[str, tuple[int, int]]:
    """The finished chains, with what changes when a file is written again."""
    return {name: stat for name, stat in files_of(folder).items() if name.startswith("chains/")}


def test_two_processes_draw_what_one_draws(start: Starter, reference: dict[str, Any]) -> None:
    ran = start("--output-dir", "two", "--num-processes", 2, cold=True).finish()
    is_whole(ran, start.place / "two", reference)
    assert ran.complaints == []
    assert (start.place / "two" / "plans.json").is_file()
    assert not (start.place / "reference" / "plans.json").exists()


@pytest.mark.parametrize("launcher", [TORCHRUN, ACCELERATE], ids=["torchrun", "accelerate"])
def test_a_launch_of_the_users_own_is_one_run_and_prints_once(
    start: Starter, reference: dict[str, Any], launcher: str, request: pytest.FixtureRequest
) -> None:
    name = request.node.callspec.id
    ran = start("--output-dir", name, launcher=launcher.split(), cold=True).finish()
    is_whole(ran, start.place / name, reference)
    assert ran.err.count("lr = ") == 1


def test_two_processes_record_what_one_records(start: Starter, reference: dict[str, Any]) -> None:
    """Beside the chains, and at independent draws; a killed command leaves whole files."""
    keep, one, two = ("--keep", "losses"), start.place / "recorded-1", start.place / "recorded-2"
    start("--output-dir", "recorded-1", "--num-processes", 1, *keep).finish()
    running = start("--output-dir", "recorded-2", "--num-processes", 2, *keep)
    running.wait_until(lambda: any(two.glob("recorded/losses/chains/*.json")))
    workers = running.family()
    running.kill()
    ended(workers)
    ran = start("--output-dir", "recorded-2", "--num-processes", 2, *keep).finish()
    assert ran.code == 0, ran.err
    assert ran.json["llc"] == reference["estimate.json"]["llc"]
    recorded = {path.name: path.read_bytes() for path in one.glob("recorded/losses/chains/*.safetensors")}
    assert len(recorded) == SAMPLER.chain_count
    assert {path.name: path.read_bytes() for path in two.glob("recorded/losses/chains/*.safetensors")} == recorded


def test_a_kill_at_any_moment_loses_the_chain_in_flight_at_most(start: Starter, reference: dict[str, Any]) -> None:
    folder, moments = start.place / "killed", random.Random(1)
    kept: dict[str, tuple[int, int]] = {}
    for processes in (1, 2, 1):
        running = start("--output-dir", "killed", "--num-processes", processes)
        running.wait_until(lambda running=running: "lr = " in running.err)  # type: ignore[misc]
        time.sleep(moments.uniform(0, 0.5))
        workers = running.family()
        before = chains_of(folder)
        assert running.kill() == -signal.SIGKILL
        ended(workers)
        after = chains_of(folder)
        assert before.items() <= after.items()
        assert kept.items() <= after.items()
        kept = after
    assert len(kept) < SAMPLER.chain_count
    finish_here(start, "killed")
    assert parts(folder) == reference
    assert kept.items() <= chains_of(folder).items()


def ended(workers: list[psutil.Process]) -> None:
    """Fails unless all of them end by themselves; in a container nobody may collect them."""
    _, alive = psutil.wait_procs(workers, timeout=10)
    assert [process for process in alive if process.status() != psutil.STATUS_ZOMBIE] == []


def test_ctrl_c_stops_all_processes_with_one_message(start: Starter, reference: dict[str, Any]) -> None:
    folder = start.place / "stopped"
    running = start("--output-dir", "stopped", "--num-processes", 2)
    running.wait_until(lambda: len(chains_of(folder)) >= 1)
    workers = running.family()
    assert len(workers) >= 2
    assert addresses([psutil.Process(running.pid), *workers]) == {"127.0.0.1"}
    os.killpg(running.pid, signal.SIGINT)
    ran = running.finish()
    assert (ran.code, ran.out) == (130, "")
    assert ran.complaints == ["Interrupted. Finished work is kept: run the same command to resume."]
    ended(workers)
    kept = chains_of(folder)
    assert 1 <= len(kept) < SAMPLER.chain_count
    finish_here(start, "stopped")
    assert parts(folder) == reference
    assert kept.items() <= chains_of(folder).items()


def addresses(processes: list[psutil.Process]) -> set[str]:
    """Where these processes can be reached."""
    results = [each for process in processes for each in process.net_connections() if each.status == psutil.CONN_LISTEN]
    return {each.laddr.ip.removeprefix("::ffff:") for each in results}


def test_two_commands_at_once_share_one_folder(start: Starter, reference: dict[str, Any]) -> None:
    both = [start("--output-dir", "shared"), start("--output-dir", "shared")]
    for running in both:
        is_whole(running.finish(), start.place / "shared", reference)
