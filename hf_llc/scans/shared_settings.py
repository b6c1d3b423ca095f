"""LLC over training: several checkpoints of one model at one temperature and one localizing prior."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from hf_llc.errors import HfLlcError
from hf_llc.execution import planning, work_queue
from hf_llc.execution.distributed import world as fleets
from hf_llc.execution.loaded_model import LoadedModel, ModelSlot, computing
from hf_llc.execution.plan import Plan
from hf_llc.execution.store import RunStore
from hf_llc.execution.thoroughness import allowance_of
from hf_llc.measures.llc import estimation
from hf_llc.measures.llc.draws import rounds
from hf_llc.measures.llc.resolution import measure_around, measure_gamma, temperature
from hf_llc.measures.run import run_all
from hf_llc.measures.schedule import CHECKPOINT_FAILURES
from hf_llc.results.estimate import Estimate
from hf_llc.results.progress import Observer
from hf_llc.sampling.samplers import AUTO
from hf_llc.sampling.tuning.cached import CachedMeasurements
from hf_llc.sampling.tuning.choose_chains import choose_chains
from hf_llc.sampling.tuning.measure import GeometryReport
from hf_llc.sampling.tuning.measurements import LocalGeometry
from hf_llc.settings.bounds import Bounds, checked_arguments
from hf_llc.settings.data import DataSettings
from hf_llc.settings.limits import MOST_PROCESSES
from hf_llc.settings.model import ModelSettings
from hf_llc.settings.sampler import SamplerSettings

Here = Callable[[Plan], AbstractContextManager[Plan]]
"""Gives a plan whose checkpoint is on this disk while the block runs."""
Bring = Callable[[Sequence[Plan]], AbstractContextManager[Here]]

SHARED = "shared"
"""The part of a run's folder that holds what was measured for the whole curve."""

UNMEASURED = LocalGeometry(curvature=math.nan, trace=math.nan, squares=math.nan, noise=math.nan, rise=math.nan)
"""In place of measurements where nothing is left to choose."""


class Shared(NamedTuple):
    """The settings of a whole curve, and what is known around its checkpoints, by name of the run's folder."""

    sampler: SamplerSettings
    known: Mapping[str, Mapping[str, Any]]

    def knowing(self, plan: Plan) -> Plan:
        """The plan with what is known around its checkpoint."""
        return replace(plan, known=self.known.get(plan.run_dir.name))


def _in_place(plans: Sequence[Plan]) -> AbstractContextManager[Here]:
    return nullcontext(nullcontext)


@checked_arguments
def estimate_series(
    checkpoints: Sequence[ModelSettings],
    data: DataSettings,
    sampler: SamplerSettings,
    *,
    output_dir: Path,
    processes: Annotated[int | None, Bounds(low=1, high=MOST_PROCESSES)] = None,
    device: str | None = None,
    observer: Observer | None = None,
    on_point: Callable[[Estimate], None] = lambda estimates: None,
) -> list[Estimate]:
    """An Estimate for each of these checkpoints, in the order given, with the same batches and noise at each.

    λ̂ is comparable only at one γ/nβ: a γ that is not given is measured at the last checkpoint. Where the sampler may
    be chosen, each checkpoint takes independent draws if they serve there, else chains; where chains are asked for, all
    have one sampler and the ε of the sharpest checkpoint. A checkpoint whose chains diverged has no number in its
    Estimate.

    Args:
        checkpoints: where they are. data: the text of the loss. sampler: how the posterior is sampled.
        output_dir: holds a folder per checkpoint. processes: how many to start.
        device: `cpu`, `cuda` or `mps`. observer: receives progress and messages.
        on_point: called with each Estimate as soon as it exists.

    Raises:
        HfLlcError: see `estimate`.
    """
    observer = observer or Observer()

    def plan_at(index: int, settings: SamplerSettings) -> Plan:
        folder = output_dir / Path(checkpoints[index].revision or checkpoints[index].model).name
        return planning.plan(checkpoints[index], data, settings, output_dir=folder, device=device, observer=observer)

    started = time.monotonic()
    open_plans = [plan_at(index, sampler) for index in range(len(checkpoints))]
    store = RunStore(output_dir, observer.tell)
    store.open({"checkpoints": [plan.inputs() for plan in open_plans]})
    shared = shared_settings(open_plans, store, sampler, observer)
    plans = [shared.knowing(plan_at(index, shared.sampler)) for index in range(len(checkpoints))]
    run_all(plans, processes=processes, observer=observer)
    estimates = []
    for plan in plans:
        estimates.append(estimation.collect(plan, observer, started))
        on_point(estimates[-1])
        started = time.monotonic()
    return estimates


class Group(NamedTuple):
    """The plans of one curve, which share settings.

    Attributes:
        store: keeps the settings once they are measured. sampler: what is asked for.
        on_failure: told of a checkpoint that cannot be measured, which is then left out; None raises instead.
    """

    plans: Sequence[Plan]
    store: RunStore
    sampler: SamplerSettings
    on_failure: Callable[[Plan, HfLlcError], None] | None = None

    @property
    def is_chosen(self) -> bool:
        """Whether nothing is left to measure for chains."""
        asked = self.sampler
        choices = {asked.sampler, asked.start, asked.gradient, asked.batches}
        return asked.gamma is not None and asked.lr is not None and AUTO not in choices


def shared_settings(plans: Sequence[Plan], store: RunStore, sampler: SamplerSettings, observer: Observer) -> Shared:
    """The settings with γ, ε, sampler and start filled in for a whole curve; once measured, kept in the store."""
    return shared_settings_of([Group(plans, store, sampler)], observer)[0]


def shared_settings_of(groups: Sequence[Group], observer: Observer, bring: Bring = _in_place) -> list[Shared]:
    """The settings of each of several curves over the same checkpoints, which are loaded once for all of them.

    Args:
        bring: makes these plans' checkpoints, in this order, be here one after the other.
    """
    measured: dict[int, _Around] = {}

    def around(index: int) -> _Around:
        if index not in measured:
            left = [place for place, group in enumerate(groups) if place >= index and group.store.read(SHARED) is None]
            with computing(groups[index].plans[0].threads), bring(groups[index].plans[::-1]) as provide:
                around_each = _measure([groups[place] for place in left], observer, provide)
            measured.update(zip(left, around_each, strict=True))
        return measured[index]

    def make(index: int, name: str) -> dict[str, Any]:
        plans, sampler, on_failure = groups[index].plans, groups[index].sampler, groups[index].on_failure
        if sampler.by_draws or sampler.tries_draws:
            if sampler.gamma is not None:
                return {"settings": {"gamma": sampler.gamma}, "sentences": [], "known": {}}
            with computing(plans[0].threads), bring(plans[::-1]) as provide:
                gamma, sentence = _gamma_of_draws(plans, observer, on_failure, provide)
            return {"settings": {"gamma": gamma}, "sentences": [f"At the last checkpoint: {sentence}"], "known": {}}
        if groups[index].is_chosen:
            assert sampler.gamma is not None
            return {**_chosen(plans[0], sampler.gamma, [UNMEASURED], []), "known": {}}
        measurements = around(index)
        assert measurements.gamma is not None
        gradient = "minibatch" if sampler.gradient == AUTO else sampler.gradient
        known = {name: CachedMeasurements.of(each, gradient) for name, each in measurements.reports.items()}
        stored = {name: each.to_dict() for name, each in known.items() if each.is_finite}
        reports = [each.measured for each in measurements.reports.values()]
        return {**_chosen(plans[0], measurements.gamma, reports, measurements.sentences), "known": stored}

    every = []
    for index, group in enumerate(groups):
        payload = work_queue.make_all_parts(group.store, [SHARED], partial(make, index))[0]
        for sentence in payload["sentences"]:
            observer.tell(sentence)
        # Folders of earlier versions have none.
        every.append(Shared(replace(group.sampler, **payload["settings"]), payload.get("known", {})))
    return every


def _gamma_of_draws(
    plans: Sequence[Plan], observer: Observer, on_failure: Callable[[Plan, HfLlcError], None] | None, provide: Here
) -> tuple[float, str]:
    """γ from the last checkpoint that can be used, and the sentence on it."""
    device, room = fleets.single_process(plans[0].device).device, ModelSlot()
    for index, plan in enumerate(reversed(plans)):
        ready = plan
        try:
            with provide(plan) as ready:
                bench = LoadedModel(ready.of_draws(), device, room)
                with observer.part("loading"):
                    bench.load()
                with observer.part("measuring"):
                    measured = rounds.measured_gamma(ready.of_draws(), bench)
                bench.clear()
                return measured
        except CHECKPOINT_FAILURES as error:
            if on_failure is None or index == len(plans) - 1:
                raise
            on_failure(ready, error)
    raise AssertionError("there is a last plan")


@dataclass
class _Around:
    """γ from the last checkpoint, what was measured around each by the name of its folder, and sentences on γ."""

    gamma: float | None
    reports: dict[str, GeometryReport] = field(default_factory=dict)
    sentences: list[str] = field(default_factory=list)

    def measure(self, plan: Plan, sampler: SamplerSettings, bench: LoadedModel, observer: Observer) -> None:
        """Look around one more checkpoint."""
        n_beta, _ = temperature(sampler.n_beta, plan.corpus.n, plan.items)
        with observer.part("loading"):
            bench.load()
        with observer.part("measuring"):
            if self.gamma is None:
                self.gamma, sentence = measure_gamma(bench, sampler.seed)
                self.sentences.append(f"At the last checkpoint: {sentence}")
            walked = [each for each in self.reports.values() if each.walked]
            allowance = allowance_of(plan, bench.meter, bench.extent, n_beta=n_beta, gamma=self.gamma)
            report = measure_around(bench, sampler, n_beta, self.gamma, allowance, walked)
            self.reports[plan.run_dir.name] = report


def _measure(groups: Sequence[Group], observer: Observer, provide: Here) -> list[_Around]:
    """What was measured around the checkpoints of each of the groups, one checkpoint after the other."""
    count = len(groups[0].plans)
    device, room = fleets.single_process(groups[0].plans[0].device).device, ModelSlot()
    every = [_Around(group.sampler.gamma) for group in groups]
    observer.begin("curvature of each checkpoint", count)

    def failed(place: int, plan: Plan, error: HfLlcError) -> None:
        tell, is_last = groups[place].on_failure, plan.run_dir == groups[place].plans[0].run_dir
        if tell is None or (is_last and not every[place].reports):
            raise error
        tell(plan, error)

    for index in reversed(range(count)):
        with ExitStack() as stack:
            try:
                here = stack.enter_context(provide(groups[0].plans[index]))
            except CHECKPOINT_FAILURES as error:
                for place, group in enumerate(groups):
                    failed(place, group.plans[index], error)
                continue
            for place, group in enumerate(groups):
                plan = replace(group.plans[index], source=here.source)
                try:
                    every[place].measure(plan, group.sampler, LoadedModel(plan, device, room), observer)
                except CHECKPOINT_FAILURES as error:
                    failed(place, plan, error)
            # A file that is mapped into memory takes its room on disk even when it has been removed.
            room.clear()
        observer.advance(count - index)
    observer.end()
    return every


def _chosen(plan: Plan, gamma: float, measured: Sequence[LocalGeometry], sentences: Sequence[str]) -> dict[str, Any]:
    """What is shared, with the sentences behind it; each run takes the burn-in that its own measurements ask for."""
    n_beta, _ = temperature(plan.sampler.n_beta, plan.corpus.n, plan.items)
    choice = choose_chains(plan.sampler, measured, n_beta=n_beta, gamma=gamma, n=plan.corpus.n, dtype=plan.dtype)
    reasons = [reason for name, reason in choice.reasons.items() if name != "burn_in"]
    if reasons:
        reasons.insert(0, "For every checkpoint, from the sharpest and the noisiest of them:")
    settings = {name: value for name, value in choice.settings.items() if name != "burn_in"}
    return {"settings": {"gamma": gamma, **settings}, "sentences": [*sentences, *reasons]}
