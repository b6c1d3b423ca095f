"""Parts shared out among workers: each made once, whoever dies."""

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from hf_llc.adapters.store import RunStore
from hf_llc.queue import Outcome, complete, finished, grouped

NAMES = [f"chains/{index:03d}" for index in range(6)]


def test_parts_come_back_in_order_and_are_made_once(tmp_path: Path) -> None:
    store, made = RunStore(tmp_path, print), []

    def make(name: str) -> dict[str, str]:
        made.append(name)
        return {"name": name}

    assert [part["name"] for part in complete(store, NAMES, make, first=4)] == NAMES
    assert made == NAMES[4:] + NAMES[:4]
    complete(store, NAMES, make)
    assert len(made) == len(NAMES)


def test_only_what_is_missing_is_made(tmp_path: Path) -> None:
    store, made = RunStore(tmp_path, print), []
    store.write(NAMES[2], {"old": True})

    def make(name: str) -> dict[str, bool]:
        made.append(name)
        return {"old": False}

    parts = complete(store, NAMES, make)
    assert [part["old"] for part in parts] == [index == 2 for index in range(6)]
    assert NAMES[2] not in made


def test_two_workers_share_the_parts_and_both_see_all(tmp_path: Path) -> None:
    made: dict[str, list[str]] = {"a": [], "b": []}
    seen: dict[str, int] = {}
    meeting = threading.Barrier(2, timeout=10)

    def worker(me: str, first: int) -> None:
        def make(name: str) -> dict[str, str]:
            if not made[me]:
                meeting.wait()
            made[me].append(name)
            return {"by": me}

        seen[me] = len(complete(RunStore(tmp_path, print), NAMES, make, first=first))

    threads = [threading.Thread(target=worker, args=(me, first)) for me, first in (("a", 0), ("b", 3))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == {"a": 6, "b": 6}
    assert sorted(made["a"] + made["b"]) == NAMES
    assert made["a"]
    assert made["b"]


def test_progress_counts_parts_made_by_others_too(tmp_path: Path) -> None:
    store, told = RunStore(tmp_path, print), []
    store.write(NAMES[0], {})
    complete(store, NAMES[:3], lambda name: {}, found=lambda names: told.append(sorted(names)))
    assert told == [NAMES[:1], NAMES[:2], NAMES[:3]]


GROUPS = [NAMES[:3], NAMES[3:]]


def test_a_group_is_made_together_but_for_what_is_there_or_somebody_elses(tmp_path: Path) -> None:
    store, asked = RunStore(tmp_path, print), []
    store.write(NAMES[0], {"name": NAMES[0]})

    def make(names: Sequence[str]) -> Iterator[tuple[str, dict[str, str]]]:
        asked.append(list(names))
        yield from ((name, {"name": name}) for name in reversed(names))

    with store.claim(NAMES[4]):
        steps = grouped(RunStore(tmp_path, print), GROUPS, make, first=1)
        assert [next(steps) for _ in range(3)] == [Outcome.MADE, Outcome.MADE, Outcome.NEEDED]
    assert asked == [[NAMES[3], NAMES[5]], NAMES[1:3]]
    assert finished(steps) == {name: {"name": name} for name in NAMES}
    assert asked[2:] == [[NAMES[4]]]


def test_what_was_made_of_a_group_before_an_error_stays_and_its_claims_go(tmp_path: Path) -> None:
    store = RunStore(tmp_path, print)

    def make(names: Sequence[str]) -> Iterator[tuple[str, dict[str, str]]]:
        yield names[1], {}
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        finished(grouped(store, GROUPS, make))
    assert [store.path(name).exists() for name in NAMES[:3]] == [False, True, False]
    with store.claim(NAMES[0]) as mine:
        assert mine


def test_the_rest_of_a_group_is_claimed_while_its_first_parts_are_already_kept(tmp_path: Path) -> None:
    store = RunStore(tmp_path, print)
    seen = []

    def make(names: Sequence[str]) -> Iterator[tuple[str, dict[str, str]]]:
        for name in names:
            yield name, {}
            with RunStore(tmp_path, print).claim(names[-1]) as mine:
                seen.append((store.path(name).exists(), mine))

    finished(grouped(store, GROUPS, make))
    assert seen == [(True, False)] * len(NAMES)
