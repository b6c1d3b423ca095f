"""How long chains are that come in rounds: short ones, and shorter where the time would not do."""

import math
import time
from dataclasses import replace

import torch

from hf_llc.execution.distributed.world import ProcessWorld
from hf_llc.execution.loaded_model import LoadedModel
from hf_llc.execution.plan import Plan
from hf_llc.measures.llc.draws.rounds import deadline_of
from hf_llc.measures.llc.resolution import ResolvedRun, resolve_settings
from hf_llc.sampling.objective import clear_gradients
from hf_llc.settings.posterior import FEW_CHAINS
from hf_llc.settings.sampler import SHORT_DRAWS

OF_BURN_IN = 0.5
"""Draws of a chain at least, as a share of its burn-in: where that is long, shorter chains would be little else."""
SHARE = 0.5
"""Of the time that is left, what the first chains and their checks may take."""
LENGTHS = 8
"""What these are, in chains: four, two of twice as many steps, and two that are shorter."""
LEAST_BURN_IN, LEAST_DRAWS = 2, 4
LATE = 0.05
"""Share of its time that a run without any left is planned for."""
QUICK = 0.5
"""Seconds of a gradient from which on the first one is taken for the others."""


def resolved(plan: Plan, bench: LoadedModel, fleet: ProcessWorld) -> ResolvedRun:
    """The settings of the plan's chains, where their length is open with one that is chosen."""
    if not (plan.sampler.grows and plan.sampler.draws is None):
        return resolve_settings(plan, bench)
    deadline = deadline_of(plan)
    if deadline is None:
        resolution = resolve_settings(plan, bench)
        draws = max(SHORT_DRAWS, math.ceil(OF_BURN_IN * resolution.settings.burn_in / resolution.settings.thin))
        return _of_length(resolution, resolution.settings.burn_in, draws, "many short chains give a reliable error")
    return _within(plan, bench, fleet, deadline)


def _within(plan: Plan, bench: LoadedModel, fleet: ProcessWorld, deadline: float) -> ResolvedRun:
    """With chains of which the first and their checks take SHARE of the time that is left."""
    thin, side_by_side = plan.sampler.thin, min(fleet.world // plan.sampler.devices_per_chain, FEW_CHAINS)
    seconds = _seconds(plan, bench)
    # Processes that hold one model together have clocks of their own, and must choose alike.
    each = fleet.lead(lambda: seconds)

    def affordable(gradients: float, before: float) -> int:
        """Steps of a chain, each of so many gradients, after as many `before` them all."""
        late = LATE * (plan.sampler.budget_seconds or 0.0)
        remaining = fleet.lead(lambda: deadline - time.time()) - before * each
        return int(SHARE * max(late, remaining) * side_by_side / (LENGTHS * each * gradients))

    steps = affordable(1.0, plan.corpus.n / plan.batch_size / 3)
    draws = max(LEAST_DRAWS, min(SHORT_DRAWS, steps // (2 * thin)))
    longest = max(LEAST_BURN_IN, steps - draws * thin)
    resolution = resolve_settings(
        replace(plan, sampler=replace(plan.sampler, draws=draws), longest_burn_in=longest),
        bench,
    )
    settings = resolution.settings
    whole = settings.n / settings.batch_size
    steps = affordable(settings.gradients / settings.steps, whole if settings.uses_anchor_gradient else whole / 3)
    burn_in = settings.burn_in
    if plan.sampler.burn_in is None:
        # Where the time is too short for either, some draws are worth more than the last of the burn-in.
        burn_in = min(burn_in, max(LEAST_BURN_IN, 2 * steps // 3))
    most = max(SHORT_DRAWS, math.ceil(OF_BURN_IN * burn_in / thin))
    draws = max(LEAST_DRAWS, min(most, (steps - burn_in) // thin))
    return _of_length(
        resolution,
        burn_in,
        draws,
        "so that the first four and their sensitivity chains fit into half of `budget_seconds`",
    )


def _of_length(resolution: ResolvedRun, burn_in: int, draws: int, why: str) -> ResolvedRun:
    sentence = f"chains = as many as needed, of {draws} draws after {burn_in} steps: {why}."
    settings = replace(resolution.settings, burn_in=burn_in, draws=draws)
    return replace(resolution, settings=settings, choices={**resolution.choices, "chains": sentence})


def _seconds(plan: Plan, bench: LoadedModel) -> float:
    """Seconds of a gradient of a minibatch."""
    objective = bench.objective
    batch = torch.arange(min(plan.batch_size, objective.n))

    def timed() -> float:
        started = time.monotonic()
        float(objective.losses_and_gradient(batch).sum())
        clear_gradients(objective.parameters)
        return time.monotonic() - started

    first = timed()
    # The first one also finds out how to compute.
    return first if first > QUICK else min(timed(), timed())
