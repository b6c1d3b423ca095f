"""Options for several machines: what contradicts itself is one line, and the rest is handed to Accelerate."""

import os
import sys

import pytest

from hf_llc.execution.machine import default_threads
from tests.helpers.command_line import Run, refused

WHERE = ["--main-process-ip", "10.0.0.1"]


@pytest.mark.parametrize("command", ["estimate", "scan", "calibrate"])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--num-machines", "0"], r"--num-machines must be ≥ 1, got 0"),
        (["--machine-rank", "1"], r"--machine-rank needs --num-machines"),
        (WHERE, r"--main-process-ip needs --num-machines"),
        (["--num-machines", "1", "--machine-rank", "1"], r"--machine-rank is 1, but .* it can only be 0"),
        (["--num-machines", "2", "--machine-rank", "2"], r"--machine-rank is 2, but .* ranks are 0 to 1"),
        (["--num-machines", "2", "--machine-rank", "-1"], r"--machine-rank is -1, but .* ranks are 0 to 1"),
        (["--num-machines", "2", *WHERE], r"--num-machines 2 needs --machine-rank"),
        (["--num-machines", "2", "--machine-rank", "0"], r"--num-machines 2 needs --main-process-ip"),
        (["--num-machines", "2", "--machine-rank", "0", *WHERE], r"--num-machines 2 needs --num-processes"),
        (
            ["--num-machines", "2", "--machine-rank", "0", *WHERE, "--num-processes", "3"],
            r"multiple of --num-machines 2",
        ),
        (["--main-process-port", "70000"], r"--main-process-port must be 1 to 65535, .*got 70000"),
    ],
)
def test_what_contradicts_itself_is_refused_before_anything_is_read(
    run: Run, command: str, options: list[str], message: str
) -> None:
    refused(run(command, "no/model", *options), 2, message)


def test_more_chains_until_it_is_precise_are_for_one_machine(run: Run) -> None:
    several = ["--num-machines", "2", "--machine-rank", "0", *WHERE, "--num-processes", "2"]
    refused(
        run("estimate", "no/model", *several, "--target-stderr", "0.1"),
        2,
        r"--target-stderr with chains works on one machine only",
    )


@pytest.fixture
def handed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """What Accelerate's launcher is called with, once it is, and how many threads it may give each process."""
    given: list[tuple[str, str]] = []

    def launched(options: str) -> None:
        given.append((options, os.environ["OMP_NUM_THREADS"]))

    monkeypatch.setattr("accelerate.commands.launch.launch_command", launched)
    monkeypatch.setattr("accelerate.commands.launch.launch_command_parser", Parser)
    return given


class Parser:
    """Takes the words as they are."""

    def parse_args(self, message: list[str]) -> str:
        return " ".join(message)


def test_the_options_are_passed_on_with_the_command_that_was_typed(run: Run, handed: list[tuple[str, str]]) -> None:
    typed = ["scan", "no/model", "--num-machines", "2", "--machine-rank", "1", *WHERE, "--num-processes", "16"]
    ran = run(*typed, "--main-process-port", "29501", "--device", "cpu")
    assert (ran.code, ran.out, ran.complaints) == (0, "", [])
    ((arguments, threads),) = handed
    for each in (
        "--num_processes 16", "--num_machines 2", "--machine_rank 1", "--main_process_ip 10.0.0.1",
        "--main_process_port 29501", "--same_network",
    ):  # fmt: skip
        assert f" {each} " in f" {arguments} "
    assert arguments.endswith(f"--no_python {sys.executable} -u -P -m hf_llc.cli {' '.join(sys.argv[1:])}")
    assert threads == str(default_threads(4))


def test_one_machine_needs_no_launch_over_several(small: Run, handed: list[tuple[str, str]]) -> None:
    alone = small("--num-machines", "1", "--machine-rank", "0", *WHERE, "--quiet")
    assert alone.code == 0
    assert handed == []
    assert alone.out == small("--quiet").out
