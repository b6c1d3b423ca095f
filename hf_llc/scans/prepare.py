"""A scan up to its first chain: checkpoints and text found, and what is shared over the curve fixed."""

import hashlib
import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hf_llc.checkpoints.adapter import with_base, without_base
from hf_llc.checkpoints.checkpoint import Checkpoint
from hf_llc.checkpoints.resolve import FindModel, base_finder, find_model, series_id
from hf_llc.checkpoints.source import ModelSource
from hf_llc.errors import HfLlcError, SettingsError, SourceError, UnusableError, listed
from hf_llc.execution import planning
from hf_llc.execution.availability import CheckpointAvailability
from hf_llc.execution.distributed.message_store import MachineStore
from hf_llc.execution.plan import Plan
from hf_llc.execution.store import RunStore
from hf_llc.measures import LLC, measure_parts
from hf_llc.measures.schedule import discard_failure, reason
from hf_llc.results.progress import Observer
from hf_llc.scans.disk_budget import MODELS, DiskBudget, session
from hf_llc.scans.prefetch import (
    Prefetcher,
    cached,
    default_branch,
    lists_tokenizer,
    size_of,
    source_of,
    without_weights,
)
from hf_llc.scans.request import Request
from hf_llc.scans.resume import discard_finished
from hf_llc.scans.shared_settings import SHARED, Here, Shared, shared_settings
from hf_llc.settings.sampler import SamplerSettings
from hf_llc.tasks import TASKS
from hf_llc.tasks.choose import find_items, task_of
from hf_llc.tasks.text.tokenizer import load_tokenizer

POINTS = "points"
"""Folder of a scan's runs, one for each checkpoint."""
MEASURED = 12
"""Checkpoints, spread over the series, at which curvature is measured before γ and ε are fixed for all."""


@dataclass(frozen=True, kw_only=True)
class Series:
    """What a scan is about: checkpoints, the sources of those that can be read, and why the others cannot."""

    model: str
    checkpoints: Sequence[Checkpoint]
    sources: dict[str, ModelSource] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class PreparedScan:
    """A scan of which only the sampling is left to do.

    Attributes:
        own: names of the checkpoints that this part of the scan answers for.
        plans: by name, of its own checkpoints that can be used; `availability` says when these are downloaded.
        inputs: what decides the curve, with what was measured for it.
    """

    series: Series
    folder: Path
    own: Sequence[str]
    plans: dict[str, Plan]
    inputs: Mapping[str, Any]
    availability: CheckpointAvailability
    budget: DiskBudget | None


@contextmanager
def prepare_scan(
    request: Request, kind: str, observer: Observer, link: MachineStore | None = None
) -> Iterator[PreparedScan | None]:
    """The scan while the block runs, and with it what it has on disk for the time being; None if its part is empty.

    What is shared over the curve is measured at checkpoints of the whole selection, whichever part this is.

    Args:
        kind: `cpu`, `cuda` or `mps`. link: to other machines that prepare the same scan; one of them measures.

    Raises:
        HfLlcError: no checkpoint can be used, or see `planning.plan`.
    """
    started = time.time()
    checkpoints, shard = request.checkpoints(observer.tell), request.shard
    own = shard.own(checkpoints)
    if not own:
        observer.tell(f"Part {shard.index}/{shard.count} has nothing to do: there are fewer checkpoints than parts.")
        yield None
        return
    series = Series(model=series_id(request.model), checkpoints=checkpoints)
    with observer.part("loading"):
        _find_sources(series, request.max_disk, observer)
        sources = list(series.sources.values())
        last = _with_config(sources, observer)
        by_tokenizer = TASKS[task_of(last, request.data.task)].needs_tokenizer(request.data)
        tokenizer = _with_tokenizer(series.model, sources, observer) if by_tokenizer else None
        # A checkpoint whose config is not here yet runs the code that the last one does.
        series.sources.update(
            {name: replace(each, code=each.code or last.code) for name, each in series.sources.items()}
        )
    with observer.part("data"):
        corpus = find_items(request.data, last, tokenizer=tokenizer, tell=observer.tell)
        probe = planning.find_probe(
            request.data, corpus, request.sampler, last, tokenizer=tokenizer, observer=observer
        )  # fmt: skip

    def plan_of(name: str, sampler: SamplerSettings) -> Plan:
        plan = planning.plan_for(series.sources[name], corpus, sampler, kind)
        return replace(plan, probe=probe, measures=request.measures)

    names = list(series.sources)
    inputs = _shared_inputs(plan_of(names[-1], request.sampler), series.model)
    folder = (request.output_dir or _default_folder(series.model, last, inputs)).resolve()
    store = RunStore(folder, observer.tell, link)
    store.open(inputs)
    if not shard.is_whole:
        store.write(f"shards/{shard.name}", shard.to_dict(checkpoints))
    discard_finished(folder, shard, observer.tell)
    folders = {name: _point_folder(folder, name, series.sources[name]) for name in names}

    def plans_at(sampler: SamplerSettings) -> dict[str, Plan]:
        usable = [name for name in names if name not in series.errors]
        return {name: replace(plan_of(name, sampler), run_dir=folders[name]) for name in usable}

    with session(folder, observer.tell) as place:
        plans, availability = plans_at(request.sampler), CheckpointAvailability(place)
        spread = _spread(list(plans.values()))
        needed = [plans[name] for name in own if name in plans]
        shares = LLC in request.measures
        if shares and store.read(SHARED) is None:
            needed += [plan for plan in spread if plan.run_dir not in {each.run_dir for each in needed}]
        budget = _budget(place / MODELS, request.max_disk, needed, observer)

        @contextmanager
        def bring(wanted: Sequence[Plan]) -> Iterator[Here]:
            with Prefetcher(wanted, availability, budget, observer.tell, once=True) as supply:
                yield supply.using

        def note(plan: Plan, error: HfLlcError) -> None:
            series.errors[next(name for name in names if folders[name] == plan.run_dir)] = reason(plan, error)

        shared = Shared(request.sampler, {})
        if shares:
            shared = shared_settings(spread, store, request.sampler, observer, note, bring=bring)
        plans = {name: shared.knowing(plan) for name, plan in plans_at(shared.sampler).items() if name in own}
        yield PreparedScan(
            series=series,
            folder=folder,
            own=own,
            plans=_sharing(plans, request.sampler.budget_seconds, started),
            inputs=_shared_inputs(plan_of(names[-1], shared.sampler), series.model),
            availability=availability,
            budget=budget,
        )


def _sharing(plans: Mapping[str, Plan], seconds: float | None, started: float) -> dict[str, Plan]:
    """The plans, each of which leaves its share of the time to those that follow it."""
    if seconds is None:
        return dict(plans)
    last = len(plans) - 1
    return {
        name: replace(plan, deadline=started + seconds, followers=last - place)
        for place, (name, plan) in enumerate(plans.items())
    }


def _budget(folder: Path, limit: int | None, plans: Sequence[Plan], observer: Observer) -> DiskBudget | None:
    """Room for downloads, with what an earlier scan left of them; failures of that scan are forgotten."""
    for plan in plans:
        measure_parts.discard_failures(plan)
    unfinished = [plan for plan in plans if not measure_parts.is_finished(plan)]
    for plan in unfinished:
        discard_failure(plan)
    if limit is None:
        return None
    budget = DiskBudget(folder, limit)
    remote = [plan for plan in unfinished if plan.source.path is None]
    budget.reconcile({plan.run_dir.name: size_of(plan.source, observer.tell) for plan in remote})
    return budget


def _find_sources(series: Series, max_disk: int | None, observer: Observer) -> None:
    """Note where each checkpoint is, or why it cannot be read; copies of another one are left to that one.

    Raises:
        HfLlcError: none of the checkpoints can be read.
    """
    failed: HfLlcError = UnusableError(f"None of the chosen checkpoints of {series.model} has weights.")
    find_base = base_finder(True, observer.tell)
    observer.begin("looking at checkpoints", len(series.checkpoints))
    for index, each in enumerate(series.checkpoints):
        if each.problem is not None:
            series.errors[each.name] = each.problem
        elif each.duplicate_of is None:
            try:
                source = _source(each, max_disk, find_base, observer)
            except (SourceError, UnusableError) as error:
                series.errors[each.name], failed = str(error), error
            else:
                series.sources[each.name] = source
        observer.advance(index + 1)
    observer.end()
    if not series.sources:
        raise failed
    _refuse_mixture(series)
    bases = {each.base.id for each in series.sources.values() if each.base is not None and not each.base.is_local}
    if bases and max_disk is not None:
        observer.tell(f"`max_disk` does not count {listed(sorted(bases))}, which stays in the Hub's cache.")


def _refuse_mixture(series: Series) -> None:
    """Raise SettingsError if some checkpoints are adapters and others whole models."""
    kinds: dict[bool, list[str]] = {}
    for name, source in series.sources.items():
        kinds.setdefault(source.adapter, []).append(name)
    if len(kinds) > 1:
        raise SettingsError(
            f"The chosen checkpoints of {series.model} are adapters ({listed(kinds[True])}) and whole models "
            f"({listed(kinds[False])}), whose λ̂ count different weights; choose one kind with `revisions`."
        )


def _source(checkpoint: Checkpoint, max_disk: int | None, find_base: FindModel, observer: Observer) -> ModelSource:
    asked = checkpoint.model
    if checkpoint.sha is None:
        return replace(find_model(asked, tell=observer.tell, find_base=find_base), step=checkpoint.step)
    source = source_of(checkpoint)
    if source.adapter:
        described = with_base(without_weights(source, observer.tell), asked.base_model, find_base)
        source = replace(source, base=described.base)
    else:
        without_base(asked)
    if max_disk is not None and cached(source, observer.tell) is None:
        size = size_of(source, observer.tell)
        if size > max_disk:
            raise UnusableError(
                f"{checkpoint.name} takes {size / 1000000000.0:.3g} GB, more than `max_disk` = "
                f"{max_disk / 1000000000.0:.3g} GB; raise it."
            )
    return source


def _with_config(sources: Sequence[ModelSource], observer: Observer) -> ModelSource:
    """The last checkpoint of which all but the weights can be read, downloaded.

    Raises:
        SourceError: none can.
    """
    for source in reversed(sources):
        try:
            return source if source.path else without_weights(source, observer.tell)
        except SourceError as error:
            failed = error
    raise failed


def _with_tokenizer(model: str, sources: Sequence[ModelSource], observer: Observer) -> ModelSource:
    """The last checkpoint that has a tokenizer, else the default branch: some series leave it out of the others.

    Raises:
        UnusableError, SourceError: none has one that can be read.
    """
    failed: HfLlcError = UnusableError(f"None of the chosen checkpoints of {model} has a tokenizer.")
    for source in reversed(sources):
        try:
            own = source.path is not None or source.base is not None or lists_tokenizer(source, observer.tell)
            if not own:
                continue
            branch = source if source.path else without_weights(source, observer.tell)
            load_tokenizer(branch)
        except (UnusableError, SourceError) as error:
            failed = error
        else:
            return branch
    if sources[-1].is_local:
        raise failed
    try:
        branch = default_branch(model, observer.tell)
        load_tokenizer(branch)
    except (UnusableError, SourceError) as error:
        raise failed from error
    observer.tell(f"The tokenizer is that of {model} at {branch.revision}; the chosen checkpoints have none.")
    return branch


def _spread(plans: Sequence[Plan]) -> list[Plan]:
    """At most MEASURED of the plans, the first and the last among them."""
    if len(plans) <= MEASURED:
        return list(plans)
    return [plans[round(i * (len(plans) - 1) / (MEASURED - 1))] for i in range(MEASURED)]


def _shared_inputs(plan: Plan, model: str) -> dict[str, Any]:
    """Every input that can change a number of the curve, but for the checkpoints themselves."""
    inputs = {name: value for name, value in plan.inputs().items() if name not in {"sha", "subfolder", "gguf_file"}}
    return {"model": model, **inputs}


def _default_folder(model: str, last: ModelSource, inputs: dict[str, Any]) -> Path:
    key = hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()[:12]
    return Path("hf-llc-runs") / replace(last, id=model).label / f"scan-{key}"


def _point_folder(folder: Path, name: str, source: ModelSource) -> Path:
    base = f"-{source.base.short_sha}" if source.base is not None else ""
    return folder / POINTS / f"{label_of_point(name)}-{source.short_sha}{base}"


def label_of_point(name: str) -> str:
    """What the folder's name of a checkpoint begins with."""
    label = re.sub(r"[^A-Za-z0-9_.-]", "_", name)[:80]
    return label if label == name else f"{label}-{hashlib.sha256(name.encode()).hexdigest()[:6]}"
