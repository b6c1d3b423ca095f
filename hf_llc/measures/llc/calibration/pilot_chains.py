"""Chains as parts of a run: named by everything that they depend on, made once, shared by any number of processes."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from hf_llc.execution import work_queue
from hf_llc.execution.chain_runner import ChainRunner, ChainSpec
from hf_llc.execution.distributed.world import ProcessWorld
from hf_llc.execution.loaded_model import LoadedModel
from hf_llc.execution.plan import Plan
from hf_llc.execution.store import RunStore
from hf_llc.measures.llc.resolution import ResolvedRun
from hf_llc.measures.llc.soundness import on_one_baseline
from hf_llc.results.estimate import ChainTrace
from hf_llc.results.progress import Observer
from hf_llc.sampling.tuning.step_size import choose_burn_in, relaxation_rate
from hf_llc.sampling.variations import Variation
from hf_llc.settings.resolved import ResolvedSettings

SWEPT_CHAINS = 2
LONGEST_BURN_IN = 4
"""Of a pilot chain, in its draws; a point that needs more is not equilibrated, and says so."""
SHARED_BURN_IN = 1
"""In draws: chains that need no more than this wait for one another, so that they draw at the same steps."""


class PilotChain(NamedTuple):
    """One chain: its settings, its number, and what it varies."""

    settings: ResolvedSettings
    chain: int
    variation: Variation | None = None

    @property
    def name(self) -> str:
        """Of its part: different whenever anything that the trace depends on is."""
        text = json.dumps(self.settings.to_dict(), sort_keys=True)
        varied = f"{self.variation.name}-" if self.variation else ""
        return f"chains/{hashlib.sha256(text.encode()).hexdigest()[:12]}-{varied}{self.chain:03d}"


@dataclass(frozen=True)
class Site:
    """Where pilot chains run: the plan, whose `sampler.draws` are a pilot chain's, and everything of this process."""

    plan: Plan
    store: RunStore
    bench: LoadedModel
    fleet: ProcessWorld
    observer: Observer
    anchors: Sequence[float]

    def chains(self, phase: str, tasks: Sequence[PilotChain]) -> list[ChainTrace]:
        """The trace of every task, in order."""
        by_name = {task.name: task for task in tasks}
        jobs = {name: ChainSpec(*task, label=str(task.chain)) for name, task in by_name.items()}
        self.observer.begin(phase, sum(job.settings.steps for job in jobs.values()))
        parts = work_queue.run_to_end(
            work_queue.make_parts(
                self.store,
                list(jobs),
                ChainRunner(jobs, self.bench, self.anchors, self.observer),
                first=self.fleet.share,
                on_parts=lambda done: self.observer.advance(sum(jobs[name].settings.steps for name in done)),
            )
        )
        self.observer.end()
        traces = {name: ChainTrace.from_dict(part) for name, part in zip(jobs, parts, strict=True)}
        return on_one_baseline([traces[task.name] for task in tasks])[0]


@dataclass(frozen=True)
class Swept:
    """Chains at one γ or one ε; `needed` is the burn-in that its own relaxation time asks for."""

    resolution: ResolvedRun
    needed: int
    traces: Sequence[ChainTrace]

    @property
    def settings(self) -> ResolvedSettings:
        return self.resolution.settings


def swept_chains(
    site: Site, phase: str, resolutions: Sequence[ResolvedRun], settings: Sequence[ResolvedSettings]
) -> list[Swept]:
    """The chains with each of the settings, beside what was measured there."""
    traces = iter(site.chains(phase, [PilotChain(each, chain) for each in settings for chain in range(each.chains)]))
    return [
        Swept(
            resolution=replace(resolution, settings=each),
            needed=own_burn_in(each, resolution.typical).burn_in,
            traces=[next(traces) for _ in range(each.chains)],
        )
        for resolution, each in zip(resolutions, settings, strict=True)
    ]


def aligned(site: Site, settings: Sequence[ResolvedSettings], least: int = 0) -> list[ResolvedSettings]:
    """The settings of pilot chains that draw at the same steps, but for those that need a much longer burn-in.

    Args:
        least: burn-in of chains that these are to draw with.
    """
    draws = site.plan.sampler.chain_draws
    shared = max([each.burn_in for each in settings if each.burn_in <= SHARED_BURN_IN * draws] + [least])
    longest, chains = LONGEST_BURN_IN * draws, min(SWEPT_CHAINS, site.plan.sampler.chain_count)
    return [
        replace(each, chains=chains, draws=draws, burn_in=min(max(each.burn_in, shared), longest)) for each in settings
    ]


def own_burn_in(settings: ResolvedSettings, typical: float) -> ResolvedSettings:
    """The settings with the burn-in that their own relaxation time asks for.

    Args:
        typical: the curvature that most of tr H comes from.
    """
    rate = relaxation_rate(settings.lr, settings.gamma, settings.sampler, settings.momentum)
    stiffness = settings.n_beta * typical / settings.gamma
    burn_in = choose_burn_in(rate, settings.draws, settings.thin, settings.start, stiffness)
    return replace(settings, burn_in=burn_in)
