"""What a number says beyond the localizing prior, and beside its cross-check: sentences, which need no numerics to be
made."""

import math

from hf_llc.results.estimate import Diagnostics, Estimate

SIGNIFICANT = 3.0
"""Standard errors before a difference counts."""
SEEN = 2.0
"""Standard errors up to which a slope that is not known to be flat is not known to be other than 0 either."""
PLATEAU = 0.2
"""|d log λ̂ / d log γ| up to which λ̂ hardly depends on the localizing prior: a tenth of γ changes it by a factor below
1.6."""


def flat_in_gamma(diagnostics: Diagnostics) -> bool:
    """Whether λ̂ hardly depends on γ, even two standard errors of the slope away from what was measured."""
    return _flat(diagnostics.gamma_slope, diagnostics.gamma_slope_stderr)


def flat_in_n_beta(diagnostics: Diagnostics) -> bool:
    """Whether λ̂ hardly depends on nβ, in the same sense; where E[L] no longer does, as in a part of weight space where
    the loss is constant, λ̂ is proportional to nβ instead."""
    return _flat(diagnostics.n_beta_slope, diagnostics.n_beta_slope_stderr)


def _flat(slope: float | None, error: float | None) -> bool:
    return slope is not None and error is not None and abs(slope) + SEEN * error <= PLATEAU


def _open(slope: float | None, error: float | None) -> bool:
    """Whether a slope is too little known to say if it is flat: it may be 0, and may be too much for a plateau."""
    return slope is not None and error is not None and not _flat(slope, error) and abs(slope) <= SEEN * error


def on_plateau(diagnostics: Diagnostics) -> bool:
    """Whether λ̂ hardly depends on γ nor, where that was measured, on nβ, as a learning coefficient does not."""
    return flat_in_gamma(diagnostics) and (diagnostics.n_beta_slope is None or flat_in_n_beta(diagnostics))


def interpret(diagnostics: Diagnostics) -> str:
    """What the number says beyond the localizing prior, in one sentence."""
    slope, error = diagnostics.gamma_slope, diagnostics.gamma_slope_stderr
    if slope is None or error is None:
        return "its dependence on the localizing prior was not measured: compare it along one curve only"
    slope_text = f"d log λ̂ / d log γ = {slope:+.2f} ± {error:.2f}"
    by_draws = diagnostics.gradient_pairs is not None
    basin = f"it describes this basin, the part of weight space that {'draws' if by_draws else 'chains'} reach from w*"
    more = "lower `target_stderr`" if by_draws else "raise `draws`"
    if on_plateau(diagnostics) and diagnostics.n_beta_slope is None:
        return (
            f"on a plateau in γ ({slope_text}): it hardly depends on the localizing prior; its dependence on nβ "
            f"was not measured; {basin}"
        )
    if on_plateau(diagnostics):
        return f"on a plateau ({slope_text}): it hardly depends on the localizing prior or on nβ; {basin}"
    if flat_in_gamma(diagnostics) and _open(diagnostics.n_beta_slope, diagnostics.n_beta_slope_stderr):
        return (
            f"comparable along one curve ({slope_text}): it hardly depends on the localizing prior; whether it "
            f"depends on nβ is not known ({_in_n_beta(diagnostics)}): "
            f"{more}{'' if by_draws else ' or `batch_size`'}; {basin}"
        )
    if flat_in_gamma(diagnostics):
        return f"comparable along one curve, not a learning coefficient ({slope_text}): {_at_other_n_beta(diagnostics)}"
    if _open(slope, error):
        return (
            f"comparable along one curve ({slope_text}): "
            f"whether it depends on the localizing prior is not known: {more}"
        )
    if slope <= -1 + PLATEAU:
        return (
            f"comparable along one curve, not a learning coefficient ({slope_text}): the localizing prior sets its size"
        )
    return f"comparable along one curve, not a learning coefficient ({slope_text}): it depends on the localizing prior"


def _at_other_n_beta(diagnostics: Diagnostics) -> str:
    """Why a number that does not depend on γ is no learning coefficient, from its slope in nβ."""
    sentence = f"it hardly depends on the localizing prior, but on nβ ({_in_n_beta(diagnostics)})"
    if (diagnostics.n_beta_slope or 0.0) >= 1 - PLATEAU:
        return f"{sentence}: the loss is practically constant around w*"
    return sentence


def _in_n_beta(diagnostics: Diagnostics) -> str:
    slope, error = diagnostics.n_beta_slope or 0.0, diagnostics.n_beta_slope_stderr or 0.0
    return f"d log λ̂ / d log nβ = {slope:+.2f} ± {error:.2f}"


def agreement(estimate: Estimate) -> str:
    """The cross-check beside λ̂ in one sentence; "" if there is none."""
    other = estimate.cross_check
    if other is None:
        return ""
    where = f"on {other['sequences']} of {estimate.settings.n} items"
    by_draws, by_chains = other["method"] == "draws", other["method"] == "sgld"
    if other["llc"] is None and by_chains:
        return "no number: chains of plain SGLD became inf or NaN"
    if other["llc"] is None and by_draws:
        return (
            f"no number {where}: at draws of the localizing prior the loss does not rise, but changes by "
            f"{other['prior_mean']:.3g} in units of λ̂"
        )
    if other["llc"] is None:
        return (
            f"no number {where}: a curvature of {other['lowest']:.3g} lies below −γ/nβ, so that the quadratic part of "
            "the loss alone has no posterior"
        )
    how = f"from {other['pairs']} pairs of independent draws" if by_draws else "without sampling"
    if by_chains:
        how, where = "from short chains of plain SGLD", f"R-hat {other['r_hat']:.2f}" if other["r_hat"] else "no R-hat"
    sentence = f"{other['llc']:.4g} ± {other['stderr']:.2g} {how}, {where}"
    if estimate.llc is None or estimate.stderr is None:
        return sentence
    joint = math.hypot(estimate.stderr, other["stderr"])
    apart = (estimate.llc - other["llc"]) / joint if joint > 0 else 0.0
    if abs(apart) <= SIGNIFICANT:
        return f"{sentence}: they agree ({apart:+.1f} joint standard errors)"
    return f"{sentence}: they disagree ({apart:+.1f} joint standard errors), so {_why_apart(other['method'])}"


def _why_apart(method: str) -> str:
    if method == "sgld":
        return "the chains have not forgotten their start, or the draws miss a part of the posterior"
    if method == "draws":
        return "the chains do not sample the posterior, or it is too far from the localizing prior for such draws"
    return "the loss is not quadratic at this resolution, or other items are curved differently"
