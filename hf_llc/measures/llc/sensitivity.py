"""What the checks say: is the step small enough, is w* a minimum, does the number say more than the localizing
prior?"""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from hf_llc.results.estimate import ChainTrace, Status
from hf_llc.sampling.estimator import llc, n_beta_slope
from hf_llc.sampling.jumps import measured_draws
from hf_llc.sampling.statistics import log_ratio, summarise
from hf_llc.sampling.variations import VARIATIONS, Variation
from hf_llc.settings.resolved import ResolvedSettings

CHANCE = 2.0
"""Errors up to which nothing of a step bias is subtracted, see `extrapolation`."""


OVERFLOW = 1e150
"""Products beyond which their squares are no numbers."""
FEWEST_PAIRS = 8
"""Products of two draws' losses below which their mean has no error to go by."""


@dataclass(frozen=True, kw_only=True)
class SensitivityResults:
    """The answers; None where a chain that they need failed or is missing, or the logarithm of λ̂ has no meaning.

    Attributes:
        step_bias, step_bias_stderr: λ̂ at the step size used minus λ̂ at ε → 0, and its Monte Carlo error.
        cold_llc: nβΔL where the drift alone leads: below 0 by the slope of the loss at w*, above by gradient noise.
        gamma_slope, gamma_slope_stderr: d log λ̂ / d log γ between γ and the larger one that it was varied to.
        n_beta_slope, n_beta_slope_stderr: d log λ̂ / d log nβ, from the variance of the main draws.
    """

    step_bias: float | None = None
    step_bias_stderr: float | None = None
    cold_llc: float | None = None
    gamma_slope: float | None = None
    gamma_slope_stderr: float | None = None
    n_beta_slope: float | None = None
    n_beta_slope_stderr: float | None = None


def sensitivity_chains(
    chains: int, draws: int, variations: Sequence[Variation] = VARIATIONS
) -> list[tuple[Variation, int]]:
    """Every varied chain of a run of so many chains of so many draws: (variation, number of the main chain)."""
    return [(variation, chain) for variation in variations for chain in range(variation.count(chains, draws))]


def evaluate(
    main: Sequence[ChainTrace],
    varied: Mapping[tuple[str, int], ChainTrace],
    settings: ResolvedSettings,
    variations: Sequence[Variation] = VARIATIONS,
) -> SensitivityResults:
    """The answers, from the main traces and the varied ones by (variation, chain)."""
    draws = {variation.name: _draws(variation, varied, settings) for variation in variations}
    bias, bias_stderr = _step_bias(main, draws["half-step"], settings)
    cold = draws["cold"]
    stronger = next(variation for variation in variations if variation.gamma != 1)
    gamma, gamma_stderr = _gamma_slope(main, draws[stronger.name], stronger.gamma, settings)
    n_beta, n_beta_stderr = temperature_slope(main, settings)
    return SensitivityResults(
        step_bias=bias,
        step_bias_stderr=bias_stderr,
        cold_llc=llc(settings.n_beta, summarise(cold).mean) if cold else None,
        gamma_slope=gamma,
        gamma_slope_stderr=gamma_stderr,
        n_beta_slope=n_beta,
        n_beta_slope_stderr=n_beta_stderr,
    )


class Extrapolation(NamedTuple):
    """What is subtracted from λ̂ on the way to ε → 0, and the standard error that the step size leaves."""

    correction: float
    stderr: float


def extrapolation(bias: float, error: float) -> Extrapolation:
    """The part of a step bias that is more than chance, and the error with what is left of it.

    (1 − (CHANCE·error / bias)²)₊ of the bias is subtracted, the positive-part estimator of James and Stein (1961) in
    one dimension with a wider threshold: nothing of what noise alone explains, nearly all of a bias of many errors.
    What is not subtracted counts in the error whole; of what is, its share of the Monte Carlo error, and a third, which
    is what a bias of second order in ε would leave of one that was taken to be of first order.

    Args:
        bias: λ̂(ε) − λ̂(0) as measured. error: its Monte Carlo standard error.
    """
    share = max(0.0, 1 - (CHANCE * error / bias) ** 2) if bias else 0.0
    return Extrapolation(share * bias, math.hypot(share * error, (1 - share) * bias, share * bias / 3))


def _draws(
    variation: Variation, varied: Mapping[tuple[str, int], ChainTrace], main: ResolvedSettings
) -> list[tuple[float, ...]] | None:
    settings = variation.settings(main)
    traces = [trace for (name, _), trace in sorted(varied.items()) if name == variation.name]
    if not traces or any(trace.status is not Status.HEALTHY for trace in traces):
        return None
    return [trace.draws(settings) for trace in traces]


def _step_bias(
    main: Sequence[ChainTrace], fine: Sequence[Sequence[float]] | None, settings: ResolvedSettings
) -> tuple[float | None, float | None]:
    """λ̂(ε) − λ̂(0) and its error, by Richardson extrapolation: k (λ̂(ε) − λ̂(ε/2)).

    A bias of order ε asks for k = 2. With reshuffled batches what gradient noise adds is of an order between ε and ε³,
    for which k lies between 2 and 8/7. Each fine chain is compared, draw by draw, with the main chain whose noise it
    refines.
    """
    if fine is None or any(trace.status is not Status.HEALTHY for trace in main[: len(fine)]):
        return None, None
    shares = summarise(step_shares(main, fine, settings))
    return shares.mean, shares.stderr


def step_shares(
    main: Sequence[ChainTrace], fine: Sequence[Sequence[float]], settings: ResolvedSettings
) -> list[list[float]]:
    """k nβ (ΔL(ε) − ΔL(ε/2)) draw by draw, for each chain that has a fine one: their mean is λ̂(ε) − λ̂(0)."""
    factor = 1.5 if settings.batches == "reshuffled" else 2.0
    pairs = zip(main, fine, strict=False)
    return [
        [factor * llc(settings.n_beta, whole - half) for whole, half in zip(trace.draws(settings), draws, strict=False)]
        for trace, draws in pairs
    ]


def _gamma_slope(
    main: Sequence[ChainTrace], stronger: Sequence[Sequence[float]] | None, factor: float, settings: ResolvedSettings
) -> tuple[float | None, float | None]:
    """d log ΔL / d log γ between γ and `factor` times that, and its error, from the first draws of the main chains that
    have a twin."""
    if stronger is None or any(trace.status is not Status.HEALTHY for trace in main[: len(stronger)]):
        return None, None
    twins = [trace.draws(settings)[: len(twin)] for trace, twin in zip(main, stronger, strict=False)]
    ratio = log_ratio(stronger, twins)
    return (None, None) if ratio is None else (ratio[0] / math.log(factor), ratio[1] / math.log(factor))


def temperature_slope(main: Sequence[ChainTrace], settings: ResolvedSettings) -> tuple[float | None, float | None]:
    """d log λ̂ / d log nβ and its standard error from the main draws; None without two healthy chains.

    Where a draw sees one item alone its noise is not known; then only the draws count at which another was looked at.
    """
    healthy = [trace for trace in main if trace.status is Status.HEALTHY]
    known = [(trace.draws(settings), trace.noise) for trace in healthy]
    known = [(draws, noise) for draws, noise in known if len(noise) >= len(draws)]
    if len(known) < 2:
        return _slope_of_pairs(healthy, settings)
    every = [draws for draws, _ in known]
    slope = n_beta_slope(settings.n_beta, every, [noise[: len(draws)] for draws, noise in known], summarise(every).mcse)
    return (None, None) if slope is None else _known(slope.slope, summarise(slope.parts).stderr)


def _slope_of_pairs(healthy: Sequence[ChainTrace], settings: ResolvedSettings) -> tuple[float | None, float | None]:
    """d log λ̂ / d log nβ from the covariance of two losses at a draw, of items chosen independently."""
    if len(healthy) < 2:
        return None, None
    mean = summarise([trace.draws(settings) for trace in healthy]).mean
    if not mean > 0:
        return None, None
    places = [draw - 1 for draw in sorted(measured_draws(settings))]
    products = [
        (trace.draws(settings)[place] / mean - 1) * (other / mean - 1)
        for trace in healthy
        for place, other in zip(places, trace.beside, strict=False)
    ]
    products = [product for product in products if abs(product) < OVERFLOW]
    if len(products) < FEWEST_PAIRS:
        return None, None
    size = settings.n_beta * mean
    return _known(1 - size * statistics.fmean(products), size * statistics.stdev(products) / math.sqrt(len(products)))


def _known(slope: float, error: float) -> tuple[float | None, float | None]:
    return (slope, error) if math.isfinite(slope) and math.isfinite(error) else (None, None)
