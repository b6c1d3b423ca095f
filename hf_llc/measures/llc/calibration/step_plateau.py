"""Pilot chains at several ε to points, and points to an answer: up to which step size does λ̂ stay the same?"""

import math
from collections.abc import Sequence
from dataclasses import replace

from hf_llc.measures.llc.calibration.gamma_plateau import draws_of, unsettled
from hf_llc.measures.llc.calibration.pilot_chains import Swept
from hf_llc.measures.llc.calibration.plateau import Slope, agreeing
from hf_llc.measures.llc.summarise import judged
from hf_llc.measures.llc.verdict import STEP_BIAS_MAX
from hf_llc.results.calibration import StepPoint
from hf_llc.results.interpretation import SIGNIFICANT
from hf_llc.sampling.statistics import log_ratio
from hf_llc.sampling.tuning.step_size import stability
from hf_llc.settings.posterior import STABILITY_LIMIT

NEGLIGIBLE = 0.02
"""Difference of λ̂ between two step sizes that is not looked at further."""


def steps_of(swept: Sequence[Swept]) -> list[StepPoint]:
    """A point for each step size, in rising order, compared with the smallest one that counts."""
    points = [_step_point(each) for each in swept]
    counted = [index for index, point in enumerate(points) if point.excluded is None]
    ratios = [_ratio(swept[index], swept[counted[0]]) for index in counted]
    agree = agreeing(ratios, NEGLIGIBLE, SIGNIFICANT)
    for index, ratio in zip(counted, ratios, strict=True):
        points[index] = replace(
            points[index], log_ratio=ratio.value, log_ratio_stderr=ratio.error, agrees=index in counted[:agree]
        )
    return points


def _step_point(swept: Swept) -> StepPoint:
    settings, judgement = swept.settings, judged(swept.resolution, swept.traces, {})
    excluded = "chains became inf or NaN" if judgement.llc is None else unsettled(swept, judgement.diagnostics)
    if excluded is None and not (judgement.diagnostics.delta_loss or 0.0) > 0:
        excluded = "λ̂ is not above 0"
    return StepPoint(
        lr=settings.lr,
        stability=stability(settings.lr, settings.n_beta, swept.resolution.curvature, settings.gamma),
        llc=judgement.llc,
        stderr=judgement.stderr,
        excluded=excluded,
    )


def _ratio(swept: Swept, finest: Swept) -> Slope:
    """log of λ̂ over that at the finest step, and its error; for two that count."""
    if swept is finest:
        return Slope(0.0, 0.0)
    ratio = log_ratio(draws_of(swept), draws_of(finest))
    if ratio is None:
        raise ValueError("a point that counts has λ̂ above 0")
    return Slope(*ratio)


def find_step_plateau(points: Sequence[StepPoint], suggested: float) -> tuple[float, str]:
    """The step size to use, the largest that agrees with all smaller ones and is not above the suggested, and why."""
    counted = [point for point in points if point.excluded is None]
    alike = [point for point in counted if point.agrees]
    if len(counted) < 2:
        reason = next(point.excluded for point in reversed(points) if point.excluded is not None)
        return suggested, (
            f"The pilot chains do not show whether λ̂ depends on the step size ({reason}); the estimate checks it."
        )
    tried = f"ε = {counted[0].lr:.2g} to {counted[-1].lr:.2g}"
    if len(alike) < 2:
        return counted[0].lr, (
            f"λ̂ depends on the step size over the whole range {tried} ({_difference(counted[1])} from the "
            "smallest to the next): lower `lr` further, or raise `batch_size`."
        )
    errors = max(point.log_ratio_stderr or 0.0 for point in alike)
    sentence = f"λ̂ is the same from ε = {counted[0].lr:.2g} to {alike[-1].lr:.2g} within errors of {errors:.1%}"
    if errors > STEP_BIAS_MAX:
        sentence += ", which could hide a large bias: raise `pilot_draws`"
    sentence += f"; steps are unstable from {STABILITY_LIMIT / points[0].stability * points[0].lr:.2g}."
    if len(alike) < len(counted):
        following = counted[len(alike)]
        sentence += f" At {following.lr:.2g} it differs by {_difference(following)}."
    return max((point.lr for point in alike if point.lr <= suggested * (1 + 1e-9)), default=counted[0].lr), sentence


def _difference(point: StepPoint) -> str:
    return f"{math.expm1(point.log_ratio or 0.0):+.1%} ± {point.log_ratio_stderr or 0.0:.1%}"
