"""What processes of a launch may say to each other, as JSON: plain values, paths and plans, and nothing that runs."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from hf_llc.errors import LaunchError
from hf_llc.execution.plan import Plan

PLAIN = (type(None), bool, int, float, str)


def encode(value: Any) -> bytes:
    """The value in bytes that `decode` takes.

    Raises:
        TypeError: it is, or holds, something that is not exchanged.
    """
    return json.dumps(_tagged(value)).encode()


def decode(content: bytes) -> Any:
    """The value that `encode` was given.

    Raises:
        LaunchError: these bytes hold no such value, as where another version of hf-llc wrote them.
    """
    try:
        return _value(json.loads(content))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise LaunchError(
            "Another process of this launch sent a message that this one cannot read. Install the same "
            f"version of hf-llc on every machine. ({' '.join(str(error).split())[:100]})"
        ) from error


def _tagged(value: Any) -> Any:
    if isinstance(value, PLAIN):
        return value
    if isinstance(value, Plan):
        return {"plan": value.to_dict()}
    if isinstance(value, Path):
        return {"path": str(value)}
    if isinstance(value, tuple):
        return {"tuple": [_tagged(item) for item in value]}
    if isinstance(value, list):
        return [_tagged(item) for item in value]
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {"mapping": {key: _tagged(item) for key, item in value.items()}}
    raise TypeError(f"{type(value).__name__} is not exchanged between processes")


def _value(stored: Any) -> Any:
    if isinstance(stored, list):
        return [_value(item) for item in stored]
    if isinstance(stored, dict):
        ((tag, content),) = stored.items()
        return DECODERS[tag](content)
    return stored


DECODERS: Mapping[str, Callable[[Any], Any]] = {
    "plan": Plan.from_dict,
    "path": Path,
    "tuple": lambda items: tuple(_value(item) for item in items),
    "mapping": lambda items: {key: _value(item) for key, item in items.items()},
}
"""How each kind of value that JSON does not have is made again, by its tag."""
