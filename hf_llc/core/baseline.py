"""What a draw's loss is compared with, beside the loss of the same items at w*: their slope there, along w − w*.

With Δ = w − w*, ℓ_B(w) − ℓ_B(w*) holds the term g_B·Δ, by which minibatches differ most where w is near w*. Its mean
over minibatches is known, g_n·Δ for the gradient g_n of L_n at w*. So (g_B − g_n)·Δ is a control variate of mean 0,
whatever law w has (as in Baker et al. 2019, for the loss in place of its gradient).
"""

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple, Self

import torch
from torch import Tensor

from hf_llc.core.asking import Ask, Asks
from hf_llc.core.circumstances import Measured
from hf_llc.core.objective import Objective, clear_gradients, copy_of, restore
from hf_llc.core.pieces import pieces
from hf_llc.core.samplers import AUTO
from hf_llc.core.shards import WHOLE, Shards
from hf_llc.core.stepsize import relaxation_rate
from hf_llc.resolved import LOSS, ResolvedSettings

ITEMS = 128
"""Items whose losses are compared, at least: a variance over fewer is rough."""
STEEPER = 3.0
"""How many times larger tr H² / tr H of a minibatch is than that of all items, by what draws of a trained transformer
scatter (batches of 8 sequences)."""
CHAINS = 4
"""Chains that a gradient of all items is shared by; not those of the run, whose draws are the same for any number."""
ROUNDED, HIDDEN = 0.002, 0.25
"""Shares of λ̂ and of its standard error that rounding may make: it is the same in all draws, and does not show."""

Correction = Callable[[Tensor], Tensor]
"""From ℓ_B(w) − ℓ_B(w*) to that less (g_B − g_n)·Δ; scalar tensors, nats per token."""


class Run(NamedTuple):
    """What the slope gains and costs by.

    Attributes:
        n_beta, gamma, n, batch_size, draws, start, dtype: of chains. gradients: what one takes without the slope.
        forgets: rate per draw, and stiffness, at which the loss along a direction forgets.
    """

    n_beta: float
    gamma: float
    n: int
    batch_size: int
    draws: int
    gradients: float
    forgets: float
    start: str
    dtype: str

    @classmethod
    def of(cls, settings: ResolvedSettings) -> Self:
        """Chains with these settings."""
        return cls(
            n_beta=settings.n_beta,
            gamma=settings.gamma,
            n=settings.n,
            batch_size=settings.batch_size,
            draws=settings.draws,
            gradients=replace(settings, baseline="paired").gradients,
            forgets=relaxation_rate(settings.lr, 1.0, settings.sampler, settings.momentum) * settings.thin,
            start=settings.start,
            dtype=settings.dtype,
        )


class Linear:
    """Takes (g_B − g_n)·Δ from a draw's difference of losses.

    Asks for one loss of the batch at w* + ηΔ, with w aside meanwhile, in the memory of the last step's gradient.

    Args:
        parameters: w. anchors: w*. anchor_losses: (n,) ℓ_i(w*). anchor_gradient: ∇L_n(w*).
    """

    def __init__(
        self,
        parameters: Sequence[Tensor],
        anchors: Sequence[Tensor],
        anchor_losses: Tensor,
        anchor_gradient: Sequence[Tensor],
        shards: Shards = WHOLE,
    ) -> None:
        self._parameters, self._anchors = parameters, anchors
        self._anchor_losses, self._anchor_gradient = anchor_losses, anchor_gradient
        self._shards, self._nudge = shards, nudge_of(parameters)

    def __call__(self, batch: Tensor) -> Asks[Correction]:
        """The correction of that batch's difference at the weights as they are, which they are again afterwards."""
        expected = self._expected()
        clear_gradients(self._parameters)
        position = copy_of(self._parameters)
        with torch.no_grad():
            torch._foreach_lerp_(list(self._parameters), list(self._anchors), 1 - self._nudge)
        losses, _ = yield Ask(batch, gradient=False)
        restore(self._parameters, position)
        nudged = (losses - self._anchor_losses[batch.to(losses.device, non_blocking=True)]).mean()

        def corrected(delta: Tensor) -> Tensor:
            return delta - (slope(nudged, delta, self._nudge) - expected)

        return corrected

    @torch.no_grad()
    def _expected(self) -> Tensor:
        """g_n·Δ, nats per token."""
        products: list[Tensor] = []
        for here, there, whole in pieces(self._parameters, self._anchors, self._anchor_gradient):
            apart = torch._foreach_mul(torch._foreach_sub(here, there), whole)
            products += [part.sum() for part in apart]
        return self._shards.total(torch.stack(products).sum())


def nudge_of(parameters: Sequence[Tensor]) -> float:
    """η, how far towards w the slope is taken: √(machine precision), where rounding of f(η)/η and what it misses of
    terms beyond the second order, which is η of them, are about as large (Press et al. 2007, section 5.7)."""
    return math.sqrt(torch.finfo(parameters[0].dtype).eps)


def slope(nudged: Tensor, whole: Tensor, nudge: float) -> Tensor:
    """g·Δ from f(η) and f(1) for f(t) = ℓ(w* + tΔ) − ℓ(w*): (f(η) − η² f(1)) / (η (1 − η)), exact for a quadratic f."""
    return (nudged - nudge**2 * whole) / (nudge * (1 - nudge))


class Scatter(NamedTuple):
    """`Measured.scatter` and `Measured.curved`."""

    scatter: float = 0.0
    curved: float = 0.0


def scattered(far: Tensor, near: Tensor, nudge: float) -> Scatter:
    """From ℓ_i(w) − ℓ_i(w*) and ℓ_i(w* + ηΔ) − ℓ_i(w*) of some items; 0 where there is one, or a loss is not finite."""
    if len(far) < 2 or not bool(torch.isfinite(far).all()):
        return Scatter()
    rest = far - slope(near, far, nudge)
    return Scatter(float(far.cpu().double().var()), float(rest.cpu().double().var()))


def scatter_at(objective: Objective, anchors: Sequence[Tensor], items: Tensor) -> Scatter:
    """The same at the weights as they are, which they are again afterwards."""
    parameters, nudge = objective.parameters, nudge_of(anchors)
    losses, position = objective.losses(items), copy_of(objective.parameters)
    with torch.no_grad():
        torch._foreach_lerp_(list(parameters), list(anchors), 1 - nudge)
    near = objective.losses(items)
    restore(parameters, anchors)
    anchor_losses = objective.losses(items)
    restore(parameters, position)
    return scattered(losses - anchor_losses, near - anchor_losses, nudge)


def choose_baseline(asked: str, run: Run, found: Sequence[Measured]) -> tuple[str, str | None]:
    """`paired` or `linear` for such chains at the checkpoints that were measured, and one sentence if it is linear by
    choice.

    The variance of a draw of nβΔL is that over the posterior and that over minibatches. What the slope takes away of
    the second was measured, and what it costs is known. It must pay, and rounding not show, at half of the checkpoints.
    Where chains cannot forget which of both ends they began at, what they differ by is the posterior's, and stays.
    """
    if asked != AUTO:
        return asked, None
    cost = 1 + (run.draws * LOSS + run.n / run.batch_size / CHAINS) / run.gradients
    gains = [0.0 if _rounds(run, each) else gain(run, each) for each in found]
    if run.batch_size >= run.n or run.start == "both" or statistics.median_high(gains) < cost:
        return "paired", None
    ratios = [each.scatter / each.curved for each in found if each.curved > 0]
    less = f"{math.sqrt(statistics.median_high(ratios)):.2g} times" if ratios else "ever so much"
    return "linear", (
        f"baseline = linear: without the part that is linear in w − w*, whose mean is known, minibatches differ {less} "
        f"less in how far w raises their loss; the chains take {cost - 1:.0%} more gradients."
    )


def gain(run: Run, measured: Measured) -> float:
    """The variance of the mean of many draws over that with the slope taken out; 1 where nothing was measured."""
    unit = run.n_beta**2 / run.batch_size
    if not unit * measured.scatter > 0:
        return 1.0
    kept = _kept(run, measured)
    left = kept + unit * measured.curved
    return (kept + unit * measured.scatter) / left if left > 0 else math.inf


def _kept(run: Run, measured: Measured) -> float:
    """The variance of nβΔL over the posterior, times its autocorrelation: what no baseline takes away.

    On a quadratic loss it is ½ Σ s² where λ̂ is ½ Σ s, s = nβh/(nβh+γ). It is taken to have the autocorrelation of an
    AR(1) process, τ = (1+ρ)/(1−ρ) = coth(x/2) for ρ = e^(−x).
    """
    stiffness = run.n_beta * measured.typical_curvature / STEEPER
    share = stiffness / (stiffness + run.gamma) if stiffness > 0 else 0.0
    forgotten = run.forgets * (stiffness + run.gamma)
    correlation = 1 / math.tanh(forgotten / 2) if forgotten > 0 else 1.0
    return measured.least_llc(run.n_beta, run.gamma) * share * correlation


def _rounds(run: Run, measured: Measured) -> bool:
    """True if rounding of the losses at w* may make a difference: more than ROUNDED of λ̂, and more than HIDDEN of its
    standard error.

    One item's error is about half of machine precision times its loss (0.4 to 0.7 times on a trained transformer), the
    same in every draw, and 1/η times that in its slope; over n items they average out.
    """
    if run.dtype == "bfloat16":
        return True
    nudge = math.sqrt(torch.finfo(getattr(torch, run.dtype)).eps)
    error = run.n_beta * nudge / 2 * measured.level / math.sqrt(run.n)
    variance = _kept(run, measured) + run.n_beta**2 / run.batch_size * measured.curved
    stderr = math.sqrt(variance / (CHAINS * run.draws))
    return error > ROUNDED * measured.least_llc(run.n_beta, run.gamma) and error > HIDDEN * stderr
