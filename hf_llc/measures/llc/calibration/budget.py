"""How long a run must be for a wanted error, from what pilot chains showed: draws, thinning, burn-in, and the cost."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from hf_llc.sampling.jumps import COST, measured_draws
from hf_llc.sampling.variations import VARIATIONS
from hf_llc.settings.resolved import ResolvedSettings

FEWEST_EFFECTIVE = 200.0
"""Effective draws of all chains together below which R-hat itself is noise: with four chains in halves of 25 effective
draws, R-hat² − 1 is about χ²₇/7 / 25, and passes 1.05² by chance in one run of a hundred."""
FEWEST_DRAWS = 20
KEPT = 4
"""Draws that are kept of each autocorrelation time where fewer than all are: see `thinning_loss`."""
ENOUGH = 1.02
"""Where the wanted error cannot be reached, an error this much above the least one is not worth more draws."""
OF_BOTH = 1.15
"""What is reported is the larger one of a standard error and its estimate from the spread of the chains' means. In
units of the first that is E max(1, √(χ²_k/k)) on average: 1.17 for two chains (k = 1), 1.12 for four."""
SETTLING_ERRORS = 3.0
"""Standard errors between the first draws and later ones up to which the chains count as settled."""


@dataclass(frozen=True, kw_only=True)
class Spread:
    """What pilot chains say about the error of any run with the same step.

    Attributes:
        monte_carlo: standard error of λ̂ times √(steps of all chains). step: that of the step size's share of λ̂,
            2 (λ̂(ε) − λ̂(ε/2)), times √(steps of the chains at both).
        bias: that share itself where it is more than chance, else 0. autocorrelation: τ, in steps.
    """

    monte_carlo: float
    step: float
    bias: float
    autocorrelation: float


@dataclass(frozen=True, kw_only=True)
class DrawBudget:
    """A run and what it comes to.

    Attributes:
        stderr: the standard error of λ̂ to expect. gradients: of a minibatch, checks included.
        met: whether that error is the wanted one or less. floor: whether FEWEST_EFFECTIVE asked for more draws.
    """

    settings: ResolvedSettings
    stderr: float
    gradients: int
    met: bool
    floor: bool


def thinning(autocorrelation: float) -> int:
    """Steps from one draw to the next.

    A step's loss is seen whether it is kept or not, so a draw costs nothing and dropping one can only lose precision.
    Where neighbours are nearly the same draw, KEPT of each autocorrelation time lose a hundredth of it and keep files
    and checks short.
    """
    return max(1, int(autocorrelation / KEPT))


def thinning_loss(thin: int, autocorrelation: float) -> float:
    """The variance of a mean over every `thin`-th step divided by that over all of them, for an AR(1) process.

    With correlation ρ a step, τ = (1+ρ)/(1−ρ): thin (1+ρ^thin)/(1−ρ^thin) / τ. (Geyer 1992 has the general form.)
    """
    if autocorrelation <= 1:
        return float(thin)
    kept = ((autocorrelation - 1) / (autocorrelation + 1)) ** thin
    return thin * (1 + kept) / (1 - kept) / autocorrelation


def expected_stderr(settings: ResolvedSettings, spread: Spread) -> float:
    """The standard error of λ̂ that a run with these settings and its checks is expected to report."""
    loss = thinning_loss(settings.thin, spread.autocorrelation)
    sampled = spread.monte_carlo * math.sqrt(loss / (settings.chains * settings.draws * settings.thin))
    half = VARIATIONS[0]
    checked = min(half.chains, settings.chains) * half.settings(settings).draws * settings.thin
    noise = spread.step / math.sqrt(checked)
    # What is found of a bias is in the error: noise where there is none, else a third of what is subtracted.
    return math.hypot(sampled, noise, spread.bias / 3)


def gradients(settings: ResolvedSettings) -> int:
    """Gradients of a minibatch that a run with its checks takes; a loss alone is a third of one."""
    checked = sum(min(each.chains, settings.chains) * each.settings(settings).gradients for each in VARIATIONS)
    segments = len(measured_draws(settings)) * COST
    return round(settings.chains * (settings.gradients + segments) + checked)


def choose_budget(settings: ResolvedSettings, spread: Spread, wanted: float, budget: int) -> DrawBudget:
    """The fewest draws with the wanted standard error of λ̂, at most what the budget of gradients allows.

    No fewer than FEWEST_EFFECTIVE effective ones, whatever the budget, since with fewer the error could not be trusted.
    """
    thin = thinning(spread.autocorrelation)

    def at(draws: int) -> ResolvedSettings:
        return replace(settings, draws=draws, thin=thin)

    effective = FEWEST_EFFECTIVE * max(1.0, spread.autocorrelation) / (settings.chains * thin)
    fewest = max(FEWEST_DRAWS, math.ceil(effective))
    most = max(fewest, _last(lambda draws: gradients(at(draws)) <= budget, budget))
    least = expected_stderr(at(most), spread)
    met = least <= wanted
    goal = wanted if met else ENOUGH * least
    needed = 1 + _last(lambda draws: expected_stderr(at(draws), spread) > goal, most)
    return effort_of(at(min(max(needed, fewest), most)), spread, met=met, floor=fewest > needed)


def effort_of(settings: ResolvedSettings, spread: Spread, *, met: bool, floor: bool = False) -> DrawBudget:
    """What these settings come to."""
    return DrawBudget(
        settings=settings,
        stderr=expected_stderr(settings, spread),
        gradients=gradients(settings),
        met=met,
        floor=floor,
    )


def _last(holds: Callable[[int], bool], most: int) -> int:
    """The largest number of draws up to `most` for which something holds that more draws end; 0 if it never does."""
    low, high = 0, most + 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low


def settled_burn_in(deltas: Sequence[Sequence[float]], burn_in: int, autocorrelation: float) -> tuple[int, float]:
    """The burn-in, doubled until the draws that follow it agree with later ones, and how far they then are apart.

    Compares the mean of the eighth of the chain after the burn-in with that of its last half, in standard errors.

    Args:
        deltas: paired differences of each chain at every step, shape (chains, steps + 1).
    """
    steps = len(deltas[0]) - 1
    width = max(1, steps // 8)
    late = [value for chain in deltas for value in chain[steps // 2 + 1 :]]
    mean = sum(late) / len(late)
    variance = sum((value - mean) ** 2 for value in late) / (len(late) - 1) * max(1.0, autocorrelation)
    chosen = burn_in
    while True:
        early = [value for chain in deltas for value in chain[chosen + 1 : chosen + 1 + width]]
        error = math.sqrt(variance * (1 / len(early) + 1 / len(late)))
        apart = (sum(early) / len(early) - mean) / error if error > 0 else 0.0
        if abs(apart) <= SETTLING_ERRORS or 2 * chosen + width > steps // 2:
            return chosen, apart
        chosen = max(2 * chosen, 1)
