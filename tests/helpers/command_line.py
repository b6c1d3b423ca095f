"""What the tests of the command line share: how a command ended, and the options that keep it short."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

SMALL = [
    "--batch-size", "4", "--chains", "2", "--draws", "8", "--burn-in", "2", "--no-checks",
    "--gradient", "minibatch", "--batches", "independent",
]  # fmt: skip
"""Sampling that takes a tenth of a second."""

TALK = tuple(
    f"{name} = "
    for name in (
        "start",
        "n_beta",
        "gamma",
        "lr",
        "burn_in",
        "sampler",
        "gradient",
        "baseline",
        "params",
        "dtype",
    )
)
"""How the lines begin that say what was chosen."""


class Ran(NamedTuple):
    """How a command ended and all that it wrote."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """The one JSON object that is all of stdout, on one line and without NaN or Infinity."""
        assert self.out.count("\n") == 1, self
        loads = json.loads(self.out, parse_constant=refuse)
        assert isinstance(loads, dict)
        return loads

    @property
    def complaints(self) -> list[str]:
        """The lines of stderr that say neither what was chosen nor that a request is tried again."""
        return [line for line in self.err.splitlines() if not line.startswith(TALK) and "trying again in" not in line]


Run = Callable[..., Ran]


def refuse(name: str) -> float:
    """The `parse_constant` that takes no NaN."""
    raise AssertionError(f"{name} in the JSON")


def files_of(folder: Path) -> dict[str, tuple[int, int]]:
    """Every file below a folder but the summary, by relative name, with its inode and time of change in ns."""
    results = {path.relative_to(folder).as_posix(): path.stat() for path in folder.rglob("*.json")}
    return {name: (stat.st_ino, stat.st_mtime_ns) for name, stat in results.items() if name != "estimate.json"}


def refused(ran: Ran, code: int, pattern: str) -> str:
    """The one line of a failed command; fails if there is more, or less, or other."""
    assert ran.out == ""
    assert len(ran.complaints) == 1, ran.err
    assert ran.code == code, ran.err
    line = ran.complaints[0]
    assert line.startswith("Error: ")
    assert re.search(pattern, line), line
    assert len(line) < 500
    return line
