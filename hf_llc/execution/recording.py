"""Recorded values of an observable at draws: how they are named, made and kept.

A recording is a folder of parts of a run: `anchors` holds the values at w* and what they belong to, each chain or block
of independent draws a part of its own, with its values in a safetensors file beside it.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor

from hf_llc.execution.loaded_model import LoadedModel
from hf_llc.execution.plan import Plan
from hf_llc.execution.store import RunStore, WithTensors
from hf_llc.sampling.objective import Objective
from hf_llc.sampling.observables import OBSERVABLES
from hf_llc.sampling.scaled_objective import ScaledObjective
from hf_llc.settings.recording import LOSSES

RECORDED = "recorded"
ANCHORS = "anchors"
VALUES, LOSS_RISES, LOG_WEIGHTS, LOG_PRIOR_WEIGHTS = "rises", "loss_rises", "log_weights", "log_prior_weights"
"""Names of tensors: values minus those at w*, (draws, columns); L_n(w) − L_n(w*), (draws,); log weights, (draws,)."""
PAIRS_A_PART = 8
"""Antithetic pairs of independent draws that are one part."""


@dataclass(frozen=True, kw_only=True)
class Recording:
    """One observable over the items of the run or of a probe.

    Attributes:
        observable: its name. prefix: of all parts of the run that depend on the length of its chains.
    """

    plan: Plan
    observable: str
    prefix: str = ""

    @property
    def folder(self) -> str:
        """Where its parts are, below the folder of the run."""
        probe = self.plan.probe
        of_probe = "" if probe is None else f"-{hashlib.sha256(probe.fingerprint.encode()).hexdigest()[:8]}"
        return f"{self.prefix}{RECORDED}/{self.observable}{of_probe}"

    @property
    def anchors(self) -> str:
        """Name of the part with the values at w*."""
        return f"{self.folder}/{ANCHORS}"

    def chain(self, chain: int) -> str:
        """Name of the part of a chain."""
        return f"{self.folder}/chains/{chain:03d}"

    @property
    def blocks(self) -> list[str]:
        """Names of the parts of independent draws.

        One with fewer than all its pairs says how many in its name: a later run of more draws has another in its place.
        """
        whole, rest = divmod(self.pairs, PAIRS_A_PART)
        last = [f"{self.folder}/draws/{whole:04d}-{rest}"] if rest else []
        return [*(f"{self.folder}/draws/{index:04d}" for index in range(whole)), *last]

    @property
    def pairs(self) -> int:
        """Antithetic pairs."""
        return -(-self.plan.sampler.recorded_draws // 2)

    def pairs_of(self, name: str) -> range:
        """The pairs of the part of that name."""
        index, _, count = name.rpartition("/")[2].partition("-")
        first = int(index) * PAIRS_A_PART
        return range(first, first + int(count or PAIRS_A_PART))

    @property
    def is_of_all(self) -> bool:
        """True if the mean of the values is the loss L_n itself."""
        return self.observable == LOSSES and self.plan.probe is None


def recordings_of(plan: Plan, prefix: str = "") -> list[Recording]:
    """What a run records."""
    return [Recording(plan=plan, observable=name, prefix=prefix) for name in plan.sampler.observables]


class Recorder:
    """Takes the values of a recording at the weights as they are.

    Args:
        anchors: values at w*, from the part of that name.
    """

    def __init__(self, recording: Recording, bench: LoadedModel, anchors: Tensor | None = None) -> None:
        self.recording, self._bench, self._anchors = recording, bench, anchors
        self._values: list[Tensor] = []

    @property
    def _objective(self) -> Objective:
        probe = self.recording.plan.probe
        return self._bench.objective_of_weights() if probe is None else self._bench.objective_over(probe)

    def values(self) -> Tensor:
        """The values, in nats, (columns,), on the CPU."""
        moved = self._bench.objective
        if isinstance(moved, ScaledObjective):
            moved.place()
        return OBSERVABLES[self.recording.observable].values(self._objective).float().cpu()

    def positions(self) -> list[tuple[int, int | None]]:
        """The item of each column, and the place in it."""
        return list(OBSERVABLES[self.recording.observable].positions(self._objective))

    def rises(self) -> Tensor:
        """The values minus those at w*, (columns,)."""
        if self._anchors is None:
            raise ValueError("there are no values at w* to subtract")
        return (self.values() - self._anchors).to(OBSERVABLES[self.recording.observable].precision)

    def see(self) -> None:
        """Keeps the rises at a draw."""
        self._values.append(self.rises())

    @property
    def last(self) -> Tensor:
        """The rises that were kept last, (columns,)."""
        return self._values[-1]

    def taken(self) -> Tensor:
        """The rises that were kept, (draws, columns); none are kept afterwards."""
        stacked = torch.stack(self._values) if self._values else torch.zeros(0, len(self.positions()))
        self._values.clear()
        return stacked


def anchored(recording: Recording, store: RunStore, bench: LoadedModel) -> Recorder:
    """A recorder with the values at w* that the run holds."""
    (anchors,) = tensors_of(store, recording.anchors, VALUES)
    return Recorder(recording, bench, anchors)


def with_tensors(payload: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> WithTensors:
    """A part with these tensors."""
    return WithTensors(payload, save({name: each.detach().cpu().contiguous() for name, each in tensors.items()}))


def tensors_of(store: RunStore, part: str, *names: str) -> list[Tensor]:
    """Tensors of a finished part by their names."""
    stored = load(store.tensors_path(part).read_bytes())
    return [stored[name] for name in names]
