"""Whether draws can be what the posterior gives: jumps of the loss, draws far from all others, sizes beyond the prior.

Each check has the numbers that go into the diagnostics, and what a verdict makes of them.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from hf_llc.measures.llc.resolution import ResolvedRun
from hf_llc.results.estimate import OUTLYING, ChainTrace, Diagnostics, Verdict
from hf_llc.results.interpretation import SIGNIFICANT
from hf_llc.sampling.estimator import llc
from hf_llc.sampling.statistics import summarise
from hf_llc.settings.resolved import ResolvedSettings

ROBUST = 1.4826
"""Standard deviations of a normal variable in a median absolute deviation of it."""
APART = 2.0
"""How many times as far from the median as any other draw those must be that are set apart: in the tail of a skewed
law, however long, draws follow one another closely."""
FEWEST, FEW = 10, 0.05
"""Draws of a chain below which none is set apart, and the share of them up to which some are: more belong to the
distribution."""
JUMPS_MAX = 0.1
"""Share of λ̂ that jumps may make."""
SHAKEN = 1.5
"""Errors of the other draws by which those that are set apart may change λ̂: the largest of 200 draws of a χ²
distribution of one degree of freedom alone make up to one."""
ABSURD = 10.0
"""How many times more than at draws of the localizing prior the loss may rise, whose mean is known from a few."""
SMALL = 20
"""Directions from which on the mean rise at draws of the prior is near that at any one of them."""
UNBOUNDED = 1e6
"""λ̂ per weight that counts as absurd where there is no localizing prior."""

Findings = list[tuple[Verdict, str]]
Varied = Mapping[tuple[str, int], ChainTrace]


class Sampled(NamedTuple):
    """The chains of a run with the settings that their numbers go by; `varied` by (variation, chain)."""

    resolution: ResolvedRun
    traces: Sequence[ChainTrace]
    varied: Varied


def with_one_baseline(sampled: Sampled) -> Sampled:
    """The chains, all with the paired baseline if a slope at w* is broken; the settings then say so."""
    resolution, traces, varied = sampled
    names = list(varied)
    every, count = on_one_baseline([*traces, *varied.values()])
    if not count:
        return sampled
    draws = "1 draw" if count == 1 else f"{count} draws"
    why = (
        f"baseline = paired: at {draws} the finite difference at w* is not a slope, as happens where the "
        "loss is discontinuous or has a kink; the slope is left out of every draw."
    )
    settings = replace(resolution.settings, baseline="paired")
    return Sampled(
        replace(resolution, settings=settings, choices={**resolution.choices, "baseline": why}),
        every[: len(traces)],
        dict(zip(names, every[len(traces) :], strict=True)),
    )


def on_one_baseline(traces: Sequence[ChainTrace]) -> tuple[list[ChainTrace], int]:
    """The traces, all with the paired baseline if the slope at w* is broken at any draw of any, and at how many it is.

    That correction has mean 0 over all draws, but not over those where it looks right: so none is left out alone.
    """
    count = sum(trace.broken_slopes + _set_apart_by_slopes(trace) for trace in traces)
    return [trace.uncorrected() if count else trace for trace in traces], count


def _set_apart_by_slopes(trace: ChainTrace) -> int:
    """How many draws lie apart from the others with the slope taken out, did not before, and have a slope that does.

    What the slope leaves of a few draws may by chance lie so close together that an ordinary one stands apart.
    """
    pairs = [(one, other) for one, other in zip(trace.paired, trace.deltas, strict=False) if one != other]
    if not pairs or not all(math.isfinite(value) for pair in pairs for value in pair):
        return 0
    before, after = zip(*pairs, strict=True)
    middle, scale = _robust(before)
    slopes = [one - other for one, other in pairs]
    far = set_apart(after) & set_apart(slopes)
    return sum(abs(before[draw] - middle) <= OUTLYING * scale for draw in far)


def _robust(draws: Sequence[float]) -> tuple[float, float]:
    """Median and robust standard deviation."""
    middle = statistics.median(draws)
    return middle, ROBUST * statistics.median(abs(draw - middle) for draw in draws)


def set_apart(draws: Sequence[float]) -> set[int]:
    """Draws more than OUTLYING robust standard deviations from their median, and APART times as far as any other.

    None where more than half of the draws are equal, which leaves no scale to measure by.
    """
    if len(draws) < FEWEST or not all(map(math.isfinite, draws)):
        return set()
    middle, scale = _robust(draws)
    if scale == 0:
        return set()
    order = sorted(range(len(draws)), key=lambda draw: abs(draws[draw] - middle))
    distances = [abs(draws[draw] - middle) for draw in order]
    for place in range(1, len(order)):
        if distances[place] > OUTLYING * scale and distances[place] >= APART * distances[place - 1]:
            far = order[place:]
            return set(far) if len(far) <= max(1, FEW * len(draws)) else set()
    return set()


def numbers_of(resolution: ResolvedRun, healthy: Sequence[ChainTrace]) -> dict[str, Any]:
    """The fields of `Diagnostics` that these checks have."""
    settings, rise = resolution.settings, resolution.rise
    known = rise is not None and math.isfinite(rise) and settings.gamma > 0
    jumps = jumps_of(settings.n_beta, healthy)
    outliers = _outliers(settings, [trace.draws(settings) for trace in healthy])
    return {
        "routers": resolution.routers or None,
        "prior_llc": llc(settings.n_beta, rise) if known and rise is not None else None,
        "jump_llc": jumps.mean if jumps else None,
        "jump_llc_stderr": jumps.error if jumps else None,
        "jump_shift": jumps.shift if jumps else None,
        "jump_shift_stderr": jumps.shift_error if jumps else None,
        "jump_spread": jumps.spread if jumps else None,
        "outliers": outliers[0],
        "outlier_llc": outliers[1],
        "outlier_rest_stderr": outliers[2],
    }


class Jumps(NamedTuple):
    """What jumps of the loss do to λ̂; see `sampling.jumps`.

    Attributes:
        mean, error: nβ times what the gradient leaves of a draw's difference, over the segments, with its error: from
            how they differ, or from how the chains' means do where that is more.
        shift, shift_error: Cov(nβΔL, nβJ) over the segments, by which λ̂ is too large to first order in J, with its
            error: no less than that of two independent variables.
        spread: standard deviation of nβJ.
    """

    mean: float
    error: float
    shift: float
    shift_error: float
    spread: float


def jumps_of(n_beta: float, healthy: Sequence[ChainTrace]) -> Jumps | None:
    """The numbers; None below three segments."""
    chains = [
        [
            pair
            for jump, rise in zip(trace.jumps, trace.beside, strict=True)
            if all(map(math.isfinite, pair := (llc(n_beta, jump), llc(n_beta, rise))))
        ]
        for trace in healthy
    ]
    every = [pair for chain in chains for pair in chain]
    if len(every) < 3:
        return None
    jumps = [jump for jump, _ in every]
    means = [statistics.fmean(jump for jump, _ in chain) for chain in chains if chain]
    mean, middle = statistics.fmean(jumps), statistics.fmean(rise for _, rise in every)
    products = [(jump - mean) * (rise - middle) for jump, rise in every]
    root = math.sqrt(len(every))
    spread = _spread(jumps) * root
    return Jumps(
        mean=mean,
        error=max(_spread(each) for each in (jumps, means) if len(each) > 1),
        shift=sum(products) / (len(products) - 1),
        # Few products of skewed numbers hardly ever show how far they scatter.
        shift_error=max(_spread(products), spread * _spread([rise for _, rise in every])),
        spread=spread,
    )


def _spread(values: Sequence[float]) -> float:
    """Standard error of a mean."""
    middle = statistics.fmean(values)
    return math.hypot(*(value - middle for value in values)) / math.sqrt(len(values) * (len(values) - 1))


def _outliers(
    settings: ResolvedSettings, chains: Sequence[Sequence[float]]
) -> tuple[int | None, float | None, float | None]:
    """How many draws are set apart, what they add to λ̂, and the Monte Carlo error of the others."""
    if len(chains) < 2:
        return None, None, None
    rest: list[list[float]] = []
    count = 0
    for chain in chains:
        far = set_apart(chain)
        mean = statistics.fmean(draw for place, draw in enumerate(chain) if place not in far)
        rest.append([mean if place in far else draw for place, draw in enumerate(chain)])
        count += len(far)
    if not count:
        return 0, None, None
    others = summarise(rest)
    whole = statistics.fmean(draw for chain in chains for draw in chain)
    return count, llc(settings.n_beta, whole - others.mean), llc(settings.n_beta, others.mcse)


def runaway_findings(settings: ResolvedSettings, diagnostics: Diagnostics) -> Findings:
    """Chains whose loss is farther up than that of draws of the localizing prior, as no posterior's is.

    E[L] falls as β grows, dE[L]/dβ = −n Var(L), so that λ̂ ≤ nβ (E_prior[L] − L(w*)) whatever the loss.
    """
    if diagnostics.delta_loss is None:
        return []
    if diagnostics.prior_llc is None:
        limit = UNBOUNDED * max(1, diagnostics.dimension)
    else:
        limit = ABSURD * (max(0.0, diagnostics.prior_llc) + min(diagnostics.dimension, SMALL))
    seen = max(llc(settings.n_beta, diagnostics.delta_loss), abs(diagnostics.step_bias or 0.0))
    # Written so that NaN is absurd.
    if seen <= limit:
        return []
    than = (
        ""
        if diagnostics.prior_llc is None
        else f", where draws of the localizing prior alone give {diagnostics.prior_llc:.3g}"
    )
    return [(Verdict.STEP_TOO_LARGE, f"the chains diverge: nβΔL is {seen:.3g}{than}; lower `lr`")]


def jump_findings(value: float, stderr: float, diagnostics: Diagnostics) -> Findings:
    """Losses that change by jumps, where these make much of λ̂ and are not known to cancel in it.

    What they change λ̂ by is their covariance with the loss, as long as they are small; where they are not it is at
    most about what they make themselves.
    """
    jumps, error = diagnostics.jump_llc, diagnostics.jump_llc_stderr
    shift, unknown = diagnostics.jump_shift, diagnostics.jump_shift_stderr
    if jumps is None or error is None or shift is None or unknown is None:
        return []
    most, cap = max(JUMPS_MAX * abs(value), stderr), abs(jumps) + (diagnostics.jump_spread or 0.0)
    many = abs(jumps) > max(most, SIGNIFICANT * error)
    matter = abs(shift) + unknown > most
    alone = abs(shift) > SIGNIFICANT * unknown and min(abs(shift), cap) > most
    if not ((many and matter) or alone):
        return []
    sentence = (
        f"the loss is discontinuous, and gradients do not include its jumps: they contribute {jumps:+.3g} "
        f"± {error:.2g} to λ̂"
    )
    if abs(shift) <= cap:
        sentence += f", which is off by about {shift:+.2g} ± {unknown:.2g}"
    return [
        (
            Verdict.JUMPS,
            f"{sentence}; {diagnostics.routers} choose between experts" if diagnostics.routers else sentence,
        )
    ]


def outlier_findings(diagnostics: Diagnostics) -> Findings:
    """Few draws, far from all others, that λ̂ rests on."""
    shift, error = diagnostics.outlier_llc, diagnostics.outlier_rest_stderr
    if shift is None or error is None or abs(shift) <= SHAKEN * error:
        return []
    return [(Verdict.NOT_EQUILIBRATED, f"{_outlier_sentence(diagnostics)}: raise `draws`")]


def _outlier_sentence(diagnostics: Diagnostics) -> str:
    """The draws that are set apart, in words; "" if there are none."""
    if not diagnostics.outliers or diagnostics.outlier_llc is None:
        return ""
    lie = "draws lie" if diagnostics.outliers > 1 else "draw lies"
    return (
        f"{diagnostics.outliers} {lie} more than {OUTLYING:g} robust standard deviations from the median "
        f"of the chain, apart from all others, and contribute {diagnostics.outlier_llc:+.2g} to λ̂"
    )
