"""What is written down at every draw beside the loss: `RecordingSettings`."""

from dataclasses import dataclass
from typing import Annotated

from hf_llc.settings.bounds import Bounds, check_fields, require
from hf_llc.settings.limits import LONGEST
from hf_llc.settings.option import Option
from hf_llc.settings.registry import Registry

OBSERVABLE_NAMES = Registry[object]("hf_llc.sampling.observables", "OBSERVABLE")
"""Names alone: settings must not import torch."""
LOSSES, TOKEN_LOSSES = "losses", "token-losses"


@dataclass(frozen=True, kw_only=True)
class RecordingSettings:
    """Losses of single items at the draws, from which influence and susceptibilities follow.

    They change nothing in λ̂ and its draws, and can be added to a finished run.

    Attributes:
        keep: names of what is recorded: `losses` of items, `token-losses` of the tokens of text.
        probe: a dataset or file whose items are recorded, read with the settings of the main data, its context
            length too; None records the
            items of the main data themselves.
        probe_items: the most items of the probe.
        recorded_draws: how many independent draws are recorded, in antithetic pairs; chains record at all their draws.
    """

    keep: Annotated[
        tuple[str, ...],
        Option(
            help=f"Record at every draw: {', '.join(OBSERVABLE_NAMES)} (repeatable). Influence and susceptibilities "
            "follow from it.",
            panel="Recording",
            published=False,
        ),
    ] = ()
    probe: Annotated[
        str | None,
        Option(
            help="Dataset or file whose items are recorded, text in sequences as long as the data's. (default: the "
            "items of --dataset)",
            panel="Recording",
            published=False,
        ),
    ] = None
    probe_items: Annotated[
        int,
        Bounds(low=1, high=LONGEST),
        Option(help="Largest number of items of --probe.", panel="Recording", published=False),
    ] = 64
    recorded_draws: Annotated[
        int,
        Bounds(low=8, high=LONGEST, why="fewer have no error"),
        Option(
            help="Independent draws that are recorded; chains record at all their draws.",
            panel="Recording",
            published=False,
        ),
    ] = 400

    @property
    def observables(self) -> tuple[str, ...]:
        """What is recorded, each name once; `losses` where only a probe was named."""
        return tuple(dict.fromkeys(self.keep)) or ((LOSSES,) if self.probe is not None else ())

    def __post_init__(self) -> None:
        check_fields(self)
        for name in self.keep:
            OBSERVABLE_NAMES.check("keep", name)
        require(
            bool(self.observables) or self.recorded_draws == RecordingSettings.recorded_draws,
            "recorded_draws goes with `keep` or `probe`, which say what is recorded.",
        )
