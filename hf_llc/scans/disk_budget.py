"""Disk space of a scan's own: a folder for as long as the scan runs, and downloads in it that never outgrow a limit."""

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from hf_llc.execution.store import RunStore

SESSIONS, MODELS = ".sessions", "models"


@contextmanager
def session(folder: Path, tell: Callable[[str], None]) -> Iterator[Path]:
    """A folder of this process's own below a scan's, for as long as the block runs; then it is removed.

    What a killed scan left in it is found there; what one left in others is removed.
    """
    store = RunStore(folder / SESSIONS, tell)
    number = 0
    while True:
        with store.claim(f"{number}") as mine:
            if mine:
                own = store.folder / f"{number}"
                _remove_dead(store, number)
                own.mkdir(parents=True, exist_ok=True)
                try:
                    yield own
                finally:
                    shutil.rmtree(own, ignore_errors=True)
                return
        number += 1


def _remove_dead(store: RunStore, own: int) -> None:
    for entry in store.folder.iterdir():
        if entry.name.isdecimal() and int(entry.name) != own:
            with store.claim(entry.name) as dead:
                if dead:
                    shutil.rmtree(entry, ignore_errors=True)


class DiskBudget:
    """Downloaded checkpoints in a folder of our own, by key; together never more than `limit` bytes."""

    def __init__(self, folder: Path, limit: int) -> None:
        self.folder, self.limit = folder, limit
        self.held: dict[str, int] = {}

    def reconcile(self, sizes: Mapping[str, int]) -> None:
        """Count the folders of these keys that are present and fit within the limit; remove every other folder."""
        folders = {entry.name: entry for entry in self.folder.iterdir()} if self.folder.is_dir() else {}
        for key in dict.fromkeys([*sizes, *folders]):
            if key in folders and key in sizes and self.has_room(sizes[key]):
                self.held[key] = sizes[key]
                # Pieces of a download that was killed, which the client never takes up again.
                shutil.rmtree(folders[key] / ".cache", ignore_errors=True)
            elif key in folders:
                shutil.rmtree(folders[key], ignore_errors=True)

    def has_room(self, size: int) -> bool:
        """True if `size` more bytes stay within the limit."""
        return sum(self.held.values()) + size <= self.limit

    def reserve(self, key: str, size: int) -> Path:
        """Count the bytes of a checkpoint from now on, and return its folder."""
        self.held[key] = size
        return self.folder / key

    def release(self, key: str) -> None:
        """Remove a checkpoint and stop counting its bytes."""
        shutil.rmtree(self.folder / key, ignore_errors=True)
        self.held.pop(key, None)
