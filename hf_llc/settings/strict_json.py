"""JSON that numbers are read from: parsed strictly, and compared with the checksum that stands in it."""

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

from hf_llc.settings.bounds import shown

CHECKSUM = "checksum"
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


class DamagedError(ValueError):
    """A record is not what was written; the message is a clause that begins with what is wrong."""


def parsed(content: bytes | str) -> Any:
    """The JSON value of a text in UTF-8 (or UTF-16 or 32, as some editors save it), a byte order mark allowed.

    Raises:
        DamagedError: if it is no JSON, nests too deep, or holds NaN, Infinity, a key twice in one object, a number
            beyond what a float can hold, or half a surrogate pair.
    """
    try:
        text = content.decode(json.detect_encoding(content)) if isinstance(content, bytes) else content
        value = json.loads(
            text.removeprefix("\ufeff"),
            parse_constant=_refuse_constant,
            parse_float=_finite,
            object_pairs_hook=_without_twins,
        )
        if _SURROGATE.search(text):
            json.dumps(value, ensure_ascii=False).encode()
    except DamagedError:
        raise
    except RecursionError as error:
        raise DamagedError("it nests too deep") from error
    except ValueError as error:
        raise DamagedError(f"it is not JSON ({clipped(str(error), 120)})") from error
    return value


def checksum(value: Any) -> str:
    """`sha256:<64 hex>` of a JSON value, whatever the order of its keys, its spaces and the spelling of its numbers.

    Raises:
        ValueError: if the value holds inf or NaN.
    """
    text = json.dumps(_plain(value), sort_keys=True, allow_nan=False)
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def sealed(record: Mapping[str, Any]) -> dict[str, Any]:
    """The record with the checksum of everything else in it."""
    rest = {key: value for key, value in record.items() if key != CHECKSUM}
    return {**rest, CHECKSUM: checksum(rest)}


def unsealed(record: Any) -> dict[str, Any]:
    """What `sealed` was given.

    Raises:
        DamagedError: if it is no such record, or not the one that was sealed.
    """
    if not isinstance(record, dict):
        raise DamagedError("it is no JSON object")
    if not isinstance(record.get(CHECKSUM), str):
        raise DamagedError("it has no checksum")
    rest = {key: value for key, value in record.items() if key != CHECKSUM}
    if record[CHECKSUM] != checksum(rest):
        raise DamagedError("its checksum does not match: it was changed after it was written")
    return rest


def clipped(text: str, most: int = 60) -> str:
    """The text, or its beginning with an ellipsis where it is longer than `most` characters."""
    return text if len(text) <= most else text[: most - 1] + "…"


def _refuse_constant(name: str) -> float:
    raise DamagedError(f"it holds {name}, which is no JSON number")


def _finite(text: str) -> float:
    value = float(text)
    if value in {float("inf"), float("-inf")}:
        raise DamagedError(f"it holds {clipped(text, 20)}, which is beyond every float")
    return value


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        keys = [key for key, _ in pairs]
        twin = next(key for key in value if keys.count(key) > 1)
        raise DamagedError(f"it holds the key {shown(twin)} twice")
    return value


def _plain(value: Any) -> Any:
    """The value with whole floats as integers: programs differ in how they write those."""
    if isinstance(value, float):
        return int(value) if value.is_integer() else value
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
