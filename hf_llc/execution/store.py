"""A run on disk: named parts, each durable by itself, each claimed by one process at a time (filelock)."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from filelock import FileLock, Timeout

from hf_llc.errors import ResourceError
from hf_llc.settings.bounds import shown
from hf_llc.settings.files import write_atomically
from hf_llc.settings.strict_json import CHECKSUM, DamagedError, checksum, parsed, sealed, unsealed

if TYPE_CHECKING:
    from hf_llc.execution.distributed.message_store import MachineStore

Tell = Callable[[str], None]
INPUTS = "inputs"
"""The part that says what a run is made from."""
TENSORS = ".safetensors"


class WithTensors(NamedTuple):
    """A part that has tensors beside its payload: the content of a safetensors file."""

    payload: Mapping[str, Any]
    tensors: bytes


class RunStore:
    """The parts of one run in one folder; any number of processes may use it at once.

    A part is a JSON file: its name, the run it belongs to as the checksum of its inputs, a payload, and the checksum of
    all of it. It is written once, whole; a part that does not match its checksum, or is another part or another run's,
    counts as missing and is told of by name. A part may have tensors in a file beside it, whose SHA-256 it holds.

    Args:
        link: to other machines with a run from the same inputs. Each has all parts in a folder of its own in the end,
            and a claim holds on all of them.
        part: makes a block whose time belongs to that part of a profile: reading and writing are `io`.
    """

    def __init__(
        self,
        folder: Path,
        tell: Tell,
        link: "MachineStore | None" = None,
        part: Callable[[str], AbstractContextManager[object]] = nullcontext,
    ) -> None:
        self.folder = folder
        self._tell, self._part = tell, part
        self._link = link
        self._room: str | None = None
        self._made_from: str | None = None

    def open(self, inputs: Mapping[str, Any]) -> None:
        """Makes the folder, or checks that what is in it was made from the same inputs.

        Raises:
            ResourceError: the folder holds a run with other inputs, which the message names; or it cannot be made.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ResourceError(
                f"output_dir {shown(self.folder)} cannot be created ({error.strerror}); choose another."
            ) from error
        known = self.read(INPUTS)
        if known is None:
            self.write(INPUTS, inputs)
        elif differing := differences(known, inputs):
            raise ResourceError(
                f"{self.folder} holds a run with other inputs ({listed(differing)}). Choose another "
                "`output_dir`, or remove that folder."
            )
        # What is there may lack an input that was not given when it was written.
        self._room, self._made_from = checksum(inputs), checksum(known if known is not None else inputs)

    def path(self, name: str) -> Path:
        """The file of a part."""
        return self.folder / f"{name}.json"

    def tensors_path(self, name: str) -> Path:
        """The file of a part's tensors."""
        return self.folder / f"{name}{TENSORS}"

    def read(self, name: str) -> dict[str, Any] | None:
        """The part's payload, or None if it is not there or not whole.

        Raises:
            ResourceError: a file of that name in the folder itself is somebody else's.
        """
        path = self.path(name)
        if not path.exists():
            return self._fetch(name)
        with self._part("io"):
            stored = _whole(path)
            foreign = stored is not None and not self._is_own(name, stored)
        without = stored is not None and not foreign and not self._has_tensors(name, stored)
        if stored is None or foreign or without:
            if path.parent == self.folder and not without:
                _refuse_others(path)
            why = "is a part of another run" if foreign else "is damaged (half-written or changed)"
            if without:
                why = f"has lost {self.tensors_path(name).name}, or that was changed"
            self._tell(f"{path} {why}; it is computed again.")
            path.unlink(missing_ok=True)
            return None
        return dict(stored["payload"])

    def peek(self, name: str) -> dict[str, Any] | None:
        """The part's payload, or None if it is not there or not whole; nothing is changed on disk."""
        stored = _whole(self.path(name))
        if stored is None or not self._is_own(name, stored) or not self._has_tensors(name, stored):
            return None
        return dict(stored["payload"])

    def _is_own(self, name: str, stored: Mapping[str, Any]) -> bool:
        """True unless the part is known to belong elsewhere: it may have been written before the inputs were."""
        if stored.get("run") is None or name == INPUTS:
            return True
        return self._run in {None, stored["run"]} and stored.get("part") == name

    @property
    def _run(self) -> str | None:
        """The checksum of the run's inputs; None if there are none yet."""
        if self._made_from is not None:
            return self._made_from
        inputs = whole_payload(self.path(INPUTS))
        return None if inputs is None else checksum(inputs)

    def _has_tensors(self, name: str, stored: Mapping[str, Any]) -> bool:
        """False if the part has tensors that are not there, or not as they were written."""
        if TENSORS not in stored:
            return True
        try:
            content = self.tensors_path(name).read_bytes()
        except FileNotFoundError:
            return False
        return hashlib.sha256(content).hexdigest() == str(stored[TENSORS])

    def write(self, name: str, payload: Mapping[str, Any] | WithTensors) -> None:
        """Makes a part durable, its tensors first.

        Raises:
            ValueError: the payload holds inf or NaN.
        """
        values, tensors = payload, {}
        if isinstance(payload, WithTensors):
            write_atomically(self.tensors_path(name), payload.tensors)
            values, tensors = payload.payload, {TENSORS: hashlib.sha256(payload.tensors).hexdigest()}
        with self._part("io"):
            run = None if name == INPUTS else self._run
            content = json.dumps(sealed({"part": name, "run": run, **tensors, "payload": values}), allow_nan=False)
            write_atomically(self.path(name), content.encode())
            self.offer([name])

    def offer(self, names: Iterable[str]) -> None:
        """Lets other machines have those of these parts that are here."""
        if self._link is not None and self._room is not None:
            for name in names:
                stored = _whole(self.path(name))
                if stored is not None and TENSORS in stored:
                    self._link.put(f"{self._room}/{name}{TENSORS}", self.tensors_path(name).read_bytes())
                if stored is not None:
                    self._link.put(f"{self._room}/{name}", self.path(name).read_bytes())

    def _fetch(self, name: str) -> dict[str, Any] | None:
        """The payload of a part that another machine has made, kept here from now on."""
        content = self._link.get(f"{self._room}/{name}") if self._link is not None and self._room is not None else None
        if content is None:
            return None
        stored = _opened(content)
        if stored is None or not self._is_own(name, stored):
            return None
        if TENSORS in stored:
            assert self._link is not None  # it gave the part
            write_atomically(self.tensors_path(name), self._link.get(f"{self._room}/{name}{TENSORS}") or b"")
            if not self._has_tensors(name, stored):
                return None
        write_atomically(self.path(name), content)
        return dict(stored["payload"])

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
    stored = _whole(path)
    return None if stored is None else dict(stored["payload"])


def _whole(path: Path) -> dict[str, Any] | None:
    try:
        return _opened(path.read_bytes())
    except FileNotFoundError:
        return None


def _opened(content: bytes) -> dict[str, Any] | None:
    """What was written as a part; None if this is not, or no longer, the content of one."""
    try:
        stored = unsealed(parsed(content))
    except DamagedError:
        return None
    return stored if isinstance(stored.get("payload"), dict) else None


def _refuse_others(path: Path) -> None:
    """Raise ResourceError if the file is complete and not written by hf-llc rather than a damaged part."""
    try:
        stored = parsed(path.read_bytes())
    except (FileNotFoundError, DamagedError):
        return
    if not isinstance(stored, dict) or CHECKSUM not in stored:
        raise ResourceError(f"{path} was not written by hf-llc. Choose another `output_dir`, or move the file away.")


def differences(known: Mapping[str, Any], asked: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any, Any]]:
    """Name, value in `known` and value in `asked` of all that differs, nested mappings included."""
    differing = []
    for key in sorted({*known, *asked}):
        old, new = known.get(key), asked.get(key)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            differing += differences(old, new, f"{prefix}{key}.")
        elif old != new:
            differing.append((f"{prefix}{key}", old, new))
    return differing


def listed(differing: Sequence[tuple[str, Any, Any]]) -> str:
    """The result of `differences` in words; None is a setting that was not given."""
    shown = [(name, *("left open" if value is None else value for value in values)) for name, *values in differing]
    return "; ".join(f"{name}: there {old}, here {new}" for name, old, new in shown)
