"""Folders, disks, memory and people that get in the way: one line, and nothing that was finished is lost."""

import errno
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest
import torch

from hf_llc.errors import SettingsError
from hf_llc.tasks.text_generation.objective import LanguageObjective
from tests.helpers.command_line import Ran, Run, files_of, refused


def test_a_folder_of_another_run_is_refused_and_left_alone(small: Run, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    assert small("--output-dir", folder).code == 0
    before = files_of(folder)
    line = refused(small("--output-dir", folder, "--seed", 1), 1, r"other inputs \(sampler\.seed: there 0, here 1\)")
    assert "--output-dir" in line
    assert files_of(folder) == before


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
@pytest.mark.parametrize("arguments", [["--version"], ["estimate", "--help"]])
def test_output_that_cannot_be_written_is_no_success(arguments: list[str]) -> None:
    with open("/dev/full", "w") as full:
        command = [str(Path(sys.executable).parent / "hf-llc"), *arguments]
        ended = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (ended.returncode, ended.stderr.count("\n")) == (1, 1)
    assert ended.stderr.startswith("Error: The disk is full.")


def test_a_file_where_the_folder_should_be(small: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    refused(small("--output-dir", tmp_path / "file" / "run"), 1, r"output_dir .* cannot be created \(Not a directory\)")
    refused(small("--output-dir", tmp_path / "file"), 1, r"output_dir .* cannot be created \((Not|File) ")
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("address", ["http://[::1", "http://a.b:port", "http://a.b:99999", "http://me:secret@a.b:x"])
def test_an_address_that_the_client_cannot_be_imported_with_is_one_line(
    run: Run, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", address)
    line = refused(run("revisions", "org/m"), 2, r"HF_ENDPOINT must be a web address .*, got '")
    assert "secret" not in line


def failing(number: int) -> Callable[..., None]:
    """A call of the system that always gives this error."""

    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number), "some/file")

    return fail


@pytest.mark.parametrize(
    ("number", "pattern"),
    [
        (errno.EACCES, r"No permission to write \(some/file\)\. Give another folder with --output-dir"),
        (errno.EROFS, r"No permission to write \(some/file\)\. Give another folder with --output-dir"),
        (errno.ENOSPC, r"The disk is full \(some/file\)\. Free some space and run the same command"),
        (errno.EIO, r"Input/output error \(some/file\)"),
    ],
)
def test_a_disk_that_refuses(small: Run, monkeypatch: pytest.MonkeyPatch, number: int, pattern: str) -> None:
    first = small("--json").json
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", failing(number))
        refused(small("--seed", 1), 1, pattern)
    assert small("--json").json["llc"] == first["llc"]


def test_a_disk_that_fills_up_keeps_finished_chains(small: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = small("--json", "--output-dir", "whole").json
    with monkeypatch.context() as patch:
        real = os.fsync
        patch.setattr(os, "fsync", lambda handle: failing(errno.ENOSPC)() if Path("part/chains").exists() and list(
            Path("part/chains").glob("000.json")) else real(handle))  # fmt: skip
        refused(small("--json", "--output-dir", "part"), 1, "The disk is full")
    kept = files_of(Path("part"))
    assert "chains/000.json" in kept
    assert "chains/001.json" not in kept
    assert not list(Path("part").rglob("*.tmp"))
    assert small("--json", "--output-dir", "part").json["llc"] == whole["llc"]
    assert {name: stat for name, stat in files_of(Path("part")).items() if name in kept} == kept


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1.00 GiB."),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."),
        MemoryError(),
    ],
    ids=["cuda", "cpu", "python"],
)
def test_out_of_memory_says_what_to_lower(small: Run, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fail(self: LanguageObjective, indices: torch.Tensor) -> torch.Tensor:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(LanguageObjective, "losses_and_gradient", fail)
        refused(small(), 1, "Out of memory. Lower --micro-batch-size or --num-processes")
    assert small("--micro-batch-size", 2).code == 0


@pytest.mark.parametrize("device", ["cuda", "tpu"])
def test_a_device_that_is_not_there(small: Run, device: str) -> None:
    if device == "cuda" and torch.cuda.is_available():
        pytest.skip("this machine has one")
    refused(small("--device", device), 2, device)


def test_stopping_keeps_what_is_finished(small: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("hf_llc.execution.chain_runner.run_chain", stop)
        ran = small("--output-dir", "run")
    assert (ran.code, ran.out) == (130, "")
    assert ran.err.splitlines()[-1] == "Interrupted. Finished work is kept: run the same command to resume."
    kept = files_of(Path("run"))
    assert "resolved.json" in kept
    assert small("--output-dir", "run").code == 0
    assert {name: stat for name, stat in files_of(Path("run")).items() if name in kept} == kept


@pytest.mark.parametrize("error", [SettingsError("what is wrong"), KeyboardInterrupt()], ids=["error", "ctrl-c"])
def test_a_worker_leaves_it_to_its_parent_to_tell(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: BaseException
) -> None:
    def fail(*_: object) -> None:
        raise error

    told = tmp_path / "error.json"
    monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", str(told))
    monkeypatch.setattr("hf_llc.measures.run.work", fail)
    if isinstance(error, KeyboardInterrupt):
        assert run("worker", "plans.json") == Ran(130, "", "")
        assert not told.exists()
    else:
        assert run("worker", "plans.json") == Ran(2, "", "")
        assert json.loads(told.read_bytes())["told"] == "what is wrong"


def test_hf_debug_shows_the_traceback(small: Run, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    refused(run("estimate", "./nothing"), 1, "nothing")
    monkeypatch.setenv("HF_DEBUG", "1")
    with pytest.raises(Exception, match=r"\./nothing") as failure:
        run("estimate", "./nothing")
    assert type(failure.value).__name__ == "NotFoundError"


def test_a_fault_of_the_program_is_not_hidden(small: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr("hf_llc.measures.llc.chains.length.resolve_settings", fail)
    with pytest.raises(RuntimeError, match="shapes do not match"):
        small()


def test_an_output_folder_without_a_name_is_refused(small: Run) -> None:
    before = set(Path.cwd().iterdir())
    refused(small("--output-dir", ""), 2, "--output-dir.*it is empty")
    assert set(Path.cwd().iterdir()) == before


def test_the_home_of_a_user_is_found_in_paths(small: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "at home"))
    assert small("--output-dir", "~/run").code == 0
    assert (tmp_path / "at home/run/estimate.json").is_file()
    assert not Path("~").exists()


def test_what_is_written_takes_any_character_or_nothing_at_all() -> None:
    raw, written_to = io.BytesIO(), import_module("hf_llc.cli.app").written_to
    stream = written_to(io.TextIOWrapper(raw, "ascii"))
    stream.write("λ̂ = 1\n")
    stream.flush()
    assert raw.getvalue() == b"?? = 1\n"
    closed = written_to(None)
    assert closed.write("λ̂") == 2
    closed.close()
