"""A checkpoint of a series: where its weights are, and where it stands in training."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from hf_llc.settings.model import ModelSettings

ADAPTER = "adapter"
"""In place of the format: weights that change those of another model."""


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """One entry of a series, known before anything is downloaded.

    Attributes:
        name: what tells it from the others, as a user would type it: `step512`, `checkpoint-500`, a commit.
        model: what `planning.plan` needs to find it.
        sha: the commit, or None for a local folder.
        stage: a label that sorts before the step (`stage1`); step, tokens: how far training was; None if not known.
        weights: `safetensors`, `bin`, `gguf`, ADAPTER, or None where there are none.
        size: bytes of the weights, None if not known. cached: True if they are on this disk.
        duplicate_of: the name of the first checkpoint with the very same weights.
        problem: why it cannot be used, where the names of its files say so already.
    """

    name: str
    model: ModelSettings
    sha: str | None = None
    stage: str | None = None
    step: int | None = None
    tokens: int | None = None
    weights: str | None = None
    size: int | None = None
    cached: bool = False
    duplicate_of: str | None = None
    problem: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready mapping."""
        return asdict(self)

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Self:
        """The checkpoint that `to_dict` wrote."""
        return cls(**{**stored, "model": ModelSettings(**stored["model"])})
