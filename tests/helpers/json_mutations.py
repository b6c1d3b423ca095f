"""Files of JSON as accidents and strangers leave them: seeded mutations of bytes and of values."""

import copy
import json
import random
from collections.abc import Iterator
from typing import Any

ODD: tuple[Any, ...] = (
    None, True, False, 0, -1, 1.5, -0.0, 1e308, -1e308, 5e-324, 2**63, 10**400, "", "abc", "nan", "1", "x" * 5000,
    "\u202e", "\x1b[2J", "\ud800", [], {}, [1], {"a": 1}, [[[[]]]],
)  # fmt: skip
RAW = (
    "NaN", "Infinity", "-Infinity", "1e999", "9" * 5000, "[" * 100_000, '{"a":' * 50_000, "0x10", "'a'", '"\\ud800"',
    '"\\u0000"',     '{"a": 1, "a": 2}',
)  # fmt: skip
_HOLE = "hole-for-raw-json"


def changed_bytes(content: bytes, draw: random.Random) -> bytes:
    """The content with one accident: a bit flipped, a piece cut, doubled, overwritten or swapped."""
    start = draw.randrange(len(content))
    stop = min(len(content), start + draw.choice((1, 2, 8, 100, 4000)))
    piece = content[start:stop]
    kind = draw.randrange(9)
    if kind == 0:
        return content[:start] + bytes([content[start] ^ 1 << draw.randrange(8)]) + content[start + 1 :]
    if kind == 1:
        return content[:start]
    if kind == 2:
        return content[:start] + content[stop:]
    if kind == 3:
        return content[:stop] + piece + content[stop:]
    if kind == 4:
        return content[:start] + bytes(len(piece)) + content[stop:]
    if kind == 5:
        return (
            content[:start]
            + draw.choice((b"\xff\xfe", b"\x80", b"\xed\xa0\x80", b"\r\n", b"\xef\xbb\xbf"))
            + content[stop:]
        )
    if kind == 6:
        return content[:start] + str(draw.randrange(10)).encode() + content[start + 1 :]
    if kind == 7:
        return content + piece
    return content[stop:] + content[:stop]


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every container in a JSON value with each of its keys or indices."""
    items = list(value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ())
    for key, item in items:
        yield value, key
        yield from places(item)


def changed_value(value: Any, draw: random.Random) -> Any:
    """A copy of the JSON value with one item removed, renamed, doubled, moved or of another kind."""
    value = copy.deepcopy(value)
    container, key = draw.choice(list(places(value)))
    kind = draw.randrange(7)
    if kind == 0:
        del container[key]
    elif kind == 1 and isinstance(container, dict):
        container[f"{key}_"] = container.pop(key)
    elif kind == 2:
        other, results = draw.choice(list(places(value)))
        container[key] = copy.deepcopy(other[results])
    elif kind == 3 and isinstance(container, list):
        container.insert(key, copy.deepcopy(container[key]))
    elif kind == 4 and isinstance(container[key], int | float):
        container[key] = container[key] * draw.choice((-1, 0, 10, 1.0000001)) + draw.choice((0, 1))
    else:
        container[key] = copy.deepcopy(draw.choice(ODD))
    return value


def changed_text(value: Any, draw: random.Random) -> bytes:
    """The JSON value as text in which one item is no JSON, or JSON that programs choke on."""
    value = copy.deepcopy(value)
    container, key = draw.choice(list(places(value)))
    container[key] = _HOLE
    return json.dumps(value).replace(f'"{_HOLE}"', draw.choice(RAW)).encode()
