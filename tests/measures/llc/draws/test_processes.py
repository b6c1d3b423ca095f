"""Independent draws made by several processes: the numbers of one, whoever is killed and whenever."""

import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hf_llc import DataSettings, Estimate, SamplerSettings, estimate
from tests.helpers.learned_model import BY_DRAWS, OPTIONS, save_learned_model
from tests.helpers.processes import Starter, starting
from tests.measures.llc.draws.test_rounds import files, payloads
from tests.measures.llc.test_processes import ended

pytestmark = pytest.mark.processes


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Starter]:
    """Starts an estimate by draws of a model that has learned its text; what a failed test leaves running is ended."""
    command = ["estimate", "learned", "--dataset", "learned.jsonl", *map(str, OPTIONS), "--json"]
    with starting(tmp_path_factory.mktemp("rounds-processes"), command) as starter:
        save_learned_model(starter.place / "learned", starter.place / "learned.jsonl")
        yield starter


def here(start: Starter, folder: str, sampler: SamplerSettings = BY_DRAWS) -> Estimate:
    """The same command in this process."""
    with start.inside():
        return estimate("learned", DataSettings(dataset="learned.jsonl"), sampler, output_dir=Path(folder))


@pytest.fixture(scope="module")
def alone(start: Starter) -> Estimate:
    """What one process makes that nobody disturbs."""
    return here(start, "alone")


def parts(start: Starter, folder: str) -> dict[str, Any]:
    result = payloads({name: part for name, part in files(start.place / folder).items() if name != "plans.json"})
    return {name: payload for name, payload in result.items() if name != "inputs.json"}


def test_two_processes_make_the_draws_of_one(start: Starter, alone: Estimate) -> None:
    ran = start("--output-dir", "two", "--num-processes", 2).finish()
    assert ran.code == 0, ran.err
    assert (ran.json["llc"], ran.json["stderr"]) == (alone.llc, alone.stderr)
    assert parts(start, "two") == parts(start, "alone")
    told = [line for line in ran.complaints if "from" in line]
    # Each round is told once, by one of them.
    assert len(told) == len(set(told)) >= 2
    assert told[-1].endswith("was wanted: done")


def test_a_kill_loses_the_pairs_in_flight_at_most(start: Starter, alone: Estimate) -> None:
    folder = start.place / "killed"
    # By themselves they would go on for many minutes.
    running = start("--output-dir", "killed", "--num-processes", 2, "--target-stderr", 1e-3)
    running.wait_until(lambda: len(list(folder.glob("draws/*.json"))) >= 3)
    workers = running.family()
    # Not the group: whoever works for a process that is gone must see so.
    os.kill(running.pid, signal.SIGKILL)
    assert running.finish().code == -signal.SIGKILL
    ended(workers)
    kept = files(folder)
    assert sum(name.startswith("draws/") for name in kept) >= 3
    again = here(start, "killed")
    assert (again.llc, again.stderr) == (alone.llc, alone.stderr)
    assert kept.items() <= files(folder).items()
    assert parts(start, "killed") == parts(start, "alone")


def test_two_devices_that_hold_the_model_together_have_its_number(start: Starter) -> None:
    few = replace(BY_DRAWS, target_stderr=0.2)
    expected = here(start, "one", few)
    options = ("--target-stderr", 0.2, "--devices-per-chain", 2, "--device", "cpu", "--budget", "10m")
    ran = start("--output-dir", "shared", *options).finish()
    assert ran.code == 0, ran.err
    assert ran.json["llc"] == pytest.approx(expected.llc, rel=1e-5)
    assert ran.json["stderr"] == pytest.approx(expected.stderr, rel=1e-4)
    assert ran.json["settings"]["devices_per_chain"] == 2
