"""A default for γ, chosen by how far the localizing prior alone lets the loss rise."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from hf_llc.sampling import seeds
from hf_llc.sampling.objective import Objective, copy_of, restore
from hf_llc.sampling.tuning.curvature import root_mean_square

TARGET_RISE = 0.1
"""Nats per token: local, and well above float32 rounding. The likelihood then holds the chain closer still."""
WIDEST = 0.3
"""Never let a weight wander by more than this share of the root mean square weight."""
TRACE_PROBE = 0.03
DIRECTIONS = 2
BISECTIONS = 10
SATURATED = 1.0
"""Rise of the loss above which it is taken to have left its parabola."""
STRIDE = 0.05
"""What a displacement is multiplied by at least where few are looked at, and where the loss is not finite."""


def choose_gamma(
    objective: Objective,
    batch: Tensor,
    anchor_losses: Tensor,
    seed: int,
    evaluations: int | None = None,
    directions: int = DIRECTIONS,
) -> tuple[float, float, float]:
    """γ at which weights drawn from the localizing prior alone, w* + ξ/√γ, raise the loss by TARGET_RISE on average.

    Antithetic pairs ±ξ cancel the slope of the loss, so that what is measured is its curvature even where w* is not a
    minimum. Returns (γ in 1/weight², rounded to two digits; the rise there in nats per token; 1/√γ over the root
    mean square weight). Weights are w* again afterwards.

    Args:
        evaluations: displacements at which the rise is looked at, at least 2; None searches by bisection.
        directions: pairs at each displacement.
    """
    scale = root_mean_square(objective.parameters, objective.shards)

    def raised(share: float) -> float:
        return rise(objective, batch, anchor_losses, seed, share * scale, directions)

    high = _bisected(raised) if evaluations is None else _scaled(raised, evaluations - 1)
    gamma = float(f"{(high * scale) ** -2:.2g}")
    sigma = gamma**-0.5
    return gamma, rise(objective, batch, anchor_losses, seed, sigma, directions), sigma / scale


def _bisected(raised: Callable[[float], float]) -> float:
    """The largest displacement up to WIDEST that raises the loss by at most TARGET_RISE; both shares of the root mean
    square weight, to about a hundredth."""
    high = WIDEST
    if raised(high) <= TARGET_RISE:
        return high
    low = high * 1e-4
    for _ in range(BISECTIONS):
        middle = math.sqrt(low * high)
        # Written so that a NaN rise counts as too far.
        if raised(middle) <= TARGET_RISE:
            low = middle
        else:
            high = middle
    return low


def _scaled(raised: Callable[[float], float], evaluations: int) -> float:
    """About the displacement that raises the loss by TARGET_RISE, by few trials, each from the one before as on a
    quadratic loss."""
    share = bound = WIDEST
    for _ in range(evaluations):
        risen = raised(share)
        if share == WIDEST and risen <= TARGET_RISE:
            break
        if not math.isfinite(risen):
            bound, share = share / 2, share * STRIDE
            continue
        factor = math.sqrt(TARGET_RISE / risen) if risen > 0 else 1 / STRIDE
        # Farther out the loss bends down: it cannot rise much above that of a guess.
        share = min(bound, share * max(STRIDE, factor / 2 if risen > SATURATED else factor))
    return share


def trace_of_hessian(
    objective: Objective, batch: Tensor, anchor_losses: Tensor, seed: int, directions: int = DIRECTIONS
) -> float:
    """tr H of the batch's mean loss at w*, nats per weight² (Hutchinson 1990): 2 E[L(w* ± σξ) − L(w*)] / σ².

    σ is TRACE_PROBE of the root mean square weight; the estimate's own error is about √(2 tr H² / directions).
    """
    sigma = TRACE_PROBE * root_mean_square(objective.parameters, objective.shards)
    return 2 * rise(objective, batch, anchor_losses, seed, sigma, directions) / sigma**2


def rise(
    objective: Objective,
    batch: Tensor,
    anchor_losses: Tensor,
    seed: int,
    sigma: float,
    directions: int = DIRECTIONS,
) -> float:
    """Mean of L(w* ± σξ) − L(w*) over a few fixed directions, nats per token."""
    parameters = objective.parameters
    anchors = copy_of(parameters)
    total = 0.0
    try:
        for direction in range(directions):
            for sign in (1.0, -1.0):
                stream = seeds.generator(seed, "localisation", direction, device=parameters[0].device)
                with torch.no_grad():
                    noise = objective.shards.normals(parameters, stream)
                    for parameter, anchor, xi in zip(parameters, anchors, noise, strict=True):
                        parameter.copy_(anchor).add_(xi, alpha=sign * sigma)
                total += float((objective.losses(batch) - anchor_losses).mean())
    finally:
        restore(parameters, anchors)
    return total / (2 * directions)
