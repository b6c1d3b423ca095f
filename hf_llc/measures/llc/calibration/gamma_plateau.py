"""Pilot chains at several γ to points, and points to an answer: does λ̂ have a plateau in γ/nβ?"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import NamedTuple

from hf_llc.measures.llc.calibration.pilot_chains import Swept
from hf_llc.measures.llc.calibration.plateau import Reading, Slope, find_plateau, may_have_plateau
from hf_llc.measures.llc.summarise import Judged, judged
from hf_llc.measures.llc.verdict import DRIFT_MAX, still
from hf_llc.results.calibration import Finding, Flat, SweepPoint
from hf_llc.results.estimate import Diagnostics
from hf_llc.results.interpretation import PLATEAU, SIGNIFICANT
from hf_llc.sampling.statistics import log_ratio
from hf_llc.sampling.tuning.choose_sampler import LOCAL_RISE
from hf_llc.sampling.tuning.lanczos import Nodes

SPAN = 4.0
"""A plateau reaches over at least this factor of γ."""
CHANGE = 0.25
"""And over all of it log λ̂ changes by no more."""
HALF_RELAXED = 0.5
"""Of the burn-in of a chain that relaxes as from w* (99 % of a flat direction's variance): 90 % are there by then."""
HEATED = 0.1
"""Share of λ̂ that gradient noise may be predicted to make at a point that counts."""
SATURATED = 0.6
"""d log λ̂ / d log nβ, on average over what is flat in γ, above which λ̂ is nβ times a loss that no longer changes."""
R_HAT_MAX = 1.3
"""Above that of an estimate: with some ten effective draws a chain R-hat itself scatters up to 1.2."""


class PlateauResult(NamedTuple):
    """Whether there is a plateau, where, in words, and the index of the point whose γ to use."""

    finding: Finding
    flat: Flat | None
    reason: str
    chosen: int


def points_of(swept: Sequence[Swept], nodes: Nodes) -> list[SweepPoint]:
    """A point for each γ, in rising order, with the slope to the next one that counts."""
    points = [_point(each, nodes) for each in swept]
    counted = [index for index, point in enumerate(points) if point.excluded is None]
    for low, high in pairwise(counted):
        slope = _slope(swept[low], swept[high])
        points[low] = replace(points[low], slope=slope.value, slope_stderr=slope.error)
    return points


def is_local(swept: Swept) -> bool:
    """True if the chains stayed in the neighbourhood of w*, as far as the loss shows."""
    rise = judged(swept.resolution, swept.traces, {}).diagnostics.delta_loss
    return rise is not None and rise <= LOCAL_RISE


def _point(swept: Swept, nodes: Nodes) -> SweepPoint:
    settings, judgement = swept.settings, judged(swept.resolution, swept.traces, {})
    resolution = settings.gamma / settings.n_beta
    quadratic = nodes.llc(resolution)
    fault = _fault(swept, judgement)
    doubt = None if fault else _doubt(swept, judgement)
    return SweepPoint(
        resolution=resolution,
        gamma=settings.gamma,
        lr=settings.lr,
        sampler=settings.sampler,
        momentum=settings.momentum,
        start=settings.start,
        burn_in=settings.burn_in,
        llc=judgement.llc,
        stderr=judgement.stderr,
        delta_loss=judgement.diagnostics.delta_loss,
        quadratic=quadratic[0] if quadratic else None,
        quadratic_stderr=quadratic[1] if quadratic else None,
        n_beta_slope=judgement.diagnostics.n_beta_slope,
        excluded=fault or doubt,
        open=doubt is not None,
    )


def _fault(swept: Swept, judgement: Judged) -> str | None:
    """Why there is no λ̂ of this neighbourhood at that γ. Wrecked weights have a loss that no longer depends on γ."""
    rise = judgement.diagnostics.delta_loss
    if judgement.llc is None or judgement.stderr is None or rise is None:
        return "chains became inf or NaN"
    if rise > LOCAL_RISE:
        return f"not local: the loss is {rise:.2g} nats above that at w*"
    # Chains that disagree have a large error too, but for another reason.
    if judgement.llc <= 0 or (
        judgement.llc <= SIGNIFICANT * judgement.stderr and not unsettled(swept, judgement.diagnostics)
    ):
        return "λ̂ is not above 0"
    return None


def _doubt(swept: Swept, judgement: Judged) -> str | None:
    """Why the λ̂ there may be wrong. Flat for a reason of their own are chains that have not yet felt the localizing
    prior, and chains that gradient noise drives."""
    settings = swept.settings
    # Where nβh is small against γ the localizing prior damps the heating too.
    stiffness = settings.n_beta * swept.resolution.curvature
    heating = swept.resolution.heating * stiffness / (stiffness + settings.gamma)
    if heating > HEATED * (judgement.llc or 0.0):
        return f"gradient noise is predicted to make {heating / (judgement.llc or 1.0):.0%} of λ̂"
    return unsettled(swept, judgement.diagnostics)


def unsettled(swept: Swept, diagnostics: Diagnostics) -> str | None:
    """Why the draws are not those of the posterior, as far as short chains show it."""
    settings = swept.settings
    # Chains that begin at draws of the localizing prior are as wide as they will be, and have other things to forget.
    resting = settings.start == "anchor" and still(diagnostics)
    relaxing = settings.start == "anchor" or swept.resolution.starts_hot
    enough = swept.needed * (HALF_RELAXED if relaxing else 1.0)
    if settings.burn_in < enough and not resting:
        return f"not equilibrated: a burn-in of {swept.needed} steps would be needed"
    if diagnostics.drift is not None and abs(diagnostics.drift) > DRIFT_MAX:
        return f"not equilibrated: the draws drift by {diagnostics.drift:+.1f} standard errors"
    if diagnostics.r_hat is not None and diagnostics.r_hat > R_HAT_MAX:
        return f"not equilibrated: the chains disagree (R-hat {diagnostics.r_hat:.2f})"
    return None


def _slope(low: Swept, high: Swept) -> Slope:
    """d log λ̂ / d log γ between two points, at common random numbers; for two that count."""
    ratio = log_ratio(draws_of(high), draws_of(low))
    if ratio is None:
        raise ValueError("a point that counts has λ̂ above 0")
    width = math.log(high.settings.gamma / low.settings.gamma)
    return Slope(ratio[0] / width, ratio[1] / width)


def draws_of(swept: Swept) -> list[tuple[float, ...]]:
    """The paired differences of every chain, shape (chains, draws)."""
    return [trace.draws(swept.settings) for trace in swept.traces]


def find_gamma_plateau(points: Sequence[SweepPoint], middle: int, *, free: bool) -> PlateauResult:
    """The plateau in γ/nβ, if one is shown.

    Args:
        middle: the point to stay at without one. free: False if its γ was asked for, so that it is kept in any case.
    """
    counted = [index for index, point in enumerate(points) if point.excluded is None]
    readings = [Reading(points[i].resolution, points[i].llc or 0.0, points[i].stderr or 0.0) for i in counted]
    slopes = [Slope(points[i].slope or 0.0, points[i].slope_stderr or 0.0) for i in counted[:-1]]
    plateau = find_plateau(readings, PLATEAU, SPAN, CHANGE, slopes)
    # Without a plateau the nearest larger γ, where the middle itself does not count.
    place = next((index for index in counted if index >= middle), middle) if free else middle
    if plateau is None:
        doubtful = [point for point in points if point.open]
        if doubtful or may_have_plateau(readings, PLATEAU, SPAN, slopes):
            return PlateauResult(Finding.UNDECIDED, None, _undecided(readings, slopes, doubtful), place)
        return PlateauResult(Finding.NONE, None, _no_plateau(points, readings, slopes), place)
    low, high = readings[plateau.first], readings[plateau.last]
    slopes_in_n_beta = [points[i].n_beta_slope for i in counted[plateau.first : plateau.last + 1]]
    rising = statistics.fmean(each or 0.0 for each in slopes_in_n_beta)
    if rising > SATURATED:
        sentence = (
            f"There is no plateau: from γ/nβ = {low.x:.3g} to {high.x:.3g} λ̂ hardly depends on γ, but on "
            f"nβ (d log λ̂ / d log nβ = {rising:+.2f} by the variance of the draws): the loss is "
            "practically constant where the chains are."
        )
        return PlateauResult(Finding.NONE, None, sentence, place)
    flat = Flat(
        low=low.x,
        high=high.x,
        slope=plateau.slope.value,
        slope_stderr=plateau.slope.error,
        llc_low=low.y,
        llc_high=high.y,
    )
    sentence = (
        f"There is a plateau from γ/nβ = {low.x:.3g} to {high.x:.3g}: d log λ̂ / d log γ = {_words(plateau.slope)} "
        f"over it, λ̂ from {low.y:.4g} to {high.y:.4g}."
    )
    return PlateauResult(Finding.FOUND, flat, sentence, counted[plateau.place] if free else middle)


def _no_plateau(points: Sequence[SweepPoint], readings: Sequence[Reading], slopes: Sequence[Slope]) -> str:
    if len(readings) < 2:
        elsewhere = next(point.excluded for point in reversed(points) if point.excluded is not None)
        return (
            f"There is no plateau: λ̂ is valid at {len(readings)} of the {len(points)} values of γ tried "
            f"(at others: {elsewhere})."
        )
    return (
        f"There is no plateau {_where(readings)}: d log λ̂ / d log γ ranges from {_words(min(slopes))} to "
        f"{_words(max(slopes))}. λ̂ orders checkpoints at one γ/nβ; it is not a learning coefficient."
    )


def _undecided(readings: Sequence[Reading], slopes: Sequence[Slope], doubtful: Sequence[SweepPoint]) -> str:
    sentence = "A plateau is neither shown nor excluded"
    if slopes:
        flattest = min(slopes, key=lambda slope: abs(slope.value))
        sentence += (
            f": {_where(readings)}, d log λ̂ / d log γ is closest to 0 with {_words(flattest)}, where "
            f"±{PLATEAU:g} would count as flat"
        )
    if doubtful:
        sentence += f"; {_in_doubt(doubtful)}"
    return f"{sentence}. Raise `pilot_draws`, or `batch_size` against gradient noise."


def _in_doubt(doubtful: Sequence[SweepPoint]) -> str:
    *others, last = [f"{point.resolution:.3g}" for point in doubtful]
    if not others:
        return f"γ/nβ = {last} is uncertain ({doubtful[-1].excluded})"
    return f"γ/nβ = {', '.join(others)} and {last} are uncertain (at {last}: {doubtful[-1].excluded})"


def _where(readings: Sequence[Reading]) -> str:
    return f"between γ/nβ = {readings[0].x:.3g} and {readings[-1].x:.3g}"


def _words(slope: Slope) -> str:
    return f"{slope.value:+.2f} ± {slope.error:.2f}"
