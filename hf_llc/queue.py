"""Named parts shared out among whoever works on a run: ranks of one launch, or several commands on one folder."""

import time
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from enum import Enum
from typing import Any, TypeVar

from hf_llc.adapters.store import RunStore

T = TypeVar("T")

PATIENCE = 0.1
"""Seconds between looks at parts that another process is making."""


class Outcome(Enum):
    """How far one step of shared work came."""

    MADE = "one more part was made here"
    NEEDED = "all that is left is being made by others, and more will be left once it is there"
    TAKEN = "all that is left is being made by others"


Steps = Generator[Outcome, None, T]
"""Work that is done one part at a time, and says so after each; what it returns is the result."""


Make = Callable[[Sequence[str]], Iterable[tuple[str, Mapping[str, Any]]]]
"""Gives the payloads of parts that are made together, each with its name as soon as it is there, in any order."""


def parts(
    store: RunStore,
    names: Sequence[str],
    make: Callable[[str], Mapping[str, Any]],
    *,
    first: int = 0,
    found: Callable[[Collection[str]], None] = lambda names: None,
    last: bool = False,
) -> Steps[list[dict[str, Any]]]:
    """The payloads of `names`, in order, once all are there: those that nobody has or makes are made here.

    A part is claimed before it is made and looked for again once claimed, so that it is made once. If the process
    that makes one dies, its claim is free and somebody else makes it.

    Args:
        make: the payload of a part, by name.
        first: where in the list to begin, so that ranks start apart.
        found: told the names of the parts that are there, whoever made them, whenever there is one more.
        last: nothing of this run comes after these parts.
    """

    def alone(group: Sequence[str]) -> Iterable[tuple[str, Mapping[str, Any]]]:
        return ((name, make(name)) for name in group)

    there = yield from grouped(store, [[name] for name in names], alone, first=first, found=found, last=last)
    return [there[name] for name in names]


def grouped(
    store: RunStore,
    groups: Sequence[Sequence[str]],
    make: Make,
    *,
    first: int = 0,
    found: Callable[[Collection[str]], None] = lambda names: None,
    last: bool = False,
) -> Steps[dict[str, dict[str, Any]]]:
    """As `parts`, by name; those of a group that nobody has or makes are claimed and made together.

    Each is durable as soon as it is there. What is left of a group is a smaller group.

    Args:
        first: which group to begin with.
    """
    store.offer([name for group in groups for name in group])
    start = first % len(groups)
    order = [*groups[start:], *groups[:start]]
    count = sum(map(len, groups))
    there: dict[str, dict[str, Any]] = {}
    while len(there) < count:
        before = len(there)
        for group in order:
            if all(name in there for name in group):
                continue
            mine = False
            for name, payload, made in _together(store, [name for name in group if name not in there], make):
                there[name] = payload
                mine = mine or made
                found(there.keys())
            if mine:
                yield Outcome.MADE
        if len(there) == before:
            yield Outcome.TAKEN if last else Outcome.NEEDED
    return there


def complete(
    store: RunStore,
    names: Sequence[str],
    make: Callable[[str], Mapping[str, Any]],
    *,
    first: int = 0,
    found: Callable[[Collection[str]], None] = lambda names: None,
) -> list[dict[str, Any]]:
    """What `parts` returns, waited for."""
    return finished(parts(store, names, make, first=first, found=found))


def finished(steps: Steps[T], wait: Callable[[float], None] = time.sleep) -> T:
    """The result of work, done to its end here; waits where others make what is left."""
    while True:
        try:
            outcome = next(steps)
        except StopIteration as end:
            result: T = end.value
            return result
        if outcome is not Outcome.MADE:
            wait(PATIENCE)


def _together(store: RunStore, names: Sequence[str], make: Make) -> Iterator[tuple[str, dict[str, Any], bool]]:
    """Those of the parts that are there or are made here, with whether they were; not those that another one makes."""
    with ExitStack() as claims:
        mine = []
        for name in names:
            payload = store.read(name)
            if payload is None and claims.enter_context(store.claim(name)):
                payload = store.read(name)
                if payload is None:
                    mine.append(name)
            if payload is not None:
                yield name, payload, False
        for name, made in make(mine) if mine else ():
            store.write(name, made)
            payload = store.read(name)
            if payload is not None:
                yield name, payload, True
