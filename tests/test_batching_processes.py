"""Chains in one call in several processes, and one that is killed: the numbers of one after another up to rounding."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hf_llc import DataSettings, SamplerSettings, estimate
from tests.cli.ran import files_of
from tests.started import Starter, starting

pytestmark = pytest.mark.processes

SAMPLER = SamplerSettings(
    batch_size=8, chains=4, draws=60, burn_in=20, threads=1, gamma=100.0, lr=1e-4, sampler="sgld-lm", start="anchor",
    gradient="minibatch", batches="independent", batched_chains="off",
)  # fmt: skip
OPTIONS = (
    "--batch-size 8 --chains 4 --draws 60 --burn-in 20 --threads 1 --gamma 100 --lr 1e-4 --sampler sgld-lm "
    "--start anchor --gradient minibatch --batches independent --batched-chains on --json"
)


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Starter]:
    """Starts a small estimate in which chains go together; what a failed test leaves running is ended."""
    with starting(
        tmp_path_factory.mktemp("batching"), ["estimate", "model", "--dataset", "text.jsonl", *OPTIONS.split()]
    ) as starter:
        yield starter


@pytest.fixture(scope="module")
def reference(start: Starter) -> dict[str, Any]:
    """The traces of chains one after another."""
    with start.inside():
        estimate("model", DataSettings(dataset="text.jsonl"), SAMPLER, output_dir=Path("reference"))
    return traces(start.place / "reference")


def traces(folder: Path) -> dict[str, Any]:
    """The payload of every chain and check by name."""
    paths = [*folder.glob("chains/*.json"), *folder.glob("checks/*.json")]
    return {path.relative_to(folder).as_posix(): json.loads(path.read_bytes())["payload"] for path in paths}


def assert_same_but_for_rounding(folder: Path, reference: dict[str, Any]) -> None:
    found = traces(folder)
    assert found.keys() == reference.keys()
    for name, trace in found.items():
        assert trace["status"] == reference[name]["status"]
        assert trace["losses"] == pytest.approx(reference[name]["losses"], rel=2e-5)
        assert trace["deltas"] == pytest.approx(reference[name]["deltas"], abs=2e-5)


def made_of(folder: Path) -> dict[str, tuple[int, int]]:
    """The finished chains and checks, with what changes when a file is written again."""
    return {name: stat for name, stat in files_of(folder).items() if name.startswith(("chains/", "checks/"))}


def test_two_processes_share_the_chains(start: Starter, reference: dict[str, Any]) -> None:
    ran = start("--output-dir", "two", "--num-processes", 2).finish()
    assert ran.code == 0, ran.err
    assert ran.complaints == []
    assert ran.err.count("batched_chains = on: chains go in one call of the model, as asked.") == 1
    assert ran.json["settings"]["batched_chains"] == "on"
    assert_same_but_for_rounding(start.place / "two", reference)


def test_what_was_finished_before_a_kill_stays_and_the_rest_is_made(start: Starter, reference: dict[str, Any]) -> None:
    folder = start.place / "killed"
    running = start("--output-dir", "killed", "--num-processes", 1)
    # Checks are an eighth as long as chains and are kept as they end.
    running.wait_until(lambda: len(made_of(folder)) >= 4)
    assert running.kill() == -signal.SIGKILL
    kept = made_of(folder)
    assert 4 <= len(kept) < len(reference)
    ran = start("--output-dir", "killed", "--num-processes", 2).finish()
    assert ran.code == 0, ran.err
    assert kept.items() <= made_of(folder).items()
    assert_same_but_for_rounding(folder, reference)


def test_two_commands_at_once_share_one_folder(start: Starter, reference: dict[str, Any]) -> None:
    both = [start("--output-dir", "shared"), start("--output-dir", "shared")]
    found = [running.finish() for running in both]
    assert [ran.code for ran in found] == [0, 0]
    assert found[0].json["llc"] == found[1].json["llc"]
    assert_same_but_for_rounding(start.place / "shared", reference)
