"""Values of options that are written for people: sizes, times, paths."""

import os
import re
from pathlib import Path

import typer

from hf_llc.settings.limits import LARGEST_INTEGER
from hf_llc.settings.stopping import seconds_in

SIZES = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}


def bytes_of(text: str) -> int:
    """Bytes from `20GB`, `1.5 TiB` or `300000`.

    Raises:
        BadParameter: The text is not a size above 0.
    """
    read = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]i?)?b?\s*", text.lower())
    size = float(read[1]) * SIZES[read[2] or ""] if read else 0.0
    if not 1 <= size <= LARGEST_INTEGER:
        raise typer.BadParameter(f"must be a size above 0 such as 20GB, got {text!r}")
    return round(size)


def seconds_of(text: str | float) -> float:
    """Seconds from `90s`, `15m`, `1.5h` or `300`; a default comes as a number.

    Raises:
        BadParameter: The text is not a time above 0.
    """
    try:
        return seconds_in(str(text))
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def path_of(text: str | Path) -> Path:
    """The path, where `~` is the home of a user; a default comes as a path.

    Raises:
        BadParameter: The text is empty, such as an unset shell variable.
    """
    if not str(text).strip():
        raise typer.BadParameter("it is empty.")
    return Path(os.path.expanduser(text))
