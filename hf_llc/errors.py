"""The exceptions a user can meet. The text of each is the whole message: what is wrong, then what to do.

HfLlcError
├── SettingsError      the request itself is impossible; nothing was read
├── SourceError        the model or the dataset cannot be read
│   ├── NotFoundError  no such repository, revision, file, split or column (the message names near matches)
│   ├── AccessError    it exists, but this token may not read it
│   └── OfflineError   not on this machine, and no network to fetch it
├── UnusableError      it was read, but an LLC cannot be estimated with it
├── ResourceError      memory, disk, permissions
├── PublishError       the Hub did not take what was to be published; it is kept on this disk
├── LaunchError        the processes could not be started or do not know each other
├── RankError          a process that this one started failed; in its own words
└── DivergedError      fewer than two chains, or not all independent draws, stayed finite: there is no number
"""

import errno
from collections.abc import Mapping, Sequence
from difflib import get_close_matches


class HfLlcError(Exception):
    """Root of everything hf-llc raises on purpose. `exit_code` is what the command line returns for it."""

    exit_code = 1


class SettingsError(HfLlcError):
    """The settings contradict each other or lie outside their range."""

    exit_code = 2


class SourceError(HfLlcError):
    """The model or the dataset cannot be read."""


class NotFoundError(SourceError):
    """A repository, revision, file, split or column does not exist."""


class AccessError(SourceError):
    """The repository is gated or private for the token in use."""


class OfflineError(SourceError):
    """What is needed is not on this machine and cannot be fetched."""


class UnusableError(HfLlcError):
    """The model or the data was read but cannot be used for an estimate."""


class ResourceError(HfLlcError):
    """Memory, disk space or a permission is missing."""


class PublishError(HfLlcError):
    """The Hub did not take what was to be published."""


class LaunchError(HfLlcError):
    """Processes could not be started, or see a different world size than they were given."""


class DivergedError(HfLlcError):
    """Fewer than two chains stayed finite, or a loss at an independent draw did not."""


class RankError(HfLlcError):
    """A process that this one started failed: its message, empty if it was shown already, and its exit code."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


KINDS: Mapping[str, type[HfLlcError]] = {
    kind.__name__: kind
    for kind in (
        SettingsError,
        SourceError,
        NotFoundError,
        AccessError,
        OfflineError,
        UnusableError,
        ResourceError,
        PublishError,
        LaunchError,
        DivergedError,
        RankError,
    )
}
"""Every class by its name, for a process that receives the error of another one."""

_READ_ONLY = (errno.EACCES, errno.EPERM, errno.EROFS)


def listed(names: Sequence[str]) -> str:
    """Names for a sentence, the first three of them and how many more there are: `a, b, c and 2 more`."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def counted(count: int, noun: str) -> str:
    """A number with its noun: `1 row`, `2 rows`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def is_read_only(error: OSError) -> bool:
    """True if a file could not be written for want of a permission, or since its disk takes no writes."""
    return error.errno in _READ_ONLY


_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")


def of_memory(error: BaseException) -> bool:
    """True if memory ran out, of this machine or of a GPU: torch has no type of its own for the first."""
    return isinstance(error, MemoryError) or any(phrase in str(error).lower() for phrase in _MEMORY)


def did_you_mean(name: str, known: list[str], count: int = 3) -> str:
    """`; did you mean a, b?` for the names closest to `name`, the first few names if none is close, or nothing."""
    if close := get_close_matches(name, known, n=count, cutoff=0.5):
        return f"; did you mean {' or '.join(close)}?"
    if not known:
        return "."
    more = ", …" if len(known) > count else ""
    return f"; there is {', '.join(known[:count])}{more}."


def one_line(text: str) -> str:
    """The text with every run of white space and control characters as one space."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())
