"""A calibration in several processes, and one that is killed: the answer of one that nobody disturbed."""

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hf_llc import CalibrationSettings, DataSettings, SamplerSettings, calibrate
from tests.helpers.command_line import files_of
from tests.helpers.processes import Starter, starting

pytestmark = pytest.mark.processes

SAMPLER = SamplerSettings(batch_size=4, chains=2, gamma=1e4, threads=1)
WANTED = CalibrationSettings(pilot_draws=8)
OPTIONS = (
    "--batch-size 4 --chains 2 --gamma 1e4 --threads 1 --max-sequences 32 --context-length 16 --pilot-draws 8 --json"
)
ELSEWHERE = {"seconds", "run_dir", "settings_file"}


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Starter]:
    """Starts a small calibration; what a failed test leaves running is ended."""
    with starting(
        tmp_path_factory.mktemp("calibrations"), ["calibrate", "model", "--dataset", "text.jsonl", *OPTIONS.split()]
    ) as starter:
        yield starter


def finish_here(start: Starter, folder: str) -> dict[str, Any]:
    """The same command in this process, without what is measured by the clock or names the folder."""
    with start.inside():
        data = DataSettings(dataset="text.jsonl", max_sequences=32, context_length=16)
        record = calibrate("model", data, SAMPLER, WANTED, output_dir=Path(folder)).to_dict()
    return {name: value for name, value in record.items() if name not in ELSEWHERE}


@pytest.fixture(scope="module")
def reference(start: Starter) -> dict[str, Any]:
    return finish_here(start, "reference")


def chains_of(folder: Path) -> dict[str, tuple[int, int]]:
    """The finished chains, with what changes when a file is written again."""
    return {name: stat for name, stat in files_of(folder).items() if name.startswith("chains/")}


def test_two_processes_find_what_one_finds(start: Starter, reference: dict[str, Any]) -> None:
    ran = start("--output-dir", "two", "--num-processes", 2).finish()
    assert ran.code == 0, ran.err
    assert {name: value for name, value in ran.json.items() if name not in ELSEWHERE} == reference
    assert (start.place / "two" / "plans.json").is_file()
    assert ran.err.count("Pilot chains: about") == 1


def test_a_kill_loses_the_chain_in_flight_at_most(start: Starter, reference: dict[str, Any]) -> None:
    folder = start.place / "killed"
    running = start("--output-dir", "killed", "--num-processes", 1)
    running.wait_until(lambda: len(list(folder.glob("chains/*.json"))) >= 5)
    assert running.kill() == -signal.SIGKILL
    kept = chains_of(folder)
    assert len(kept) >= 5
    assert finish_here(start, "killed") == reference
    assert kept.items() <= chains_of(folder).items()
    assert len(kept) < len(chains_of(folder))
