"""The main job: a checkpoint and a text to a local learning coefficient with its error.

plan     find the checkpoint and the text, pin both, fix the folder           (one process; `hf_llc.execution.planning`)
run      independent draws, or losses at w*, settings that were not given and chains; each part durable  (every process)
collect  parts to an Estimate                                                  (one process)
"""

import math
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from hf_llc.errors import ResourceError, UnusableError, is_read_only
from hf_llc.execution import work_queue
from hf_llc.execution.distributed.world import ProcessWorld
from hf_llc.execution.loaded_model import LoadedModel, LoadedObjective, computing, drop_gradient
from hf_llc.execution.plan import Plan
from hf_llc.execution.store import RunStore, Tell
from hf_llc.execution.work_queue import Steps
from hf_llc.measures.llc import recording, sgld_check
from hf_llc.measures.llc.chains import length
from hf_llc.measures.llc.chains import rounds as chain_rounds
from hf_llc.measures.llc.chains.parts import Maker, Names, cross_check_names, folder_of, resolved_name
from hf_llc.measures.llc.draws import choice, rounds
from hf_llc.measures.llc.draws.estimate import estimate_of_draws
from hf_llc.measures.llc.resolution import ResolvedRun
from hf_llc.measures.llc.soundness import with_one_baseline
from hf_llc.measures.llc.summarise import estimate_of
from hf_llc.results.estimate import ChainTrace, Estimate
from hf_llc.results.figures.safely import drawn
from hf_llc.results.progress import Observer

ANCHOR_PARTS = 16
"""The losses at w* are computed in at most this many parts, so that every process takes a share."""


def run(plan: Plan, fleet: ProcessWorld, observer: Observer, bench: LoadedModel | None = None) -> None:
    """Makes every part of the run that is not on disk yet, together with whoever else works on the same folder.

    Args:
        bench: None loads the plan's checkpoint when a part needs it.
    """
    bench = bench or LoadedModel(plan, fleet.device, group=fleet.group)

    def wait(seconds: float) -> None:
        with observer.part("waiting"):
            time.sleep(seconds)

    with computing(plan.threads):
        work_queue.run_to_end(steps(plan, bench, fleet, observer), wait)


def steps(plan: Plan, bench: LoadedModel, fleet: ProcessWorld, observer: Observer) -> Steps[None]:
    """What `run` does, one part at a time."""
    store = fleet.store(plan.run_dir, observer.tell, observer.part)
    store.open(plan.inputs())
    asked = plan
    if asked.sampler.tries_draws:
        bench = bench.at(asked.of_draws())
        plan = yield from choice.tried(asked, store, bench, fleet, observer)
    if plan.sampler.by_draws:
        draws = plan
        yield from rounds.steps(draws, store, bench, fleet, observer, lambda: keep_draws(draws, observer.tell))
        if asked.sampler.tries_draws:
            plan = choice.gone_on(asked, fleet, observer)
    if plan.sampler.by_draws:
        prior = rounds.prior_of(store)
        posterior = recording.Posterior(n_beta=prior.n_beta, gamma=prior.gamma)
        yield from recording.of_draws(plan, store, bench, posterior, fleet, observer)
        if plan.sampler.cross_check == sgld_check.METHOD and rounds.is_drawn(plan):
            anchors = yield from anchor_losses(plan, store, bench, fleet, observer)
            estimate, _ = _estimate_of_draws(plan, store, 0.0)
            yield from sgld_check.steps(estimate, store, bench, anchors, fleet, observer)
        return
    notes: Mapping[str, str] = {}
    if asked.sampler.tries_draws:
        bench, notes = bench.at(plan), choice.why_chains(asked)
    anchors = yield from anchor_losses(plan, store, bench, fleet, observer)
    resolution = yield from _resolution(plan, store, bench, fleet, observer, notes)
    maker = Maker(plan, store, bench, anchors, resolution, fleet, observer)
    if plan.sampler.grows:
        yield from chain_rounds.steps(
            plan, store, resolution, maker, fleet, observer, lambda: keep_chains(plan, observer.tell)
        )
        yield from maker.recorded(Names(plan, chain_rounds.chains_of(plan, store), resolution.settings.draws))
        return
    names = Names(plan, plan.sampler.chain_count, resolution.settings.draws)
    yield from maker.make(maker.jobs(names), cross_check_names(plan))
    yield from maker.recorded(names)


def _part_names(plan: Plan) -> list[str]:
    names = Names(plan, plan.sampler.chain_count, plan.sampler.chain_draws)
    return [
        *_anchor_names(plan),
        resolved_name(plan),
        *names.work,
        *cross_check_names(plan),
    ]


def is_finished(plan: Plan) -> bool:
    """True if there is a file for every part of the run."""
    decided = choice.decided(plan)
    if decided is None:
        return False
    plan = decided
    if plan.sampler.by_draws:
        others = _sgld_names(plan)
        store = RunStore(plan.run_dir, lambda message: None)
        is_recorded = recording.is_finished(plan, lambda each: each.blocks)
        return rounds.is_finished(plan) and is_recorded and all(store.path(name).exists() for name in others)
    store = RunStore(plan.run_dir, lambda message: None)
    count = chain_rounds.chains_of(plan, store) if plan.sampler.grows else plan.sampler.chain_count
    if not recording.is_finished(plan, lambda each: list(map(each.chain, range(count))), folder_of(plan)):
        return False
    if plan.sampler.grows:
        return chain_rounds.is_finished(plan)
    return all(store.path(name).exists() for name in _part_names(plan))


def collect(plan: Plan, observer: Observer, started: float) -> Estimate:
    """The Estimate from a finished run's parts; also kept in its folder, as `estimate.json` beside `traces.png`.

    Args:
        started: `time.monotonic()` when the command began, for `seconds["total"]`.
    """
    plan = choice.decided(plan) or plan.of_draws()
    if plan.sampler.by_draws:
        recording.told(plan, observer, 2 * -(-plan.sampler.recorded_draws // 2))
        return _collect_draws(plan, observer, started)
    store = RunStore(plan.run_dir, observer.tell, part=observer.part)
    estimate, traces = _estimate_of_chains(plan, store, started, observer.tell)
    for name in cross_check_names(plan):
        if not plan.sampler.grows or store.path(name).exists():
            estimate = replace(estimate, cross_check=_finished(store, name))
    recording.told(plan, observer, estimate.settings.chains * estimate.settings.draws, folder_of(plan))
    return _kept(plan, store, estimate, traces, observer)


def _estimate_of_chains(
    plan: Plan, store: RunStore, started: float, tell: Tell
) -> tuple[Estimate, Sequence[ChainTrace]]:
    anchors = [_finished(store, name) for name in _anchor_names(plan)]
    resolution = ResolvedRun.from_dict(_finished(store, resolved_name(plan)))
    count = chain_rounds.chains_of(plan, store) if plan.sampler.grows else plan.sampler.chain_count
    present = chain_rounds.sampled_of(plan, store, resolution, count)
    names = Names(plan, count, resolution.settings.draws)
    if not plan.sampler.grows and len(present.traces) + len(present.varied) < len(names.work):
        raise ResourceError(f"Parts of {plan.run_dir} have disappeared; run the same command again.")
    sampled = with_one_baseline(present)
    if sampled.resolution.settings.baseline != resolution.settings.baseline:
        # What was told when the chains began is true no longer.
        tell(f"{plan.title}: {sampled.resolution.choices['baseline']}")
    losses = [loss for part in anchors for loss in part["losses"]]
    seconds = {
        "load": resolution.load_seconds,
        "anchor": sum(part["seconds"] for part in anchors) + resolution.seconds,
        "sampling": sum(trace.seconds for trace in [*present.traces, *present.varied.values()]),
        "total": time.monotonic() - started,
    }
    return estimate_of(plan, *sampled, sum(losses) / len(losses), seconds), sampled.traces


def keep_chains(plan: Plan, tell: Tell) -> None:
    """Writes down the number that the chains so far give, as `estimate.json`."""
    store = RunStore(plan.run_dir, tell)
    estimate, _ = _estimate_of_chains(plan, store, time.monotonic(), lambda message: None)
    store.write("estimate", estimate.to_dict())


def _collect_draws(plan: Plan, observer: Observer, started: float) -> Estimate:
    store = RunStore(plan.run_dir, observer.tell, part=observer.part)
    estimate, groups = _estimate_of_draws(plan, store, time.monotonic() - started)
    traces = [store.read(name) for name in _sgld_names(plan)]
    if traces and all(trace is not None for trace in traces):
        chains = [ChainTrace.from_dict(trace) for trace in traces if trace is not None]
        estimate = replace(estimate, cross_check=sgld_check.result(plan, estimate, chains))
    return _kept(plan, store, estimate, groups, observer)


def _estimate_of_draws(plan: Plan, store: RunStore, seconds: float) -> tuple[Estimate, list[ChainTrace]]:
    prior, sample = rounds.collected(plan, store)
    spent = {"load": prior.load_seconds, "anchor": prior.seconds, "sampling": sample.seconds, "total": seconds}
    return estimate_of_draws(plan, prior, sample, rounds.summary_of(plan, prior, sample), spent)


def _sgld_names(plan: Plan) -> list[str]:
    """Parts of the chains beside independent draws."""
    return sgld_check.part_names() if plan.sampler.cross_check == sgld_check.METHOD else []


def keep_draws(plan: Plan, tell: Tell) -> None:
    """Writes down the number that the draws so far give, as `estimate.json`."""
    store = RunStore(plan.run_dir, tell)
    estimate, _ = _estimate_of_draws(plan, store, 0.0)
    store.write("estimate", estimate.to_dict())


def _kept(
    plan: Plan, store: RunStore, estimate: Estimate, traces: Sequence[ChainTrace], observer: Observer
) -> Estimate:
    """The estimate, in its folder from now on with its picture."""
    try:
        drop_gradient(plan.run_dir)
        # Without times, so that equal runs have equal files.
        kept = {"traces": [replace(trace, seconds=0.0).to_dict() for trace in traces]}
        if store.read("traces") != kept:
            store.write("traces", kept)
        store.write("estimate", estimate.to_dict())
    except OSError as error:
        # A finished run is shown wherever it is kept.
        if not is_read_only(error):
            raise
        observer.tell(f"{plan.run_dir} cannot be written ({error.strerror}) and is left unchanged.")
        return estimate

    def draw(path: Path) -> None:
        # Not before there is something to draw: chains need not wait for what draws it.
        from hf_llc.results.figures import plots

        plots.traces(path, traces, estimate)

    drawn([plan.run_dir / "traces.png"], draw, observer.tell)
    return estimate


def _loaded(bench: LoadedModel, observer: Observer) -> LoadedObjective:
    with observer.part("loading"):
        return bench.load()


def _finished(store: RunStore, name: str) -> dict[str, Any]:
    payload = store.read(name)
    if payload is None:
        raise ResourceError(f"{store.path(name)} has disappeared; run the same command again.")
    return payload


def _anchor_names(plan: Plan) -> list[str]:
    size = _anchor_size(plan)
    return [f"anchor/{index:02d}" for index in range(math.ceil(plan.corpus.n / size))]


def _anchor_size(plan: Plan) -> int:
    """Sequences per part, whole batches: a function of shapes alone, so that every process cuts alike."""
    batch = plan.batch_size
    return batch * math.ceil(plan.corpus.n / (ANCHOR_PARTS * batch))


def anchor_losses(
    plan: Plan, store: RunStore, bench: LoadedModel, fleet: ProcessWorld, observer: Observer
) -> Steps[list[float]]:
    """ℓ_i(w*) of every sequence, in nats per token, shape (n,)."""
    size, names = _anchor_size(plan), _anchor_names(plan)
    # Of losses that several runs share the time belongs to the run that had them computed.
    spent: dict[str, float] = {}
    observer.begin("losses at w*", len(names))

    def make(name: str) -> dict[str, Any]:
        objective = _loaded(bench, observer)
        started = time.monotonic()
        index = names.index(name)
        indices = torch.arange(index * size, min((index + 1) * size, objective.n))
        with observer.part("forward_backward"):
            losses = objective.losses(indices).tolist()
        if not all(map(math.isfinite, losses)):
            raise UnusableError(
                f"The loss of {plan.source.id} is inf or NaN on this data: check its weights, and the data."
            )
        spent[name] = time.monotonic() - started
        return {"losses": losses, "seconds": spent[name]}

    known: dict[str, Mapping[str, Any]] = {}

    def taken(name: str) -> Mapping[str, Any]:
        return {**known[name], "seconds": spent.get(name, 0.0)} if known else make(name)

    def on_parts(done: Collection[str]) -> None:
        observer.advance(len(done))

    if plan.losses_at is not None and not all(store.path(name).exists() for name in names):
        of_all = plan.of_all_weights()
        common = fleet.store(plan.losses_at / of_all.key, observer.tell, observer.part)
        common.open(of_all.inputs())
        payloads = yield from work_queue.make_parts(common, names, make, first=fleet.share, on_parts=on_parts)
        known.update(zip(names, payloads, strict=True))
    parts = yield from work_queue.make_parts(store, names, taken, first=fleet.share, on_parts=on_parts)
    observer.end()
    return [loss for part in parts for loss in part["losses"]]


def _resolution(
    plan: Plan,
    store: RunStore,
    bench: LoadedModel,
    fleet: ProcessWorld,
    observer: Observer,
    notes: Mapping[str, str],
) -> Steps[ResolvedRun]:
    def make(name: str) -> dict[str, Any]:
        observer.begin("curvature", 1)
        _loaded(bench, observer)
        with observer.part("measuring"):
            resolution = length.resolved(plan, bench, fleet)
        observer.end()
        return replace(resolution, choices={**resolution.choices, **notes}).to_dict()

    (payload,) = yield from work_queue.make_parts(store, [resolved_name(plan)], make)
    resolved = ResolvedRun.from_dict(payload)
    if fleet.is_main:
        for sentence in resolved.choices.values():
            observer.tell(sentence)
    return resolved
