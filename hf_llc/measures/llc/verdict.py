"""Verdicts in words: does the chain sample the stated posterior, and does the number say more than the localizing
prior?"""

from hf_llc.errors import DivergedError
from hf_llc.measures.llc import soundness
from hf_llc.measures.llc.sufficiency import shortfalls
from hf_llc.results.estimate import Diagnostics, Estimate, Verdict
from hf_llc.results.interpretation import SIGNIFICANT, on_plateau
from hf_llc.sampling.statistics import MANY_CHAINS
from hf_llc.sampling.tuning.step_size import SETTLED, excess_left, relaxation_rate
from hf_llc.settings.resolved import ResolvedSettings

R_HAT_MAX = 1.1
"""The limit of Gelman and Rubin (1992), for few draws as for many. A lower one would select among runs of some 100
effective draws those whose chains agree by chance, and with them standard errors that are too small: of four chains
that do not differ, 75 effective draws of all together pass 1.05 in half of the runs, 1.1 in one of twenty. Chains that
do differ by as much leave fewer effective draws than `sufficiency.ESS_MIN`. MANY_CHAINS may be as short as
to differ by more and yet average well; they must have MOVED_MIN."""
MOVED_MIN = 0.25
"""`DrawStatistics.moved` of many short chains from which on they do not stay apart: sixteen that forget their place
have less in one run of 200, where ones in different basins have hardly any."""
DRIFT_MAX = 4.0
"""Monte Carlo errors between the two halves of the draws."""
EQUILIBRATION_MIN = 0.9
"""Share of a flat direction's variance that must be there when the draws begin."""
STILL, STILL_SHARE = 0.05, 0.25
"""Growth of ‖w−w*‖² over the draws up to which no direction counts as still spreading, and its share of the growth that
free diffusion would show: draws too short for that show nothing."""
STEP_BIAS_MAX = 0.1
"""Share of λ̂ that may be due to the step size, and is then extrapolated away and part of the error."""
COLD_MAX = 0.1
"""Share of λ̂ that the drift alone may explain: a slope at w* if negative, gradient noise if positive."""
EXCESS_MAX = 0.1
"""Excess that chains from draws of the localizing prior may have left, as a share of λ̂; see `excess_left`."""
GAP_KNOWN = 0.2
"""Share of λ̂ within which chains from both starts must be known to agree, at two standard errors."""


def judge(
    llc: float | None, stderr: float | None, settings: ResolvedSettings, diagnostics: Diagnostics, *, failed: int
) -> tuple[Verdict, str]:
    """The verdict and the numbers behind it, in one sentence. What undermines the number most is named first."""
    if llc is None or stderr is None:
        return Verdict.DIVERGED, f"{failed} of {settings.chains} chains became inf or NaN, so there is no number"
    if runaway := soundness.runaway_findings(settings, diagnostics):
        return runaway[0]
    findings: list[tuple[Verdict, str]] = soundness.jump_findings(llc, stderr, diagnostics)
    if failed:
        sentence = f"{failed} of {settings.chains} chains became inf or NaN and were left out"
        findings.append((Verdict.STEP_TOO_LARGE, sentence))
    findings += _step_size(llc, diagnostics, failed) + _drift_alone(llc, stderr, diagnostics)
    findings += [(Verdict.NOT_EQUILIBRATED, sentence) for sentence in _unsettled(llc, settings, diagnostics)]
    findings += soundness.outlier_findings(diagnostics)
    findings += shortfalls(llc, stderr, settings, diagnostics, failed=failed)
    if findings:
        return findings[0][0], "; ".join(sentence for _, sentence in findings)
    return Verdict.CONVERGED, _settled(diagnostics)


def _step_size(llc: float, diagnostics: Diagnostics, failed: int) -> list[tuple[Verdict, str]]:
    bias, error = diagnostics.step_bias, diagnostics.step_bias_stderr
    others = (diagnostics.cold_llc, diagnostics.gamma_slope)
    if bias is None and not failed and any(value is not None for value in others):
        return [(Verdict.STEP_TOO_LARGE, "chains at half the step size became inf or NaN: lower `lr`")]
    if bias is None or error is None or not abs(bias) > max(STEP_BIAS_MAX * abs(llc), SIGNIFICANT * error):
        return []
    raw = diagnostics.raw_llc if diagnostics.raw_llc is not None else llc + bias
    share = f"{bias / raw:+.0%} of the mean of the chains" if raw else f"{bias:+.2g}"
    if diagnostics.cold_llc is not None and diagnostics.cold_llc > COLD_MAX * abs(llc):
        return [(Verdict.HEATED, f"ε and ε/2 differ by gradient noise, {share}: raise `batch_size` or lower `lr`")]
    return [(Verdict.STEP_TOO_LARGE, f"ε and ε/2 disagree: the step size contributes {share}; lower `lr`")]


def _drift_alone(llc: float, stderr: float, diagnostics: Diagnostics) -> list[tuple[Verdict, str]]:
    cold = diagnostics.cold_llc
    if cold is not None and cold < -COLD_MAX * abs(llc):
        sentence = (
            f"chains without noise reach a loss below that at w*, by {-cold:.3g} in units of λ̂: w* is not a minimum"
        )
        return [(Verdict.NOT_A_MINIMUM, sentence)]
    if llc < -SIGNIFICANT * stderr:
        return [(Verdict.NOT_A_MINIMUM, "the loss falls away from w*: w* is not a minimum at this temperature")]
    if cold is not None and cold > COLD_MAX * abs(llc):
        sentence = f"gradient noise alone gives {cold:.3g} of λ̂ = {llc:.3g}: raise `batch_size` or lower `lr`"
        return [(Verdict.HEATED, sentence)]
    return []


def _unsettled(llc: float, settings: ResolvedSettings, diagnostics: Diagnostics) -> list[str]:
    reasons = _apart(settings, diagnostics)
    if diagnostics.drift is not None and not abs(diagnostics.drift) <= DRIFT_MAX:
        reasons.append(f"the draws' second half lies {diagnostics.drift:+.1f} Monte Carlo errors from the first")
    reasons += _several_basins(diagnostics)
    # Where λ̂ hardly depends on the localizing prior and the chains have stopped spreading, no direction is bounded by
    # it alone, unless the loss is constant there, which shows in nβ where that was varied. A chain
    # that has not yet felt the localizing prior hardly depends on it either, but goes on spreading; one that began at
    # its full width does not.
    bounded = (
        settings.start not in {"laplace", "localiser"}
        and on_plateau(diagnostics)
        and diagnostics.distance_drift is not None
    )
    gap, error = diagnostics.start_gap, diagnostics.start_gap_stderr
    met = gap is not None and error is not None and abs(gap) <= SIGNIFICANT * error
    if gap is not None and error is not None and not met:
        reasons.append(
            f"chains started from the localizing prior and chains started at w* are {gap:+.3g} ± "
            f"{error:.2g} apart in λ̂: raise `burn_in`"
        )
    elif gap is not None and error is not None and not 2 * error <= GAP_KNOWN * abs(llc):
        reasons.append(
            f"whether chains from w* and from the localizing prior agree is known only to ± {error:.2g}: "
            "raise `draws` or `chains`"
        )
    elif gap is None and not diagnostics.equilibration >= EQUILIBRATION_MIN and not (bounded and still(diagnostics)):
        spreading = f", and {_spreading(diagnostics)}" if bounded else ""
        share = f"{diagnostics.equilibration:.0%} of its variance"
        if settings.start == "localiser":
            share = f"relaxed by {diagnostics.equilibration:.0%} from their start in the localizing prior"
        reasons.append(
            f"draws began when a flat direction had {share} ({EQUILIBRATION_MIN:.0%} is "
            f"needed){spreading}: raise `burn_in` or `lr`"
        )
    return reasons + _not_come_down(settings, diagnostics)


def _apart(settings: ResolvedSettings, diagnostics: Diagnostics) -> list[str]:
    """Why chains do not sample the same, by how they differ."""
    r_hat, moved = diagnostics.r_hat, diagnostics.moved
    if r_hat is None or r_hat <= R_HAT_MAX:
        return []
    if settings.chains < MANY_CHAINS or moved is None:
        return [f"R-hat is {r_hat:.3f}, above {R_HAT_MAX:g}: raise `draws` or `burn_in`"]
    if moved >= MOVED_MIN:
        return []
    return [
        f"chains do not mix: R-hat is {r_hat:.3f}, and between the halves of its draws a chain moves by "
        f"{moved:.0%} of what independent halves would ({MOVED_MIN:.0%} is needed): raise `draws` or "
        "`burn_in`"
    ]


def _several_basins(diagnostics: Diagnostics) -> list[str]:
    if diagnostics.level_near is None or diagnostics.level_far is None:
        return []
    return [
        f"chains stay at two distances from w*, {diagnostics.level_near:.3g} and "
        f"{diagnostics.level_far:.3g}, and change between them {diagnostics.level_changes} times in all: "
        "they seem to be in several basins of unknown weight; raise `draws`, or `gamma` to stay in the "
        "basin of w*"
    ]


def _not_come_down(settings: ResolvedSettings, diagnostics: Diagnostics) -> list[str]:
    """Chains that began at draws of the localizing prior come down alike, so that they agree long before they are
    there."""
    if settings.start != "localiser" or settings.gamma == 0:
        return []
    rate = relaxation_rate(settings.lr, settings.gamma, settings.sampler, settings.momentum)
    times = rate * settings.burn_in_time
    if excess_left(times, settings.n_beta * diagnostics.curvature / settings.gamma) <= EXCESS_MAX:
        return []
    return [
        f"chains started from the localizing prior and had {times:.2g} relaxation times before their draws "
        f"({SETTLED:g} are needed): raise `burn_in`, or leave out `start`"
    ]


def still(diagnostics: Diagnostics) -> bool:
    """True if the spread of the chains from w* is known to have stopped growing, at two standard errors."""
    growth, error, free = (
        diagnostics.distance_drift,
        diagnostics.distance_drift_stderr,
        diagnostics.distance_drift_free,
    )
    if growth is None or error is None or free is None:
        return False
    return abs(growth) + 2 * error <= min(STILL, STILL_SHARE * free)


def _spreading(diagnostics: Diagnostics) -> str:
    growth, error = diagnostics.distance_drift or 0.0, diagnostics.distance_drift_stderr or 0.0
    free = diagnostics.distance_drift_free or 0.0
    return f"‖w−w*‖² grows by {growth:+.1%} ± {error:.1%} over the draws, where free diffusion would give {free:.1%}"


def _settled(diagnostics: Diagnostics) -> str:
    step = "the step size was not checked"
    if diagnostics.step_bias is not None and diagnostics.step_bias_stderr is not None:
        step = f"step-size bias {diagnostics.step_bias:+.2g} ± {diagnostics.step_bias_stderr:.2g}"
    r_hat, moved, mixing = diagnostics.r_hat or 0.0, diagnostics.moved, ""
    if r_hat > R_HAT_MAX and moved is not None:
        mixing = f" of many short chains, which mix: one moves by {moved:.0%} of what independent halves would"
    return f"R-hat {r_hat:.3f}{mixing}, effective sample size {diagnostics.ess:.0f}, {step}"


def require_number(estimate: Estimate) -> None:
    """Raise DivergedError if fewer than two chains stayed finite, or a loss at an independent draw did not; it names
    those that did not."""
    if estimate.verdict is not Verdict.DIVERGED:
        return
    if estimate.settings.by_draws:
        raise DivergedError(
            f"No number: {estimate.verdict_reason}. Raise `gamma` (now {estimate.settings.gamma:.3g}), so that "
            "the draws are closer to w*."
        )
    failed = [f"chain {c.chain} at step {c.failed_at}" for c in estimate.chains if c.llc is None]
    raise DivergedError(
        f"No number: fewer than two of {len(estimate.chains)} chains stayed finite ({', '.join(failed)} "
        f"became inf or NaN). Lower `lr` (now {estimate.settings.lr:.3g}) or raise `gamma` (now "
        f"{estimate.settings.gamma:.3g})."
    )
