"""Dataclasses from what JSON has of them: every value of the type that its field declares, or refused by name."""

import math
import sys
import types
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import MISSING, fields, is_dataclass
from enum import StrEnum
from functools import cache
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from hf_llc.settings.bounds import shown
from hf_llc.settings.strict_json import DamagedError
from hf_llc.settings.type_names import KINDS

T = TypeVar("T")
_INTEGERS = 2**63
"""From here on an integer fits no column of a table."""
_WORDS = {**KINDS, bool: "true or false"}


def build(kind: type[T], stored: Any, where: str = "", *, nan_in: type | None = None) -> T:
    """An instance of the dataclass `kind` from a mapping of its fields; those with a default may be missing.

    Args:
        where: what messages call the mapping, such as `estimate`.
        nan_in: the dataclass whose numbers may be null although they are no option: those that were not finite, which
            JSON cannot hold. They become NaN.

    Raises:
        DamagedError: if a field is missing, unknown, or of another type; the message names it.
    """
    if not isinstance(stored, Mapping):
        raise DamagedError(f"{where or 'it'} must be a mapping, got {shown(stored)}")
    hints: dict[str, Any] = _hints(kind)  # type: ignore[arg-type]
    declared = {field.name: field for field in fields(kind)}  # type: ignore[arg-type]
    if unknown := [name for name in stored if name not in declared]:
        raise DamagedError(f"{_joined(where, shown(unknown[0]).strip(chr(39)))} is no field of this version")
    values = {}
    for name, field in declared.items():
        path = _joined(where, name)
        if name in stored:
            not_finite = stored[name] is None and hints[name] is float and kind is nan_in
            values[name] = math.nan if not_finite else _value(hints[name], stored[name], path, nan_in)
        elif field.default is MISSING and field.default_factory is MISSING:
            raise DamagedError(f"{path} is missing")
    return kind(**values)


def _value(hint: Any, value: Any, path: str, nan_in: type | None) -> Any:
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is Any or (origin is Literal and value in arguments):
        return value
    if origin in {Union, types.UnionType}:
        return _option(arguments, value, path, nan_in)
    if origin in {tuple, list, Sequence}:
        if not isinstance(value, list | tuple):
            raise DamagedError(f"{path} must be a list, got {shown(value)}")
        return tuple(_value(arguments[0], item, f"{path}[{index}]", nan_in) for index, item in enumerate(value))
    if origin in {dict, Mapping}:
        if not isinstance(value, Mapping):
            raise DamagedError(f"{path} must be a mapping, got {shown(value)}")
        return {key: _value(arguments[1], item, _joined(path, str(key)[:60]), nan_in) for key, item in value.items()}
    if origin is Literal:
        raise DamagedError(f"{path} must be one of {', '.join(map(str, arguments))}, got {shown(value)}")
    if isinstance(hint, type) and is_dataclass(hint):
        return build(hint, value, path, nan_in=nan_in)
    return _member(hint, value, path) if issubclass(hint, StrEnum) else _scalar(hint, value, path)


def _option(options: Sequence[Any], value: Any, path: str, nan_in: type | None) -> Any:
    """The value as the first of these types that it fits."""
    if value is None and type(None) in options:
        return None
    *others, last = (option for option in options if option is not type(None))
    for option in others:
        with suppress(DamagedError):
            return _value(option, value, path, nan_in)
    return _value(last, value, path, nan_in)


def _scalar(kind: Any, stored: Any, path: str) -> Any:
    value: Any = stored
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value) if abs(value) <= sys.float_info.max else math.inf
    if type(value) is not kind:
        raise DamagedError(f"{path} must be {_WORDS[kind]}, got {shown(stored)}")
    if (kind is float and not math.isfinite(value)) or (kind is int and abs(value) >= _INTEGERS):
        raise DamagedError(f"{path} must be {_WORDS[kind]} of ordinary size, got {shown(stored)}")
    return value


def _member(kind: type[StrEnum], value: Any, path: str) -> StrEnum:
    if not isinstance(value, str) or value not in set(kind):
        raise DamagedError(f"{path} must be one of {', '.join(kind)}, got {shown(value)}")
    return kind(value)


def _joined(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


@cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)
