"""What a checkpoint is like around w*: curvature, gradient noise, and how far the localiser alone carries the loss."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from hf_llc.core import seeds
from hf_llc.core.circumstances import Asked, Measured
from hf_llc.core.curvature import root_mean_square, spectrum
from hf_llc.core.dynamics import choose_start, noise_matters
from hf_llc.core.gradients import Gradient
from hf_llc.core.localisation import rise, trace_of_hessian
from hf_llc.core.noise import gradient_noise
from hf_llc.core.objective import Objective, copy_of, dimension, restore
from hf_llc.core.pilot import measure_settled
from hf_llc.core.samplers import AUTO

SMALL = 10_000
"""Weights below which one displaced point is not like another, so that several are looked at."""
DRAWS = 4
HALVINGS = 16


def measure(
    objective: Objective,
    gradient: Callable[[str], Gradient],
    batch: Tensor,
    asked: Asked,
    *,
    n_beta: float,
    gamma: float,
    start: str,
    batch_size: int,
    seed: int,
) -> tuple[Measured, str, str]:
    """What was measured on the batch, where chains start, and one sentence why; the weights are w* again afterwards.

    The step must be stable wherever chains go: curvature and gradient noise are taken at draws of the localiser too,
    narrowed to where nβΔL is at most d/2, what a chain has there if every direction is bound by the loss, unless chains
    start at such draws. Where gradient noise matters there, it is measured again where chains will be.

    Args:
        gradient: the estimator of ∇L_n by its name, around the weights as they are.
    """
    plain = gradient("minibatch" if asked.gradient == AUTO else asked.gradient)
    anchor_losses = objective.losses(batch)

    def raised(sigma: float) -> float:
        return rise(objective, batch, anchor_losses, seed, sigma)

    higher = raised(gamma**-0.5) if gamma > 0 else math.inf
    chosen, why = choose_start(start, gamma, higher)
    at_anchor = spectrum(objective, batch, seed)
    trace = trace_of_hessian(objective, batch, anchor_losses, seed)
    size = dimension(objective.parameters)
    widest = gamma**-0.5 if gamma > 0 else root_mean_square(objective.parameters)
    sigma = widest if chosen != "anchor" else _narrowed(raised, widest, size / 2 / n_beta if n_beta > 0 else math.inf)
    curvature, noise = at_anchor.largest, 0.0
    for draw in range(DRAWS if size < SMALL else 1):
        with _displaced(objective.parameters, sigma, seed, draw):
            curvature = max(curvature, spectrum(objective, batch, seed).largest)
            if draw == 0:
                noise = gradient_noise(objective, plain, batch_size, seed)
    found = Measured(curvature=curvature, trace=trace, squares=at_anchor.squares, noise=noise, rise=higher)
    if noise_matters(asked, n_beta, gamma, found):
        found = measure_settled(
            objective,
            gradient,
            batch,
            asked,
            found,
            n_beta=n_beta,
            gamma=gamma,
            start=chosen,
            batch_size=batch_size,
            seed=seed,
        )
    return found, chosen, why


def _narrowed(raised: Callable[[float], float], widest: float, allowed: float) -> float:
    """The largest displacement up to `widest` whose rise of the loss is allowed, to a factor of two."""
    sigma = widest
    for _ in range(HALVINGS):
        # Written so that a NaN rise counts as too far.
        if raised(sigma) <= allowed:
            break
        sigma /= 2
    return sigma


@contextmanager
def _displaced(parameters: Sequence[Tensor], sigma: float, seed: int, draw: int) -> Iterator[None]:
    """The weights at w* + σξ."""
    anchors = copy_of(parameters)
    stream = seeds.generator(seed, "displacement", draw, device=parameters[0].device)
    try:
        with torch.no_grad():
            for parameter in parameters:
                parameter.add_(torch.empty_like(parameter).normal_(generator=stream), alpha=sigma)
        yield
    finally:
        restore(parameters, anchors)
