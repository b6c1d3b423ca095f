"""Pilot chains: λ̂ over resolutions, over step sizes, and once with checks as an estimate has them.

Every chain is a part of the run, so that any number of processes share them and none is made twice. All chains of one
number see the same batches and noise step by step, and those that are compared draw at the same steps.
"""

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

import torch

from hf_llc import queue
from hf_llc.adapters.fleet import Fleet
from hf_llc.adapters.store import RunStore
from hf_llc.checks import checked_chains
from hf_llc.core.chain import run_chain
from hf_llc.core.estimator import llc as llc_of
from hf_llc.core.lanczos import Nodes, nodes_of
from hf_llc.core.stepsize import choose_burn_in, relaxation_rate, stability
from hf_llc.core.variations import Variation
from hf_llc.cross_check import SEQUENCES
from hf_llc.observer import Observer
from hf_llc.plan import Plan
from hf_llc.resolution import Resolution, measure_gamma, resolve, temperature
from hf_llc.results import ChainTrace
from hf_llc.settings import STABILITY_LIMIT, ResolvedSettings
from hf_llc.workbench import Workbench

RESOLUTIONS = tuple(10 ** (power / 2) for power in range(-5, 4))
"""γ, in units of the one that is chosen where there is no plateau: four decades, most of them towards γ/nβ → 0."""
MIDDLE = RESOLUTIONS.index(1.0)
STEPS = (0.25, 0.5, 1.0, 2.0, 4.0)
"""ε, in units of the one that curvature and gradient noise suggest."""
STEPS_TRIED = 4
"""Of these, the largest that are stable: smaller ones forget more slowly, and say less for the same cost."""
STABLE_SHARE = 0.8
"""Of the stability limit: larger steps are not tried."""
SWEPT_CHAINS = 2
LONGEST_BURN_IN = 4
"""Of a pilot chain, in its draws; a point that needs more is not equilibrated, and says so."""
SHARED_BURN_IN = 1
"""In draws: chains that need no more than this wait for one another, so that they draw at the same steps."""
FINAL_DRAWS = 2
"""Draws of the last pilot chains, in those of the others."""


class Task(NamedTuple):
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
    bench: Workbench
    fleet: Fleet
    observer: Observer
    anchors: Sequence[float]

    def chains(self, phase: str, tasks: Sequence[Task]) -> list[ChainTrace]:
        """The trace of every task, in order."""
        by_name = {task.name: task for task in tasks}
        self.observer.begin(phase, sum(task.settings.steps for task in by_name.values()))
        parts = queue.complete(
            self.store,
            list(by_name),
            lambda name: self._trace(by_name[name]),
            first=self.fleet.rank,
            found=lambda done: self.observer.advance(sum(by_name[name].settings.steps for name in done)),
        )
        self.observer.end()
        traces = {name: ChainTrace.from_dict(part) for name, part in zip(by_name, parts, strict=True)}
        return [traces[task.name] for task in tasks]

    def _trace(self, task: Task) -> dict[str, Any]:
        objective, settings = self.bench.objective, task.settings
        started = time.monotonic()
        trace = run_chain(
            objective,
            torch.tensor(self.anchors, device=objective.parameters[0].device),
            settings,
            task.chain,
            anchor_gradient=self.bench.anchor_gradient() if settings.gradient != "minibatch" else None,
            variation=task.variation,
            progress=lambda step, loss, delta: self.observer.chain(
                str(task.chain), step, loss, llc_of(settings.n_beta, delta)
            ),
        )
        return replace(trace, seconds=time.monotonic() - started).to_dict()


@dataclass(frozen=True)
class Swept:
    """Chains at one γ or one ε; `needed` is the burn-in that its own relaxation time asks for."""

    resolution: Resolution
    needed: int
    traces: Sequence[ChainTrace]

    @property
    def settings(self) -> ResolvedSettings:
        return self.resolution.settings


def resolutions(site: Site) -> list[Resolution]:
    """For each γ of the sweep, in rising order, the settings that are measured and chosen there.

    The middle one is at the γ asked for, or at the one whose localiser alone raises the loss by as much as
    `core.localisation` aims at.
    """
    asked = site.plan.sampler

    def middle(name: str) -> dict[str, Any]:
        if asked.gamma is not None:
            return {"gamma": asked.gamma, "why": "as asked."}
        gamma, why = measure_gamma(site.bench, asked.seed)
        return {"gamma": gamma, "why": why}

    base = queue.complete(site.store, ["middle"], middle)[0]
    n_beta, _ = temperature(asked.n_beta, site.plan.corpus.n)

    def measured(name: str) -> dict[str, Any]:
        factor = RESOLUTIONS[names.index(name)]
        gamma = base["gamma"] if factor == 1 else float(f"{base['gamma'] * factor:.3g}")
        sampler = replace(asked, n_beta=n_beta, gamma=gamma, lr=None, burn_in=None)
        return resolve(replace(site.plan, sampler=sampler), site.bench).to_dict()

    names = [f"sweep/{index}" for index in range(len(RESOLUTIONS))]
    site.observer.begin("curvature at each γ", len(names))
    parts = queue.complete(
        site.store, names, measured, first=site.fleet.rank, found=lambda done: site.observer.advance(len(done))
    )
    site.observer.end()
    found = [Resolution.from_dict(part) for part in parts]
    found[MIDDLE] = replace(found[MIDDLE], choices={**found[MIDDLE].choices, "gamma": base["why"]})
    return found


def swept_settings(site: Site, found: Sequence[Resolution]) -> list[ResolvedSettings]:
    """The settings of the sweep's chains."""
    return _aligned(site, [each.settings for each in found])


def sweep(site: Site, found: Sequence[Resolution]) -> list[Swept]:
    """λ̂ over γ."""
    return _run(site, "λ̂ over γ/nβ", found, swept_settings(site, found))


def step_settings(site: Site, at: Resolution) -> list[ResolvedSettings]:
    """The settings of chains at a γ with steps around the one that was chosen there or asked for, as far as stable."""
    middle = replace(at.settings, lr=site.plan.sampler.lr or at.settings.lr)
    varied = [replace(middle, lr=middle.lr * factor) for factor in STEPS]
    stable = [
        each
        for each in varied
        if stability(each.lr, each.n_beta, at.curvature, each.gamma) <= STABLE_SHARE * STABILITY_LIMIT
    ]
    return _aligned(site, [own_burn_in(each) for each in stable[-STEPS_TRIED:]])


def steps(site: Site, at: Resolution) -> list[Swept]:
    """λ̂ over ε at the γ of `at`."""
    chosen = step_settings(site, at)
    return _run(site, "λ̂ over ε", [at] * len(chosen), chosen)


def pilot_settings(site: Site, at: Resolution, lr: float) -> ResolvedSettings:
    """The settings of the last pilot chains: those of an estimate, with fewer draws."""
    draws = site.plan.sampler.draws
    own = own_burn_in(replace(at.settings, lr=lr, draws=FINAL_DRAWS * draws, chains=site.plan.sampler.chains))
    return replace(own, burn_in=min(own.burn_in, LONGEST_BURN_IN * draws))


def pilot(site: Site, settings: ResolvedSettings) -> tuple[list[ChainTrace], dict[tuple[str, int], ChainTrace]]:
    """The main chains, and the varied ones by (variation, chain)."""
    checks = checked_chains(settings.chains)
    main = [Task(settings, chain) for chain in range(settings.chains)]
    varied = [Task(variation.settings(settings), chain, variation) for variation, chain in checks]
    found = site.chains("at the chosen settings", [*main, *varied])
    names = [(variation.name, chain) for variation, chain in checks]
    return found[: len(main)], dict(zip(names, found[len(main) :], strict=True))


def quadratic_part(site: Site) -> tuple[Nodes, float]:
    """The spectrum of the Hessian at w*, from which the quadratic part's number follows at any resolution.

    Also the seconds that one sequence's gradient took.
    """
    used = min(site.plan.corpus.n, max(SEQUENCES, site.plan.sampler.batch_size))

    def make(name: str) -> dict[str, Any]:
        site.observer.begin("curvatures at w*", 1)
        objective = site.bench.objective
        started = time.monotonic()
        nodes = nodes_of(objective, torch.arange(used), site.plan.sampler.seed)
        seconds = time.monotonic() - started
        site.observer.end()
        return {"nodes": asdict(nodes), "seconds": seconds}

    found = queue.complete(site.store, ["quadratic"], make)[0]
    nodes = Nodes(**found["nodes"])
    # A product with the Hessian takes two gradients.
    return nodes, found["seconds"] / (2 * sum(map(len, nodes.values)) * used)


def _run(site: Site, phase: str, found: Sequence[Resolution], settings: Sequence[ResolvedSettings]) -> list[Swept]:
    traces = iter(site.chains(phase, [Task(each, chain) for each in settings for chain in range(each.chains)]))
    return [
        Swept(
            resolution=replace(resolution, settings=each),
            needed=own_burn_in(each).burn_in,
            traces=[next(traces) for _ in range(each.chains)],
        )
        for resolution, each in zip(found, settings, strict=True)
    ]


def _aligned(site: Site, settings: Sequence[ResolvedSettings]) -> list[ResolvedSettings]:
    """The settings of pilot chains that draw at the same steps, but for those that need a much longer burn-in."""
    draws = site.plan.sampler.draws
    shared = max((each.burn_in for each in settings if each.burn_in <= SHARED_BURN_IN * draws), default=0)
    longest, chains = LONGEST_BURN_IN * draws, min(SWEPT_CHAINS, site.plan.sampler.chains)
    return [
        replace(each, chains=chains, draws=draws, burn_in=min(max(each.burn_in, shared), longest)) for each in settings
    ]


def own_burn_in(settings: ResolvedSettings) -> ResolvedSettings:
    """The settings with the burn-in that their own relaxation time asks for."""
    rate = relaxation_rate(settings.lr, settings.gamma, settings.sampler, settings.momentum)
    return replace(settings, burn_in=choose_burn_in(rate, settings.draws, settings.thin, settings.start))
