"""The step size and the burn-in that a measured curvature allows."""

import math

from hf_llc.errors import SettingsError
from hf_llc.sampling.samplers import SAMPLERS
from hf_llc.settings.posterior import STABILITY_LIMIT

RELAXED = 0.01
"""Share of a flat direction's variance that may be missing when the draws begin."""
SETTLED = 1.3
"""Relaxation times of a flat direction after which chains that began at draws of the localizing prior have forgotten
the excess of any stiffer one: with k = nβh/γ that is k e^(−(1+k)t) of its share, at most 0.1 for t = 1.3."""
HOT = 3.0
"""nβh/γ in a typical direction above which draws of the localizing prior are so far up that the way down moves flat
directions too, as it does in a product of factors: those must then relax as from w*."""
LEFT = 0.28
"""Relaxation times after which they have at most as much of it left as they shall have: `excess_left` is 1 there."""
NEAR, SLOWER = 0.1, 4.0
"""Share of λ̂ that they may have left of it in a typical direction; on deep linear nets it took four times as long as
on a quadratic loss, since they begin where the loss is steeper."""
LONGEST_BURN_IN = 1000
SHORTEST_BURN_IN = 10


def stability(lr: float, n_beta: float, curvature: float, gamma: float) -> float:
    """ε(nβh+γ), no unit: an Euler step on a quadratic of curvature h is stable below STABILITY_LIMIT."""
    return lr * (n_beta * curvature + gamma)


def choose_lr(fraction: float, n_beta: float, curvature: float, gamma: float) -> float:
    """ε in weight², rounded down to two digits, with ε(nβh+γ) at that fraction.

    Raises:
        SettingsError: nβh+γ is zero or not finite, so that nothing limits the step.
    """
    stiffness = n_beta * curvature + gamma
    if not (math.isfinite(stiffness) and stiffness > 0):
        raise SettingsError(
            f"nβh+γ is {stiffness:g} (n_beta {n_beta:g}, curvature {curvature:g}, gamma {gamma:g}): "
            "nothing limits the step size. Set `lr`, or a `gamma` above 0."
        )
    return two_digits(fraction / stiffness)


def two_digits(value: float) -> float:
    """A positive number rounded down to two digits."""
    digits = 10.0 ** (math.floor(math.log10(value)) - 1)
    return float(f"{math.floor(value / digits * (1 + 1e-12)) * digits:.2g}")


def check_lr(lr: float, n_beta: float, curvature: float, gamma: float) -> None:
    """Raise if the step size is unstable at the largest curvature.

    Raises:
        SettingsError: ε(nβh+γ) is at or past STABILITY_LIMIT; names the largest step that is not.
    """
    value = stability(lr, n_beta, curvature, gamma)
    if value >= STABILITY_LIMIT:
        limit = STABILITY_LIMIT / (n_beta * curvature + gamma)
        raise SettingsError(
            f"lr must be < {limit:.2g}, got {lr:g}: ε(nβh+γ) = {value:.3g} is past the stability limit "
            f"{STABILITY_LIMIT:g} (measured curvature h = {curvature:.3g}, nβ = {n_beta:.4g}, γ = "
            f"{gamma:.4g}). Lower `lr`, or leave it out."
        )


def relaxation_rate(lr: float, gamma: float, sampler: str, momentum: float) -> float:
    """The rate per step at which a flat direction's variance approaches its final value: εγ without momentum.

    Momentum c speeds a flat direction up by (1+c)/(1−c), as long as its motion is overdamped (see `samplers.baoab`); it
    never forgets faster than the momenta do, 1 − c a step.
    """
    if not SAMPLERS[sampler].momentum:
        return lr * gamma
    return min(lr * gamma * (1 + momentum) / (1 - momentum), 1 - momentum)


def asked_for(start: str, typical: float) -> float:
    """Relaxation times of a flat direction that chains which start there take before their draws.

    From w* itself: until its variance, 1 − e^(−rate·t) of the final one, misses RELAXED of it. From draws of the
    localizing prior: SETTLED, or as many as from w* where the typical nβh/γ is above HOT.
    """
    return SETTLED if start == "localiser" and typical <= HOT else -math.log(RELAXED)


def forgets(rate: float, burn_in: int, typical: float) -> bool:
    """True if chains that began at draws of the localizing prior have what is asked for before their draws."""
    return rate * burn_in >= asked_for("localiser", typical)


def excess_left(times: float, stiffest: float) -> float:
    """What chains from draws of the localizing prior have left of the excess in the worst direction, as a share of what
    they shall have there: k e^(−(1+k)t), the most over all k = nβh/γ up to `stiffest` after t relaxation times."""
    worst = min(stiffest, 1 / times) if times > 0 else stiffest
    return worst * math.exp(-(1 + worst) * times)


def leaves(rate: float, burn_in: int, typical: float) -> bool:
    """True if chains that began at draws of the localizing prior have come near before their draws.

    In any direction after LEFT relaxation times, else in one of the typical k = nβh/γ, SLOWER times as slowly as on a
    quadratic loss.
    """
    times = rate * burn_in
    return times >= LEFT or typical * math.exp(-(1 + typical) * times / SLOWER) <= NEAR


def choose_burn_in(rate: float, draws: int, thin: int, start: str, typical: float) -> int:
    """Steps before the first draw, from the relaxation rate of a flat direction per step; at least 10.

    As many relaxation times as are `asked_for`. At most LONGEST_BURN_IN steps or twice the draws, whichever is more:
    what is still missing then is the verdict's business, not a reason to run for ever.
    """
    longest = max(LONGEST_BURN_IN, 2 * draws * thin)
    if rate == 0:
        return min(draws * thin, longest)
    return min(max(SHORTEST_BURN_IN, math.ceil(asked_for(start, typical) / rate)), longest)
