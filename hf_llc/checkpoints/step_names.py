"""Names of checkpoints taken apart: how far training was, as far as the name says so."""

import re
from dataclasses import dataclass
from pathlib import Path

from hf_llc.errors import SettingsError
from hf_llc.hub.reference import STEP_DIGITS, training_step
from hf_llc.settings.files import LARGEST_LIST, read_text

_STAGE = re.compile(r"(?<![a-z])(?:stage|phase)[-_]?\d+(?:[-_]ingredient[-_]?\d+)?", re.IGNORECASE)
_STEP_END = re.compile(r"(?:step|checkpoint|ckpt|iter)[-_]?\d+[km]?(?![a-z0-9])", re.IGNORECASE)
_TOKENS = re.compile(r"tokens[-_]?(\d+(?:\.\d+)?)([kmbt]?)(?![a-z0-9])", re.IGNORECASE)
_BARE_TOKENS = re.compile(r"[-_](\d+(?:\.\d+)?)([kmbt])t?(?![a-z0-9])", re.IGNORECASE)
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "b": 10**9, "t": 10**12}


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a name stands in training; None for what the name does not say.

    Attributes:
        stage: `stage1`, `stage2-ingredient1`, `phase3`. step: the step, or the checkpoint's number where a series
            counts those. tokens: seen so far, as rounded as the name has it.
    """

    stage: str | None = None
    step: int | None = None
    tokens: int | None = None


def place_of(name: str) -> Place:
    """What the name of a branch, tag, folder or repository says: `stage1-step1000-tokens5B`, `ckpt_007`."""
    stage = _STAGE.search(name)
    step = training_step(name)
    tokens = _TOKENS.search(name)
    ends = [match.end() for match in _STEP_END.finditer(name)]
    if tokens is None and step is not None and ends:
        # Only behind the step: elsewhere `1.1B` is the size of the model.
        tokens = _BARE_TOKENS.search(name, ends[-1])
    return Place(
        stage=stage.group().lower() if stage else None,
        step=step,
        tokens=round(float(tokens[1]) * _UNITS[tokens[2].lower()])
        if tokens and len(tokens[1]) <= STEP_DIGITS
        else None,
    )


def read_steps(path: Path) -> dict[str, int]:
    """Step by name from a file of lines such as `kestrel 250000`; `#` begins a remark.

    Raises:
        NotFoundError: it cannot be read. SettingsError: a line is not a name and a whole number.
    """
    lines = read_text(path, "--step-map", LARGEST_LIST).splitlines()
    steps = {}
    for number, line in enumerate(lines, start=1):
        cells = line.partition("#")[0].replace(",", " ").split()
        if cells and (len(cells) != 2 or not cells[1].isdecimal() or len(cells[1]) > STEP_DIGITS):
            raise SettingsError(
                f"`step_map` {path}, line {number} must be a name and a step, such as `kestrel 250000`."
            )
        if cells:
            steps[cells[0]] = int(cells[1])
    return steps
