"""The step size and the burn-in that a measured curvature allows."""

import math

from hf_llc.core.samplers import SAMPLERS
from hf_llc.errors import SettingsError
from hf_llc.settings import STABILITY_LIMIT

RELAXED = 0.01
"""Share of a flat direction's variance that may be missing when the draws begin."""
LONGEST_BURN_IN = 2000


def stability(lr: float, n_beta: float, curvature: float, gamma: float) -> float:
    """ε(nβh+γ), no unit: an Euler step on a quadratic of curvature h is stable below STABILITY_LIMIT."""
    return lr * (n_beta * curvature + gamma)


def choose_lr(sampler: str, n_beta: float, curvature: float, gamma: float) -> float:
    """ε in weight², rounded down to two digits, with ε(nβh+γ) at the sampler's own fraction.

    Raises:
        SettingsError: nβh+γ is zero or not finite, so that nothing limits the step.
    """
    stiffness = n_beta * curvature + gamma
    if not (math.isfinite(stiffness) and stiffness > 0):
        raise SettingsError(
            f"nβh+γ is {stiffness:g} (n_beta {n_beta:g}, curvature {curvature:g}, gamma {gamma:g}): nothing limits the "
            "step size. Give --lr, or a --gamma above 0."
        )
    lr = SAMPLERS[sampler].step_fraction / stiffness
    digits = 10.0 ** (math.floor(math.log10(lr)) - 1)
    return float(f"{math.floor(lr / digits) * digits:.2g}")


def check_lr(lr: float, n_beta: float, curvature: float, gamma: float) -> None:
    """Nothing, if the step is stable.

    Raises:
        SettingsError: ε(nβh+γ) is at or past STABILITY_LIMIT; names the largest step that is not.
    """
    value = stability(lr, n_beta, curvature, gamma)
    if value >= STABILITY_LIMIT:
        limit = STABILITY_LIMIT / (n_beta * curvature + gamma)
        raise SettingsError(
            f"--lr {lr:g} is past the stability limit: ε(nβh+γ) = {value:.3g} where it must stay below "
            f"{STABILITY_LIMIT:g} (measured curvature h = {curvature:.3g}, nβ = {n_beta:.4g}, γ = {gamma:.4g}). "
            f"Use --lr below {limit:.2g}, or leave it out."
        )


def relaxation_rate(lr: float, gamma: float, sampler: str, momentum: float) -> float:
    """The rate per step at which a flat direction's variance approaches its final value: εγ without momentum.

    Momentum c speeds the walk up by (1+c)/(1−c), as long as that walk is overdamped (see `samplers.baoab`).
    """
    return lr * gamma * ((1 + momentum) / (1 - momentum) if sampler == "baoab" else 1.0)


def choose_burn_in(lr: float, gamma: float, draws: int, thin: int) -> int:
    """Steps until a flat direction's variance, 1 − e^(−εγt) of its final value, misses RELAXED of it; at least 10.

    At most LONGEST_BURN_IN or four times the draws, whichever is more: what is still missing then is the verdict's
    business, not a reason to run for ever.
    """
    longest = max(LONGEST_BURN_IN, 4 * draws * thin)
    if gamma == 0:
        return min(draws * thin, longest)
    return min(max(10, math.ceil(-math.log(RELAXED) / (lr * gamma))), longest)
