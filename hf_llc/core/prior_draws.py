"""λ̂ from independent draws of the localizing prior: no chain, no step size, no warm-up.

Where the localizing prior π = N(w*, I/γ) holds the weights, the posterior p ∝ π e^(−U), U = nβ (L_n(w) − L_n(w*)), is
π slightly reweighted. Minus the derivative of log E_π[e^(−sU)] at s = 1 is the cumulant series

    λ̂ = E_p[U] = κ₁ − κ₂ + ½ κ₃ − …,   κ_j the cumulants of U under π

Draws come in antithetic pairs w± = w* ± ξ/√γ, ξ standard normal. The even and the odd part of U over a pair are
e = (U(w+) + U(w−))/2 and o = (U(w+) − U(w−))/2, so that κ₁ = E[e], to which the slope of the loss adds nothing, and
κ₂ = Var e + E[o²]. By integration by parts under a Gaussian, Var e = E‖∇e‖²/(2γ) for the quadratic and
E[o²] = E‖∇o‖²/γ for the linear part of the loss, which are the leading ones; from gradients both take far fewer draws
than from losses. Products are taken of two disjoint minibatches, so that what minibatches differ by adds no bias.

For L − L(w*) = g·Δ + ½ ΔᵀHΔ and x = nβh/γ for the curvatures h, g their directions' slopes,

    κ₁ = ½ Σ x,   Var e = ½ Σ x²,   E[o²] = Σ s   with   s = (nβ)² g²/γ
    λ̂ = ½ Σ x/(1+x) − Σ s (1 + x/2)/(1+x)²

κ₁, Var e, E[o²] and the largest x = X leave λ̂ an interval. 1/(1+x) is convex, so that by Jensen's inequality, with the
weights ½x, the first sum is at least κ₁²/(κ₁ + Var e), and at most κ₁ − Var e/(1+X), which all weight at 0 and X gives.
"""

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from hf_llc.core import seeds
from hf_llc.core.objective import Objective, clear_gradients, copy_of, gradients, restore

PAIRS = 32
"""Pairs whose mean is κ₁, each on a minibatch of its own."""
GRADIENT_PAIRS = 6
"""Pairs at which gradients are taken, for κ₂: on trained transformers its error is then about a tenth of it."""


class Value(NamedTuple):
    """A mean and its standard error, no unit."""

    mean: float
    stderr: float


@dataclass(frozen=True, kw_only=True)
class PriorDraws:
    """λ̂ by the cumulant series, and its parts; all without a unit.

    Attributes:
        llc, stderr: λ̂ and its standard error, what the series leaves open included; None where κ₁ is not above 0 or a
            number is not finite.
        prior_mean: κ₁, nβ times the mean rise of the loss at draws of the prior.
        narrowing: Var e, what the curvature of the loss takes from it. slope: E[o²], what its slope at w* takes.
        open: how far λ̂ may lie from `llc` for what the three and the largest curvature leave open.
        pairs: antithetic pairs drawn.
    """

    llc: float | None
    stderr: float | None
    prior_mean: Value
    narrowing: Value
    slope: Value
    open: float
    pairs: int


def prior_draws(
    objective: Objective,
    anchor_losses: Tensor,  # (n,) ℓ_i(w*), nats per token
    *,
    n_beta: float,
    gamma: float,
    curvature: float,
    batch_size: int,
    seed: int,
    pairs: int = PAIRS,
    gradient_pairs: int = GRADIENT_PAIRS,
    progress: Callable[[int], None] = lambda pairs: None,
) -> PriorDraws:
    """λ̂ of the localized posterior from antithetic draws of its prior; the weights are w* again afterwards.

    Beside w and w* there are at most four gradients in memory.

    Args:
        curvature: the largest curvature of L_n near w*, nats per weight².
        batch_size: items of a minibatch; n where that is less.
        pairs, gradient_pairs: of each kind, two or more. progress: told how many pairs are there.

    Raises:
        ValueError: nβ or γ is not above 0, or there are fewer than two pairs of a kind.
    """
    if not (n_beta > 0 and gamma > 0 and min(pairs, gradient_pairs) > 1):
        raise ValueError(
            f"n_beta and gamma must be above 0, pairs and gradient_pairs 2 or more, got {n_beta}, {gamma}, {pairs} and "
            f"{gradient_pairs}"
        )
    center = copy_of(objective.parameters)
    draws = _Draws(objective, center, gamma**-0.5, seed)
    size = min(batch_size, objective.n)
    rises: list[float] = []
    products: list[tuple[float, float]] = []
    try:
        for pair in range(pairs):
            rises.append(draws.rise(pair, _minibatch(objective.n, size, seed, pair), anchor_losses))
            progress(len(rises))
        for pair in range(gradient_pairs):
            products.append(draws.products(pair, *_two(objective.n, size, seed, pair)))
            progress(pairs + len(products))
    finally:
        restore(objective.parameters, center)
        clear_gradients(objective.parameters)
    prior_mean = _value([n_beta * rise for rise in rises])
    narrowing = _value([n_beta**2 / gamma / 2 * even for even, _ in products])
    slope = _value([n_beta**2 / gamma * odd for _, odd in products])
    llc, open_ = posterior_mean(prior_mean.mean, narrowing.mean, slope.mean, n_beta * curvature / gamma)
    parts = [prior_mean.stderr, narrowing.stderr, slope.stderr, open_ / math.sqrt(3)]
    return PriorDraws(
        llc=llc,
        stderr=None if llc is None else math.hypot(*parts),
        prior_mean=prior_mean,
        narrowing=narrowing,
        slope=slope,
        open=open_,
        pairs=pairs + gradient_pairs,
    )


def posterior_mean(prior_mean: float, narrowing: float, slope: float, largest: float) -> tuple[float | None, float]:
    """The middle of the interval that κ₁, Var e, E[o²] and X leave λ̂, and its half-width (see the module).

    (None, inf) where κ₁ is not above 0 or a number is not finite.
    """
    # Neither is negative; below 0 they are noise.
    narrowing, slope = max(narrowing, 0.0), max(slope, 0.0)
    if not (prior_mean > 0 and all(map(math.isfinite, (prior_mean, narrowing, slope, largest)))):
        return None, math.inf
    # No weighted mean of x is above the largest.
    largest = max(largest, narrowing / prior_mean)
    least, most = prior_mean**2 / (prior_mean + narrowing), prior_mean - narrowing / (1 + largest)
    least -= slope
    most -= slope * (1 + largest / 2) / (1 + largest) ** 2
    return (least + most) / 2, (most - least) / 2


class _Draws:
    """Losses and gradients at antithetic draws of the prior around w*, of standard deviation `sigma`."""

    def __init__(self, objective: Objective, center: Sequence[Tensor], sigma: float, seed: int) -> None:
        self._objective, self._center, self._sigma, self._seed = objective, center, sigma, seed

    def rise(self, pair: int, batch: Tensor, anchor_losses: Tensor) -> float:
        """Mean of L_B(w±) − L_B(w*) over the pair, nats per token."""
        baseline = anchor_losses[batch.to(anchor_losses.device)].double()
        total = 0.0
        for sign in (1.0, -1.0):
            self._move("prior draw", pair, sign)
            total += float((self._objective.losses(batch).double() - baseline).mean())
        return total / 2

    def products(self, pair: int, one: Tensor, other: Tensor) -> tuple[float, float]:
        """∇e_A·∇e_B and ∇o_A·∇o_B of a pair on two minibatches, e and o of L in place of U: (nats per weight)²."""
        kept: list[list[Tensor]] = []
        for sign in (1.0, -1.0):
            self._move("prior draw with gradients", pair, sign)
            kept += [self._gradient(one), self._gradient(other)]
        up, up_other, down, down_other = kept
        straight = self._dot(up, up_other) + self._dot(down, down_other)
        crossed = self._dot(up, down_other) + self._dot(down, up_other)
        return (straight - crossed) / 4, (straight + crossed) / 4

    @torch.no_grad()
    def _move(self, purpose: str, pair: int, sign: float) -> None:
        """w ← w* ± σξ, where ξ depends on (seed, purpose, pair) alone."""
        parameters, shards = self._objective.parameters, self._objective.shards
        stream = seeds.generator(self._seed, purpose, pair, device=parameters[0].device)
        noise = shards.normals(parameters, stream)
        for parameter, center, xi in zip(parameters, self._center, noise, strict=True):
            parameter.copy_(center).add_(xi, alpha=sign * self._sigma)

    def _gradient(self, batch: Tensor) -> list[Tensor]:
        clear_gradients(self._objective.parameters)
        self._objective.losses_and_gradient(batch)
        return gradients(self._objective.parameters)

    def _dot(self, one: Sequence[Tensor], other: Sequence[Tensor]) -> float:
        products = torch.stack([(a * b).sum() for a, b in zip(one, other, strict=True)])
        return float(self._objective.shards.total(products.sum()))


def _minibatch(n: int, size: int, seed: int, pair: int) -> Tensor:
    """The items of a pair: in turn from a random order of all, a new order once there are not enough left."""
    epoch, place = divmod(pair, n // size)
    order = torch.randperm(n, generator=seeds.generator(seed, "prior draw items", epoch))
    return order[place * size : (place + 1) * size]


def _two(n: int, size: int, seed: int, pair: int) -> tuple[Tensor, Tensor]:
    """Two disjoint minibatches of a pair; all items, on which there is no minibatch noise, if those are too few."""
    if n < 2 * size:
        return torch.arange(n), torch.arange(n)
    order = torch.randperm(n, generator=seeds.generator(seed, "prior draw items with gradients", pair))
    return order[:size], order[size : 2 * size]


def _value(values: Sequence[float]) -> Value:
    """The mean of independent values and its standard error."""
    return Value(statistics.fmean(values), statistics.stdev(values) / math.sqrt(len(values)))
