"""Convergence statistics of draws (ArviZ): means with their Monte Carlo error, effective sample size, R-hat."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import numpy
from numpy.typing import NDArray

FEWEST = 4
"""Draws per chain below which there is neither an effective sample size nor an R-hat."""
ENOUGH_WEIGHTS = 32
"""Weights below which their tail is too short to have a shape."""
PERCENTILE = 2.326
"""Of a normal variable, the 99th."""
TWO_LEVELS, ALSO_IN_LOG = 0.73, 0.6
"""Share of the variance that the best division into two levels explains from which values count as lying at two: of
normal values it explains 2/π = 0.64, and of sums of squares of slow AR(1) processes rarely more than 0.7. And the share
that it must explain of their logarithms, lest a long tail count as a level."""
APART = 1.5
"""How many times larger the upper level must be."""
SELDOM = 40
"""Draws for each change of level from which on the changes are too few to know how often each level is taken."""
MANY_CHAINS = 16
"""Chains from which on how far their means differ is an error to go by alone: each chain is independent of the others
however its draws depend on one another, and fifteen differences are enough."""
PER_FREEDOM = 8.0
"""Effective draws for one degree of freedom of a standard error, see `student`."""


@dataclass(frozen=True, kw_only=True)
class DrawStatistics:
    """Of draws of shape (chains, draws).

    Attributes:
        mean, mcse: their mean and its Monte Carlo standard error as estimated, in the draws' unit.
        stderr: mcse times `student` of the effective draws, of MANY_CHAINS times `widened_at_two` of their number:
            within one, two and three of it lie as many means as within standard deviations of a normal variable, up to
            some ten effective draws.
        ess: effective sample size of the mean (Vehtari et al. 2021); NaN below FEWEST draws. r_hat: split
            rank-normalised R-hat; None there and where all draws are equal, so that there is no variance to compare.
        r_hat_chance: what R-hat is below in 99 of 100 runs whose chains do not differ, see `r_hat_by_chance`.
        moved: how much chains differ from one half of their draws to the other, as a share of how much they differ from
            each other: about 1 where they forget their place meanwhile, near 0 where each stays where it is; None if
            they do not differ.
        drift: (mean of second halves − mean of first halves) / its Monte Carlo error; None where that is zero.
    """

    mean: float
    mcse: float
    stderr: float
    ess: float
    r_hat: float | None
    drift: float | None
    r_hat_chance: float | None = None
    moved: float | None = None


@numpy.errstate(over="ignore", invalid="ignore")
def summarise(draws: Sequence[Sequence[float]]) -> DrawStatistics:
    """Statistics of at least two chains of equal length, all finite.

    Raises:
        ValueError: a draw is not finite, or the chains differ in length.
    """
    array = numpy.asarray(draws, dtype=float)
    if array.ndim != 2 or not numpy.isfinite(array).all():
        raise ValueError(f"draws must be finite, of shape (chains, draws); got shape {array.shape}")
    if float(numpy.ptp(array)) == 0.0:
        same = float(array[0, 0])
        return DrawStatistics(mean=same, mcse=0.0, stderr=0.0, ess=float(array.size), r_hat=None, drift=None)
    half = array.shape[1] // 2
    first, second = array[:, :half], array[:, -half:]
    error, enough = math.hypot(_mcse(first), _mcse(second)), array.shape[1] >= FEWEST
    mcse, ess = _mcse(array), float(_arviz().ess(array, method="mean")) if enough else math.nan
    return DrawStatistics(
        mean=float(array.mean()),
        mcse=mcse,
        stderr=mcse * (widened_at_two(len(array) - 1) if len(array) >= MANY_CHAINS else student(ess)),
        ess=ess,
        r_hat=float(_arviz().rhat(array, method="rank")) if enough else None,
        drift=(float(second.mean() - first.mean()) / error) if error > 0 else None,
        r_hat_chance=r_hat_by_chance([float(_arviz().ess(chain[None], method="mean")) for chain in array])
        if enough
        else None,
        moved=_moved(array, first, second),
    )


def _moved(
    array: NDArray[numpy.float64], first: NDArray[numpy.float64], second: NDArray[numpy.float64]
) -> float | None:
    """Mean square difference of a chain's halves over four times the variance of the chains' means: two independent
    halves have twice the variance of a whole each."""
    between = float(array.mean(axis=1).var(ddof=1)) if len(array) > 1 else 0.0
    if not between > 0:
        return None
    return float(((second.mean(axis=1) - first.mean(axis=1)) ** 2).mean()) / (4 * between)


class Levels(NamedTuple):
    """The means of values at a lower and an upper level, and how often chains change from one to the other."""

    lower: float
    upper: float
    changes: int


@numpy.errstate(over="ignore", invalid="ignore")
def two_levels(values: Sequence[Sequence[float]]) -> Levels | None:
    """The two levels at which positive values lie between which chains seldom change; None if they do not.

    Values are divided where most of their variance lies between the parts (Fisher 1958; Otsu 1979). A chain that hops
    over a barrier gives two levels, with few changes; one that moves freely gives one, however slowly it moves.

    Args:
        values: of shape (chains, draws), such as squared distances from w*.
    """
    array = numpy.asarray(values, dtype=float)
    if array.size < FEWEST or not numpy.isfinite(array).all() or float(array.min()) <= 0:
        return None
    limit, explained = _division(array)
    if not (explained >= TWO_LEVELS and _division(numpy.log(array))[1] >= ALSO_IN_LOG):
        return None
    high = array > limit
    lower, upper = float(array[~high].mean()), float(array[high].mean())
    changes = int((high[:, 1:] != high[:, :-1]).sum())
    if upper < APART * lower or changes * SELDOM > array.size:
        return None
    return Levels(lower, upper, changes)


def _division(array: NDArray[numpy.float64]) -> tuple[float, float]:
    """Where values are best divided in two, and the share of their variance that this explains; 0 if all are equal."""
    ordered = numpy.sort(array, axis=None)
    # In units of the largest, whose square may else be too large a number.
    ordered, scale = ordered / (numpy.abs(ordered).max() or 1.0), float(numpy.abs(ordered).max())
    total, count = float(ordered.var()) * ordered.size, ordered.size
    if total <= 0:
        return float(ordered[0]) * scale, 0.0
    below = numpy.arange(1, count)
    between = numpy.cumsum(ordered - ordered.mean())[:-1] ** 2 * count / (below * (count - below))
    best = int(between.argmax())
    return float(ordered[best]) * scale, float(between[best]) / total


def student(ess: float) -> float:
    """What a standard error from so many effective draws is multiplied by, since it is itself an estimate.

    An autocorrelation time τ estimated from lags up to some 2.5 τ has the relative variance 10/ESS (Sokal 1997, eq.
    3.19) and the draws' variance 2/ESS, which Satterthwaite (1946) counts as ν = ESS/6; Geyer's longer window leaves
    less. PER_FREEDOM is from AR(1) processes of 2 to 8 chains and 10 to 400 draws.
    """
    return widened(max(1.0, ess / PER_FREEDOM) if math.isfinite(ess) else 1.0)


def widened(freedom: float) -> float:
    """What a standard error of ν ≥ 1 degrees of freedom is multiplied by, so that as many means lie within one, two and
    three of it as within standard deviations of a normal variable.

    That is the 84th percentile of Student's t (1908), by the expansion of Fisher and Cornish (1960; Abramowitz and
    Stegun 26.7.5) at z = 1: 1 + 1/(2ν) + 1/(4ν²) + 1/(16ν³), at most 1.81 for ν = 1.
    """
    return 1 + 1 / (2 * freedom) + 1 / (4 * freedom**2) + 1 / (16 * freedom**3)


def widened_at_two(freedom: float) -> float:
    """What a standard error of many degrees of freedom ν is multiplied by, so that as many means lie within two of it
    as within two standard deviations of a normal variable: the expansion of `widened` at z = 2, 1 + 5/(4ν) + 49/(32ν²).
    """
    return 1 + 5 / (4 * freedom) + 49 / (32 * freedom**2)


class Weighted(NamedTuple):
    """A self-normalised mean under importance weights, its standard error, how many independent draws the weights leave
    (Kong 1992), and the shape k̂ of their tail (Vehtari et al. 2024): above 0.7 none of it is to be relied on."""

    mean: float
    stderr: float
    effective: float
    pareto_k: float


def weighted_mean(values: Sequence[Sequence[float]], log_weights: Sequence[Sequence[float]]) -> Weighted | None:
    """The mean of values under weights that are smoothed in their tail (PSIS).

    None if a number is not finite, or below ENOUGH_WEIGHTS draws.

    Args:
        values, log_weights: of draws of the proposal, shape (groups, draws); only groups are independent.
    """
    array, logs = numpy.asarray(values, dtype=float), numpy.asarray(log_weights, dtype=float)
    if array.size < ENOUGH_WEIGHTS or not (numpy.isfinite(array).all() and numpy.isfinite(logs).all()):
        return None
    weights, shape = smoothed_weights(logs)
    mean = float((weights * array).sum())
    error = math.sqrt(float(((weights * (array - mean)).sum(axis=1) ** 2).sum()))
    return Weighted(mean, error, float(1 / (weights**2).sum()), shape)


def smoothed_weights(log_weights: NDArray[numpy.float64]) -> tuple[NDArray[numpy.float64], float]:
    """Weights that are smoothed in their tail (PSIS, Vehtari et al. 2024), of sum 1, and the shape k̂ of that tail."""
    # The library takes the logarithms of what it divides by, and returns those of the weights.
    smoothed, shape = _arviz().psislw(-log_weights.ravel())
    weights: NDArray[numpy.float64] = numpy.exp(smoothed - numpy.max(smoothed)).reshape(log_weights.shape)
    return weights / weights.sum(), float(shape)


def r_hat_by_chance(effective: Sequence[float]) -> float:
    """The R-hat of chains that sample the same distribution, at its 99th percentile, from the effective sample size of
    each.

    R-hat² − 1 is the variance of the 2m half chains' means over that of draws. For e effective draws in each half that
    is about χ²_k / (k e), k = 2m − 1; the percentile of χ² is that of Wilson & Hilferty (1931).
    """
    halves = 2 * len(effective)
    freedom = halves - 1
    ninth = 2 / (9 * freedom)
    percentile = freedom * (1 - ninth + PERCENTILE * math.sqrt(ninth)) ** 3
    return math.sqrt(1 + percentile / freedom / (sum(effective) / halves))


@numpy.errstate(over="ignore", invalid="ignore")
def log_ratio(above: Sequence[Sequence[float]], below: Sequence[Sequence[float]]) -> tuple[float, float] | None:
    """log(mean of `above` / mean of `below`) and its standard error, for draws made at common random numbers.

    The error is that of the linearised difference a/ā − b/b̄, draw by draw, in which what both have in common cancels.
    Of one chain alone, which has no other to differ from and maybe too few draws to see how they depend on one another,
    it is multiplied by `student`. None where a mean is not positive.
    """
    upper, lower = numpy.asarray(above, dtype=float), numpy.asarray(below, dtype=float)
    high, low = float(upper.mean()), float(lower.mean())
    if high <= 0 or low <= 0:
        return None
    apart = summarise((upper / high - lower / low).tolist())
    return math.log(high / low), apart.stderr if len(upper) == 1 else apart.mcse


def _mcse(array: NDArray[numpy.float64]) -> float:
    """Standard error of the mean: what ArviZ says, or the spread of the chains' means where that is larger.

    The second part guards against chains too short to see their own autocorrelation; of MANY_CHAINS it is all.
    """
    means = array.mean(axis=1)
    between = float(means.std(ddof=1)) / math.sqrt(len(means)) if len(means) > 1 else 0.0
    if len(means) >= MANY_CHAINS:
        return between
    within = float(_arviz().mcse(array, method="mean")) if array.shape[1] >= FEWEST else math.nan
    return max(between, within) if math.isfinite(within) else between


@cache
def _arviz() -> Any:
    """Imported with the first statistics: it takes half a second, and chains can run meanwhile."""
    from arviz_stats.base.array import array_stats

    return array_stats
