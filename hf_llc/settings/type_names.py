"""Types of settings in the words of a message: `a whole number`, `a list of strings`."""

import types
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Union, cast, get_args, get_origin

KINDS = {bool: "True or False", int: "a whole number", float: "a number", str: "a string", Path: "a path"}


def name_of(option: Any) -> str:
    """The type with its article."""
    if get_origin(option) is Annotated:
        return name_of(get_args(option)[0])
    if option in KINDS:
        return KINDS[option]
    origin = get_origin(option)
    if origin is tuple or origin is Sequence:
        return f"a list of {_plural(get_args(option)[0])}"
    if origin is Mapping:
        return "a mapping"
    if origin is Callable:
        return "a function"
    name = getattr(cast(Any, origin or option), "__name__", str(option))
    return f"{'an' if name[:1].lower() in 'aeiou' else 'a'} {name}"


def _plural(option: Any) -> str:
    if get_origin(option) in (types.UnionType, Union):
        return " or ".join(_plural(each) for each in get_args(option))
    return f"{name_of(option).removeprefix('an ').removeprefix('a ')}s"
