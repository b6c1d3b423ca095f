"""What independent draws of the localizing prior say: λ̂ with its error, its parts, and whether such draws serve."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from hf_llc.sampling.draws.cumulants import Moments, posterior_mean
from hf_llc.sampling.draws.prior import GradientPair, LossPair
from hf_llc.sampling.statistics import Weighted, weighted_mean, widened

SIGNIFICANT = 3.0
"""Standard errors before a difference counts."""
UNIFORM = math.sqrt(3)
"""Half-width of a uniform distribution in its standard deviations."""
ONE_SIDED = 1.645
"""Standard deviations of a normal variable above which it lies once in twenty times."""
STEEP = 0.05
"""Share of κ₁ that the loss must rise beyond its slope before it counts as changing by jumps."""
OVERCOUNTED = 2 / 3
"""Share of what gradients say of a part of degree k of the loss that is not in it, 1 − 1/k of E‖∇‖²/γ, at most: that of
degree three in E[o²]. Of degree four in Var e, whose parts of degree two are halved already, it is a half."""
TINY = 1e-300
"""In place of 0 where something is divided by it."""
GAMMA_POWERS = (-1, -2, -1, -2, -1)
"""Powers of γ as which κ₁, Var e, E[o²], Σ s x and X go for a quadratic loss; N_BETA_POWERS: of nβ."""
N_BETA_POWERS = (1, 2, 2, 3, 1)
STEP = 0.02
"""Relative change of a part by which a derivative is taken."""


class Value(NamedTuple):
    """A mean of independent values, its standard error, widened by Student's t where they are few, and the degrees of
    freedom of that; no unit."""

    mean: float
    stderr: float
    freedom: int


@dataclass(frozen=True, kw_only=True)
class DrawSummary:
    """λ̂ by the cumulant series of `sampling.draws.cumulants`, and its parts; all without a unit.

    Attributes:
        llc, stderr: λ̂ and its standard error, what the series leaves open included; None if a number is not finite.
            sampling_stderr: without what is left open.
        prior_mean: κ₁, nβ times the mean rise of the loss at draws of the prior.
        narrowing: Var e, what the curvature of the loss takes from it. slope: E[o²], what its slope at w* takes.
        bend: Σ s x, how sharply the loss bends along its slope; None if it was not measured.
        slope_taken: what the slope takes from λ̂ in all.
        open: how far λ̂ may lie from `llc` for what these leave open; open_slope: the share of the slope in that.
        beyond: what the even part of the loss rises beyond its slope (`GradientPair`): 0 for a quadratic loss, below 0
            for terms of degree four, above 0 for jumps that no gradient knows of.
        gamma_slope, n_beta_slope: d log λ̂ / d log γ and d log λ̂ / d log nβ; None where λ̂ is not above 0.
        weighted: λ̂ once more by importance weights; None where minibatches leave the weights unknown.
        by_losses: True if `narrowing` and `slope` are from products of losses, since gradients miss jumps.
        errors: what the standard errors of κ₁, Var e, E[o²] and Σ s x make of that of λ̂.
    """

    llc: float | None
    stderr: float | None
    sampling_stderr: float | None
    prior_mean: Value
    narrowing: Value
    slope: Value
    bend: Value | None
    slope_taken: float
    open: float
    open_slope: float
    beyond: Value
    gamma_slope: Value | None
    n_beta_slope: Value | None
    weighted: Weighted | None
    by_losses: bool
    errors: tuple[float, ...]


def summarise_draws(
    losses: Sequence[LossPair],
    gradients: Sequence[GradientPair],
    bends: Sequence[float] = (),
    *,
    n: int,
    n_beta: float,
    gamma: float,
    largest: float = math.inf,
    jumps: bool = False,
) -> DrawSummary:
    """λ̂ from at least two of each kind, of `bends` none or two.

    Args:
        n: items of the empirical loss. largest: the largest curvature of L_n times nβ/γ, if it is known.
        jumps: the model chooses between experts, so that gradients do not tell how the loss varies.
    """
    values = _values_of_parts(losses, gradients, bends, n_beta, gamma)
    prior_mean, narrowing, slope = map(_value, values[:3])
    beyond = _value([n_beta * (pair.rise - pair.radial) for pair in gradients])
    by_losses = jumps
    if _tells_of_variance(losses, n):
        by_losses |= beyond.mean > SIGNIFICANT * beyond.stderr and beyond.mean > STEEP * abs(prior_mean.mean)
        seen = _narrowing_of_losses(losses, n, n_beta)
        # Jumps rise and fall about the slope too, and then show in the variance of the losses alone.
        by_losses |= seen.mean - narrowing.mean > SIGNIFICANT * math.hypot(seen.stderr, narrowing.stderr)
    if by_losses:
        narrowing, slope = _narrowing_of_losses(losses, n, n_beta), _slope_of_losses(losses, n, n_beta)
    parts = [prior_mean, narrowing, slope]
    if bends and not by_losses:
        parts.append(_value(values[3]))
    middle, open_, open_slope = posterior_mean(_moments(parts), largest)
    # Of terms of degree four Var e is half of what their gradient says.
    quartic = min(1.0, max(0.0, abs(beyond.mean) - beyond.stderr) / max(abs(prior_mean.mean), TINY))
    open_ += quartic * max(narrowing.mean, 0.0)
    if not by_losses:
        open_ += OVERCOUNTED * max(0.0, quartic - STEEP) * max(slope.mean, 0.0)
    errors = [part.stderr * _derivative(parts, place, largest) for place, part in enumerate(parts)]
    sampling = math.hypot(*errors)
    finite = all(map(math.isfinite, (middle, sampling, open_, beyond.mean)))
    return DrawSummary(
        llc=middle if finite else None,
        stderr=stderr_with_open(sampling, open_) if finite else None,
        sampling_stderr=sampling if finite else None,
        prior_mean=prior_mean,
        narrowing=narrowing,
        slope=slope,
        bend=parts[3] if len(parts) > 3 else None,
        slope_taken=posterior_mean(Moments(prior_mean.mean, narrowing.mean, 0.0), largest).middle - middle,
        open=open_,
        open_slope=open_slope,
        beyond=beyond,
        gamma_slope=_scaling(parts, largest, beyond, GAMMA_POWERS) if finite else None,
        n_beta_slope=_scaling(parts, largest, None, N_BETA_POWERS) if finite else None,
        weighted=_weighted(losses, n_beta),
        by_losses=by_losses,
        errors=tuple(map(abs, errors)),
    )


def contributions(
    losses: Sequence[LossPair],
    gradients: Sequence[GradientPair],
    bends: Sequence[float] = (),
    *,
    n_beta: float,
    gamma: float,
) -> list[list[float]]:
    """What each draw contributes to λ̂ to first order: the value of its part times ∂λ̂/∂ of that part's mean.

    One list for the pairs with losses, one for those with gradients and one for the bends, in the order of the draws;
    of two checkpoints with the same draws they vary together.
    """
    values = _values_of_parts(losses, gradients, bends, n_beta, gamma)
    parts = list(map(_value, values))
    scaled = [[_derivative(parts, place, math.inf) * value for value in part] for place, part in enumerate(values)]
    of_gradients = [sum(both) for both in zip(scaled[1], scaled[2], strict=True)]
    return [scaled[0], of_gradients, *scaled[3:]]


def _values_of_parts(
    losses: Sequence[LossPair],
    gradients: Sequence[GradientPair],
    bends: Sequence[float],
    n_beta: float,
    gamma: float,
) -> list[list[float]]:
    """Values of independent draws with the means κ₁, Var e, E[o²] and, if bends were measured, Σ s x."""
    values = [
        [n_beta * pair.rise for pair in losses],
        [n_beta**2 / gamma / 2 * pair.even for pair in gradients],
        [n_beta**2 / gamma * pair.odd for pair in gradients],
    ]
    return [*values, [n_beta**3 / gamma**2 * bend for bend in bends]] if bends else values


def stderr_with_open(sampling: float, open_: float) -> float:
    """The standard error with what the series leaves open: as if the truth lay anywhere in that interval alike, and so
    much at least that twice of it holds the truth nineteen times in twenty wherever it lies, at its end too (Imbens and
    Manski 2004), as it does where all curvatures are alike."""
    return max(math.hypot(sampling, open_ / UNIFORM), (open_ + ONE_SIDED * sampling) / 2)


def _moments(parts: Sequence[Value]) -> Moments:
    return Moments(*_means(parts))


def _means(parts: Sequence[Value]) -> list[float]:
    return [part.mean for part in parts]


def _value(values: Sequence[float]) -> Value:
    if not all(map(math.isfinite, values)):
        return Value(math.nan, math.nan, len(values) - 1)
    error = statistics.stdev(values) / math.sqrt(len(values))
    return Value(statistics.fmean(values), error * widened(len(values) - 1), len(values) - 1)


def _tells_of_variance(losses: Sequence[LossPair], n: int) -> bool:
    """True if each pair has two halves, or all items: one item alone does not tell its own noise from the loss."""
    return all(len(pair.counts) > 1 or pair.counts[0] == n for pair in losses)


def _without_replacement(crossed: float, alone: float, share: float) -> float:
    """The mean over all items from that over two halves, see `GradientPair`; `share` is a half's of all items."""
    return (1 - share) * crossed + share * alone


def _narrowing_of_losses(losses: Sequence[LossPair], n: int, n_beta: float) -> Value:
    """Var e from how the even parts of two halves vary together over pairs."""
    middle = statistics.fmean(pair.rise for pair in losses)
    products = []
    for pair in losses:
        one, other = pair.even[0] - middle, pair.even[-1] - middle
        share = pair.counts[0] / n
        products.append(n_beta**2 * _without_replacement(one * other, one * one, share))
    value, count = _value(products), len(losses)
    return Value(value.mean * count / (count - 1), value.stderr * count / (count - 1), value.freedom)


def _slope_of_losses(losses: Sequence[LossPair], n: int, n_beta: float) -> Value:
    """E[o²] from the odd parts of two halves."""
    products = [
        n_beta**2 * _without_replacement(pair.odd[0] * pair.odd[-1], pair.odd[0] ** 2, pair.counts[0] / n)
        for pair in losses
    ]
    return _value(products)


def _weighted(losses: Sequence[LossPair], n_beta: float) -> Weighted | None:
    """λ̂ by weights e^(−U), where each pair's losses are of all items."""
    if any(len(pair.counts) > 1 for pair in losses):
        return None
    values = [[n_beta * pair.up[0], n_beta * pair.down[0]] for pair in losses]
    return weighted_mean(values, [[-up, -down] for up, down in values])


def _derivative(parts: Sequence[Value], place: int, largest: float) -> float:
    """∂λ̂/∂ of one of the parts.

    Var e and E[o²] are taken at their standard errors at least: what is measured below 0 counts as 0, and would seem to
    add nothing to the error.
    """
    step = STEP * max(abs(parts[place].mean), abs(parts[0].mean), TINY)
    means = [max(part.mean, part.stderr) if at in {1, 2} else part.mean for at, part in enumerate(parts)]
    above, below = (
        posterior_mean(Moments(*(mean + sign * step * (at == place) for at, mean in enumerate(means))), largest).middle
        for sign in (1, -1)
    )
    return (above - below) / (2 * step)


def _scaling(parts: Sequence[Value], largest: float, beyond: Value | None, powers: Sequence[int]) -> Value | None:
    """d log λ̂ / d log t where the parts and X go as these powers of t; None where λ̂ is not above 0.

    Args:
        beyond: of γ: d κ₁/d log γ is minus the radial part exactly, which is less than κ₁ by it.
    """

    def at(t: float, means: Sequence[float]) -> float:
        scaled = Moments(*(mean * t**power for mean, power in zip(means, powers, strict=False)))
        return posterior_mean(scaled, largest * t ** powers[-1]).middle

    def slope(means: Sequence[float]) -> float | None:
        middle = at(1.0, means)
        if not middle > 0:
            return None
        return (at(1 + STEP, means) - at(1 / (1 + STEP), means)) / (2 * math.log1p(STEP)) / middle

    means = _means(parts)
    value = slope(means)
    if value is None:
        return None
    moved = [
        slope([mean + (place == at_) * parts[place].stderr for at_, mean in enumerate(means)])
        for place in range(len(parts))
    ]
    errors = [0.0 if each is None else each - value for each in moved]
    if beyond is not None:
        middle = at(1.0, means)
        value += beyond.mean / middle
        errors.append(beyond.stderr / middle)
    return Value(value, math.hypot(*errors), parts[1].freedom)
