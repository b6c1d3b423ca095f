"""From paired loss differences to the local learning coefficient."""

import math
from collections.abc import Sequence

import torch


def llc(n_beta: float, mean_delta: float) -> float:
    """λ̂ = nβ ( E[L_n(w)] − L_n(w*) ) (Lau et al. 2023), no unit.

    Args:
        n_beta: nβ.
        mean_delta: the mean over draws of L(w_t) − L(w*), each on the draw's own batch, in nats per token.
    """
    return n_beta * mean_delta


def gamma_slope(
    gamma: float, deltas: Sequence[Sequence[float]], squared_distances: Sequence[Sequence[float]]
) -> tuple[float, float] | None:
    """d log λ̂ / d log γ and its standard error over the chains, from draws at one γ; None where λ̂ is not above 0.

    For p ∝ exp(−nβL − γ/2 ‖w−w*‖²) the derivative of an expectation is a covariance, d E[L]/dγ = −½ Cov(L, ‖w−w*‖²).
    Its error grows with √d, where that of chains at γ/2 and 2γ with common random numbers does not.

    Args:
        deltas: L(w_t) − L(w*) per chain and draw. squared_distances: ‖w_t − w*‖², of the same shape (chains, draws).
    """
    if len(deltas) < 2:
        return None
    pairs = [
        (torch.tensor(d, dtype=torch.float32), torch.tensor(r, dtype=torch.float32))
        for d, r in zip(deltas, squared_distances, strict=True)
    ]
    mean = float(torch.stack([d.mean() for d, _ in pairs]).mean())
    if not mean > 0:
        return None
    covariances = torch.stack([torch.cov(torch.stack([d, r]).double())[0, 1] for d, r in pairs])
    slopes = -gamma / 2 * covariances / mean
    return float(slopes.mean()), float(slopes.std() / len(pairs) ** 0.5)


def free_distance(dimension: int, gamma: float, lr: float, steps: float) -> float:
    """√( d (1 − e^(−εγt)) / γ ): how far t steps of the localiser alone carry d weights, in weight units.

    The law of the Ornstein–Uhlenbeck process dw = −γ/2 (w−w*) dt + dB at time εt, started at w*; √(dεt) at γ = 0.
    Chains that start at draws of the localiser have it at t = ∞ from the first step.
    """
    spread = lr * steps if gamma == 0 else -math.expm1(-lr * gamma * steps) / gamma
    return math.sqrt(dimension * spread)
