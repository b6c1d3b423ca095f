"""Parts shared out among workers: each made once, whoever dies."""

import threading
from pathlib import Path

from hf_llc.adapters.store import RunStore
from hf_llc.queue import complete

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
