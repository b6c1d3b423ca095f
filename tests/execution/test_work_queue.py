"""Parts shared out among workers: each made once, whoever dies."""

import threading
from pathlib import Path

import pytest

from hf_llc.execution.store import RunStore
from hf_llc.execution.work_queue import WorkState, make_all_parts, make_parts, run_to_end

NAMES = [f"chains/{index:03d}" for index in range(6)]


def test_parts_come_back_in_order_and_are_made_once(tmp_path: Path) -> None:
    store, results = RunStore(tmp_path, print), []

    def make(name: str) -> dict[str, str]:
        results.append(name)
        return {"name": name}

    assert [part["name"] for part in make_all_parts(store, NAMES, make, first=4)] == NAMES
    assert results == NAMES[4:] + NAMES[:4]
    make_all_parts(store, NAMES, make)
    assert len(results) == len(NAMES)


def test_only_what_is_missing_is_made(tmp_path: Path) -> None:
    store, results = RunStore(tmp_path, print), []
    store.write(NAMES[2], {"old": True})

    def make(name: str) -> dict[str, bool]:
        results.append(name)
        return {"old": False}

    parts = make_all_parts(store, NAMES, make)
    assert [part["old"] for part in parts] == [index == 2 for index in range(6)]
    assert NAMES[2] not in results


def test_two_workers_share_the_parts_and_both_see_all(tmp_path: Path) -> None:
    results: dict[str, list[str]] = {"a": [], "b": []}
    seen: dict[str, int] = {}
    meeting = threading.Barrier(2, timeout=10)

    def worker(me: str, first: int) -> None:
        def make(name: str) -> dict[str, str]:
            if not results[me]:
                meeting.wait()
            results[me].append(name)
            return {"by": me}

        seen[me] = len(make_all_parts(RunStore(tmp_path, print), NAMES, make, first=first))

    threads = [threading.Thread(target=worker, args=(me, first)) for me, first in (("a", 0), ("b", 3))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == {"a": 6, "b": 6}
    assert sorted(results["a"] + results["b"]) == NAMES
    assert results["a"]
    assert results["b"]


def test_progress_counts_parts_made_by_others_too(tmp_path: Path) -> None:
    store, told = RunStore(tmp_path, print), []
    store.write(NAMES[0], {})
    make_all_parts(store, NAMES[:3], lambda name: {}, on_parts=lambda names: told.append(sorted(names)))
    assert told == [NAMES[:1], NAMES[:2], NAMES[:3]]


def test_what_was_made_before_an_error_stays_and_the_claim_goes(tmp_path: Path) -> None:
    store = RunStore(tmp_path, print)

    def make(name: str) -> dict[str, str]:
        if name == NAMES[1]:
            raise ZeroDivisionError
        return {}

    with pytest.raises(ZeroDivisionError):
        make_all_parts(store, NAMES[:3], make)
    assert [store.path(name).exists() for name in NAMES[:3]] == [True, False, False]
    with store.claim(NAMES[1]) as mine:
        assert mine


def test_parts_that_another_process_makes_are_waited_for_after_all_others(tmp_path: Path) -> None:
    store, asked = RunStore(tmp_path, print), []

    def make(name: str) -> dict[str, str]:
        asked.append(name)
        return {"name": name}

    with store.claim(NAMES[4]):
        steps = make_parts(RunStore(tmp_path, print), NAMES, make, first=3)
        outcomes = [next(steps) for _ in range(6)]
    assert outcomes == [WorkState.MADE] * 5 + [WorkState.NEEDED]
    assert asked == [NAMES[place] for place in (3, 5, 0, 1, 2)]
    assert run_to_end(steps) == [{"name": name} for name in NAMES]
    assert asked[5:] == [NAMES[4]]
