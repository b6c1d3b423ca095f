"""Files that a stranger or a fault has changed: hypothesis strategies over JSON documents and over bytes."""

import copy
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from hypothesis import strategies as st

Path = tuple[str | int, ...]
More = Mapping[str, Sequence[Any]]
NOTHING: More = {}
ODD_VALUES: list[Any] = [
    None, True, False, 0, 1, 2, 3, -1, 7, 0.5, -0.0, 1e30, 10**9, 2**63, float("nan"), float("inf"), "", "nope", "2",
    "../x", "\x1b[31m", "a\nb=c", [], [1], ["a"], {}, {"type": "linear", "factor": 2.0}, {"rope_type": "nope"},
]  # fmt: skip
WHOLE = [
    b"", b"[]", b"null", b"3", b'"x"', b"{", b"{}", b"\xff\xfe", b"NaN", b"[" * 100_000, b'{"a":' * 50_000,
    b"\x00" * 64, b"<html>502 Bad Gateway</html>",
]  # fmt: skip
"""What a file may hold in place of all that it should."""
MOST_ITEMS = 12
"""Entries of a list or a long mapping that are changed: a vocabulary has thousands that are alike."""


def paths(value: Any, depth: int = 4, before: Path = ()) -> Iterator[Path]:
    """Every place in a document, down to a depth, and some of the places in what is long."""
    if depth == 0 or not isinstance(value, dict | list):
        return
    for key in (list(value) if isinstance(value, dict) else list(range(len(value))))[:MOST_ITEMS]:
        yield (*before, key)
        yield from paths(value[key], depth - 1, (*before, key))


def at(document: Any, path: Path) -> Any:
    """What stands there."""
    for key in path:
        document = document[key]
    return document


@st.composite
def documents(draw: st.DrawFn, document: Any, values: Sequence[Any] = ODD_VALUES, more: More = NOTHING) -> Any:
    """The document with one to three places replaced, left out or added.

    Args:
        more: entries that a document of this kind may have, beside those that this one has.
    """
    changed = copy.deepcopy(document)
    for _ in range(draw(st.integers(1, 3))):
        known = list(paths(changed))
        action = draw(st.sampled_from(["replace", "replace", "leave out", "add", "number"])) if known else "add"
        if action == "add":
            name = draw(st.sampled_from([*more, "unknown"]))
            if isinstance(changed, dict):
                changed[name] = draw(st.sampled_from([*more.get(name, ()), *values]))
            continue
        path = draw(st.sampled_from(known))
        parent = at(changed, path[:-1])
        if action == "leave out":
            del parent[path[-1]]
        elif action == "number" and isinstance(parent[path[-1]], int | float):
            parent[path[-1]] = draw(st.sampled_from([-1, 0, 1, 2])) + parent[path[-1]]
        else:
            parent[path[-1]] = copy.deepcopy(draw(st.sampled_from(values)))
    return changed


@st.composite
def contents(draw: st.DrawFn, content: bytes, values: Sequence[Any] = ODD_VALUES, more: More = NOTHING) -> bytes:
    """A JSON file with places changed, or cut off, or with other bytes, or another thing altogether."""
    action = draw(st.sampled_from(["places"] * 7 + ["cut", "bytes", "whole", "mark"]))
    if action == "places":
        return json.dumps(draw(documents(json.loads(content), values, more))).encode()
    return draw(damaged(content, action))


@st.composite
def damaged(draw: st.DrawFn, content: bytes, action: str | None = None) -> bytes:
    """Any file cut off, with other bytes, with a byte order mark, or another thing altogether."""
    action = action or draw(st.sampled_from(["cut", "bytes", "bytes", "whole", "mark"]))
    if action == "cut":
        return content[: draw(st.integers(0, len(content)))]
    if action == "mark":
        return b"\xef\xbb\xbf" + content
    if action == "whole":
        return draw(st.sampled_from(WHOLE))
    changed = bytearray(content)
    for _ in range(draw(st.integers(1, 3))):
        changed[draw(st.integers(0, len(content) - 1))] = draw(st.integers(0, 255))
    return bytes(changed)
