"""A short walk before the chains: curvature and gradient noise where chains live, not where they begin."""

import math
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from hf_llc.core import seeds
from hf_llc.core.circumstances import Asked, Measured
from hf_llc.core.curvature import spectrum
from hf_llc.core.gradients import Gradient
from hf_llc.core.localisation import trace_of_hessian
from hf_llc.core.noise import gradient_noise
from hf_llc.core.noise_budget import choose_quieter
from hf_llc.core.objective import Objective, copy_of, restore
from hf_llc.core.randomness import ChainRandomness
from hf_llc.core.samplers import AUTO, SAMPLERS, Sampler
from hf_llc.core.samplers.law import Law, Look, Walk

ROUNDS, STEPS = 4, 100
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
) -> Measured:
    """The measurements again after ROUNDS × STEPS steps from where chains start; the weights are w* again afterwards.

    Each round walks as the measurements so far advise. The largest curvature met stays: chains must be stable there. If
    a walk blows up, what was measured before it stays.

    Args:
        gradient: the estimator of ∇L_n by its name. batch: items that curvature is measured on.
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
                for parameter in parameters:
                    parameter.add_(torch.empty_like(parameter).normal_(generator=stream), alpha=gamma**-0.5)
        for number in range(ROUNDS):
            way = choose_quieter(asked, n_beta, gamma, found, WARMTH)
            randomness = ChainRandomness(seed, -1 - number, objective.n, batch_size, device, way.way.batches)
            law = Law(n_beta, gamma, way.lr, way.way.momentum, STEPS)
            walk = Walk(parameters, anchors, law, randomness, estimators[way.way.gradient])
            _walk(walk, SAMPLERS[way.way.sampler])
            seen = _look(objective, batch, noise, found, seed)
            if seen is None:
                break
            found = seen
    finally:
        restore(parameters, anchors)
        for parameter in parameters:
            parameter.grad = None
    return found


def _look(
    objective: Objective, batch: Tensor, noise: Callable[[str], float | None], before: Measured, seed: int
) -> Measured | None:
    """The measurements at the weights as they are; None if any is not finite, as where the walk blew up."""
    here = spectrum(objective, batch, seed)
    trace = trace_of_hessian(objective, batch, objective.losses(batch), seed)
    plain, controlled = noise("minibatch"), noise("control-variate")
    if not all(map(math.isfinite, (here.largest, here.squares, trace, plain or 0.0, controlled or 0.0))):
        return None
    return replace(
        before,
        noise=plain or 0.0,
        controlled=controlled,
        curvature=max(before.curvature, here.largest),
        typical=min(here.squares / trace, here.largest) if trace > 0 else here.largest,
    )


def _walk(walk: Walk, sampler: Sampler) -> None:
    state = sampler.init(walk)
    for index in range(STEPS):
        batch = walk.randomness.batch(index)
        losses, slope = walk.evaluate(batch)
        sampler.step(walk, Look(batch, losses, slope), state, index)
