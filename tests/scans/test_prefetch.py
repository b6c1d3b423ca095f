"""Downloads ahead of their use, within a limit, over real HTTP: what is here when, and what is taken away."""

import signal
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import huggingface_hub
import pytest

from hf_llc.checkpoints.source import ModelSource
from hf_llc.errors import ResourceError, SourceError
from hf_llc.execution.availability import CheckpointAvailability
from hf_llc.execution.plan import Plan
from hf_llc.hub import download as downloads
from hf_llc.hub import errors as hub_errors
from hf_llc.measures.schedule import failure, note_failure
from hf_llc.scans import prefetch
from hf_llc.scans.disk_budget import DiskBudget, session
from hf_llc.scans.prefetch import AHEAD, Prefetcher, cached
from tests.execution.test_plan import example
from tests.hub_server import fixtures
from tests.hub_server.repository import Repository
from tests.hub_server.server import HubServer

hub_server, hub = fixtures.hub_server, fixtures.hub

COUNT, SIZE = 6, 100_000
WHOLE = SIZE + 2
"""Bytes of a checkpoint with its config."""


@pytest.fixture
def repo(hub: HubServer) -> Repository:
    """`org/m` with branches step0 … step5, whose weights are of one size and differ."""
    result = hub.add_model("org/m")
    for step in range(COUNT):
        result.commit({"config.json": "{}", "model.safetensors": bytes([step]) * SIZE}, f"step{step}")
    return result


@pytest.fixture
def plans(repo: Repository, tmp_path: Path) -> list[Plan]:
    return [
        replace(
            example(),
            run_dir=tmp_path / f"points/step{step}",
            source=ModelSource(
                id="org/m", revision=f"step{step}", sha=repo.at(f"step{step}").sha, step=step, path=None
            ),
        )
        for step in range(COUNT)
    ]


@pytest.fixture
def availability(tmp_path: Path) -> CheckpointAvailability:
    return CheckpointAvailability(tmp_path / "session")


@pytest.fixture
def budget(tmp_path: Path) -> DiskBudget:
    """Room for two checkpoints and a half."""
    return DiskBudget(tmp_path / "models", 2 * WHOLE + SIZE // 2)


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)


def on_disk(budget: DiskBudget) -> int:
    """Bytes of every file in the budget's folder, unfinished downloads included."""
    total = 0
    for path in budget.folder.rglob("*"):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except FileNotFoundError:
            continue
    return total


def weights(plan: Plan) -> bytes:
    assert plan.source.path is not None
    return (plan.source.path / "model.safetensors").read_bytes()


def downloaded(hub: HubServer) -> int:
    return len(hub.requests("model.safetensors", "GET"))


def over(plan: Plan) -> None:
    """Somebody has done all that there is to do with it."""
    note_failure(plan, SourceError("for the test"))


def test_a_little_comes_before_anybody_asks_and_the_rest_when_asked(
    plans: list[Plan], availability: CheckpointAvailability, hub: HubServer
) -> None:
    with Prefetcher(plans, availability, None, pytest.fail):
        until(lambda: downloaded(hub) == AHEAD)
        time.sleep(3 * prefetch.LOOK)
        assert downloaded(hub) == AHEAD
        assert availability.request("step0") is not None
        until(lambda: downloaded(hub) == AHEAD + 1)
        availability.request("step5")
        time.sleep(3 * prefetch.LOOK)
        assert availability.path_of("step5") is None


def test_the_shelf_is_never_overfull_and_what_is_over_is_removed(
    plans: list[Plan], availability: CheckpointAvailability, budget: DiskBudget, hub: HubServer
) -> None:
    highest, size_limit = 0, budget.limit + 20_000  # the client's own notes beside the files
    with Prefetcher(plans, availability, budget, pytest.fail) as supply:
        for step, plan in enumerate(plans):
            with supply.using(plan) as ready:
                assert weights(ready) == bytes([step]) * SIZE
                ahead = min(2, COUNT - step)
                until(lambda ahead=ahead: len(budget.held) == ahead)  # type: ignore[misc]
                highest = max(highest, on_disk(budget))
            over(plan)
        until(lambda: not budget.held)
        until(lambda: on_disk(budget) == 0)
    assert SIZE < highest <= size_limit
    assert downloaded(hub) == COUNT
    assert all(cached(plan.source, pytest.fail) is None for plan in plans)


@pytest.mark.parametrize("limited", [False, True])
def test_a_checkpoint_costs_one_listing(
    plans: list[Plan], availability: CheckpointAvailability, budget: DiskBudget, hub: HubServer, limited: bool
) -> None:
    with Prefetcher(plans[:2], availability, budget if limited else None, pytest.fail) as supply:
        for plan in plans[:2]:
            with supply.using(plan) as ready:
                assert weights(ready)[0] == ready.source.step
            over(plan)
    assert len(hub.requests("/api/")) == len(hub.requests("/tree/")) == 2


def test_what_was_looked_at_once_stays_while_there_is_room(
    plans: list[Plan], availability: CheckpointAvailability, budget: DiskBudget, hub: HubServer
) -> None:
    """Backwards, as curvature is measured: the early ones, which sampling needs first, are the ones that stay."""
    with Prefetcher(plans[::-1], availability, budget, pytest.fail, once=True) as supply:
        for plan in plans[::-1]:
            with supply.using(plan) as ready:
                assert weights(ready)[0] == ready.source.step
    assert sorted(budget.held) == ["step0", "step1"]
    assert downloaded(hub) == COUNT
    with Prefetcher(plans, availability, budget, pytest.fail) as supply:
        for plan in plans[:3]:
            with supply.using(plan) as ready:
                assert weights(ready)[0] == ready.source.step
            over(plan)
    assert len([entry for entry in hub.requests("model.safetensors", "GET") if plans[0].source.sha in entry.path]) == 1


def test_what_the_user_has_is_used_and_stays(
    plans: list[Plan], availability: CheckpointAvailability, budget: DiskBudget, hub: HubServer
) -> None:
    own = downloads.download("org/m", plans[1].source.sha, prefetch.files_needed(plans[1].source, print), pytest.fail)
    before = {path: path.stat().st_mtime_ns for path in own.iterdir()}
    with Prefetcher(plans[:3], availability, budget, pytest.fail) as supply:
        for plan in plans[:3]:
            with supply.using(plan) as ready:
                assert (ready.source.path == own) == (plan is plans[1])
            over(plan)
    assert {path: path.stat().st_mtime_ns for path in own.iterdir()} == before
    assert downloaded(hub) == 3


def test_a_checkpoint_that_cannot_be_had_is_named_and_the_others_come(
    plans: list[Plan],
    availability: CheckpointAvailability,
    budget: DiskBudget,
    hub: HubServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hub_errors, "MAX_TRIES", 1)
    hub.faults.add(f"{plans[1].source.sha}/model.safetensors", "error", times=None, method="GET")
    with Prefetcher(plans[:3], availability, budget, print) as supply:
        with supply.using(plans[0]):
            pass
        with pytest.raises(SourceError, match="answered 500"), supply.using(plans[1]):
            pass
        with supply.using(plans[2]) as ready:
            assert weights(ready)[0] == 2
    assert "answered 500" in (failure(plans[1]) or "")
    assert "step1" not in budget.held


def test_an_outage_is_waited_out(
    plans: list[Plan], availability: CheckpointAvailability, hub: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prefetch, "OUTAGES", (0.1, 0.1))
    hub.faults.add("model.safetensors", "reset", times=hub_errors.MAX_CONNECTIONS + 1)
    told: list[str] = []
    with Prefetcher(plans[:1], availability, None, told.append) as supply, supply.using(plans[0]) as ready:
        assert weights(ready)[0] == 0
    assert any("cannot be reached" in line and "Waiting" in line for line in told)


def test_a_full_disk_ends_the_downloads_and_is_raised_once(
    plans: list[Plan], availability: CheckpointAvailability, budget: DiskBudget, monkeypatch: pytest.MonkeyPatch
) -> None:
    real: Callable[..., str] = huggingface_hub.hf_hub_download

    def full(repo_id: str, name: str, *, revision: str, **options: object) -> str:
        if revision == plans[2].source.sha:
            raise OSError(28, "No space left on device")
        return real(repo_id, name, revision=revision, **options)

    def use_all() -> None:
        with Prefetcher(plans, availability, budget, pytest.fail) as supply:
            for plan in plans[:2]:
                with supply.using(plan):
                    pass
                over(plan)
            until(lambda: availability.is_finished)

    monkeypatch.setattr(downloads, "hf_hub_download", full)
    with pytest.raises(ResourceError, match=f"disk of {budget.folder / 'step2'} is full"):
        use_all()
    assert "step2" not in budget.held
    assert failure(plans[2]) is None


def test_offline_what_is_not_here_is_said_at_once(
    plans: list[Plan], availability: CheckpointAvailability, monkeypatch: pytest.MonkeyPatch
) -> None:
    prefetch.size_of(plans[0].source, pytest.fail)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    supply = Prefetcher(plans[:1], availability, None, pytest.fail)
    with supply, pytest.raises(SourceError, match="with a network"), supply.using(plans[0]):
        pass


def test_a_slow_download_is_given_up_with_the_block(
    plans: list[Plan],
    availability: CheckpointAvailability,
    budget: DiskBudget,
    hub: HubServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 1000)
    hub.faults.add("model.safetensors", "slow", rate=5000, times=None)
    with Prefetcher(plans, availability, budget, pytest.fail):
        until(lambda: downloaded(hub) == 1)
        started = time.monotonic()
    assert time.monotonic() - started < 5


def test_an_interrupt_ends_a_download_that_this_thread_waits_for(
    plans: list[Plan], hub: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 1000)
    hub.faults.add("model.safetensors", "slow", rate=5000, times=None)
    source, interrupted = plans[0].source, 0.0
    files = prefetch.files_needed(source, pytest.fail)

    def interrupt() -> None:
        nonlocal interrupted
        until(lambda: downloaded(hub) == 1)
        interrupted = time.monotonic()
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        downloads.download("org/m", source.sha, files, pytest.fail)
    assert time.monotonic() - interrupted < 10


def test_a_session_takes_over_what_a_killed_one_left_and_shares_with_nobody(tmp_path: Path) -> None:
    with session(tmp_path, pytest.fail) as first, session(tmp_path, pytest.fail) as second:
        assert first != second
        (second / "x").touch()
        with session(tmp_path, pytest.fail) as third:
            assert third not in {first, second}
    assert not first.exists()
    (first / "models/step0").mkdir(parents=True)
    (second / "models").mkdir(parents=True)
    with session(tmp_path, pytest.fail) as again:
        assert again == first
        assert (again / "models/step0").is_dir()
        assert not second.exists()


def test_a_shelf_adopts_what_is_needed_and_fits(tmp_path: Path) -> None:
    for key in ("a", "b", "c", "old"):
        (tmp_path / key / ".cache").mkdir(parents=True)
        (tmp_path / key / "model.safetensors").write_bytes(b"x" * 10)
    budget = DiskBudget(tmp_path, 25)
    budget.reconcile({"a": 10, "b": 10, "c": 10})
    assert budget.held == {"a": 10, "b": 10}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]
    assert not (tmp_path / "a/.cache").exists()
    assert not budget.has_room(6)
    budget.release("a")
    assert budget.has_room(15)
