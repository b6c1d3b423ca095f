"""How long draws of chains depend on one another, pooled over many variables."""

import math
from collections.abc import Callable
from dataclasses import dataclass

ROUNDS = 5
"""Of the correction for centring, each of which takes what the one before leaves."""
LONGEST = 0.5
"""Share of a chain up to which lags are looked at."""
LEAST = 0.5
"""Share of a variance that centring leaves at least: below it the draws do not tell how slowly they move."""


@dataclass(frozen=True)
class Autocorrelation:
    """The autocorrelation of stationary draws.

    Attributes:
        time: τ = 1 + 2 Σ ρ_l, how many draws are worth an independent one, at least 1.
        correlations: ρ_l of the lags 0, 1 … up to where they are noise.
    """

    time: float
    correlations: tuple[float, ...]

    def unseen(self, length: int) -> float:
        """How much larger the variance of a long mean is than independent stretches of that many draws let it seem."""
        lags = range(1, min(length, len(self.correlations)))
        seen = 1 + 2 * sum((1 - lag / length) * self.correlations[lag] for lag in lags)
        return max(1.0, self.time / max(seen, 1e-12))


INDEPENDENT = Autocorrelation(1.0, (1.0,))
"""Of draws that do not depend on one another."""


def autocorrelation(covariance: Callable[[int], float], draws: int, centred_over: int) -> Autocorrelation:
    """τ by the initial monotone sequence: sums of two ρ are added while they are positive (Geyer 1992).

    Deviations from a mean over T draws have autocovariances that are less by the variance of that mean, τσ²/T, which
    is put back.

    Args:
        covariance: autocovariance at a lag, of deviations from means; may be summed over variables.
        draws: of a chain. centred_over: T, draws in a mean.
    """
    longest = max(1, math.floor(LONGEST * draws))
    seen: list[float] = []

    def at(lag: int) -> float:
        while len(seen) <= lag:
            seen.append(covariance(len(seen)))
        return seen[lag]

    if not at(0) > 0:
        return INDEPENDENT
    result = INDEPENDENT
    for _ in range(ROUNDS):
        result = _initial_sequence(at, min(1 - LEAST, result.time / centred_over), longest)
    return result


def _initial_sequence(covariance: Callable[[int], float], missing: float, longest: int) -> Autocorrelation:
    """The sequence where all covariances are less by this share of the variance."""
    correlations: list[float] = []
    total, least = 0.0, math.inf
    for lag in range(0, longest, 2):
        both = [covariance(each) / covariance(0) * (1 - missing) + missing for each in (lag, lag + 1)]
        if sum(both) <= 0:
            break
        least = min(least, sum(both))
        total += least
        correlations += [each * least / sum(both) for each in both]
    return Autocorrelation(max(1.0, 2 * total - 1), tuple(correlations) or (1.0,))
