"""A run on disk: named parts, each durable by itself, each claimed by one process at a time (filelock)."""

import hashlib
import json
import os
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from hf_llc.errors import ResourceError

if TYPE_CHECKING:
    from hf_llc.adapters.link import Link

Tell = Callable[[str], None]


def write_atomically(path: Path, content: bytes) -> None:
    """Puts `content` at `path` so that a reader sees the old file or the new one, never a part, even after a crash."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp"
    # Not tempfile: its files are for their owner alone, and results are for whoever may read the folder.
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _checksum(payload: Mapping[str, Any]) -> str:
    text = json.dumps(payload, sort_keys=True, allow_nan=False)
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


class RunStore:
    """The parts of one run in one folder; any number of processes may use it at once.

    A part is a JSON file of a payload and its checksum. It is written once, whole; a part that does not match its
    checksum counts as missing and is told of by name.

    Args:
        link: to other machines with a run from the same inputs. Each has all parts in a folder of its own in the end,
            and a claim holds on all of them.
        part: makes a block whose time belongs to that part of a profile: reading and writing are `io`.
    """

    def __init__(
        self,
        folder: Path,
        tell: Tell,
        link: "Link | None" = None,
        part: Callable[[str], AbstractContextManager[object]] = nullcontext,
    ) -> None:
        self.folder = folder
        self._tell, self._part = tell, part
        self._link = link
        self._room: str | None = None

    def open(self, inputs: Mapping[str, Any]) -> None:
        """Makes the folder, or checks that what is in it was made from the same inputs.

        Raises:
            ResourceError: the folder holds a run with other inputs; the message names those that differ.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        known = self.read("inputs")
        if known is None:
            self.write("inputs", inputs)
        elif found := differences(known, inputs):
            raise ResourceError(
                f"{self.folder} holds a run with other inputs ({listed(found)}). Give another --output-dir, or remove "
                "that folder."
            )
        self._room = _checksum(inputs)

    def path(self, name: str) -> Path:
        """The file of a part."""
        return self.folder / f"{name}.json"

    def read(self, name: str) -> dict[str, Any] | None:
        """The part's payload, or None if it is not there or not whole.

        Raises:
            ResourceError: a file of that name in the folder itself is somebody else's.
        """
        path = self.path(name)
        if not path.exists():
            return self._fetch(name)
        with self._part("io"):
            found = whole_payload(path)
        if found is None:
            if path.parent == self.folder:
                _refuse_others(path)
            self._tell(f"{path} is damaged (half-written or changed); it is computed again.")
            path.unlink(missing_ok=True)
        return found

    def write(self, name: str, payload: Mapping[str, Any]) -> None:
        """Makes a part durable.

        Raises:
            ValueError: the payload holds inf or NaN.
        """
        with self._part("io"):
            content = json.dumps({"checksum": _checksum(payload), "payload": payload}, allow_nan=False)
            write_atomically(self.path(name), content.encode())
            self.offer([name])

    def offer(self, names: Iterable[str]) -> None:
        """Lets other machines have those of these parts that are here."""
        if self._link is not None and self._room is not None:
            for name in names:
                if whole_payload(self.path(name)) is not None:
                    self._link.put(f"{self._room}/{name}", self.path(name).read_bytes())

    def _fetch(self, name: str) -> dict[str, Any] | None:
        """The payload of a part that another machine has made, kept here from now on."""
        content = self._link.get(f"{self._room}/{name}") if self._link is not None and self._room is not None else None
        if content is None:
            return None
        write_atomically(self.path(name), content)
        return whole_payload(self.path(name))

    @contextmanager
    def claim(self, name: str) -> Iterator[bool]:
        """True while this process alone may make the part; False at once if another one is making it.

        The claim goes with the process, however it ends.
        """
        folder = self.folder / ".claims"
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / f"{name.replace('/', '-')}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            yield False
            return
        try:
            with self._claimed_on_all_machines(name) as mine:
                yield mine
        finally:
            lock.release()

    @contextmanager
    def _claimed_on_all_machines(self, name: str) -> Iterator[bool]:
        if self._link is None or self._room is None:
            yield True
            return
        key = f"{self._room}/{name}"
        mine = self._link.claim(key)
        try:
            yield mine
        finally:
            if mine:
                self._link.release(key)

    @contextmanager
    def turn(self, name: str) -> Iterator[None]:
        """Waits until no other process is inside for this name, and keeps others out while the block runs."""
        folder = self.folder / ".claims"
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / f"{name}.turn"):
            yield


def whole_payload(path: Path) -> dict[str, Any] | None:
    """The payload of a part's file; None if it is not there, half-written or changed."""
    try:
        stored = json.loads(path.read_bytes())
        payload: dict[str, Any] = stored["payload"]
        return payload if stored["checksum"] == _checksum(payload) else None
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError):
        return None  # no part at all, which is the same as one with a wrong checksum


def _refuse_others(path: Path) -> None:
    """Nothing, if the file may be what is left of one of ours.

    Raises:
        ResourceError: it is whole and somebody else's.
    """
    try:
        stored = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return
    if not isinstance(stored, dict) or "checksum" not in stored:
        raise ResourceError(f"{path} is no file of hf-llc. Give another --output-dir, or move it away.")


def differences(known: Mapping[str, Any], asked: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any, Any]]:
    """Name, value in `known` and value in `asked` of all that differs, nested mappings included."""
    found = []
    for key in sorted({*known, *asked}):
        there, here = known.get(key), asked.get(key)
        if isinstance(there, Mapping) and isinstance(here, Mapping):
            found += differences(there, here, f"{prefix}{key}.")
        elif there != here:
            found.append((f"{prefix}{key}", there, here))
    return found


def listed(found: Sequence[tuple[str, Any, Any]]) -> str:
    """What `differences` found, in words; None is a setting that was left open."""
    told = [(name, *("left open" if value is None else value for value in values)) for name, *values in found]
    return "; ".join(f"{name}: there {there}, here {here}" for name, there, here in told)
