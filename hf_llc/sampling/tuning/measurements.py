"""What a choice of dynamics starts from and ends in: what was asked for, what was measured, what was chosen."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from hf_llc.sampling.samplers import AUTO

MARGIN = 1.5
"""How many times sharper or noisier than others a checkpoint may be for the measurements after their warm-up runs to be
scaled to it."""


class RequestedDynamics(NamedTuple):
    """Settings as given, or `auto` or None: names in SAMPLERS, GRADIENTS and BATCHES, c and ε."""

    sampler: str = AUTO
    momentum: float | None = None
    lr: float | None = None
    gradient: str = AUTO
    batches: str = AUTO


@dataclass(frozen=True, kw_only=True)
class LocalGeometry:
    """What a choice is made from.

    Attributes:
        curvature: largest |h| at w* and where chains start, nats per weight².
        trace, squares: tr H and tr H² at w*.
        noise: tr Cov of a minibatch's gradient, (nats per weight)². controlled: the same with a control variate at w*,
            None if it was not measured.
        rise: mean loss of draws from the localizing prior alone above that at w*, nats per token.
        epoch: minibatches that all items make.
        typical: the curvature that gradient noise mostly acts along, tr H² / tr H at equilibrium, nats per weight².
        level: mean loss at w*, nats per token.
        scatter: variance over items of ℓ_i(w) − ℓ_i(w*) near where chains start, (nats per token)².
        curved: what is left of it without the part that is linear in w − w*.
        sharp: |h| of a minibatch that is far sharper than others; 0 if there is none.
        jumps: True if the loss is known to change by jumps, as where a router chooses between experts.
    """

    curvature: float
    trace: float
    squares: float
    noise: float
    rise: float
    controlled: float | None = None
    epoch: int = 1
    typical: float = 0.0
    level: float = 0.0
    scatter: float = 0.0
    curved: float = 0.0
    jumps: bool = False
    sharp: float = 0.0

    @property
    def limiting(self) -> float:
        """The curvature |h| on which steps must be stable: the largest met, be it of all items or of a minibatch."""
        return max(self.curvature, self.sharp)

    def least_llc(self, n_beta: float, gamma: float) -> float:
        """A lower bound of ½ Σ nβh/(nβh+γ) from tr H and tr H² (Jensen: the summand over h is convex in h)."""
        if self.trace <= 0:
            return 0.0
        return n_beta * self.trace / (n_beta * self.squares / self.trace + gamma) / 2

    def typical_stiffness(self, n_beta: float, gamma: float) -> float:
        """nβh/γ at `typical_curvature`."""
        return n_beta * self.typical_curvature / gamma if gamma > 0 else math.inf

    @property
    def typical_curvature(self) -> float:
        """The curvature h that most of tr H comes from, at equilibrium if that was looked at."""
        return self.typical or (self.squares / self.trace if self.trace > 0 else 0.0)


def combine_worst_case(geometries: Sequence[LocalGeometry]) -> LocalGeometry:
    """The sharpest and the noisiest of several checkpoints in one."""
    measured = any(each.controlled is not None for each in geometries)
    return replace(
        geometries[0],
        curvature=max(each.curvature for each in geometries),
        noise=max(each.noise for each in geometries),
        rise=max(each.rise for each in geometries),
        # Where plain noise did not matter it stands for the other, which would be no larger.
        controlled=max(each.noise if each.controlled is None else each.controlled for each in geometries)
        if measured
        else None,
        epoch=max(each.epoch for each in geometries),
        typical=max(each.typical for each in geometries),
        scatter=max(each.scatter for each in geometries),
        curved=max(each.curved for each in geometries),
        jumps=any(each.jumps for each in geometries),
        sharp=max(each.sharp for each in geometries),
    )


def rescale_from_similar(
    geometry: LocalGeometry, walked: Sequence[tuple[LocalGeometry, LocalGeometry]]
) -> LocalGeometry | None:
    """What a warm-up run would measure at a checkpoint, from what it measured at others; None if they are less
    sharp or less noisy by more than MARGIN, or there are none.

    Args:
        geometry: what was measured before the warm-up run. walked: at each of the others, the same and what the warm-up
            run found.
    """
    if not walked:
        return None
    before, after = (
        combine_worst_case([first for first, _ in walked]),
        combine_worst_case([settled for _, settled in walked]),
    )
    sharper, noisier = _excess(geometry.curvature, before.curvature), _excess(geometry.noise, before.noise)
    if max(sharper, noisier) > MARGIN:
        return None
    return replace(
        after,
        curvature=max(geometry.curvature, after.curvature * sharper),
        typical=after.typical * sharper,
        noise=after.noise * noisier,
        controlled=None if after.controlled is None else after.controlled * noisier,
        rise=max(geometry.rise, after.rise),
        scatter=after.scatter * _times(geometry.scatter, before.scatter),
        curved=after.curved * _times(geometry.curved, before.curved),
        jumps=geometry.jumps or after.jumps,
        sharp=max(geometry.sharp, after.sharp),
    )


def _times(value: float, other: float) -> float:
    """How many times as large it is; 1 where there is nothing to compare with."""
    return value / other if other > 0 else 1.0


def _excess(value: float, other: float) -> float:
    """How many times as large it is, at least 1."""
    return max(1.0, value / other) if other > 0 else math.inf


@dataclass(frozen=True, kw_only=True)
class ChosenDynamics:
    """The choice; `why` has one sentence for each part that was not given, by name of the setting.

    `burn_in_lr` is the step that the burn-in may begin with, None for `lr` itself.
    """

    sampler: str
    momentum: float
    lr: float
    gradient: str
    batches: str
    why: dict[str, str]
    burn_in_lr: float | None = None
