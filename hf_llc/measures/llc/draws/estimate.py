"""Independent draws to an Estimate, and to the traces that its picture shows."""

import math
from collections.abc import Mapping, Sequence

from hf_llc.execution.plan import Plan
from hf_llc.measures.llc.draws.amounts import target_of
from hf_llc.measures.llc.draws.rounds import Prior, Sample
from hf_llc.measures.llc.draws.verdict import judge_draws
from hf_llc.measures.llc.summarise import checkpoint_of, dataset_of, remarks_on
from hf_llc.results.estimate import ChainSummary, ChainTrace, Diagnostics, Estimate, Status, finite_or_none
from hf_llc.results.provenance import versions
from hf_llc.sampling.draws.statistics import DrawSummary, Value
from hf_llc.sampling.estimator import llc
from hf_llc.settings.posterior import IMPORTANCE
from hf_llc.settings.resolved import ResolvedSettings


def resolved_settings(plan: Plan, prior: Prior, pairs: int, target: float | None) -> ResolvedSettings:
    """The settings of a run of independent draws: `chains` groups of pairs, without steps.

    Args:
        target: the share of λ̂ at which they ended; None where they ended otherwise.
    """
    sampler = plan.sampler
    return ResolvedSettings(
        n_beta=prior.n_beta,
        gamma=prior.gamma,
        lr=0.0,
        momentum=0.0,
        gradient="minibatch",
        sampler=IMPORTANCE,
        chains=min(sampler.chain_count, pairs),
        draws=pairs // min(sampler.chain_count, pairs),
        burn_in=0,
        thin=1,
        batch_size=plan.batch_size,
        micro_batch_size=prior.micro_batch_size,
        context_length=plan.corpus.context_length,
        n=plan.corpus.n,
        seed=sampler.seed,
        threads=plan.threads,
        device=plan.device,
        dtype=plan.dtype,
        params=",".join(sampler.params),
        start="localiser",
        devices_per_chain=sampler.devices_per_chain,
        prior=sampler.prior,
        batch_norm=sampler.batch_norm,
        component=sampler.component,
        target_stderr=target,
    )


def estimate_of_draws(
    plan: Plan, prior: Prior, sample: Sample, summary: DrawSummary, seconds: Mapping[str, float]
) -> tuple[Estimate, list[ChainTrace]]:
    """The Estimate, and each group's pairs as a trace."""
    settings = resolved_settings(plan, prior, len(sample.losses), target_of(plan, summary, sample.amount))
    groups = traces_of(sample, settings)
    diagnostics = diagnostics_of(prior, sample, summary)
    verdict, reason = judge_draws(summary.llc, summary.stderr, diagnostics, pairs=len(sample.losses))
    loss, loss_stderr = loss_at_anchor(sample, plan.corpus.n)
    estimate = Estimate(
        **checkpoint_of(plan),
        llc=summary.llc,
        stderr=summary.stderr,
        verdict=verdict,
        verdict_reason=reason,
        settings=settings,
        choices={**remarks_on(plan, loss), **prior.choices},
        diagnostics=diagnostics,
        dataset=dataset_of(plan),
        chains=tuple(_group(trace, settings) for trace in groups),
        init_loss=loss,
        init_loss_stderr=loss_stderr,
        tokens=_losses_taken(sample) * settings.batch_size * settings.context_length,
        versions=versions(with_adapter=plan.source.adapter),
        seconds=seconds,
        run_dir=str(plan.run_dir),
    )
    return estimate, groups


def traces_of(sample: Sample, settings: ResolvedSettings) -> list[ChainTrace]:
    """Every `chains`-th pair as the draws of one trace: its minibatch's mean loss at both ends, and the rise to it."""
    traces = []
    for chain in range(settings.chains):
        pairs = sample.losses[chain :: settings.chains][: settings.draws]
        rises = [pair.rise for pair in pairs]
        failed = next((index + 1 for index, rise in enumerate(rises) if not math.isfinite(rise)), None)
        traces.append(
            ChainTrace(
                chain=chain,
                status=Status.HEALTHY if failed is None else Status.NONFINITE,
                failed_at=failed,
                losses=(pairs[0].anchor, *(pair.anchor + pair.rise for pair in pairs)),
                deltas=(0.0, *rises),
                squared_distances=tuple(pair.squared_distance for pair in pairs),
                seconds=0.0,
            )
        )
    return traces


def loss_at_anchor(sample: Sample, n: int) -> tuple[float, float]:
    """L_n(w*) from the sequences of the pairs, and its standard error: 0 once every sequence was seen.

    Minibatches go through one order of all sequences after another, each without those too few for a minibatch. So the
    mean over whole orders has each sequence as often, and an error by those left out alone (sampling without
    replacement, Cochran 1977, section 2.5), which differ from order to order.
    """
    size = sum(sample.losses[0].counts)
    whole = len(sample.losses) // (n // size)
    pairs = sample.losses[: whole * (n // size)] if whole else sample.losses
    mean = sum(pair.anchor for pair in pairs) / len(pairs)
    square = sum(pair.anchor_square for pair in pairs) / len(pairs)
    used, seen = len(pairs) * size, len(pairs) * size // max(1, whole)
    variance = max(0.0, square - mean**2) * used / max(1, used - 1)
    return mean, math.sqrt(variance / used * (1 - seen / n))


def _group(trace: ChainTrace, settings: ResolvedSettings) -> ChainSummary:
    if trace.status is not Status.HEALTHY:
        return ChainSummary(chain=trace.chain, llc=None, status=trace.status, failed_at=trace.failed_at)
    rises: Sequence[float] = trace.draws(settings)
    return ChainSummary(chain=trace.chain, llc=llc(settings.n_beta, sum(rises) / len(rises)), status=trace.status)


def _losses_taken(sample: Sample) -> int:
    """Losses and gradients of minibatches: what went through the model."""
    return 3 * len(sample.losses) + 6 * len(sample.gradients) + 4 * len(sample.bends)


def diagnostics_of(prior: Prior, sample: Sample, summary: DrawSummary) -> Diagnostics:
    """What the draws say beside λ̂; of steps there is nothing to say."""
    squared = [pair.squared_distance for pair in sample.losses]
    rise = summary.prior_mean.mean / prior.n_beta
    weighted = summary.weighted
    bend, gamma_slope, n_beta_slope = (
        value or Value(math.nan, math.nan, 0) for value in (summary.bend, summary.gamma_slope, summary.n_beta_slope)
    )
    return Diagnostics(
        r_hat=None,
        ess=float(len(sample.losses)),
        delta_loss=None if summary.llc is None else summary.llc / prior.n_beta,
        distance=math.sqrt(sum(squared) / len(squared)),
        free_distance=math.sqrt(prior.dimension / prior.gamma),
        dimension=prior.dimension,
        curvature=math.sqrt(2 * max(0.0, summary.narrowing.mean)) * prior.gamma / prior.n_beta,
        stability=0.0,
        resolution=prior.gamma / prior.n_beta,
        equilibration=1.0,
        drift=None,
        monte_carlo_stderr=summary.sampling_stderr,
        step_size_stderr=None,
        step_bias=None,
        cold_llc=finite_or_none(-summary.slope_taken),
        gamma_slope=finite_or_none(gamma_slope.mean),
        gamma_slope_stderr=finite_or_none(gamma_slope.stderr),
        n_beta_slope=finite_or_none(n_beta_slope.mean),
        n_beta_slope_stderr=finite_or_none(n_beta_slope.stderr),
        trace_hessian=2 * rise * prior.gamma,
        raw_llc=summary.llc,
        routers=prior.routers or None,
        prior_llc=finite_or_none(summary.prior_mean.mean),
        prior_llc_stderr=finite_or_none(summary.prior_mean.stderr),
        narrowing_llc=finite_or_none(summary.narrowing.mean),
        narrowing_llc_stderr=finite_or_none(summary.narrowing.stderr),
        slope_llc=finite_or_none(summary.slope.mean),
        slope_llc_stderr=finite_or_none(summary.slope.stderr),
        bend_llc=finite_or_none(bend.mean),
        bend_llc_stderr=finite_or_none(bend.stderr),
        open_llc=finite_or_none(summary.open),
        beyond_llc=finite_or_none(summary.beyond.mean),
        beyond_llc_stderr=finite_or_none(summary.beyond.stderr),
        weighted_llc=weighted.mean if weighted else None,
        weighted_llc_stderr=weighted.stderr if weighted else None,
        effective_draws=weighted.effective if weighted else None,
        pareto_k=finite_or_none(weighted.pareto_k) if weighted else None,
        gradient_pairs=len(sample.gradients),
        bends=len(sample.bends),
    )
