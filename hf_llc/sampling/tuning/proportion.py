"""What is measured before the chains, counted, and what of it is allowed: a share of what the chains will take."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from torch import Tensor

from hf_llc.sampling.objective import Objective
from hf_llc.sampling.shards import Shards
from hf_llc.sampling.tuning.extent import Extent
from hf_llc.sampling.tuning.measurements import LocalGeometry
from hf_llc.settings.resolved import LOSS, ResolvedSettings

SHARE = 1 / 5
"""Of the run's gradients that measurements before it may take."""
FLOOR = 16.0
"""Gradients of one item that they may take however short the run is: with fewer nothing could be said of a curvature,
and so few take no time that anyone waits for."""


class Meter:
    """Counts what is computed, in gradients of one item; a loss alone is LOSS of one."""

    def __init__(self) -> None:
        self.taken = 0.0


class Metered:
    """An objective that counts on a meter what is asked of it."""

    def __init__(self, inner: Objective, meter: Meter) -> None:
        self._inner, self._meter = inner, meter

    @property
    def n(self) -> int:
        return self._inner.n

    @property
    def parameters(self) -> Sequence[Tensor]:
        return self._inner.parameters

    @property
    def shards(self) -> Shards:
        return self._inner.shards

    def losses(self, indices: Tensor) -> Tensor:
        self._meter.taken += LOSS * len(indices)
        return self._inner.losses(indices)

    def losses_and_gradient(self, indices: Tensor) -> Tensor:
        self._meter.taken += len(indices)
        return self._inner.losses_and_gradient(indices)


def permitted(run: float) -> float:
    """What may be measured before a run that takes so much, both in gradients of one item."""
    return max(FLOOR, SHARE * run)


class Allowance(NamedTuple):
    """What may be measured, by the run that the measurements so far lead to.

    Attributes:
        meter: what was taken. extent: how thoroughly to look.
        run: from measurements, and where chains start, to the gradients of one item that the run would take.
        choice: from the same to all settings of the chains; None if they cannot be chosen.
    """

    meter: Meter
    extent: Extent
    run: Callable[[LocalGeometry, str], float]
    choice: Callable[[LocalGeometry, str], ResolvedSettings | None]

    def left(self, measured: LocalGeometry, start: str) -> float:
        """Gradients of one item that may still be taken."""
        return permitted(self.run(measured, start)) - self.meter.taken

    def settles(self, before: LocalGeometry, after: LocalGeometry, start: str) -> bool:
        """True if what was measured since has changed none of the settings."""
        settings = self.choice(before, start)
        return settings is not None and settings == self.choice(after, start)
