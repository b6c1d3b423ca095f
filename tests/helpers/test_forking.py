"""A command that a prepared process forks is like one that Python starts: what it gets, what it leaves, how it ends."""

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.helpers.forking import READ_AT_IMPORT, READ_LATER, SUPPORTED, prepared_for
from tests.helpers.processes import SCRIPTS, Starter, starting

COMMAND = [str(SCRIPTS / "hf-llc"), "estimate"]
RANK = ["-u", "-P", "-m", "hf_llc.cli", "worker", "plans.json"]


@pytest.mark.skipif(not SUPPORTED, reason="needs Linux")
@pytest.mark.parametrize("arguments", [COMMAND, RANK, [str(SCRIPTS / "torchrun"), "--standalone"]])
def test_what_libraries_read_when_they_are_imported_has_to_be_equal(arguments: list[str]) -> None:
    prepared = {"HF_HOME": "home", "OMP_NUM_THREADS": "1"}
    assert prepared_for(arguments, prepared, prepared)
    assert prepared_for(arguments, prepared | {"RANK": "0"} | dict.fromkeys(READ_LATER, "own"), prepared)
    for name in READ_AT_IMPORT:
        assert not prepared_for(arguments, prepared | {f"{name}X": "other"}, prepared)
        assert not prepared_for(arguments, prepared, prepared | {f"{name}X": "other"})


@pytest.mark.parametrize("arguments", [["-c", "pass"], ["-P", "-m", "hf_llc.cli"], ["elsewhere/hf-llc"], [sys.prefix]])
def test_python_started_in_another_way_is_a_real_process(arguments: list[str]) -> None:
    assert not prepared_for(arguments, {}, {})


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Starter]:
    with starting(tmp_path_factory.mktemp("forking"), []) as starter:
        yield starter


@pytest.mark.processes
@pytest.mark.parametrize("arguments", [["--version"], ["nonsense"], ["show", "nowhere"], ["estimate", "nowhere"]])
def test_a_forked_command_ends_and_says_what_a_started_one_does(start: Starter, arguments: list[str]) -> None:
    assert start(*arguments).finish() == start(*arguments, cold=True).finish()


@pytest.mark.processes
@pytest.mark.skipif(not SUPPORTED, reason="needs Linux")
def test_a_forked_command_has_its_folder_session_and_signals(start: Starter) -> None:
    command = ["estimate", "model", "--dataset", "text.jsonl", "--draws", "100000", "--num-processes", "1"]
    running = start(*command)
    running.wait_until(lambda: "lr = " in running.err)
    process = psutil.Process(running.pid)
    assert process.ppid() == os.getpid()
    assert Path(process.cwd()) == start.place
    assert os.getpgid(running.pid) == os.getsid(running.pid) == running.pid
    assert running.family() == []
    os.killpg(running.pid, signal.SIGINT)
    ran = running.finish()
    assert ran.code == 130
    assert ran.complaints[-1].startswith("Interrupted.")
    again = start(*command)
    again.wait_until(lambda: "lr = " in again.err)
    assert again.kill() == -signal.SIGKILL
