"""`hf-llc scan` while downloads fail, within a limit of disk, on a full disk, and once there is nothing left to do."""

import errno
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from torch import Tensor

from hf_llc.execution import loaded_model
from hf_llc.execution.tensors import write_tensors
from hf_llc.hub import download
from hf_llc.hub import errors as hub_errors
from tests.helpers.command_line import SMALL, Ran, Run, files_of, refused
from tests.helpers.tiny_model import read_files, save_tiny_model
from tests.hub_server.faults import Kind
from tests.hub_server.repository import Repository
from tests.hub_server.server import HubServer

pytestmark = pytest.mark.usefixtures("blank_pictures")

FIXED = ["--gamma", 1000, "--lr", 1e-4, "--sampler", "sgld-lm", "--start", "anchor", "--gradient", "minibatch",
         "--batches", "independent", "--num-processes", 1]  # fmt: skip
"""Nothing is left to measure."""
FAULTS: tuple[Kind, ...] = ("retry-after", "rate-limit", "reset", "reset-body", "truncate", "error")
ONE = 250_000
"""Bytes, a few more than one checkpoint has."""


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, bytes]]:
    folder = tmp_path_factory.mktemp("downloads")
    return [read_files(save_tiny_model(folder / str(seed), seed)) for seed in range(len(FAULTS))]


@pytest.fixture
def repo(hub: HubServer, files: list[dict[str, bytes]]) -> Repository:
    """`org/m` with branches step0 … step5 of different weights."""
    result = hub.add_model("org/m")
    for step, each in enumerate(files):
        result.commit(each, f"step{step}")
    return result


@pytest.fixture
def scan(run: Run, repo: Repository, text: Path) -> Run:
    """`scan("--revisions", …)`: of the repository."""
    return lambda *more: run("scan", "org/m", "--dataset", text, *SMALL, *FIXED, "--output-dir", "out", *more)


def numbers(ran: Ran) -> dict[str, float | None]:
    return {point["revision"]: point["llc"] for point in ran.json["points"]}


def left_of_downloads() -> list[Path]:
    return [path for path in Path("out/.sessions").rglob("*") if path.is_file() and path.suffix != ".lock"]


def test_what_goes_wrong_for_a_while_is_waited_out(
    scan: Run, hub: HubServer, repo: Repository, files: list[dict[str, bytes]], tmp_path: Path
) -> None:
    hub.faults.add("/refs", "reset")
    hub.faults.add("/refs", "retry-after", seconds=0)
    hub.faults.add("/refs", "rate-limit", seconds=0)
    hub.faults.add(f"/tree/{repo.at('step1').sha}", "reset")
    for step, kind in enumerate(FAULTS):
        hub.faults.add(f"{repo.at(f'step{step}').sha}/model.safetensors", kind, method="GET", seconds=0)
    ran = scan("--json")
    assert ran.code == 0, ran.err
    assert sum(entry.status in {429, 500, None} for entry in hub.log) >= 4 + 4
    arrived = {path.parent.name: path.read_bytes() for path in (tmp_path / "hf_home/hub").rglob("model.safetensors")}
    assert arrived == {repo.at(f"step{step}").sha: each["model.safetensors"] for step, each in enumerate(files)}
    assert all(llc is not None for llc in numbers(ran).values())


def test_a_checkpoint_that_will_not_come_is_a_row_until_it_does(
    scan: Run, hub: HubServer, repo: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_errors, "MAX_TRIES", 1)
    hub.faults.add(f"{repo.at('step1').sha}/model.safetensors", "error", method="GET", times=None)
    ran = scan("--revisions", "..2", "--json")
    assert ran.code == 1
    assert [name for name, llc in numbers(ran).items() if llc is None] == ["step1"]
    assert "answered 500" in ran.json["points"][1]["error"]
    kept = files_of(Path("out/points"))
    hub.faults.clear()
    again = scan("--revisions", "..2", "--json")
    assert again.code == 0
    assert {name: llc for name, llc in numbers(again).items() if name != "step1"} == {
        name: llc for name, llc in numbers(ran).items() if name != "step1"
    }
    assert {name: stat for name, stat in kept.items() if "failed" not in name}.items() <= files_of(
        Path("out/points")
    ).items()


def test_a_limit_of_disk_changes_no_number_and_leaves_nothing(
    scan: Run, hub: HubServer, repo: Repository, tmp_path: Path
) -> None:
    big = read_files(save_tiny_model(tmp_path / "big", 9, hidden=64))
    repo.commit(big, "step9")
    own = huggingface_hub.snapshot_download("org/m", revision=repo.at("step1").sha)
    some = "step0,step1,step2,step9"
    ran = scan("--max-disk", f"{ONE / 1000}kB", "--revisions", some, "--json")
    assert ran.code == 1
    assert [point["revision"] for point in ran.json["points"] if point["error"]] == ["step9"]
    assert "more than `max_disk`" in ran.json["points"][-1]["error"]
    assert left_of_downloads() == []
    assert [path.parent.name for path in (tmp_path / "hf_home/hub").rglob("model.safetensors")] == [Path(own).name]
    assert len(hub.requests("model.safetensors", "GET")) == 3  # one of them the user's own, before
    plain = scan("--revisions", "..2", "--json", "--output-dir", "plain")
    assert numbers(plain) == {name: llc for name, llc in numbers(ran).items() if name != "step9"}


def test_gradients_at_the_anchors_never_pile_up_where_disk_is_short(
    run: Run, repo: Repository, text: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are as large as the models: one at a time while chains run, none before that and none after."""
    results: list[int] = []

    def counted(path: Path, tensors: Sequence[Tensor]) -> None:
        write_tensors(path, tensors)
        results.append(len(list(Path("out").rglob("anchor-gradient*"))))

    monkeypatch.setattr(loaded_model, "write_tensors", counted)
    asked = ["--gamma", 1000, "--num-processes", 1, "--gradient", "control-variate", "--output-dir", "out"]
    ran = run("scan", "org/m", "--dataset", text, *SMALL, *asked, "--revisions", "..1", "--max-disk", "10MB", "--json")
    assert ran.code == 0, ran.err
    assert results == [1] * 2
    assert not list(Path("out").rglob("anchor-gradient*"))


def test_no_size_is_refused(scan: Run) -> None:
    for size in ("0", "20 apples", "-1GB", "", f"{'9' * 400}TB"):
        refused(scan("--max-disk", size), 2, "must be a size above 0 such as 20GB")


def test_copies_are_estimated_one_by_one_if_asked(scan: Run, repo: Repository, files: list[dict[str, bytes]]) -> None:
    repo.commit(files[0], "step7")
    first = scan("--revisions", "step0,step7", "--json").json["points"]
    assert [point["duplicate_of"] for point in first] == [None, "step0"]
    assert len(list(Path("out/points").iterdir())) == 1
    second = scan("--revisions", "step0,step7", "--allow-duplicates", "--json").json["points"]
    assert [point["duplicate_of"] for point in second] == [None, None]
    assert len(list(Path("out/points").iterdir())) == 2
    assert second[1]["estimate"]["revision"] == "step7"
    assert second[1]["llc"] == first[1]["llc"]  # by common random numbers
    assert scan("--revisions", "step0,step7", "--json").json["points"] == first


class LoadedError(Exception):
    """Something would be estimated."""


@pytest.fixture
def finished(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Called, it makes every further estimate raise LoadedError."""

    def fail(*_: object, **__: object) -> None:
        raise LoadedError

    return lambda: monkeypatch.setattr("hf_llc.scans.scan.run_scan", fail)


def test_a_finished_scan_is_known_by_what_was_asked(
    scan: Run,
    hub: HubServer,
    repo: Repository,
    files: list[dict[str, bytes]],
    finished: Callable[[], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    options = ("--revisions", "..1", "--json")
    first = scan(*options)
    assert first.code == 0, first.err
    finished()
    asked = len(hub.log)
    assert scan(*options).json == first.json
    assert [entry.path for entry in hub.log[asked:]] == ["/api/models/org/m/refs"]
    for more in (("--draws", 9), ("--revisions", "..2"), ("--tokens-per-step", 5), ("--seed", 1), ("--device", "cpu")):
        with pytest.raises(LoadedError):
            scan(*options, *more)
    with monkeypatch.context() as patch:
        patch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        asked = len(hub.log)
        assert scan(*options).json == first.json
        assert len(hub.log) == asked
    repo.commit(files[3], "step1")
    with pytest.raises(LoadedError):
        scan(*options)


def test_a_finished_local_scan_is_known_by_content_and_found_by_default(
    run: Run, text: Path, files: list[dict[str, bytes]], finished: Callable[[], None]
) -> None:
    for step in (1, 2):
        for name, content in files[step].items():
            Path(f"series/step{step}").mkdir(parents=True, exist_ok=True)
            Path(f"series/step{step}/{name}").write_bytes(content)
    own = Path(shutil.copy(text, "own.jsonl"))
    command = ["scan", "series", "--dataset", own, *SMALL, *FIXED, "--json"]
    first = run(*command).json
    finished()
    assert run(*command).json == first
    for path in (own, Path("series/step2/config.json")):
        before = path.read_text()
        path.write_text(before + "\n")
        with pytest.raises(LoadedError):
            run(*command)
        path.write_text(before)
    assert run(*command).json == first


@pytest.mark.usefixtures("real_pictures")
def test_a_finished_part_is_known_redrawn_as_asked_and_not_reported_again(
    scan: Run, finished: Callable[[], None]
) -> None:
    options = ("--revisions", "..2", "--shard", "1/2", "--report-to", "tensorboard", "--json")
    first = scan(*options)
    assert [point["revision"] for point in first.json["points"]] == ["step0", "step2"]
    finished()
    reports = sorted(Path("out/tensorboard").rglob("*"))
    drawn = Path("out/llc.svg").read_bytes()
    assert scan(*options).json == first.json
    assert Path("out/llc.svg").read_bytes() == drawn
    assert scan(*options, "--x", "linear").json == first.json
    assert Path("out/llc.svg").read_bytes() != drawn
    assert sorted(Path("out/tensorboard").rglob("*")) == reports
    for other in (("--shard", "2/2"), ("--shard", "1/1")):
        with pytest.raises(LoadedError):
            scan(*options, *other)


@pytest.fixture
def small_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on a disk of 1.2 MB; where none can be mounted, downloads are told that theirs is full."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1200k", "tmpfs", str(folder)]
    mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    if not mounted:
        real: Callable[..., str] = huggingface_hub.hf_hub_download

        def limited(repo_id: str, name: str, *, local_dir: Path, **options: Any) -> str:
            if (folder / "filler").exists() and len(list(local_dir.parent.iterdir())) >= 2:
                raise OSError(errno.ENOSPC, "No space left on device")
            return real(repo_id, name, local_dir=local_dir, **options)

        monkeypatch.setattr(download, "hf_hub_download", limited)
    yield folder
    if mounted:
        # Lazily: a file of it may still be mapped into this process.
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.usefixtures("real_pictures")
def test_a_full_disk_is_one_line_and_what_is_finished_stays(scan: Run, small_disk: Path) -> None:
    """Two checkpoints fit beside the results, and --max-disk promises more than there is."""
    (small_disk / "filler").write_bytes(b"x" * 500_000)
    options = ("--output-dir", small_disk / "out", "--max-disk", "1GB", "--revisions", "..3", "--json")
    ran = scan(*options)
    (line,) = [line for line in ran.err.splitlines() if line.startswith("Error: ")]
    assert (ran.code, ran.out) == (1, "")
    assert re.search(r"[Dd]isk.* is full.*(free some space|max.disk)", line, re.IGNORECASE)
    kept = files_of(small_disk / "out/points")
    assert not list((small_disk / "out").rglob("*.safetensors"))
    (small_disk / "filler").unlink()
    ran = scan(*options[:2], "--max-disk", f"{ONE / 1000}kB", *options[4:])
    assert ran.code == 0, ran.err
    assert kept.items() <= files_of(small_disk / "out/points").items()
    assert len(ran.json["points"]) == 4
