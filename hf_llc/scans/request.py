"""What a scan is asked for."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from hf_llc.checkpoints.checkpoint import Checkpoint
from hf_llc.checkpoints.find import find_checkpoints
from hf_llc.checkpoints.selection import Selection
from hf_llc.measures import LLC
from hf_llc.scans.shard import Shard
from hf_llc.settings.data import DataSettings
from hf_llc.settings.sampler import SamplerSettings
from hf_llc.tasks.own_module import OwnSeries


@dataclass(frozen=True, kw_only=True)
class Request:
    """Everything that decides the curve, and where it is kept; the attributes are the arguments of `scan.scan`.

    Attributes:
        losses_at: as of `Plan`.
        own: modules of a user's own with their items and loss, in place of checkpoints and data.
    """

    model: str
    data: DataSettings = field(default_factory=DataSettings)
    sampler: SamplerSettings = field(default_factory=SamplerSettings)
    selection: Selection | None = None
    tokens_per_step: int | None = None
    steps: Mapping[str, int] | None = None
    trust_remote_code: bool = False
    base_model: str | None = None
    allow_duplicates: bool = False
    max_disk: int | None = None
    output_dir: Path | None = None
    device: str | None = None
    shard: Shard = field(default_factory=Shard)
    measures: tuple[str, ...] = (LLC,)
    losses_at: Path | None = None
    own: OwnSeries | None = None

    def checkpoints(self, tell: Callable[[str], None]) -> list[Checkpoint]:
        """The chosen checkpoints, whichever part of them `shard` is.

        Raises:
            HfLlcError: see `find.find_checkpoints`.
        """
        if self.own is not None:
            series = self.own.checkpoints
        else:
            series = find_checkpoints(
                self.model,
                self.selection,
                tokens_per_step=self.tokens_per_step,
                steps=self.steps,
                trust_remote_code=self.trust_remote_code,
                tell=tell,
            )
        if self.base_model is not None:
            series = [replace(each, model=replace(each.model, base_model=self.base_model)) for each in series]
        return [replace(each, duplicate_of=None) for each in series] if self.allow_duplicates else series
