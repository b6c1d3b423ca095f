"""A scan in parts: which checkpoints of the whole selection one job of an array estimates."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Self

from hf_llc.checkpoints.checkpoint import Checkpoint
from hf_llc.errors import SettingsError
from hf_llc.settings.bounds import Bounds, check_fields

MOST = 10**6
"""Parts of a scan."""


@dataclass(frozen=True)
class Shard:
    """Part `index` of `count`, from 1; the whole scan if there is only one.

    Every job must be given the same selection: what is shared over the curve is measured on checkpoints of all of it,
    and the checkpoints are dealt out in turn.
    """

    index: Annotated[int, Bounds(low=1, high=MOST)] = 1
    count: Annotated[int, Bounds(low=1, high=MOST)] = 1

    def __post_init__(self) -> None:
        check_fields(self)
        if self.index > self.count:
            raise SettingsError(f"index must be ≤ count = {self.count}, got {self.index}")

    @classmethod
    def parse(cls, text: str | None) -> Self:
        """The shard that `--shard 2/8` asks for; None is the whole.

        Raises:
            SettingsError: it is not of that form.
        """
        if text is None:
            return cls()
        match = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", str(text).strip())
        if match is None or not 1 <= int(match[1]) <= int(match[2]):
            raise SettingsError(f"shard must be a part and the number of parts, such as 1/8 to 8/8, got {text!r}.")
        return cls(int(match[1]), int(match[2]))

    @property
    def is_whole(self) -> bool:
        """True if nothing is left to others."""
        return self.count == 1

    @property
    def name(self) -> str:
        """`shard-2-of-8`."""
        return f"shard-{self.index}-of-{self.count}"

    @property
    def part(self) -> str:
        """Its name, "" of the whole."""
        return "" if self.is_whole else self.name

    def own(self, checkpoints: Sequence[Checkpoint]) -> list[str]:
        """The names that this part answers for, in order.

        Those that are estimated are dealt out in turn, so that early and late ones are mixed; a copy goes with the
        first one of its weights, and what cannot be used with the first part.
        """
        dealt = {name: turn % self.count + 1 for turn, name in enumerate(estimated(checkpoints))}
        return [each.name for each in checkpoints if dealt.get(each.duplicate_of or each.name, 1) == self.index]

    def to_dict(self, checkpoints: Sequence[Checkpoint]) -> dict[str, Any]:
        """What a merge needs to know to find out whether anything is missing."""
        # Parts beyond the number of checkpoints have nothing to do and leave no folder.
        busy = min(self.count, max(1, len(estimated(checkpoints))))
        return {
            "index": self.index,
            "count": self.count,
            "busy": busy,
            "selection": [each.name for each in checkpoints],
        }


def estimated(checkpoints: Sequence[Checkpoint]) -> list[str]:
    """The checkpoints that can be used and have weights of their own."""
    return [each.name for each in checkpoints if each.problem is None and each.duplicate_of is None]


def missing(shards: Sequence[Mapping[str, Any]], names: Sequence[str]) -> list[str]:
    """One sentence per reason why these parts are not a whole scan; `names` are the names of their points."""
    sentences = []
    if len({tuple(each["selection"]) for each in shards}) > 1:
        sentences.append(
            "The parts have different lists of checkpoints, so some checkpoints may be missing or estimated twice."
        )
    for count in sorted({int(each["count"]) for each in shards}):
        known = {int(each["index"]) for each in shards if each["count"] == count}
        busy = max(int(each["busy"]) for each in shards if each["count"] == count)
        if absent := [f"{index}/{count}" for index in range(1, busy + 1) if index not in known]:
            sentences.append(f"Missing parts: {', '.join(absent)}.")
    wanted = dict.fromkeys(name for each in shards for name in each["selection"])
    if absent := [name for name in wanted if name not in set(names)]:
        sentences.append(f"Missing checkpoints: {', '.join(absent)}.")
    return sentences
