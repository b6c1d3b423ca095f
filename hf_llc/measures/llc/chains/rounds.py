"""Chains in rounds: more of them, until λ̂ is known as well as was asked for or the time is up.

A chain depends on its number alone, so that any number of processes make the same ones, a later command adds to those
that are there, and what was interrupted goes on as if it had not been.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from hf_llc.execution.chain_runner import ChainSpec
from hf_llc.execution.distributed.world import ProcessWorld
from hf_llc.execution.plan import Plan
from hf_llc.execution.store import RunStore
from hf_llc.execution.work_queue import Steps
from hf_llc.measures.llc.chains.parts import Maker, Names, cross_check_names, folder_of
from hf_llc.measures.llc.chains.target import next_chains
from hf_llc.measures.llc.draws.rounds import deadline_of, is_over
from hf_llc.measures.llc.resolution import ResolvedRun
from hf_llc.measures.llc.soundness import Sampled, with_one_baseline
from hf_llc.measures.llc.summarise import Judged, judged
from hf_llc.results.estimate import ChainTrace
from hf_llc.results.progress import Observer
from hf_llc.sampling.statistics import MANY_CHAINS
from hf_llc.settings.posterior import FEW_CHAINS
from hf_llc.settings.stopping import TARGET_STDERR

ENDED = "ended"
"""The part that says how many chains there are and what ended them."""
FEWEST = 2
"""Chains without which there is no number."""
CLOSING = 2.0
"""Seconds that are kept for the results."""


def target_of(plan: Plan) -> float:
    """The standard error at which chains end, as a share of λ̂."""
    return plan.sampler.target_stderr or TARGET_STDERR


def steps(
    plan: Plan,
    store: RunStore,
    resolution: ResolvedRun,
    maker: Maker,
    fleet: ProcessWorld,
    observer: Observer,
    keep: Callable[[], None],
) -> Steps[None]:
    """Makes what is missing of the chains, one part at a time.

    Args:
        keep: called in one process after each round, to write down the number so far.
    """
    clock = _Clock(plan, fleet)
    count: int | None = first_chains(plan, fleet.world)
    while count is not None:
        names = Names(plan, count, resolution.settings.draws)
        yield from _round(names, store, maker, clock)
        sampled = sampled_of(plan, store, resolution, count)
        judgement = judged(*with_one_baseline(sampled))
        wanted, why = next_chains(judgement, count, target_of(plan), plan.sampler.max_chains)
        is_whole = len(sampled.traces) == count and len(sampled.varied) == len(names.checks)
        by_time = not is_whole or (wanted is not None and clock.is_up())
        if by_time:
            # An earlier command may have had the time for more.
            sampled = sampled_of(plan, store, resolution, max(len(sampled.traces), present_chains(plan, store)))
            judgement = judged(*with_one_baseline(sampled))
            wanted, why = None, f"The time is up with {len(sampled.traces)} chains."
        if wanted is None:
            _end(plan, store, len(sampled.traces), plan.deadline if by_time else None)
        count = wanted
        if fleet.is_main:
            observer.tell(f"{plan.title}: {_said(judgement)}. {why}")
            keep()
    others = [] if clock.is_up() else cross_check_names(plan)
    if others:
        yield from maker.make({}, others)


def first_chains(plan: Plan, world: int) -> int:
    """Chains of the first round: as many as it takes to end by their error, or fewer where time may end them before."""
    asked = plan.sampler.chains or 0
    if plan.deadline is None:
        return min(max(MANY_CHAINS, asked), plan.sampler.max_chains)
    return min(max(FEW_CHAINS, asked, min(world, MANY_CHAINS)), plan.sampler.max_chains)


def _round(names: Names, store: RunStore, maker: Maker, clock: "_Clock") -> Steps[None]:
    jobs = maker.jobs(names)
    if clock.deadline is not None:
        # The least that makes a number is made whatever the time: it was planned to fit.
        least = {name: jobs[name] for name in names.main[:FEW_CHAINS]}
        yield from maker.make(least)
        clock.expect(store, jobs, least)
    parts = maker.make(jobs)
    try:
        while not clock.is_up():
            yield next(parts)
    except StopIteration:
        pass


class _Clock:
    """Says whether there is time for one more chain.

    Processes that hold one model together have clocks of their own, and must end with the same part.
    """

    def __init__(self, plan: Plan, fleet: ProcessWorld) -> None:
        self.deadline, self._fleet, self._expected = deadline_of(plan), fleet, CLOSING

    def expect(self, store: RunStore, jobs: Mapping[str, ChainSpec], done: Mapping[str, ChainSpec]) -> None:
        """Chains take as long as those that are done, in proportion to their gradients."""
        rates = [
            ChainTrace.from_dict(stored).seconds / job.settings.gradients
            for name, job in done.items()
            if (stored := store.read(name)) is not None
        ]
        longest = max(job.settings.gradients for job in jobs.values())
        self._expected = CLOSING + max(rates, default=0.0) * longest

    def is_up(self) -> bool:
        return self._fleet.lead(lambda: self.deadline is not None and time.time() + self._expected >= self.deadline)


def sampled_of(plan: Plan, store: RunStore, resolution: ResolvedRun, count: int) -> Sampled:
    """The chains that are there of so many, up to the first that is missing, and those that check them."""
    names = Names(plan, count, resolution.settings.draws)
    traces: list[ChainTrace] = []
    for name in names.main:
        stored = store.read(name)
        if stored is None:
            break
        traces.append(ChainTrace.from_dict(stored))
    varied: dict[tuple[str, int], ChainTrace] = {}
    missing = set()
    for name, (variation, chain) in names.checks.items():
        stored = store.read(name)
        if stored is None or variation.name in missing or chain >= len(traces):
            missing.add(variation.name)
        else:
            varied[variation.name, chain] = ChainTrace.from_dict(stored)
    if not any(name == "half-step" for name, _ in varied):
        # What the others say is of chains whose step was checked.
        varied = {}
    settings = replace(resolution.settings, chains=max(FEWEST, len(traces)))
    return Sampled(replace(resolution, settings=settings), traces, varied)


def chains_of(plan: Plan, store: RunStore) -> int:
    """How many chains make the number: as many as their error asks for, or all that there was time for."""
    record = store.read(_ended(plan)) or {}
    if _is_by_error(plan, record):
        return int(record["chains"])
    return present_chains(plan, store)


def present_chains(plan: Plan, store: RunStore) -> int:
    """How many chains of the run are on disk, up to the first that is missing."""
    count = 0
    while store.path(f"{folder_of(plan)}chains/{count:03d}").exists():
        count += 1
    return count


def is_finished(plan: Plan) -> bool:
    """True if nothing is left to sample, or no time to do it."""
    store = RunStore(plan.run_dir, lambda message: None)
    record = store.read(_ended(plan)) or {}
    if not (_is_by_error(plan, record) or _is_by_time(plan, record)):
        return False
    count = chains_of(plan, store)
    return count >= FEWEST and all(store.path(name).exists() for name in Names(plan, count, FEW_CHAINS).main)


def _ended(plan: Plan) -> str:
    return f"{folder_of(plan)}{ENDED}"


def _end(plan: Plan, store: RunStore, chains: int, deadline: float | None) -> None:
    asked = plan.sampler
    store.write(
        _ended(plan),
        {
            "chains": chains,
            "target": target_of(plan),
            "asked": asked.chains,
            "max_chains": asked.max_chains,
            "deadline": deadline,
        },
    )


def _is_by_error(plan: Plan, record: Mapping[str, Any]) -> bool:
    asked = plan.sampler
    ended = (record.get("target"), record.get("asked"), record.get("max_chains"))
    return record.get("deadline", 0.0) is None and ended == (target_of(plan), asked.chains, asked.max_chains)


def _is_by_time(plan: Plan, record: Mapping[str, Any]) -> bool:
    """True if the time that this plan's chains had is up."""
    if plan.deadline is None:
        return False
    return is_over(plan.deadline) or record.get("deadline", 0.0) == plan.deadline


def _said(judgement: Judged) -> str:
    if judgement.llc is None or judgement.stderr is None:
        return "no number"
    return f"λ̂ = {judgement.llc:.4g} ± {judgement.stderr:.2g}"
