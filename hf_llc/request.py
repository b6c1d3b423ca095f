"""What a scan is asked for."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from hf_llc.catalogue import find_checkpoints
from hf_llc.checkpoints import Checkpoint
from hf_llc.selector import Selection
from hf_llc.settings import DataSettings, SamplerSettings


@dataclass(frozen=True, kw_only=True)
class Request:
    """Everything that decides the curve, and where it is kept; the attributes are the arguments of `scanning.scan`."""

    model: str
    data: DataSettings = field(default_factory=DataSettings)
    sampler: SamplerSettings = field(default_factory=SamplerSettings)
    selection: Selection | None = None
    tokens_per_step: int | None = None
    steps: Mapping[str, int] | None = None
    trust_remote_code: bool = False
    allow_duplicates: bool = False
    max_disk: int | None = None
    output_dir: Path | None = None
    device: str | None = None

    def checkpoints(self, tell: Callable[[str], None]) -> list[Checkpoint]:
        """The chosen checkpoints.

        Raises:
            HfLlcError: see `catalogue.find_checkpoints`.
        """
        found = find_checkpoints(
            self.model,
            self.selection,
            tokens_per_step=self.tokens_per_step,
            steps=self.steps,
            trust_remote_code=self.trust_remote_code,
            tell=tell,
        )
        return [replace(each, duplicate_of=None) for each in found] if self.allow_duplicates else found
