"""A run's folder: parts are whole or absent, claimed once, and tied to their inputs."""

import errno
import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hf_llc.errors import ResourceError
from hf_llc.execution.store import RunStore, WithTensors
from hf_llc.settings.files import write_atomically


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def store(tmp_path: Path, told: list[str]) -> RunStore:
    return RunStore(tmp_path / "run", told.append)


def test_a_part_is_read_as_it_was_written(store: RunStore) -> None:
    store.write("chains/000", {"deltas": [0.1, 1e-300, None]})
    assert store.read("chains/000") == {"deltas": [0.1, 1e-300, None]}
    assert store.read("chains/001") is None


@pytest.mark.parametrize("damage", ["gone", "cut", "changed"])
def test_a_part_whose_tensors_are_not_as_they_were_written_counts_as_missing(
    store: RunStore, told: list[str], damage: str
) -> None:
    store.write("recorded/000", WithTensors({"seconds": 1.0}, b"tensors"))
    path = store.tensors_path("recorded/000")
    assert (store.read("recorded/000"), path.read_bytes()) == ({"seconds": 1.0}, b"tensors")
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes({"cut": b"tensor", "changed": b"Tensors"}[damage])
    assert store.read("recorded/000") is None
    assert "has lost 000.safetensors, or that was changed" in told[0]
    assert not store.path("recorded/000").exists()


def test_nan_is_never_written(store: RunStore) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        store.write("chains/000", {"llc": math.nan})
    assert not store.path("chains/000").exists()


@pytest.mark.parametrize("damage", ["truncate", "change", "empty", "not json", "other json"])
def test_a_damaged_part_is_named_and_counts_as_missing(store: RunStore, told: list[str], damage: str) -> None:
    store.write("chains/000", {"deltas": [1.5, 2.5]})
    path = store.path("chains/000")
    content = path.read_text()
    path.write_text(
        {
            "truncate": content[: len(content) // 2],
            "change": content.replace("2.5", "2.6"),
            "empty": "",
            "not json": "\0\0\0",
            "other json": "[1]",
        }[damage]
    )
    assert store.read("chains/000") is None
    assert len(told) == 1
    assert str(path) in told[0]
    assert "computed again" in told[0]
    assert not path.exists()


@pytest.mark.parametrize("where", ["another run", "another part", "another folder without inputs"])
def test_a_part_of_elsewhere_is_not_taken(store: RunStore, told: list[str], tmp_path: Path, where: str) -> None:
    other = RunStore(tmp_path / "other", pytest.fail)
    store.open({"sha": "a"})
    other.open({"sha": "a" if where == "another part" else "b"})
    name = "chains/001" if where == "another part" else "chains/000"
    other.write(name, {"deltas": [9.0]})
    if where == "another folder without inputs":
        other.path("inputs").unlink()
    store.write("chains/000", {"deltas": [1.0]})
    store.path("chains/000").write_bytes(other.path(name).read_bytes())
    assert store.read("chains/000") is None
    assert told == [f"{store.path('chains/000')} is a part of another run; it is computed again."]


def test_parts_stay_those_of_a_run_whose_inputs_were_taken_away(store: RunStore, told: list[str]) -> None:
    store.open({"sha": "a", "lr": None})
    store.write("chains/000", {"deltas": [1.0]})
    store.path("inputs").unlink()
    same, other = (RunStore(store.folder, told.append) for _ in range(2))
    same.open({"sha": "a", "lr": None})
    assert same.read("chains/000") == {"deltas": [1.0]}
    store.path("inputs").unlink()
    other.open({"sha": "b", "lr": None})
    assert other.read("chains/000") is None
    assert len(told) == 1


def test_a_folder_may_be_copied_and_renamed(store: RunStore, told: list[str], tmp_path: Path) -> None:
    store.open({"sha": "a"})
    store.write("chains/000", {"deltas": [1.0]})
    store.folder.rename(tmp_path / "renamed")
    shutil.copytree(tmp_path / "renamed", tmp_path / "copied")
    for name in ("renamed", "copied"):
        again = RunStore(tmp_path / name, told.append)
        assert again.read("chains/000") == {"deltas": [1.0]}
        again.open({"sha": "a"})
        assert again.read("chains/000") == {"deltas": [1.0]}
    assert told == []


def test_a_failed_write_leaves_the_old_part_and_no_litter(store: RunStore, monkeypatch: pytest.MonkeyPatch) -> None:
    store.write("resolved", {"lr": 1})

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        store.write("resolved", {"lr": 2})
    monkeypatch.undo()
    assert store.read("resolved") == {"lr": 1}
    assert [path.name for path in store.folder.iterdir()] == ["resolved.json"]


def test_a_folder_made_from_other_inputs_is_refused_with_what_differs(store: RunStore) -> None:
    store.open({"sha": "a", "sampler": {"lr": 1, "seed": 0}})
    store.open({"sha": "a", "sampler": {"lr": 1, "seed": 0}})
    with pytest.raises(ResourceError, match=r"sampler\.lr: there 1, here 2; sha: there a, here b.*`output_dir`"):
        store.open({"sha": "b", "sampler": {"lr": 2, "seed": 0}})
    with pytest.raises(ResourceError, match=r"\(sampler\.lr: there 1, here left open\)"):
        store.open({"sha": "a", "sampler": {"lr": None, "seed": 0}})


def test_a_claim_is_exclusive_and_ends_with_its_block(store: RunStore, tmp_path: Path) -> None:
    rival = RunStore(store.folder, print)
    with store.claim("chains/000") as mine:
        assert mine
        with rival.claim("chains/000") as theirs:
            assert not theirs
        with rival.claim("chains/001") as other:
            assert other
    with rival.claim("chains/000") as theirs:
        assert theirs


def test_a_killed_process_leaves_no_claim(store: RunStore) -> None:
    code = (
        "import os, sys, signal; from pathlib import Path; from hf_llc.execution.store import RunStore\n"
        f"with RunStore(Path({str(store.folder)!r}), print).claim('chains/000') as mine:\n"
        "    assert mine; print('claimed', flush=True); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ended.stdout == "claimed\n"
    assert ended.returncode == -9
    with store.claim("chains/000") as mine:
        assert mine


def test_atomic_writes_replace_and_make_folders(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b.json"
    write_atomically(path, b"1")
    write_atomically(path, json.dumps([2]).encode())
    assert path.read_bytes() == b"[2]"
    assert [entry.name for entry in path.parent.iterdir()] == ["b.json"]


def test_a_file_of_the_users_own_is_left_alone(store: RunStore, told: list[str]) -> None:
    own = store.path("inputs")
    own.parent.mkdir(parents=True, exist_ok=True)
    own.write_text('{"my": 1}')
    with pytest.raises(ResourceError, match=r"inputs\.json was not written by hf-llc\. Choose another `output_dir`"):
        store.open({"seed": 0})
    assert own.read_text() == '{"my": 1}'
    assert told == []
