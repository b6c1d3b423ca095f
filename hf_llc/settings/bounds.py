"""What a setting may be, by its annotation: one check for the fields of dataclasses and for the arguments of functions.

An annotation is a type, or `Annotated[type, Bounds(…)]`, `Annotated[type, OneOf(…)]`. A scalar of NumPy or torch counts
as the Python value that it holds; what does not fit raises a SettingsError with the name, the rule and the value.
"""

import inspect
import math
import os
import types
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, fields, is_dataclass
from functools import cache, wraps
from pathlib import Path
from typing import Annotated, Any, ParamSpec, TypeVar, Union, get_args, get_origin, get_type_hints

from hf_llc.errors import SettingsError, did_you_mean
from hf_llc.settings.type_names import name_of

P = ParamSpec("P")
R = TypeVar("R")

SHOWN = 60
"""Characters of a refused value that a message shows."""
LARGEST_SHOWN = 1e308
DIGITS_SHOWN = 64
"""Bits of an integer that is written in full."""


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """The range of a number.

    Attributes:
        low, high: what it may be at least and at most. above, below: what it must exceed and stay below.
        or_zero: 0 is allowed beside the range. why: a reason for the lower end.
    """

    low: float | None = None
    high: float | None = None
    above: float | None = None
    below: float | None = None
    or_zero: bool = False
    why: str = ""

    def broken(self, value: float) -> str | None:
        """What the value should be, as `≥ 0`; None where it is in the range."""
        if self.or_zero and value == 0:
            return None
        if self.or_zero and value < 0:
            return "≥ 0"
        other = "0 or " if self.or_zero else ""
        if self.low is not None and value < self.low:
            return f"{other}≥ {self.low:.10g}"
        if self.above is not None and value <= self.above:
            return f"{other}> {self.above:.10g}"
        if self.high is not None and value > self.high:
            return f"≤ {self.high:g}" if isinstance(self.high, float) else f"≤ {self.high}"
        if self.below is not None and value >= self.below:
            return f"< {self.below:.10g}"
        return None


@dataclass(frozen=True)
class OneOf:
    """The values that a setting may have. `remark` is added to a refusal; `also` are earlier names, not listed."""

    choices: tuple[str, ...]
    remark: str = ""
    also: tuple[str, ...] = ()


class _UnfitError(Exception):
    """The value does not fit the annotation; the text is what it must be."""


def require(holds: bool, message: str) -> None:
    """Raise SettingsError with this message unless the condition holds."""
    if not holds:
        raise SettingsError(message)


def check_fields(settings: Any) -> None:
    """Set every field of a frozen dataclass to its value in the type of its annotation.

    Raises:
        SettingsError: a value is of another type or out of its bounds; names the field, the rule and the value.
    """
    kind: Any = type(settings)
    hints = _hints(kind)
    for field in fields(settings):
        object.__setattr__(settings, field.name, checked(field.name, getattr(settings, field.name), hints[field.name]))


def checked_arguments(function: Callable[P, R]) -> Callable[P, R]:
    """The function, called with every argument in the type of its annotation.

    Raises:
        SettingsError: on a call, an argument is of another type or out of its bounds, or has no such name.
    """
    signature = inspect.signature(function)
    takes_any = any(each.kind is each.VAR_KEYWORD for each in signature.parameters.values())

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        if not takes_any and (unknown := next((name for name in kwargs if name not in signature.parameters), None)):
            close = did_you_mean(unknown, list(signature.parameters))
            raise SettingsError(f"{function.__name__} has no argument {unknown}{close}")
        bound = signature.bind(*args, **kwargs)
        hints = _hints(function)
        for name, value in bound.arguments.items():
            bound.arguments[name] = checked(name, value, hints.get(name, Any))
        return function(*bound.args, **bound.kwargs)

    return call


def checked(name: str, value: Any, hint: Any) -> Any:
    """The value in the type of an annotation.

    Raises:
        SettingsError: it is of another type or out of its bounds.
    """
    try:
        return _fitted(_scalar(value), hint)
    except _UnfitError as rule:
        raise SettingsError(f"{name} must be {rule}") from None


def shown(value: Any) -> str:
    """A refused value in a message: short, on one line, and without calling code of an unknown type."""
    if isinstance(value, int) and value.bit_length() > DIGITS_SHOWN:
        # Python refuses to write integers of more than some thousand digits.
        return f"about {'-' if value < 0 else ''}10^{round(value.bit_length() * math.log10(2))}"
    if value is None or type(value) in (bool, int, float, str, bytes):
        text = repr(value[: 2 * SHOWN] if isinstance(value, str | bytes) else value)
    elif isinstance(value, Path):
        text = repr(str(value))
    else:
        kind = type(value).__name__
        text = f"{'an' if kind[:1].lower() in 'aeiou' else 'a'} {kind}"
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 1]}…"


@cache
def _hints(annotated: Hashable) -> dict[str, Any]:
    return get_type_hints(annotated, include_extras=True)


def _scalar(value: Any) -> Any:
    """The Python value of a scalar of NumPy or torch, of any array without dimensions; else the value itself."""
    if isinstance(value, type) or getattr(value, "ndim", None) != 0 or not callable(getattr(value, "item", None)):
        return value
    try:
        scalar = value.item()
        # NumPy's long double has no Python type, and is its own item.
        return float(scalar) if getattr(getattr(scalar, "dtype", None), "kind", "") == "f" else scalar
    except (RuntimeError, ValueError, TypeError):
        return value  # of torch's meta device, say: there is no value


def _fitted(value: Any, hint: Any) -> Any:
    rule: Bounds | OneOf | None = None
    if get_origin(hint) is Annotated:
        hint, *metadata = get_args(hint)
        rule = next((each for each in metadata if isinstance(each, Bounds | OneOf)), None)
    if hint is Any:
        return value
    options = get_args(hint) if get_origin(hint) in (types.UnionType, Union) else (hint,)
    if value is None and type(None) in options:
        return None
    wanted = [option for option in options if option is not type(None)]
    # A path may stand for the string that names it, but where both are allowed each stays what it is.
    for option in sorted(wanted, key=lambda each: not (isinstance(each, type) and isinstance(value, each))):
        accepted, fitted = _as(option, value)
        if accepted:
            return _ruled(fitted, rule, value)
    kinds = " or ".join(dict.fromkeys(name_of(option) for option in wanted))
    raise _UnfitError(f"{kinds}, got {shown(value)}")


def _ruled(value: Any, rule: Bounds | OneOf | None, original: Any) -> Any:
    if isinstance(rule, OneOf) and isinstance(value, str) and value not in (*rule.choices, *rule.also):
        allowed = "one of " * (len(rule.choices) > 1) + ", ".join(rule.choices)
        raise _UnfitError(f"{allowed}, got {shown(original)}{_because(rule.remark)}")
    if isinstance(value, str) and not value.strip():
        raise _UnfitError(f"a string that is not empty, got {shown(original)}")
    if isinstance(value, float) and not math.isfinite(value):
        raise _UnfitError(f"a finite number, got {shown(original)}")
    if isinstance(rule, Bounds) and isinstance(value, int | float) and (broken := rule.broken(value)):
        # The value in its type: -3 for a float is -3.0 in every message, whoever gave it.
        got = value if abs(value) <= LARGEST_SHOWN else original
        raise _UnfitError(f"{broken}, got {shown(got)}{_because(rule.why) if '≤' not in broken else ''}")
    return value


def _because(reason: str) -> str:
    return f": {reason}" if reason else ""


def _as(option: Any, value: Any) -> tuple[bool, Any]:
    """Whether the value is of the type, and the value in it."""
    if option is bool:
        return type(value) is bool, value
    if option is int:
        whole = isinstance(value, int) and not isinstance(value, bool)
        return whole, int(value) if whole else value
    if option is float:
        return _as_float(value)
    if option is str:
        return _as_text(value)
    if option is Path:
        return _as_path(value)
    origin = get_origin(option)
    if origin is Annotated:
        return True, _fitted(value, option)
    if origin is tuple or origin is Sequence:
        return _as_tuple(value, get_args(option)[0])
    if origin is Mapping:
        return _as_mapping(value, *get_args(option))
    if origin is Callable:
        return callable(value), value
    return _is_instance(value, origin or option), value


def _is_instance(value: Any, kind: type) -> bool:
    """True for an instance, and for an object that has every public method of a class without fields."""
    if isinstance(value, kind) or is_dataclass(kind):
        return isinstance(value, kind)
    methods = [name for name, each in vars(kind).items() if callable(each) and not name.startswith("_")]
    return (
        bool(methods) and not isinstance(value, type) and all(callable(getattr(value, name, None)) for name in methods)
    )


def _as_float(value: Any) -> tuple[bool, Any]:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False, value
    try:
        return True, float(value)
    except OverflowError:
        return True, math.copysign(math.inf, value > 0 or -1)


def _as_text(value: Any) -> tuple[bool, Any]:
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if not isinstance(value, str):
        return False, value
    text = str.__str__(value)
    if "\0" in text:
        raise _UnfitError(f"a string without null characters, got {shown(text)}")
    return True, text


def _as_path(value: Any) -> tuple[bool, Any]:
    is_text, text = _as_text(value)
    if is_text and not text.strip():
        raise _UnfitError(f"a path, got {shown(text)}")
    return is_text, Path(text) if is_text else value


def _as_tuple(value: Any, kind: Any) -> tuple[bool, Any]:
    """One string stands for a tuple of it alone; a set has no order, and is sorted."""
    if isinstance(value, str | os.PathLike):
        value = (value,)
    # A result that can be iterated over is one value.
    if isinstance(value, bytes | Mapping) or is_dataclass(value) or not isinstance(value, Iterable):
        return False, value
    items = tuple(_fitted(_scalar(item), kind) for item in _listed(value))
    return True, tuple(sorted(items)) if isinstance(value, Set) else items


def _listed(value: Iterable[Any]) -> list[Any]:
    try:
        return list(value)
    except TypeError:
        raise _UnfitError(f"a list, got {shown(value)}") from None


def _as_mapping(value: Any, key: Any, item: Any) -> tuple[bool, Any]:
    if not isinstance(value, Mapping):
        return False, value
    return True, {_fitted(_scalar(name), key): _fitted(_scalar(each), item) for name, each in value.items()}
