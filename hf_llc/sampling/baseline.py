"""What a draw's loss is compared with, beside the loss of the same items at w*: their slope there, along w − w*.

With Δ = w − w*, ℓ_B(w) − ℓ_B(w*) holds the term g_B·Δ, by which minibatches differ most where w is near w*. Its mean
over minibatches is known, g_n·Δ for the gradient g_n of L_n at w*. So (g_B − g_n)·Δ is a control variate of mean 0,
whatever distribution w has (as in Baker et al. 2019, for the loss in place of its gradient).
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from hf_llc.sampling.foreach import tensor_chunks
from hf_llc.sampling.objective import Objective, clear_gradients, copy_of, restore
from hf_llc.settings.resolved import CHECKED

ITEMS = 128
"""Items whose losses are compared, at least: a variance over fewer is rough."""
FARTHER = 10.0
"""How many times as far from w* the second nudge is."""
UNLIKE, ROUNDINGS = 0.05, 4.0
"""Share of a batch's own differences, and units of rounding, within which two slopes of it agree. On a smooth loss they
differ by 9η of what is of third order."""


class Corrected(NamedTuple):
    """ℓ_B(w) − ℓ_B(w*) less (g_B − g_n)·Δ in nats per token, and whether its slope is broken: 1 or 0. Both scalars.

    `items` are the differences of the batch's items each less its own g_i·Δ, shape (m,): they scatter as `delta` does.
    """

    delta: Tensor
    broken: Tensor
    items: Tensor


Correction = Callable[[Tensor], Corrected]
"""From ℓ_i(w) − ℓ_i(w*) of a batch's items, shape (m,), in nats per token, to what is made of them."""


class Linear:
    """Takes (g_B − g_n)·Δ from a draw's difference of losses.

    Computes one loss of the batch at w* + ηΔ, with w aside meanwhile, in the memory of the last step's gradient; at one
    draw in CHECKED for two more at w* + FARTHER·ηΔ and at w* − ηΔ. Where the loss jumps between w* and there, a slope
    that is a difference is none. Where the loss has a kink at w*, as at a minimum that a ReLU net was trained to, the
    slopes to either side differ and their mean over minibatches is not that of the gradient. The slopes then disagree,
    which the correction says, and no draw of the run may be corrected.

    Args:
        objective: its parameters are w. anchors: w*. anchor_losses: (n,) ℓ_i(w*). anchor_gradient: ∇L_n(w*).
    """

    def __init__(
        self,
        objective: Objective,
        anchors: Sequence[Tensor],
        anchor_losses: Tensor,
        anchor_gradient: Sequence[Tensor],
    ) -> None:
        self._objective, self._parameters, self._anchors = objective, objective.parameters, anchors
        self._anchor_losses, self._anchor_gradient = anchor_losses, anchor_gradient
        self._nudge = nudge_of(objective.parameters)
        self._draws = 0

    def __call__(self, batch: Tensor) -> Correction:
        """The correction of that batch's difference at the weights as they are, which they are again afterwards."""
        expected = self._expected()
        clear_gradients(self._parameters)
        position = copy_of(self._parameters)
        level = self._anchor_losses[batch.to(self._anchor_losses.device, non_blocking=True)]
        checked, farther = self._draws % CHECKED == 0, FARTHER * self._nudge
        self._draws += 1
        beside = []
        for nudge in (farther, -self._nudge) if checked else ():
            beside.append((nudge, self._nudged(batch, level, nudge)))
            restore(self._parameters, position)
        nudged = self._nudged(batch, level, self._nudge)
        restore(self._parameters, position)

        def corrected(differences: Tensor) -> Corrected:
            delta = differences.mean()
            near = slope(nudged.mean(), delta, self._nudge)
            broken = torch.zeros_like(delta)
            for nudge, other in beside:
                second = slope(other.mean(), delta, nudge)
                disagrees = disagree(near, second, delta, level.abs().mean(), self._nudge).to(delta.dtype)
                broken = torch.maximum(broken, disagrees)
            items = differences - slope(nudged, differences, self._nudge)
            return Corrected(delta - (near - expected), broken, items)

        return corrected

    def _nudged(self, batch: Tensor, level: Tensor, nudge: float) -> Tensor:
        """ℓ_i(w* + ηΔ) − ℓ_i(w*) of the batch's items for that η, shape (m,); leaves the weights there."""
        with torch.no_grad():
            torch._foreach_lerp_(list(self._parameters), list(self._anchors), 1 - nudge)
        return self._objective.losses(batch) - level

    @torch.no_grad()
    def _expected(self) -> Tensor:
        """g_n·Δ, nats per token."""
        products: list[Tensor] = []
        for weights, anchors, whole in tensor_chunks(self._parameters, self._anchors, self._anchor_gradient):
            apart = torch._foreach_mul(torch._foreach_sub(weights, anchors), whole)
            products += [part.sum() for part in apart]
        return self._objective.shards.total(torch.stack(products).sum())


def nudge_of(parameters: Sequence[Tensor]) -> float:
    """η, how far towards w the slope is taken: √(machine precision), where rounding of f(η)/η and what it misses of
    terms beyond the second order, which is η of them, are about as large (Press et al. 2007, section 5.7)."""
    return math.sqrt(torch.finfo(parameters[0].dtype).eps)


def slope(nudged: Tensor, whole: Tensor, nudge: float) -> Tensor:
    """g·Δ from f(η) and f(1) for f(t) = ℓ(w* + tΔ) − ℓ(w*): (f(η) − η² f(1)) / (η (1 − η)), exact for a quadratic f."""
    return (nudged - nudge**2 * whole) / (nudge * (1 - nudge))


def disagree(near: Tensor, farther: Tensor, whole: Tensor, level: Tensor, nudge: float) -> Tensor:
    """True where slopes of some items at `nudge` and at FARTHER times that, or at −`nudge`, cannot both be slopes of
    a loss that is smooth there.

    Args:
        near, farther: slopes, nats per token. whole: ℓ(w) − ℓ(w*). level: ℓ(w*), by which differences are rounded.
    """
    scale = whole.abs() + torch.minimum(near.abs(), farther.abs())
    rounding = ROUNDINGS * torch.finfo(near.dtype).eps * level / nudge
    return ((near - farther).abs() <= UNLIKE * scale + rounding).logical_not()


class Scatter(NamedTuple):
    """`LocalGeometry.scatter`, `LocalGeometry.curved` and `LocalGeometry.jumps`."""

    scatter: float = 0.0
    curved: float = 0.0
    jumps: bool = False


def scattered(far: Tensor, near: Tensor, nudge: float) -> Scatter:
    """From ℓ_i(w) − ℓ_i(w*) and ℓ_i(w* + ηΔ) − ℓ_i(w*) of some items; 0 where there is one, or a loss is not finite."""
    if len(far) < 2 or not bool(torch.isfinite(far).all()):
        return Scatter()
    rest = far - slope(near, far, nudge)
    return Scatter(float(far.cpu().double().var()), float(rest.cpu().double().var()))


def has_kink(far: Tensor, near: Tensor, behind: Tensor, level: Tensor, nudge: float) -> bool:
    """True if the mean loss of some items has a kink at w*: if its slopes to either side, whose mean a control variate
    would miss by half their difference, differ by more than UNLIKE of the rise.

    Args:
        far, near, behind: ℓ_i(w), ℓ_i(w* + ηΔ) and ℓ_i(w* − ηΔ), each less ℓ_i(w*). level: ℓ_i(w*).
    """
    if not bool(torch.isfinite(far).all()):
        return False
    apart = float((slope(near, far, nudge) - slope(behind, far, -nudge)).mean().abs())
    rounding = ROUNDINGS * torch.finfo(far.dtype).eps * float(level.abs().mean()) / nudge
    return not apart <= UNLIKE * float(far.mean().abs()) + rounding


def jumps_near(far: Tensor, near: Tensor, farther: Tensor, level: Tensor, nudge: float) -> bool:
    """True if the mean loss of some items, as batches would have it, jumps between w* and FARTHER nudges from there.

    Args:
        far, near, farther: ℓ_i(w), ℓ_i(w* + ηΔ) and ℓ_i(w* + FARTHER·ηΔ), each less ℓ_i(w*). level: ℓ_i(w*).
    """
    if not bool(torch.isfinite(far).all()):
        return False
    one, other = slope(near, far, nudge), slope(farther, far, FARTHER * nudge)
    # One item's own slope may well turn at a kink; what kinks do to many is small against what they all differ by.
    scale = far.abs().mean() + torch.minimum(one.abs().mean(), other.abs().mean())
    rounding = ROUNDINGS * torch.finfo(far.dtype).eps * level.abs().mean() / nudge
    return not float((one - other).abs().mean()) <= UNLIKE * float(scale) + float(rounding)


def scatter_at(objective: Objective, anchors: Sequence[Tensor], items: Tensor) -> Scatter:
    """How the losses of these items differ at the weights as they are, which they are again afterwards."""
    parameters, nudge = objective.parameters, nudge_of(anchors)
    losses, position = objective.losses(items), copy_of(objective.parameters)
    beside: list[Tensor] = []
    for each in (nudge, FARTHER * nudge, -nudge):
        with torch.no_grad():
            torch._foreach_lerp_(list(parameters), list(anchors), 1 - each)
        beside.append(objective.losses(items))
        restore(parameters, position)
    restore(parameters, anchors)
    level = objective.losses(items)
    restore(parameters, position)
    far, near, farther, behind = (each - level for each in (losses, *beside))
    is_broken = jumps_near(far, near, farther, level, nudge) or has_kink(far, near, behind, level, nudge)
    return scattered(far, near, nudge)._replace(jumps=is_broken)
