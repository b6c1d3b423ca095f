"""Pilot chains: λ̂ over resolutions, over step sizes, and once with checks as an estimate has them.

All chains of one number see the same batches and noise step by step; those that are compared draw at the same steps.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import Any

from hf_llc.execution import work_queue
from hf_llc.measures.llc.calibration.pilot_chains import (
    LONGEST_BURN_IN,
    PilotChain,
    Site,
    Swept,
    aligned,
    own_burn_in,
    swept_chains,
)
from hf_llc.measures.llc.resolution import ResolvedRun, measure_gamma, resolve_settings, temperature
from hf_llc.measures.llc.sensitivity import sensitivity_chains
from hf_llc.results.estimate import ChainTrace
from hf_llc.sampling.tuning.lanczos import Nodes, nodes_of
from hf_llc.sampling.tuning.step_size import stability
from hf_llc.settings.posterior import STABILITY_LIMIT
from hf_llc.settings.resolved import ResolvedSettings

RESOLUTIONS = tuple(10 ** (power / 2) for power in range(-5, 4))
"""γ, in units of the one that is chosen where there is no plateau: four decades, most of them towards γ/nβ → 0."""
MIDDLE = RESOLUTIONS.index(1.0)
STEPS = (0.25, 0.5, 1.0, 2.0, 4.0)
"""ε, in units of the one that curvature and gradient noise suggest."""
STEPS_TRIED = 4
"""Of these, the largest that are stable: smaller ones forget more slowly, and say less for the same cost."""
STABLE_SHARE = 0.8
"""Of the stability limit: larger steps are not tried."""
FINAL_DRAWS = 3
"""Draws of the last pilot chains, in those of the others."""
FIRST = MIDDLE - 1
"""The sweep begins with this γ and all larger γ; then it goes down, as long as the chains stay local."""
CHECKED = ("half-step", "cold")
SETTLING = ("stronger",)
"""Of the checks that an estimate makes, those that the last pilot chains make, and a further one where the chains begin
at w* and the verdict on a burn-in asks for it."""
CURVED_SEQUENCES = 32
"""Sequences whose Hessian is looked at, at least."""


def first_resolutions(site: Site) -> list[ResolvedRun]:
    """The settings measured and chosen at each γ that the sweep begins with, in rising order of γ.

    The second one is at the γ asked for, or at the one whose localizing prior alone raises the loss by as much as
    `sampling.tuning.gamma` aims at: the middle of the sweep.
    """
    indices = range(FIRST, len(RESOLUTIONS))
    site.observer.begin("curvature at each γ", len(indices))
    resolutions = _resolutions(site, indices)
    site.observer.end()
    return resolutions


def _resolutions(site: Site, indices: Sequence[int]) -> list[ResolvedRun]:
    asked = site.plan.sampler

    def middle(name: str) -> dict[str, Any]:
        if asked.gamma is not None:
            return {"gamma": asked.gamma, "why": "as asked."}
        gamma, why = measure_gamma(site.bench, asked.seed)
        return {"gamma": gamma, "why": why}

    base = work_queue.make_all_parts(site.store, ["middle"], middle)[0]
    n_beta, _ = temperature(asked.n_beta, site.plan.corpus.n, site.plan.items)
    factors = {f"sweep/{index}": RESOLUTIONS[index] for index in indices}

    def measured(name: str) -> dict[str, Any]:
        gamma = base["gamma"] if factors[name] == 1 else float(f"{base['gamma'] * factors[name]:.3g}")
        sampler = replace(asked, n_beta=n_beta, gamma=gamma, lr=None, burn_in=None)
        resolution = resolve_settings(replace(site.plan, sampler=sampler), site.bench)
        why = {"gamma": base["why"]} if factors[name] == 1 else {}
        return replace(resolution, choices={**resolution.choices, **why}).to_dict()

    parts = work_queue.make_all_parts(
        site.store,
        list(factors),
        measured,
        first=site.fleet.share,
        on_parts=lambda done: site.observer.advance(len(done)),
    )
    return [ResolvedRun.from_dict(part) for part in parts]


def first_settings(site: Site, resolutions: Sequence[ResolvedRun]) -> list[ResolvedSettings]:
    """The settings of the chains that the sweep begins with."""
    return aligned(site, [each.settings for each in resolutions])


def sweep(site: Site, first: Sequence[ResolvedRun], is_local: Callable[[Swept], bool]) -> list[Swept]:
    """λ̂ over γ, in rising order: at the first ones, then at ever smaller γ as long as the last is local."""
    phase, chosen = "λ̂ over γ/nβ", first_settings(site, first)
    swept = swept_chains(site, phase, first, chosen)
    for index in reversed(range(FIRST)):
        if not is_local(swept[0]):
            break
        (weaker,) = _resolutions(site, [index])
        swept = [*swept_chains(site, phase, [weaker], aligned(site, [weaker.settings], chosen[0].burn_in)), *swept]
    return swept


def step_settings(site: Site, at: ResolvedRun, burn_in: int) -> list[ResolvedSettings]:
    """The settings of chains at a γ with steps around the one that was chosen there or asked for, as far as stable.

    Args:
        burn_in: of the sweep's chains there, which are among these unless a smaller step needs a longer one.
    """
    middle = replace(at.settings, lr=site.plan.sampler.lr or at.settings.lr)
    varied = [replace(middle, lr=middle.lr * factor) for factor in STEPS]
    stable = [
        each
        for each in varied
        if stability(each.lr, each.n_beta, at.curvature, each.gamma) <= STABLE_SHARE * STABILITY_LIMIT
    ]
    return aligned(site, [own_burn_in(each, at.typical) for each in stable[-STEPS_TRIED:]], burn_in)


def steps(site: Site, at: ResolvedRun, burn_in: int) -> list[Swept]:
    """λ̂ over ε at the γ of `at`; arguments as in `step_settings`."""
    chosen = step_settings(site, at, burn_in)
    return swept_chains(site, "λ̂ over ε", [at] * len(chosen), chosen)


def pilot_settings(site: Site, at: ResolvedRun, lr: float) -> ResolvedSettings:
    """The settings of the last pilot chains: those of an estimate, with fewer draws."""
    draws = site.plan.sampler.chain_draws
    wanted = replace(at.settings, lr=lr, draws=FINAL_DRAWS * draws, chains=site.plan.sampler.chain_count)
    own = own_burn_in(wanted, at.typical)
    return replace(own, burn_in=min(own.burn_in, LONGEST_BURN_IN * draws))


def pilot_tasks(settings: ResolvedSettings) -> tuple[list[PilotChain], list[PilotChain]]:
    """The last pilot chains, and those that vary them."""
    main = [PilotChain(settings, chain) for chain in range(settings.chains)]
    names = CHECKED if settings.start == "localiser" else CHECKED + SETTLING
    varied = [
        PilotChain(variation.settings(settings), chain, variation)
        for variation, chain in sensitivity_chains(settings.chains, settings.draws)
        if variation.name in names
    ]
    return main, varied


def pilot(site: Site, settings: ResolvedSettings) -> tuple[list[ChainTrace], dict[tuple[str, int], ChainTrace]]:
    """The main chains, and the varied ones by (variation, chain)."""
    main, varied = pilot_tasks(settings)
    traces = site.chains("at the chosen settings", [*main, *varied])
    names = [(task.variation.name, task.chain) for task in varied if task.variation is not None]
    return traces[: len(main)], dict(zip(names, traces[len(main) :], strict=True))


def quadratic_part(site: Site) -> tuple[Nodes, float]:
    """The spectrum of the Hessian at w*, from which the quadratic part's number follows at any resolution.

    Also the seconds that one sequence's gradient took.
    """
    used = min(site.plan.corpus.n, max(CURVED_SEQUENCES, site.plan.sampler.chain_batch_size))

    def make(name: str) -> dict[str, Any]:
        site.observer.begin("curvatures at w*", 1)
        objective = site.bench.in_full
        started = time.monotonic()
        nodes = nodes_of(objective, site.bench.probe.items(used), site.plan.sampler.seed)
        seconds = time.monotonic() - started
        site.observer.end()
        return {"nodes": asdict(nodes), "seconds": seconds}

    payload = work_queue.make_all_parts(site.store, ["quadratic"], make)[0]
    nodes = Nodes(**payload["nodes"])
    # A product with the Hessian takes two gradients.
    return nodes, payload["seconds"] / (2 * sum(map(len, nodes.values)) * used)
