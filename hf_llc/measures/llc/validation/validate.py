"""Exact answers on board: what `estimate` samples with, on models whose coefficient is known in closed form."""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from hf_llc.execution.loaded_model import computing
from hf_llc.measures.llc.resolution import ResolvedRun
from hf_llc.measures.llc.sensitivity import sensitivity_chains
from hf_llc.measures.llc.soundness import Sampled, with_one_baseline
from hf_llc.measures.llc.summarise import Judged, judged
from hf_llc.measures.llc.validation.cases import Case
from hf_llc.measures.llc.validation.draws import drawn
from hf_llc.results.estimate import ChainTrace, Verdict, finite_or_none
from hf_llc.results.progress import Observer
from hf_llc.sampling.chain import run_chain
from hf_llc.sampling.gradients import Gradient, full_gradient, gradient_of
from hf_llc.sampling.jumps import COST
from hf_llc.sampling.objective import Objective, copy_of, dimension
from hf_llc.sampling.samplers import AUTO
from hf_llc.sampling.starts import gradients_of
from hf_llc.sampling.tuning.choose_chains import choose_chains, requested_dynamics
from hf_llc.sampling.tuning.measure import measure_geometry
from hf_llc.sampling.tuning.probe import choose_probe
from hf_llc.sampling.tuning.step_size import check_lr
from hf_llc.sampling.variations import LIMIT_VARIATIONS, VARIATIONS, Variation
from hf_llc.settings.resolved import ResolvedSettings
from hf_llc.settings.sampler import SamplerSettings

PROBE = 256
"""Items that curvature is measured on, at least."""
LIMIT_MAX = 0.05
"""Share of λ̂ that half the way to γ/nβ → 0 and twice that way's error may make."""
TOO_FAR = "far-from-limit"
"""The chains sample the stated posterior, but its λ̂ is not near enough to the coefficient of the limit."""


@dataclass(frozen=True, kw_only=True)
class Validation:
    """One case's outcome.

    Attributes:
        llc: λ̂ at the case's γ and nβ; where the truth is that of γ/nβ → 0, carried on to there.
        error_in_stderr: (llc − truth) / stderr. verdict: as of an estimate, or TOO_FAR.
        gradient_evaluations: of all chains, checks included; a loss alone is a third of one.
        settings: of the chains, what was chosen among them.
    """

    case: str
    params: Mapping[str, Any]
    truth: float
    llc: float | None
    stderr: float | None
    error_in_stderr: float | None
    verdict: str
    verdict_reason: str
    sampler: str
    gradient_evaluations: int
    seconds: float
    settings: ResolvedSettings

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready mapping; non-finite numbers become None."""
        return {key: finite_or_none(v) if isinstance(v, float) else v for key, v in asdict(self).items()}


@dataclass(frozen=True, kw_only=True)
class ValidationSettings:
    """How every case is sampled: the settings that are not the model's. Of a case by draws the seed alone counts."""

    sampler: str = "auto"
    momentum: float | None = None
    lr: float | None = None
    burn_in: int | None = None
    gradient: str = AUTO
    batches: str = AUTO
    baseline: str = AUTO
    chains: int = 4
    draws: int = 1500
    seed: int = 0


def validate(case: Case, effort: ValidationSettings, observer: Observer | None = None) -> Validation:
    """λ̂ of one case with its error and verdict, beside the truth.

    What the settings do not give is measured and chosen as `estimate` does.

    Raises:
        SettingsError: the step size given is unstable, or the sampler cannot do with the case's minibatches.
    """
    started, observer = time.monotonic(), observer or Observer()
    if case.by_draws:
        return _of_draws(case, effort, observer, started)
    resolution, traces, varied = sampled(case, effort, observer)
    judgement = judged(resolution, traces, varied, _variations(case))
    outcome = _at_the_limit(judgement, case.hidden) if case.limit else judgement[:4]
    gradients = sum(_gradients(resolution.settings, trace) for trace in [*traces, *varied.values()])
    cold = {variation.name for variation in VARIATIONS if variation.cold}
    begun = gradients_of(resolution.settings) * (len(traces) + sum(name not in cold for name, _ in varied))
    return _validation(case, outcome, resolution.settings, round(gradients) + begun, time.monotonic() - started)


def _of_draws(case: Case, effort: ValidationSettings, observer: Observer, started: float) -> Validation:
    with computing(1):
        summary, verdict, reason, gradients, settings = drawn(case, effort.seed, observer)
    outcome = (summary.llc, summary.stderr, verdict, reason)
    return _validation(case, outcome, settings, round(gradients), time.monotonic() - started)


def _validation(
    case: Case,
    outcome: tuple[float | None, float | None, str, str],
    settings: ResolvedSettings,
    gradients: int,
    seconds: float,
) -> Validation:
    llc, stderr, verdict, reason = outcome
    return Validation(
        case=case.name,
        params=case.params,
        truth=case.truth,
        llc=llc,
        stderr=stderr,
        error_in_stderr=(llc - case.truth) / stderr if llc is not None and stderr else None,
        verdict=verdict,
        verdict_reason=reason,
        sampler=settings.sampler,
        gradient_evaluations=gradients,
        seconds=seconds,
        settings=settings,
    )


def sampled(case: Case, effort: ValidationSettings, observer: Observer | None = None) -> Sampled:
    """The case's chains and those that check them, on one thread.

    Raises:
        SettingsError: see `validate`.
    """
    objective = case.objective
    with computing(1):
        anchors = objective.losses(torch.arange(objective.n))
        bench = _Bench(objective)
        resolution = _resolution(case, effort, bench)
        slope = bench.slope if resolution.settings.uses_anchor_gradient else None
        traces, varied = _chains(case, resolution.settings, anchors, slope, observer or Observer())
    return with_one_baseline(Sampled(resolution, traces, varied))


def _gradients(settings: ResolvedSettings, trace: ChainTrace) -> float:
    """Of a chain, as far as it went; a loss alone is a third of one."""
    draws = len(trace.squared_distances)
    chain = replace(settings, burn_in=len(trace.losses) - draws, draws=draws, thin=1)
    return chain.gradients + COST * len(trace.jumps)


def _variations(case: Case) -> Sequence[Variation]:
    return LIMIT_VARIATIONS if case.limit else VARIATIONS


def _at_the_limit(judgement: Judged, hidden: float) -> tuple[float | None, float | None, str, str]:
    """λ̂ carried on to γ/nβ → 0 by its change from γ to 2γ, its standard error, the verdict and the reason.

    To first order in γ, λ(0) = 2 λ(γ) − λ(2γ); half of that correction, and its own error, are added to the
    standard error, and what the localizing prior hides. Where they make more than LIMIT_MAX of λ̂ the limit is too far
    away to be told, and that is the verdict.
    """
    slope, error = judgement.diagnostics.gamma_slope, judgement.diagnostics.gamma_slope_stderr
    if judgement.llc is None or judgement.stderr is None:
        return judgement[:4]
    if slope is None or error is None:
        return judgement.llc, judgement.stderr, TOO_FAR, f"{judgement.reason}; how λ̂ depends on γ is not known"
    ratio = 2.0**slope
    correction, unknown = judgement.llc * (1 - ratio), abs(judgement.llc) * ratio * math.log(2) * error
    value = judgement.llc + correction
    stderr = math.hypot(judgement.stderr, unknown, correction / 2, hidden)
    if judgement.verdict is Verdict.CONVERGED and abs(correction) / 2 + 2 * unknown + hidden > LIMIT_MAX * abs(value):
        sentence = (
            f"λ̂ changes by {correction:+.3g} ± {unknown:.2g} from this γ/nβ to 0, and the localizing "
            f"prior hides {hidden:.3g} more"
        )
        return value, stderr, TOO_FAR, sentence
    return value, stderr, judgement.verdict, judgement.reason


def _chains(
    case: Case, settings: ResolvedSettings, anchors: Tensor, slope: Sequence[Tensor] | None, observer: Observer
) -> tuple[list[ChainTrace], dict[tuple[str, int], ChainTrace]]:
    """The main chains, and the varied ones by (variation, chain)."""
    checks = sensitivity_chains(settings.chains, settings.draws, _variations(case))
    observer.begin(case.name, settings.chains + len(checks))
    traces: list[ChainTrace] = []
    varied: dict[tuple[str, int], ChainTrace] = {}
    for chain in range(settings.chains):
        traces.append(run_chain(case.objective, anchors, settings, chain, anchor_gradient=slope))
        observer.advance(len(traces))
    for variation, chain in checks:
        chosen = variation.settings(settings)
        varied[variation.name, chain] = run_chain(
            case.objective, anchors, chosen, chain, anchor_gradient=slope, variation=variation
        )
        observer.advance(len(traces) + len(varied))
    observer.end()
    return traces, varied


class _Bench:
    """Estimators of a case's gradient around w*; the full gradient there is computed once, when it is needed."""

    def __init__(self, objective: Objective) -> None:
        self._objective = objective

    @cached_property
    def slope(self) -> list[Tensor]:
        """∇L_n(w*)."""
        return full_gradient(self._objective, 1000)

    def gradient(self, name: str) -> Gradient:
        """The estimator of that name, around the weights as they are now."""
        slope = self.slope if name != "minibatch" else None
        return gradient_of(name, self._objective, copy_of(self._objective.parameters), slope)


def _resolution(case: Case, effort: ValidationSettings, bench: _Bench) -> ResolvedRun:
    objective, n = case.objective, case.objective.n
    asked = SamplerSettings(**asdict(effort), batch_size=case.batch_size)
    probed = min(n, max(case.batch_size, PROBE))
    probe = choose_probe(objective, probed, case.batch_size, effort.seed)
    measured, start, *_ = measure_geometry(
        objective,
        bench.gradient,
        probe.items(probed),
        requested_dynamics(asked),
        n_beta=case.n_beta,
        gamma=case.gamma,
        start=case.start,
        batch_size=case.batch_size,
        seed=effort.seed,
        probe=probe,
    )
    choice = choose_chains(asked, [measured], n_beta=case.n_beta, gamma=case.gamma, n=n, dtype=case.dtype, start=start)
    settings = ResolvedSettings(
        **choice.settings,
        n_beta=case.n_beta,
        gamma=case.gamma,
        chains=effort.chains,
        draws=effort.draws,
        thin=1,
        batch_size=case.batch_size,
        micro_batch_size=case.batch_size,
        context_length=1,
        n=n,
        seed=effort.seed,
        threads=1,
        device=str(objective.parameters[0].device),
        dtype=case.dtype,
    )
    check_lr(settings.lr, case.n_beta, measured.curvature, case.gamma)
    return ResolvedRun(
        settings=settings,
        choices={},
        curvature=measured.curvature,
        trace_hessian=measured.trace,
        dimension=dimension(objective.parameters),
        load_seconds=0.0,
        seconds=0.0,
        typical=measured.typical_curvature,
        rise=finite_or_none(measured.rise),
    )
