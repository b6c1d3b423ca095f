"""Dataclasses are built from JSON of their types alone."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal

import pytest

from hf_llc.settings.strict_json import DamagedError, checksum, parsed, sealed, unsealed
from hf_llc.settings.typed import build


class Colour(StrEnum):
    """Two colours."""

    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True)
class Inner:
    """A part."""

    width: float
    height: float | None = None


@dataclass(frozen=True)
class Outer:
    """A value of every kind."""

    count: int
    name: str
    ready: bool
    colour: Colour
    mode: Literal["on", "off"]
    parts: tuple[Inner, ...]
    order: Sequence[int]
    seconds: Mapping[str, float]
    either: int | str | None
    more: Any = None
    tags: tuple[str, ...] = field(default_factory=tuple)


WHOLE = {
    "count": 3, "name": "x", "ready": True, "colour": "red", "mode": "on", "parts": [{"width": 1}], "order": [1, 2],
    "seconds": {"total": 2}, "either": "both", "more": {"any": [None]}, "tags": ["a"],
}  # fmt: skip


def test_every_kind_of_field_is_read() -> None:
    assert build(Outer, WHOLE) == Outer(
        3, "x", True, Colour.RED, "on", (Inner(1.0),), (1, 2), {"total": 2.0}, "both", {"any": [None]}, ("a",)
    )
    assert build(Outer, {**WHOLE, "either": None}).either is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"count": 1.0}, "o.count must be a whole number, got 1.0"),
        ({"count": True}, "o.count must be a whole number, got True"),
        ({"count": 2**63}, "o.count must be a whole number of ordinary size"),
        ({"ready": 1}, "o.ready must be true or false, got 1"),
        ({"name": None}, "o.name must be a string, got None"),
        ({"colour": "green"}, "o.colour must be one of red, blue, got 'green'"),
        ({"colour": ["red"]}, "o.colour must be one of red, blue, got a list"),
        ({"mode": "auto"}, "o.mode must be one of on, off, got 'auto'"),
        ({"parts": {"width": 1}}, "o.parts must be a list, got a dict"),
        ({"parts": [{"width": 1}, {"width": "w"}]}, r"o.parts\[1\].width must be a number, got 'w'"),
        ({"parts": [{"width": None}]}, r"o.parts\[0\].width must be a number, got None"),
        ({"parts": [{"width": 10**400}]}, "width must be a number of ordinary size"),
        ({"order": "12"}, "o.order must be a list, got '12'"),
        ({"seconds": {"total": "2"}}, "o.seconds.total must be a number, got '2'"),
        ({"either": 1.5}, "o.either must be a string, got 1.5"),
        ({"extra": 1}, "o.extra is no field of this version"),
    ],
)
def test_what_does_not_fit_is_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DamagedError, match=message):
        build(Outer, {**WHOLE, **changes}, "o")


def test_a_field_without_default_must_be_there() -> None:
    with pytest.raises(DamagedError, match=r"^count is missing$"):
        build(Outer, {name: value for name, value in WHOLE.items() if name != "count"})


def test_numbers_that_were_not_finite_are_nan_where_that_is_allowed() -> None:
    assert math.isnan(build(Inner, {"width": None}, nan_in=Inner).width)
    assert build(Inner, {"width": 1, "height": None}, nan_in=Inner).height is None


@pytest.mark.parametrize(
    "text", ["NaN", "[Infinity]", "1e999", '{"a": 1, "a": 1}', "[" * 99_999, "9" * 9999, '"\\ud800"', "", "{", b"\x80"]
)
def test_what_is_no_strict_json_is_refused(text: bytes | str) -> None:
    with pytest.raises(DamagedError, match=r"^it "):
        parsed(text)


def test_a_checksum_is_that_of_the_values() -> None:
    assert checksum({"a": 1.0, "b": [1e16, 0.1]}) == checksum(parsed('{"b": [1e16, 0.10], "a": 1}'))
    assert checksum(2.0**60) == checksum(2**60)
    assert len({checksum(value) for value in (1, 2, 1.5, "1", [1], {"a": 1}, None, True, 0, 2.0**60)}) == 10
    record = sealed({"a": 1})
    assert unsealed(record) == {"a": 1}
    assert sealed(record) == record
    altered: list[Any] = [{**record, "a": 2}, {**record, "b": 1}, {"a": 1}, {"a": 1, "checksum": 3}, [], None]
    for broken in altered:
        with pytest.raises(DamagedError, match=r"^it"):
            unsealed(broken)
