"""The one place that turns an exception into a line on stderr and an exit code."""

import errno
import inspect
import os
import re
import sys
from collections.abc import Callable, Mapping
from functools import wraps
from typing import ParamSpec, TypeVar

import typer

from hf_llc.errors import HfLlcError, SettingsError, is_read_only, of_memory
from hf_llc.hub.address import require_readable

from .flags import with_flag_of_rule, with_flags
from .printable import printable
from .signals import INTERRUPTED

P = ParamSpec("P")
R = TypeVar("R")
Say = Callable[[str], None]

EXPECTED = (HfLlcError, OSError, MemoryError, RuntimeError)
DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
NO_FOLDER = (errno.ENOTDIR, errno.EEXIST, errno.EISDIR)
LONGEST_WORD = 300
"""Characters of a word in a line; a longer one, a name of thousands say, is shown by its ends."""


def say(line: str) -> None:
    """One line about what is wrong, on stderr."""
    sys.stderr.write(f"Error: {printable(clipped(line))}\n")
    sys.stderr.flush()


def clipped(line: str) -> str:
    """The line with the middle of words beyond LONGEST_WORD left out."""
    return re.sub(rf"\S{{{LONGEST_WORD + 1},}}", lambda word: f"{word[0][:200]}…{word[0][-60:]}", line)


def reported(command: Callable[P, R]) -> Callable[P, R]:
    """The command, with every expected failure as one line on stderr; `HF_DEBUG=1` lets the traceback through."""

    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            require_words(kwargs)
            require_readable(os.environ.get("HF_ENDPOINT", ""))
            return command(*args, **kwargs)
        except KeyboardInterrupt:
            # Ctrl-C reaches every process of a launch; one of a machine speaks for all.
            if os.environ.get("LOCAL_RANK", "0") == "0":
                typer.echo("Interrupted. Finished work is kept: run the same command to resume.", err=True)
            raise typer.Exit(INTERRUPTED) from None
        except EXPECTED as error:
            line = message(error)
            if line is None or debugging():
                raise
            if line:
                say(line)
            raise typer.Exit(exit_code(error)) from error

    run.__doc__ = paragraphs(command.__doc__ or "")
    return run


def paragraphs(text: str) -> str:
    """A docstring with each paragraph on one line, so that help is wrapped at the width of the terminal.

    Paragraphs that begin with a line of `\\b` keep their lines.
    """
    parts = inspect.cleandoc(text).split("\n\n")
    return "\n\n".join(part if part.startswith("\b") else " ".join(part.split()) for part in parts)


def require_words(parameters: Mapping[str, object]) -> None:
    """Check the arguments of a command line: an empty one is usually an unset shell variable.

    Raises:
        SettingsError: one is empty; names its option or argument.
    """
    for name, value in parameters.items():
        each = value if isinstance(value, list) else [value]
        if any(isinstance(word, str) and not word.strip() for word in each):
            named = "--set" if name == "set_" else name
            raise SettingsError(f"{named} must be a string that is not empty, got ''; leave it out for its default.")


def debugging() -> bool:
    """True if the user wants tracebacks."""
    return os.environ.get("HF_DEBUG", "").lower() in {"1", "true", "yes", "on"}


def exit_code(error: BaseException) -> int:
    """What the command returns for it."""
    return error.exit_code if isinstance(error, HfLlcError) else 1


def message(error: BaseException) -> str | None:
    """What to tell the user: one line; "" if that was done already; None if this is a fault of the program."""
    if isinstance(error, SettingsError):
        return with_flag_of_rule(" ".join(str(error).split()))
    if isinstance(error, HfLlcError):
        return with_flags(" ".join(str(error).split()))
    if of_memory(error):
        return (
            "Out of memory. Lower --micro-batch-size or --num-processes, which does not change the "
            "result, or --context-length, which does. Finished work is kept."
        )
    if not isinstance(error, OSError) or error.errno in {None, errno.EPIPE}:
        return None
    where = f" ({error.filename})" if error.filename else ""
    if error.errno in DISK_FULL:
        return f"The disk is full{where}. Free some space and run the same command: finished work is kept."
    if is_read_only(error):
        return f"No permission to write{where}. Give another folder with --output-dir."
    if error.errno in NO_FOLDER:
        return (
            f"A file is where a folder is needed, or a folder where a file is needed{where}. Give another "
            "folder with --output-dir."
        )
    return f"The operating system reports: {error.strerror}{where}. Set HF_DEBUG=1 for the traceback."
