"""Chain traces to an Estimate: averages, errors and the verdict."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from hf_llc.execution.plan import Plan
from hf_llc.measures.llc.resolution import ResolvedRun
from hf_llc.measures.llc.sensitivity import Extrapolation, SensitivityResults, evaluate, extrapolation
from hf_llc.measures.llc.soundness import numbers_of
from hf_llc.measures.llc.verdict import judge
from hf_llc.results.estimate import (
    ChainSummary,
    ChainTrace,
    DatasetRecord,
    Diagnostics,
    Estimate,
    Status,
    Verdict,
    finite_or_none,
)
from hf_llc.results.provenance import versions
from hf_llc.sampling.estimator import free_distance, gamma_slope, llc
from hf_llc.sampling.statistics import DrawStatistics, Levels, summarise, two_levels
from hf_llc.sampling.tuning.step_size import relaxation_rate, stability
from hf_llc.sampling.variations import VARIATIONS, Variation
from hf_llc.settings.recipes import recipe_named
from hf_llc.settings.resolved import ResolvedSettings
from hf_llc.tasks import TASKS


def estimate_of(
    plan: Plan,
    resolution: ResolvedRun,
    traces: Sequence[ChainTrace],
    varied: Mapping[tuple[str, int], ChainTrace],
    init_loss: float,
    seconds: Mapping[str, float],
) -> Estimate:
    """The Estimate; `llc` is None and the verdict `diverged` if fewer than two chains stayed finite.

    Args:
        varied: traces of the checks by (variation, chain); empty if they were not asked for.
    """
    settings, judgement = resolution.settings, judged(resolution, traces, varied)
    return Estimate(
        **checkpoint_of(plan),
        llc=judgement.llc,
        stderr=judgement.stderr,
        verdict=judgement.verdict,
        verdict_reason=judgement.reason,
        settings=settings,
        choices={**remarks_on(plan, init_loss), **resolution.choices},
        diagnostics=judgement.diagnostics,
        dataset=dataset_of(plan),
        chains=tuple(_summary(trace, settings) for trace in traces),
        init_loss=init_loss,
        tokens=sum(len(trace.losses) for trace in [*traces, *varied.values()])
        * settings.batch_size
        * settings.context_length,
        versions=versions(with_adapter=plan.source.adapter),
        seconds=seconds,
        run_dir=str(plan.run_dir),
    )


def checkpoint_of(plan: Plan) -> dict[str, Any]:
    """The fields of an Estimate that say which checkpoint it is of."""
    source = plan.source
    return {
        "model": source.id,
        "revision": source.revision,
        "sha": source.sha,
        "step": source.step,
        # The id of a local folder says so already.
        "subfolder": None if source.is_local else source.subfolder,
        "base_model": None if source.base is None else source.base.id,
        "base_sha": None if source.base is None else source.base.sha,
    }


def remarks_on(plan: Plan, init_loss: float) -> dict[str, str]:
    """What a reader must know about the items, about a loss at w* that no model has whose classes are theirs, and about
    published settings that were asked for."""
    sentences = {"text": " ".join(plan.corpus.remarks)} if plan.corpus.remarks else {}
    if plan.sampler.recipe is not None:
        sentences["recipe"] = recipe_named(plan.sampler.recipe).sentence(plan.sampler)
    limit = plan.corpus.loss_of_guessing
    if limit is not None and init_loss > limit and plan.source.step != 0:
        sentences["labels"] = (
            f"labels: the loss at w* is {init_loss:.3g} nats, above {limit:.3g}, that of a uniform guess; unless the "
            "model is untrained, its labels are probably in another order than those of the data. Set id2label in its "
            "config.json."
        )
    return sentences


class Judged(NamedTuple):
    """λ̂ with its standard error, both None without two healthy chains, and what is to be thought of it."""

    llc: float | None
    stderr: float | None
    verdict: Verdict
    reason: str
    diagnostics: Diagnostics


def judged(
    resolution: ResolvedRun,
    traces: Sequence[ChainTrace],
    varied: Mapping[tuple[str, int], ChainTrace],
    variations: Sequence[Variation] = VARIATIONS,
) -> Judged:
    """The number, its error, its diagnostics and its verdict; arguments as in `estimate_of`."""
    settings = resolution.settings
    healthy = [trace for trace in traces if trace.status is Status.HEALTHY]
    statistics = summarise([trace.draws(settings) for trace in healthy]) if len(healthy) >= 2 else None
    checks = evaluate(traces, varied, settings, variations)
    diagnostics = _diagnostics(resolution, healthy, statistics, checks)
    value, stderr = _number(diagnostics)
    verdict, reason = judge(value, stderr, settings, diagnostics, failed=len(traces) - len(healthy))
    return Judged(value, stderr, verdict, reason, diagnostics)


def _number(diagnostics: Diagnostics) -> tuple[float | None, float | None]:
    """λ̂ without what the step size is known to add to it, and its standard error, as far as the step was checked."""
    if diagnostics.raw_llc is None or diagnostics.monte_carlo_stderr is None:
        return None, None
    value = diagnostics.raw_llc - (diagnostics.step_correction or 0.0)
    return value, math.hypot(diagnostics.monte_carlo_stderr, diagnostics.step_size_stderr or 0.0)


def _extrapolation(checks: SensitivityResults) -> Extrapolation | None:
    """None if the step size was not checked."""
    if checks.step_bias is None or checks.step_bias_stderr is None:
        return None
    return extrapolation(checks.step_bias, checks.step_bias_stderr)


def _summary(trace: ChainTrace, settings: ResolvedSettings) -> ChainSummary:
    if trace.status is not Status.HEALTHY:
        return ChainSummary(chain=trace.chain, llc=None, status=trace.status, failed_at=trace.failed_at)
    draws = trace.draws(settings)
    value = llc(settings.n_beta, sum(draws) / len(draws))
    return ChainSummary(chain=trace.chain, llc=value, status=trace.status)


def dataset_of(plan: Plan) -> DatasetRecord:
    """The items of a plan, as results record them."""
    corpus = plan.corpus
    return DatasetRecord(
        id=corpus.id,
        revision=corpus.revision,
        config=corpus.config,
        split=corpus.split,
        text_column=corpus.text_column,
        fingerprint=corpus.fingerprint,
        task=corpus.task,
        unit=TASKS[corpus.task].unit,
        loss_on=corpus.loss_on,
        bos=corpus.bos,
        label_column=corpus.label_column,
    )


def _diagnostics(
    resolution: ResolvedRun,
    healthy: Sequence[ChainTrace],
    statistics: DrawStatistics | None,
    checks: SensitivityResults,
) -> Diagnostics:
    settings = resolution.settings
    squared = [value for trace in healthy for value in trace.squared_distances]
    steps = settings.burn_in_time + (settings.draws + 1) * settings.thin / 2
    covariance = gamma_slope(
        settings.gamma, [trace.draws(settings) for trace in healthy], [trace.squared_distances for trace in healthy]
    )
    rate = relaxation_rate(settings.lr, settings.gamma, settings.sampler, settings.momentum)
    free = [
        free_distance(resolution.dimension, settings.gamma, settings.lr, math.inf if displaced else steps)
        for displaced in map(settings.starts_displaced, range(2))
    ]
    settled = settings.start == "localiser" and not resolution.starts_hot
    gap, gap_stderr = _start_gap(settings, healthy)
    growth, growth_stderr = _distance_drift(healthy)
    step, levels = _extrapolation(checks), _levels(settings, healthy)
    return Diagnostics(
        r_hat=finite_or_none(statistics.r_hat) if statistics else None,
        r_hat_chance=finite_or_none(statistics.r_hat_chance) if statistics else None,
        moved=finite_or_none(statistics.moved) if statistics else None,
        ess=finite_or_none(statistics.ess) if statistics else None,
        delta_loss=statistics.mean if statistics else None,
        distance=math.sqrt(sum(squared) / len(squared)) if statistics else None,
        free_distance=math.sqrt((free[0] ** 2 + free[1] ** 2) / 2),
        dimension=resolution.dimension,
        curvature=resolution.curvature,
        stability=stability(settings.lr, settings.n_beta, resolution.curvature, settings.gamma),
        resolution=settings.gamma / settings.n_beta if settings.n_beta > 0 else None,
        equilibration=1.0 if settled else -math.expm1(-rate * settings.burn_in_time),
        drift=finite_or_none(statistics.drift) if statistics else None,
        monte_carlo_stderr=llc(settings.n_beta, statistics.stderr) if statistics else None,
        step_size_stderr=step.stderr if step else None,
        step_bias=checks.step_bias,
        step_bias_stderr=checks.step_bias_stderr,
        step_correction=step.correction if step else None,
        raw_llc=llc(settings.n_beta, statistics.mean) if statistics else None,
        cold_llc=checks.cold_llc,
        gamma_slope=checks.gamma_slope,
        gamma_slope_stderr=checks.gamma_slope_stderr,
        n_beta_slope=checks.n_beta_slope,
        n_beta_slope_stderr=checks.n_beta_slope_stderr,
        trace_hessian=resolution.trace_hessian,
        distance_drift=growth,
        distance_drift_stderr=growth_stderr,
        distance_drift_free=_free_growth(settings),
        gamma_slope_covariance=covariance[0] if covariance else None,
        gamma_slope_covariance_stderr=covariance[1] if covariance else None,
        start_gap=gap,
        start_gap_stderr=gap_stderr,
        level_near=math.sqrt(levels.lower) if levels else None,
        level_far=math.sqrt(levels.upper) if levels else None,
        level_changes=levels.changes if levels else None,
        **numbers_of(resolution, healthy),
    )


def _start_gap(settings: ResolvedSettings, healthy: Sequence[ChainTrace]) -> tuple[float | None, float | None]:
    """λ̂ of chains from draws of the localizing prior minus that of chains from w*, and its error; (None, None) if all
    began alike or a group is empty."""
    groups = [
        [trace.draws(settings) for trace in healthy if settings.starts_displaced(trace.chain) is displaced]
        for displaced in (True, False)
    ]
    if not all(groups):
        return None, None
    # A chain alone is told apart from itself by its two halves.
    middle = settings.draws // 2
    far, near = (summarise(g if len(g) > 1 else [g[0][:middle], g[0][-middle:]]) for g in groups)
    return llc(settings.n_beta, far.mean - near.mean), llc(settings.n_beta, math.hypot(far.stderr, near.stderr))


def _levels(settings: ResolvedSettings, healthy: Sequence[ChainTrace]) -> Levels | None:
    """The two levels of ‖w−w*‖² between which chains seldom change; None if there are none, or where chains begin at
    two, which `start_gap` compares."""
    if settings.start == "both" or not healthy:
        return None
    return two_levels([trace.squared_distances for trace in healthy])


def _distance_drift(healthy: Sequence[ChainTrace]) -> tuple[float | None, float | None]:
    """Relative growth of the mean squared distance from one half of the draws to the other over all chains, and its
    error from how the chains differ."""
    halves = []
    for trace in healthy:
        middle = len(trace.squared_distances) // 2
        halves.append((sum(trace.squared_distances[:middle]), sum(trace.squared_distances[-middle:])))
    first = sum(early for early, _ in halves)
    if len(halves) < 2 or not first > 0:
        return None, None
    growth = sum(late for _, late in halves) / first - 1
    apart = [late - (1 + growth) * early for early, late in halves]
    count = len(apart)
    stderr = math.hypot(*apart) * math.sqrt(count / (count - 1)) / first
    return finite_or_none(growth), finite_or_none(stderr)


def _free_growth(settings: ResolvedSettings) -> float:
    """What `distance_drift` would be of free diffusion from w*, whose variance is proportional to time."""
    window = settings.draws * settings.thin
    return (window / 2) / (settings.burn_in_time + window / 4)
