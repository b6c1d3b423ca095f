"""Whether a number and its error are known well enough: the effort behind them, and how large the error is beside λ̂."""

from hf_llc.results.estimate import Diagnostics, Verdict
from hf_llc.settings.resolved import ResolvedSettings

ESS_MIN = 50.0
"""Effective draws of all chains together below which the standard error is itself too rough: up to some 40 of them,
runs whose chains agree by chance are 1.4 of their standard errors off, root mean square, and from 60 on one."""
CHAINS_MIN = 4
"""Chains below which how far they differ is no error to go by: between two there is one difference."""
STDERR_MAX = 0.3
"""Share of λ̂ that its standard error may make."""
STEP_KNOWN = 0.2
"""Share of λ̂ within which the step size's part of it must be known, at two standard errors."""
STILL_LOSS = 1e-6
"""Standard error, as a share of λ̂, below which draws differ by rounding at most."""
OF_BOTH = 2.0
"""Standard errors on either side of λ̂ that a number compatible with 0 is said to lie within."""


def shortfalls(
    llc: float, stderr: float, settings: ResolvedSettings, diagnostics: Diagnostics, *, failed: int
) -> list[tuple[Verdict, str]]:
    """What is missing for λ̂ and its standard error to be relied on, each with its verdict; empty if nothing is.

    Args:
        failed: chains that became inf or NaN and are not part of λ̂.
    """
    return [
        *((Verdict.UNDERSAMPLED, sentence) for sentence in _effort(llc, stderr, settings.chains - failed, diagnostics)),
        *((Verdict.IMPRECISE, sentence) for sentence in _errors(llc, stderr, diagnostics)),
    ]


def _effort(llc: float, stderr: float, chains: int, diagnostics: Diagnostics) -> list[str]:
    """Why the standard error itself cannot be relied on."""
    if stderr <= STILL_LOSS * abs(llc):
        return [
            "all draws are equal up to rounding: the loss is constant where the chains are, so there is "
            "no error to state"
        ]
    reasons = []
    if chains < CHAINS_MIN:
        reasons.append(f"{chains} chains, where {CHAINS_MIN} are needed: raise `chains`")
    ess = diagnostics.ess
    if ess is None or not ess >= ESS_MIN:
        size = "unknown" if ess is None else f"{ess:.0f}"
        reasons.append(f"the effective sample size is {size}, where {ESS_MIN:g} is needed: raise `draws` or `chains`")
    return reasons


def _errors(llc: float, stderr: float, diagnostics: Diagnostics) -> list[str]:
    """Why the number is not known well enough, be its standard error as it may."""
    reasons = []
    if abs(llc) <= OF_BOTH * stderr:
        low, high = llc - OF_BOTH * stderr, llc + OF_BOTH * stderr
        reasons.append(
            f"λ̂ is 0 within its error, between {low:.2g} and {high:.2g} at two standard errors: raise "
            "`draws` or `chains` if that is too wide"
        )
    elif not stderr <= STDERR_MAX * abs(llc):
        reasons.append(
            f"the standard error is {stderr / abs(llc):.0%} of λ̂, where {STDERR_MAX:.0%} is needed: raise "
            "`draws` or `chains`"
        )
    error = diagnostics.step_bias_stderr
    if error is not None and not 2 * error <= STEP_KNOWN * abs(llc):
        reasons.append(f"the step-size bias of λ̂ is known only to ± {error:.2g}: raise `draws`, or lower `lr`")
    return reasons
