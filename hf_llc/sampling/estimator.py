"""From paired loss differences to the local learning coefficient."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


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


def batch_noise(differences: Tensor, n: int) -> Tensor | None:
    """The variance of a minibatch's mean difference that the choice of its m items out of n makes, a scalar tensor.

    S²/m (1 − m/n) for items drawn without replacement, with S² from how these m differ (Cochran 1977, eq. 2.20), which
    is unbiased. None for one item of several, which does not differ from itself.

    Args:
        differences: ℓ_i(w) − ℓ_i(w*) of the items, shape (m,), in nats per token.
    """
    size = len(differences)
    if size >= n:
        return differences.new_zeros(())
    return differences.var() * (1 / size - 1 / n) if size > 1 else None


class TemperatureSlope(NamedTuple):
    """d log λ̂ / d log nβ, and what each draw makes of it: shape (chains, draws), of mean 0 to first order, so that the
    slope's standard error is that of their mean."""

    slope: float
    parts: list[list[float]]


def n_beta_slope(
    n_beta: float, deltas: Sequence[Sequence[float]], noise: Sequence[Sequence[float]], mean_error: float
) -> TemperatureSlope | None:
    """d log λ̂ / d log nβ from draws at one nβ; None where λ̂ is not above 0 or the numbers go out of range.

    For p ∝ exp(−nβL − γ/2 ‖w−w*‖²) the derivative of an expectation is a covariance, d E[L]/dnβ = −Var[L], so that
    dλ̂ / d log nβ = λ̂ − (nβ)² Var[L] exactly, where L is the mean over all n items. A draw sees some of them: what
    their choice adds is subtracted, by the law of total variance.

    Args:
        deltas: L(w_t) − L(w*) on the items of each draw, in nats per token. noise: `batch_noise` of these, of the same
            shape (chains, draws).
        mean_error: the standard error of the mean of all deltas, whose square is missing from their variance about it.
    """
    values, scatter = (torch.tensor([*each], dtype=torch.float64) for each in (deltas, noise))
    mean = float(values.mean())
    if not mean > 0:
        return None
    # In units of the mean, whose square may be too large a number or too small a one.
    apart, size = values / mean - 1, n_beta * mean
    squares = apart.square() - scatter / mean / mean
    variance = float(squares.mean()) + (mean_error / mean) ** 2
    parts = size * (variance * apart - (squares - squares.mean()))
    if not (math.isfinite(size * variance) and bool(parts.isfinite().all())):
        return None
    return TemperatureSlope(1 - size * variance, parts.tolist())


def free_distance(dimension: int, gamma: float, lr: float, steps: float) -> float:
    """√( d (1 − e^(−εγt)) / γ ): how far t steps of the localizing prior alone carry d weights, in weight units.

    The distribution of the Ornstein–Uhlenbeck process dw = −γ/2 (w−w*) dt + dB at time εt, started at w*; √(dεt) at γ =
    0. Chains that start at draws of the localizing prior have it at t = ∞ from the first step.
    """
    spread = lr * steps if gamma == 0 else -math.expm1(-lr * gamma * steps) / gamma
    return math.sqrt(dimension * spread)
