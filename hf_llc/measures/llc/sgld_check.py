"""A few short chains of plain SGLD beside independent draws: do both ways to the posterior agree?"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from hf_llc.execution import work_queue
from hf_llc.execution.chain_runner import ChainRunner, ChainSpec
from hf_llc.execution.distributed.world import ProcessWorld
from hf_llc.execution.loaded_model import LoadedModel
from hf_llc.execution.plan import Plan
from hf_llc.execution.store import RunStore
from hf_llc.execution.work_queue import Steps
from hf_llc.measures.llc.cross_check import part_name
from hf_llc.results.estimate import ChainTrace, Estimate, Status
from hf_llc.results.progress import Observer
from hf_llc.sampling.estimator import llc
from hf_llc.sampling.samplers import SAMPLERS
from hf_llc.sampling.statistics import summarise
from hf_llc.settings.resolved import ResolvedSettings

METHOD = "sgld"
CHAINS = 4
BATCH_SIZE = 16
"""Sequences of a minibatch, at most: more steps of fewer sequences take the same time and tell more."""
FORGETTING, SAMPLING = 4.0, 6.0
"""Relaxation times of a flat direction before the draws of a chain, and during them."""


def part_names() -> list[str]:
    """Of its chains."""
    return [f"{part_name(METHOD)}-{chain:03d}" for chain in range(CHAINS)]


def settings_of(drawn: Estimate) -> ResolvedSettings:
    """The settings of these chains, from what the draws have found: a step of SAMPLERS' fraction at the largest
    curvature that they leave, chains that begin at draws of the prior."""
    settings, sampler = drawn.settings, SAMPLERS[METHOD]
    lr = sampler.step_fraction / (settings.n_beta * drawn.diagnostics.curvature + settings.gamma)
    steps = 1 / (lr * settings.gamma)
    size = min(settings.batch_size, BATCH_SIZE)
    return replace(
        settings,
        sampler=METHOD,
        lr=lr,
        chains=CHAINS,
        burn_in=math.ceil(FORGETTING * steps),
        draws=math.ceil(SAMPLING * steps),
        batch_size=size,
        micro_batch_size=min(size, settings.micro_batch_size),
    )


def steps(
    drawn: Estimate,
    store: RunStore,
    bench: LoadedModel,
    anchors: Sequence[float],
    fleet: ProcessWorld,
    observer: Observer,
) -> Steps[None]:
    """Makes the chains, each a part of the run.

    Args:
        drawn: what the draws have given. anchors: ℓ_i(w*) of all sequences, nats per token.
    """
    settings = settings_of(drawn)
    jobs = {name: ChainSpec(settings, chain, None, name.partition("/")[2]) for chain, name in enumerate(part_names())}
    observer.begin("cross-check by SGLD", CHAINS * settings.steps)
    chains = ChainRunner(jobs, bench, anchors, observer)
    yield from work_queue.make_parts(
        store,
        list(jobs),
        chains,
        first=fleet.share,
        on_parts=lambda done: observer.advance(len(done) * settings.steps),
        last=True,
    )
    observer.end()


def result(plan: Plan, drawn: Estimate, traces: Sequence[ChainTrace]) -> Mapping[str, Any]:
    """`Estimate.cross_check`, JSON-ready.

    An Euler step of size ε widens the variance along a direction of stiffness A = nβh + γ by the factor 1/(1 − εA/4).
    Since 0 < εA ≤ `step_fraction`, λ̂ is too large by between nothing and that much of what it is without the slope;
    the middle of it is subtracted, and the rest is part of the error.
    """
    settings = settings_of(drawn)
    healthy = [trace for trace in traces if trace.status is Status.HEALTHY]
    common = {"method": METHOD, "sequences": plan.corpus.n, "seconds": sum(trace.seconds for trace in traces)}
    if len(healthy) < 2:
        return {**common, "llc": None, "stderr": None, "r_hat": None}
    statistics = summarise([trace.draws(settings) for trace in healthy])
    fraction = SAMPLERS[METHOD].step_fraction
    wider = (1 / (1 - fraction / 4) - 1) * max(0.0, drawn.diagnostics.prior_llc or 0.0)
    return {
        **common,
        "llc": llc(settings.n_beta, statistics.mean) - wider / 2,
        "stderr": math.hypot(llc(settings.n_beta, statistics.stderr), wider / 2 / math.sqrt(3)),
        "r_hat": statistics.r_hat,
    }
