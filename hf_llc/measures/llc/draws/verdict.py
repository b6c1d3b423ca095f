"""Numbers to words for independent draws of the localizing prior: do they say what the posterior is?"""

import math

from hf_llc.measures.llc.sufficiency import OF_BOTH, STDERR_MAX, STILL_LOSS
from hf_llc.measures.llc.verdict import COLD_MAX
from hf_llc.results.estimate import Diagnostics, Verdict
from hf_llc.results.interpretation import SIGNIFICANT

OPEN_MAX = 0.1
"""Share of λ̂ that its moments under the prior may leave open on either side."""
TAIL_MAX = 0.7
"""k̂ of the weights' tail above which they say nothing (Vehtari et al. 2024)."""
PAIRS_MIN = 8
"""Pairs of draws below which a standard error is no error to go by."""


def judge_draws(
    llc: float | None, stderr: float | None, diagnostics: Diagnostics, *, pairs: int
) -> tuple[Verdict, str]:
    """The verdict and the numbers behind it, in one sentence. What undermines the number most is named first.

    Args:
        pairs: of draws with their losses.
    """
    if llc is None or stderr is None:
        return Verdict.DIVERGED, "at draws of the localizing prior the loss is inf or NaN, so there is no number"
    findings = [
        *((Verdict.NOT_LOCAL, reason) for reason in _not_local(llc, stderr, diagnostics)),
        *((Verdict.NOT_A_MINIMUM, reason) for reason in _no_minimum(llc, stderr, diagnostics)),
        *((Verdict.UNDERSAMPLED, reason) for reason in _effort(llc, stderr, pairs)),
        *((Verdict.IMPRECISE, reason) for reason in _errors(llc, stderr)),
    ]
    if findings:
        return findings[0][0], "; ".join(reason for _, reason in findings)
    return Verdict.CONVERGED, _held(diagnostics, pairs)


def _not_local(llc: float, stderr: float, diagnostics: Diagnostics) -> list[str]:
    reasons = []
    open_, weighted, error = diagnostics.open_llc, diagnostics.weighted_llc, diagnostics.weighted_llc_stderr
    if open_ is not None and not open_ <= OPEN_MAX * abs(llc) and not open_ <= (diagnostics.monte_carlo_stderr or 0.0):
        reasons.append(
            "the loss changes the posterior too much for draws of the localizing prior: they determine λ̂ "
            f"only to ± {open_:.2g}; sample chains (`sampler=sgld-lm`), or raise `gamma`"
        )
    known = diagnostics.pareto_k is not None and diagnostics.pareto_k <= TAIL_MAX
    if known and weighted is not None and error is not None:
        apart = abs(weighted - llc) / math.hypot(error, stderr)
        if apart > SIGNIFICANT:
            reasons.append(
                f"weighted draws give {weighted:.4g} ± {error:.2g}, {apart:.1f} joint standard errors "
                "away: the loss is not nearly quadratic over the prior; sample chains (`sampler=sgld-lm`), "
                "or raise `gamma`"
            )
    return reasons


def _no_minimum(llc: float, stderr: float, diagnostics: Diagnostics) -> list[str]:
    cold = diagnostics.cold_llc
    if cold is not None and cold < -COLD_MAX * abs(llc):
        return [f"along its slope the loss falls below that at w*, by {-cold:.3g} in units of λ̂: w* is not a minimum"]
    if llc < -SIGNIFICANT * stderr:
        return ["the loss falls away from w*: w* is not a minimum at this temperature"]
    return []


def _effort(llc: float, stderr: float, pairs: int) -> list[str]:
    if stderr <= STILL_LOSS * abs(llc):
        return [
            "all draws are equal up to rounding: the loss does not depend on the weights that move, so there is no "
            "error to state"
        ]
    if pairs >= PAIRS_MIN:
        return []
    return [f"{pairs} pairs of draws, where {PAIRS_MIN} are needed: raise `draws`, `chains` or `budget_seconds`"]


def _errors(llc: float, stderr: float) -> list[str]:
    if abs(llc) <= OF_BOTH * stderr:
        low, high = llc - OF_BOTH * stderr, llc + OF_BOTH * stderr
        return [
            f"λ̂ is 0 within its error, between {low:.2g} and {high:.2g} at two standard errors: lower "
            "`target_stderr` if that is too wide"
        ]
    if not stderr <= STDERR_MAX * abs(llc):
        return [
            f"the standard error is {stderr / abs(llc):.0%} of λ̂, where {STDERR_MAX:.0%} is needed: lower "
            "`target_stderr`, or raise `budget_seconds`"
        ]
    return []


def _held(diagnostics: Diagnostics, pairs: int) -> str:
    prior = diagnostics.prior_llc or 0.0
    corrections = [diagnostics.narrowing_llc or 0.0, diagnostics.slope_llc or 0.0]
    return (
        f"the posterior is close to the localizing prior: {pairs} pairs of its draws give {prior:.4g}, "
        f"from which curvature takes {corrections[0]:.2g} and slope {corrections[1]:.2g}; ± "
        f"{diagnostics.open_llc or 0.0:.2g} remains undetermined"
    )
