"""Named parts of a run, shared between processes: ranks of one launch, or several commands on one folder."""

import time
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from enum import Enum
from typing import Any, TypeVar

from hf_llc.execution.store import RunStore, WithTensors

T = TypeVar("T")

POLL_SECONDS = 0.1
"""Seconds between looks at parts that another process is making."""


class WorkState(Enum):
    """How far one step of shared work came."""

    MADE = "one more part was made here"
    NEEDED = "all that is left is being made by others, and more will be left once it is there"
    TAKEN = "all that is left is being made by others"


Steps = Generator[WorkState, None, T]
"""Work that is done one part at a time, and says so after each; what it returns is the result."""


def make_parts(
    store: RunStore,
    names: Sequence[str],
    make: Callable[[str], Mapping[str, Any] | WithTensors],
    *,
    first: int = 0,
    on_parts: Callable[[Collection[str]], None] = lambda names: None,
    last: bool = False,
) -> Steps[list[dict[str, Any]]]:
    """Yield after each part made here, and return the payloads of `names` in order once all of them are finished.

    A part is claimed before it is made and looked for again once claimed, so that it is made once. If the process
    that makes one dies, its claim is free and somebody else makes it.

    Args:
        make: the payload of a part, by name.
        first: where in the list to begin, so that ranks start apart.
        on_parts: called with the names of the finished parts, whoever made them, after each new one.
        last: nothing of this run comes after these parts.
    """
    store.offer(list(names))
    start = first % len(names)
    order = [*names[start:], *names[:start]]
    done: dict[str, dict[str, Any]] = {}
    while len(done) < len(names):
        before = len(done)
        for name in order:
            if name in done:
                continue
            payload, is_new = _read_or_made(store, name, make)
            if payload is None:
                continue
            done[name] = payload
            on_parts(done.keys())
            if is_new:
                yield WorkState.MADE
        if len(done) == before:
            yield WorkState.TAKEN if last else WorkState.NEEDED
    return [done[name] for name in names]


def make_all_parts(
    store: RunStore,
    names: Sequence[str],
    make: Callable[[str], Mapping[str, Any]],
    *,
    first: int = 0,
    on_parts: Callable[[Collection[str]], None] = lambda names: None,
) -> list[dict[str, Any]]:
    """Make parts until all are finished, and return their payloads in order."""
    return run_to_end(make_parts(store, names, make, first=first, on_parts=on_parts))


def run_to_end(steps: Steps[T], wait: Callable[[float], None] = time.sleep) -> T:
    """Run the work to its end and return its result; wait while other processes make the remaining parts."""
    while True:
        try:
            outcome = next(steps)
        except StopIteration as end:
            result: T = end.value
            return result
        if outcome is not WorkState.MADE:
            wait(POLL_SECONDS)


def _read_or_made(
    store: RunStore, name: str, make: Callable[[str], Mapping[str, Any] | WithTensors]
) -> tuple[dict[str, Any] | None, bool]:
    """The payload of a part, and whether it was made here; None while another process makes it."""
    payload = store.read(name)
    if payload is not None:
        return payload, False
    with store.claim(name) as claimed:
        if not claimed:
            return None, False
        payload = store.read(name)
        if payload is not None:
            return payload, False
        store.write(name, make(name))
        return store.read(name), True
