"""Named parts shared out among whoever works on a run: ranks of one launch, or several commands on one folder."""

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from hf_llc.adapters.store import RunStore

PATIENCE = 0.1
"""Seconds between looks at parts that another process is making."""


def complete(
    store: RunStore,
    names: Sequence[str],
    make: Callable[[str], Mapping[str, Any]],
    *,
    first: int = 0,
    found: Callable[[Collection[str]], None] = lambda names: None,
) -> list[dict[str, Any]]:
    """The payloads of `names`, in order, once all are there: those that nobody has or makes are made here.

    A part is claimed before it is made and looked for again once claimed, so that it is made once. If the process
    that makes one dies, its claim is free and somebody else makes it.

    Args:
        make: the payload of a part, by name.
        first: where in the list to begin, so that ranks start apart.
        found: told the names of the parts that are there, whoever made them, whenever there is one more.
    """
    order = [*names[first % len(names) :], *names[: first % len(names)]]
    parts: dict[str, dict[str, Any]] = {}
    while len(parts) < len(order):
        before = len(parts)
        for name in order:
            if name not in parts and (payload := _one(store, name, make)) is not None:
                parts[name] = payload
                found(parts.keys())
        if len(parts) == before:
            time.sleep(PATIENCE)
    return [parts[name] for name in names]


def _one(store: RunStore, name: str, make: Callable[[str], Mapping[str, Any]]) -> dict[str, Any] | None:
    payload = store.read(name)
    if payload is not None:
        return payload
    with store.claim(name) as mine:
        if not mine:
            return None
        payload = store.read(name)
        if payload is None:
            store.write(name, make(name))
            payload = store.read(name)
    return payload
