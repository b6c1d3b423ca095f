"""Settings and runs that tests of the chain share."""

from dataclasses import replace

import torch

from hf_llc.results.estimate import ChainTrace
from hf_llc.sampling.chain import run_chain
from hf_llc.sampling.gradients import full_gradient
from hf_llc.sampling.objective import Objective
from hf_llc.sampling.statistics import DrawStatistics, summarise
from hf_llc.sampling.tuning.choose_baseline import Run
from hf_llc.sampling.tuning.step_size import relaxation_rate
from hf_llc.settings.resolved import ResolvedSettings


def settings(**changes: object) -> ResolvedSettings:
    """Resolved settings of a small run, with the changes named."""
    plain: dict[str, object] = {
        "n_beta": 100.0,
        "gamma": 10.0,
        "lr": 1e-3,
        "momentum": 0.8,
        "gradient": "minibatch",
        "sampler": "sgld-lm",
        "chains": 4,
        "draws": 200,
        "burn_in": 100,
        "thin": 1,
        "batch_size": 1,
        "micro_batch_size": 1,
        "context_length": 2,
        "n": 1,
        "seed": 0,
        "threads": 1,
        "device": "cpu",
        "dtype": "float64",
    }
    return ResolvedSettings(**{**plain, **changes})  # type: ignore[arg-type]


def traces(objective: Objective, chosen: ResolvedSettings) -> list[ChainTrace]:
    """A trace per chain, from the losses at the weights that the objective holds."""
    anchors = objective.losses(torch.arange(objective.n))
    slope = full_gradient(objective, objective.n) if chosen.gradient == "control-variate" else None
    return [run_chain(objective, anchors, chosen, chain, anchor_gradient=slope) for chain in range(chosen.chains)]


def llc_statistics(objective: Objective, chosen: ResolvedSettings) -> DrawStatistics:
    """Mean and error of λ̂ = nβΔL over the draws of all chains."""
    scaled = [[chosen.n_beta * d for d in trace.draws(chosen)] for trace in traces(objective, chosen)]
    return summarise(scaled)


def run_of(settings: ResolvedSettings) -> Run:
    """What the choice of the baseline is told of chains with these settings."""
    return Run(
        n_beta=settings.n_beta,
        gamma=settings.gamma,
        n=settings.n,
        batch_size=settings.batch_size,
        draws=settings.draws,
        gradients=replace(settings, baseline="paired").gradients,
        forgets=relaxation_rate(settings.lr, 1.0, settings.sampler, settings.momentum) * settings.thin,
        start=settings.start,
        dtype=settings.dtype,
    )
