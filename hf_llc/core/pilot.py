"""A short walk before the chains: curvature and gradient noise where chains live, not where they begin."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from hf_llc.core import seeds
from hf_llc.core.baseline import scatter_at
from hf_llc.core.circumstances import Asked, Measured
from hf_llc.core.curvature import sharpest, squares
from hf_llc.core.gradients import Gradient
from hf_llc.core.localisation import trace_of_hessian
from hf_llc.core.noise import gradient_noise
from hf_llc.core.noise_budget import choose_quieter
from hf_llc.core.objective import Objective, copy_of, restore
from hf_llc.core.randomness import ChainRandomness
from hf_llc.core.samplers import AUTO, SAMPLERS, Sampler
from hf_llc.core.samplers.law import Law, Look, Walk

ROUNDS = (20, 40, 80, 160)
"""Steps of each round; from one to the next the walk has time to go as far again as it has come."""
ALIKE = 0.2
"""Share by which gradient noise and curvature may differ after two rounds for the second to be the last."""
WARMTH = 1.0
"""Heating that the walk may have, as a share of the least λ̂: it only has to come near where chains will be."""


def measure_settled(
    objective: Objective,
    gradient: Callable[[str], Gradient],
    batch: Tensor,
    asked: Asked,
    measured: Measured,
    *,
    n_beta: float,
    gamma: float,
    start: str,
    batch_size: int,
    seed: int,
    direction: Sequence[Tensor],
    items: Tensor,
) -> Measured:
    """The measurements again after a walk from where chains start; the weights are w* again afterwards.

    Each of ROUNDS walks as the measurements so far advise, and the last is one that finds them as they were before. The
    largest curvature met stays: chains must be stable there. If a walk blows up, what was measured before it stays.

    Args:
        gradient: the estimator of ∇L_n by its name. batch: items that curvature is measured on; items: those that the
            scatter of losses is. direction: the sharpest one so far; its tensors are written over.
    """
    parameters = objective.parameters
    anchors = copy_of(parameters)
    device = parameters[0].device
    names = ("minibatch", "control-variate") if asked.gradient == AUTO else (asked.gradient,)
    estimators = {name: gradient(name) for name in {"minibatch", *names}}

    def noise(name: str) -> float | None:
        return gradient_noise(objective, estimators[name], batch_size, seed) if name in estimators else None

    found = replace(measured, epoch=max(1, objective.n // batch_size), typical=measured.curvature)
    try:
        if start != "anchor":
            stream = seeds.generator(seed, "pilot", device=device)
            with torch.no_grad():
                for parameter, xi in zip(parameters, objective.shards.normals(parameters, stream), strict=True):
                    parameter.add_(xi, alpha=gamma**-0.5)
        for number, steps in enumerate(ROUNDS):
            way = choose_quieter(asked, n_beta, gamma, found, WARMTH)
            randomness = ChainRandomness(
                seed, -1 - number, objective.n, batch_size, device, way.way.batches, shards=objective.shards
            )
            law = Law(n_beta, gamma, way.lr, way.way.momentum, steps)
            walk = Walk(parameters, anchors, law, randomness, estimators[way.way.gradient], objective.shards)
            _walk(walk, SAMPLERS[way.way.sampler], steps)
            largest, direction = sharpest(objective, batch, direction, seed)
            seen = _look(objective, batch, noise, found, largest, seed)
            if seen is None:
                break
            found, before = replace(seen, **scatter_at(objective, anchors, items)._asdict()), found
            if number > 0 and _alike(before, found):
                break
    finally:
        restore(parameters, anchors)
        for parameter in parameters:
            parameter.grad = None
    return found


def _alike(before: Measured, after: Measured) -> bool:
    pairs = [(before.noise, after.noise), (before.typical, after.typical)]
    if before.controlled is not None and after.controlled is not None:
        pairs.append((before.controlled, after.controlled))
    return all(abs(one - other) <= ALIKE * max(one, other) for one, other in pairs)


def _look(
    objective: Objective,
    batch: Tensor,
    noise: Callable[[str], float | None],
    before: Measured,
    largest: float,
    seed: int,
) -> Measured | None:
    """The measurements at the weights as they are; None if any is not finite, as where the walk blew up.

    Args:
        largest: |h| there.
    """
    squared = squares(objective, batch, seed)
    trace = trace_of_hessian(objective, batch, objective.losses(batch), seed)
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


def _walk(walk: Walk, sampler: Sampler, steps: int) -> None:
    state = sampler.init(walk)
    for index in range(steps):
        batch = walk.randomness.batch(index)
        losses, slope = walk.evaluate(batch)
        sampler.step(walk, Look(batch, losses, slope), state, index)
