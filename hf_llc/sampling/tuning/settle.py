"""A short warm-up run before the chains: curvature and gradient noise at equilibrium, not at the start."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from hf_llc.sampling import seeds
from hf_llc.sampling.baseline import scatter_at
from hf_llc.sampling.gradients import Gradient, differences
from hf_llc.sampling.objective import Objective, copy_of, restore
from hf_llc.sampling.randomness import ChainRandomness
from hf_llc.sampling.samplers import AUTO, SAMPLERS
from hf_llc.sampling.samplers.base import ChainState, GradientSample, Posterior, Sampler
from hf_llc.sampling.tuning.curvature import sharpest, squares
from hf_llc.sampling.tuning.extent import Extent, full_extent
from hf_llc.sampling.tuning.gamma import trace_of_hessian
from hf_llc.sampling.tuning.gradient_noise import gradient_noise
from hf_llc.sampling.tuning.measurements import LocalGeometry, RequestedDynamics
from hf_llc.sampling.tuning.noise_reduction import choose_noise_reduction
from hf_llc.sampling.tuning.proportion import Allowance

ROUNDS = (20, 40, 80, 160)
"""Steps of each round; from one to the next the run has time to move as far again."""
ALIKE = 0.2
"""Share by which gradient noise and curvature may differ after two rounds for the second to be the last."""
WARMTH = 1.0
"""Gradient-noise bias that the warm-up run may have, as a share of the least λ̂: it only has to come near
equilibrium."""


def measure_at_equilibrium(
    objective: Objective,
    gradient: Callable[[str], Gradient],
    batch: Tensor,
    asked: RequestedDynamics,
    measured: LocalGeometry,
    *,
    n_beta: float,
    gamma: float,
    start: str,
    batch_size: int,
    seed: int,
    direction: Sequence[Tensor],
    items: Tensor,
    allowance: Allowance | None = None,
) -> LocalGeometry:
    """The measurements after a warm-up run from where chains start; the weights are w* again afterwards.

    Each of ROUNDS runs uses the settings that the measurements so far suggest. The last is one that finds them as they
    were before, or that changes none of the chains' settings, or after which the next would take more than is allowed.
    The largest curvature met stays: chains must be stable there. If a run diverges, the measurements before it are
    kept.

    Args:
        gradient: the estimator of ∇L_n by its name. batch: items that curvature is measured on; items: those that the
            scatter of losses is. direction: the sharpest one so far; its tensors are written over.
        allowance: see `measure.measure_geometry`.
    """
    parameters = objective.parameters
    anchors = copy_of(parameters)
    device = parameters[0].device
    extent = allowance.extent if allowance is not None else full_extent(batch_size, len(batch))
    estimators = _Estimators(objective, gradient, anchors, asked)

    def noise(name: str) -> float | None:
        estimator = estimators.noise(name)
        return estimator and gradient_noise(objective, estimator, batch_size, seed, extent.pairs, extent.noise)

    geometry = replace(measured, epoch=max(1, objective.n // batch_size), typical=measured.curvature)
    try:
        if start != "anchor":
            stream = seeds.generator(seed, "pilot", device=device)
            with torch.no_grad():
                for parameter, xi in zip(parameters, objective.shards.normals(parameters, stream), strict=True):
                    parameter.add_(xi, alpha=gamma**-0.5)
        for number, steps in enumerate(ROUNDS):
            remaining = math.inf if allowance is None or number == 0 else allowance.left(_halved(geometry), start)
            way = choose_noise_reduction(asked, n_beta, gamma, geometry, WARMTH)
            full = objective.n if estimators.missing(way.way.gradient) and asked.gradient == AUTO else 0
            if full and full + round_cost(steps, 2, batch_size, extent) > remaining:
                full, way = (
                    0,
                    choose_noise_reduction(asked._replace(gradient="minibatch"), n_beta, gamma, geometry, WARMTH),
                )
            if round_cost(steps, 1 + (way.way.gradient == "control-variate"), batch_size, extent) > remaining:
                break
            if allowance is not None:
                # The full gradient is the run's own where it was asked for.
                allowance.meter.taken += full
            randomness = ChainRandomness(
                seed, -1 - number, objective.n, batch_size, device, way.way.batches, shards=objective.shards
            )
            law = Posterior(n_beta, gamma, way.lr, way.way.momentum, steps)
            walk = ChainState(parameters, anchors, law, randomness, estimators.of(way.way.gradient), objective.shards)
            _walk(walk, SAMPLERS[way.way.sampler], steps)
            largest, direction = sharpest(objective, batch, direction, seed, extent.products)
            seen = _look(objective, batch, noise, geometry, largest, seed, extent.directions)
            if seen is None:
                break
            if len(items):
                seen = replace(seen, **scatter_at(objective, anchors, items)._asdict())
            geometry, before = seen, geometry
            if number > 0 and (_alike(before, geometry) or (allowance and allowance.settles(before, geometry, start))):
                break
    finally:
        restore(parameters, anchors)
        for parameter in parameters:
            parameter.grad = None
    return geometry


def round_cost(steps: int, gradients: int, batch_size: int, extent: Extent) -> float:
    """What a round takes at most, in gradients of one item.

    Args:
        gradients: of a minibatch that a step takes.
    """
    return steps * gradients * batch_size + extent.look_cost


class _Estimators:
    """Estimators of ∇L_n by name; one that needs the full gradient at w* is made when it is first used."""

    def __init__(
        self,
        objective: Objective,
        gradient: Callable[[str], Gradient],
        anchors: Sequence[Tensor],
        asked: RequestedDynamics,
    ) -> None:
        self._objective, self._anchors = objective, anchors
        self._gradient, self._made = gradient, {"minibatch": gradient("minibatch")}
        self._differences = differences(objective, anchors) if asked.gradient != "minibatch" else None

    def missing(self, name: str) -> bool:
        """True if the full gradient must be taken for it."""
        return name not in self._made

    def of(self, name: str) -> Gradient:
        """The estimator of that name, wherever the weights are."""
        if self.missing(name):
            parameters = self._objective.parameters
            position = copy_of(parameters)
            restore(parameters, self._anchors)
            self._made[name] = self._gradient(name)
            restore(parameters, position)
        return self._made[name]

    def noise(self, name: str) -> Gradient | None:
        """One that is as noisy; None if it is not a choice."""
        return self._made[name] if name == "minibatch" else self._differences


def _halved(measured: LocalGeometry) -> LocalGeometry:
    """With half the gradient noise, as a longer run may find it, so that a run is not thought longer than it gets."""
    controlled = None if measured.controlled is None else measured.controlled / 2
    return replace(measured, noise=measured.noise / 2, controlled=controlled)


def _alike(before: LocalGeometry, after: LocalGeometry) -> bool:
    pairs = [(before.noise, after.noise), (before.typical, after.typical)]
    if before.controlled is not None and after.controlled is not None:
        pairs.append((before.controlled, after.controlled))
    return all(abs(one - other) <= ALIKE * max(one, other) for one, other in pairs)


def _look(
    objective: Objective,
    batch: Tensor,
    noise: Callable[[str], float | None],
    before: LocalGeometry,
    largest: float,
    seed: int,
    directions: int,
) -> LocalGeometry | None:
    """The measurements at the weights as they are; None if any is not finite, as where the run diverged.

    Args:
        largest: |h| there. directions: pairs of draws that tr H is taken from.
    """
    squared = squares(objective, batch, seed)
    trace = trace_of_hessian(objective, batch, objective.losses(batch), seed, directions)
    plain, controlled = noise("minibatch"), noise("control-variate")
    if not all(map(math.isfinite, (largest, squared, trace, plain or 0.0, controlled or 0.0))):
        return None
    return replace(
        before,
        noise=plain or 0.0,
        controlled=controlled,
        curvature=max(before.curvature, largest),
        typical=min(squared / trace, largest) if trace > 0 else largest,
    )


def _walk(walk: ChainState, sampler: Sampler, steps: int) -> None:
    state = sampler.init(walk)
    for index in range(steps):
        batch = walk.randomness.batch(index)
        losses, slope = walk.evaluate(batch)
        sampler.step(walk, GradientSample(batch, losses, slope), state, index)
