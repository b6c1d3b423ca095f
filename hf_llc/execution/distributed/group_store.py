"""A run on disk as the processes of one group see it, which make its parts together: one of them reads and writes."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from hf_llc.execution.store import RunStore, Tell, WithTensors


class GroupStore(RunStore):
    """What is read is the same in all of them, a claim is that of all, and a part is written once.

    Args:
        lead: gives in every process what its argument returns in the first one.
        leads: True in that one.
    """

    def __init__(
        self,
        folder: Path,
        tell: Tell,
        lead: Callable[[Callable[[], Any]], Any],
        leads: bool,
        part: Callable[[str], AbstractContextManager[object]] = nullcontext,
    ) -> None:
        super().__init__(folder, tell, None, part)
        self._own = RunStore(folder, tell, None, part)
        self._lead, self._leads = lead, leads

    def open(self, inputs: Mapping[str, Any]) -> None:
        self._lead(lambda: self._own.open(inputs))

    def read(self, name: str) -> dict[str, Any] | None:
        payload: dict[str, Any] | None = self._lead(lambda: self._own.read(name))
        return payload

    def write(self, name: str, payload: Mapping[str, Any] | WithTensors) -> None:
        self._lead(lambda: self._own.write(name, payload))

    @contextmanager
    def claim(self, name: str) -> Iterator[bool]:
        with self._own.claim(name) if self._leads else nullcontext(False) as mine:
            yield self._lead(lambda: mine)
