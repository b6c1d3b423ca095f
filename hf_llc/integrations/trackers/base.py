"""The tracker interface, and the description of a run that a tracker gets."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

Values = Mapping[str, float | str]


@dataclass(frozen=True, kw_only=True)
class TrackedRun:
    """The run whose points are reported.

    Attributes:
        folder: of the run. project: the name under which a tracker with projects files it.
        name: one that the run keeps when it is continued, and that no other folder has.
        part: of a scan that several jobs share; "" for a whole one. config: what is shown beside the numbers.
    """

    folder: Path
    project: str
    name: str
    part: str
    config: Mapping[str, Any]


class Tracker(Protocol):
    """Reports the points of one run.

    Attributes:
        view_command: the command that shows them.
    """

    view_command: str

    def __init__(self, run: TrackedRun) -> None: ...

    @staticmethod
    def require() -> None:
        """Raise SettingsError if the tracker's package is not installed; the message says how to install it."""

    def log(self, values: Values, step: int) -> None:
        """Report numbers and texts by name; they are on disk, or wherever the tracker keeps them, when it returns."""

    def close(self) -> None:
        """Release what is open; called by the thread that made the tracker."""
