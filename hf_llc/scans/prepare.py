"""A scan up to its first chain: checkpoints and text found, and what is shared over the curve fixed."""

import hashlib
import json
import re
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hf_llc.checkpoints.source import ModelSource
from hf_llc.errors import HfLlcError
from hf_llc.execution import planning
from hf_llc.execution.availability import CheckpointAvailability
from hf_llc.execution.distributed.message_store import MachineStore
from hf_llc.execution.plan import Plan
from hf_llc.execution.store import RunStore
from hf_llc.measures import LLC, measure_parts
from hf_llc.measures.schedule import discard_failure, reason
from hf_llc.report.component_files import refuse_components
from hf_llc.results.progress import Observer
from hf_llc.scans.disk_budget import MODELS, DiskBudget, session
from hf_llc.scans.prefetch import Prefetcher, size_of
from hf_llc.scans.request import Request
from hf_llc.scans.resume import discard_finished
from hf_llc.scans.series import ScanSubject, Series, find_subject
from hf_llc.scans.shared_settings import SHARED, Group, Here, Shared, shared_settings_of
from hf_llc.settings.sampler import SamplerSettings
from hf_llc.tasks.own_module import NAME as OWN

POINTS = "points"
"""Folder of a scan's runs, one for each checkpoint."""
MEASURED = 12
"""Checkpoints, spread over the series, at which curvature is measured before γ and ε are fixed for all."""


@dataclass(frozen=True, kw_only=True)
class PreparedScan:
    """A scan of which only the sampling is left to do.

    Attributes:
        request: what it was made from. own: names of the checkpoints that its part of the scan answers for.
        plans: by name, of its own checkpoints that can be used; `availability` says when these are downloaded.
        inputs: what decides the curve, with what was measured for it.
    """

    request: Request
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
    subject = find_subject(request, observer)
    if subject is None:
        yield None
        return
    if request.output_dir is not None:
        refuse_components(request.output_dir)
    opened = _OpenScan(request, subject, kind, observer, link)
    with session(opened.folder, observer.tell) as place:
        downloads = _Downloads(place, request.max_disk, observer)
        shared = _shared([opened], downloads, observer)
        ready = _prepared(opened, shared[0], downloads)
        yield replace(ready, plans=sharing(ready.plans, request.sampler.budget_seconds, started))


@contextmanager
def prepare_scans(
    together: Request,
    whole: Request | None,
    requests: Sequence[Request],
    subject: ScanSubject,
    kind: str,
    observer: Observer,
    link: MachineStore | None = None,
) -> Iterator[list[PreparedScan]]:
    """Scans of one series in which other weights move, while the block runs: each checkpoint is downloaded for all.

    Args:
        together: what they have in common, with the folder that holds theirs.
        whole: a scan of which only γ is wanted, which all others have where none was given.
        kind, link: as in `prepare_scan`.

    Raises:
        ResourceError: the folder holds scans of other inputs. HfLlcError: see `prepare_scan`.
    """
    limit, place = together.max_disk, _OpenScan(together, subject, kind, observer, link).folder
    with session(place, observer.tell) as folder:
        downloads = _Downloads(folder, limit, observer)
        if whole is not None:
            of_whole = _OpenScan(whole, subject, kind, observer, link)
            gamma = _shared([of_whole], downloads, observer)[0].sampler.gamma
            requests = [replace(each, sampler=replace(each.sampler, gamma=gamma)) for each in requests]
        opened = [_OpenScan(each, subject, kind, observer, link) for each in requests]
        shared = _shared(opened, downloads, observer)
        yield [_prepared(each, own, downloads) for each, own in zip(opened, shared, strict=True)]


def by_checkpoint(ready: Sequence[PreparedScan], places: Collection[Path]) -> list[Plan]:
    """The plans in these folders, those of each checkpoint after one another."""
    names = dict.fromkeys(name for each in ready for name in each.own)
    plans = [each.plans[name] for name in names for each in ready if name in each.plans]
    return [plan for plan in plans if plan.run_dir in places]


def sharing_of(ready: Sequence[PreparedScan], seconds: float | None, started: float) -> list[PreparedScan]:
    """The scans, each of whose plans leaves its share of the time to those that follow it."""
    every = {plan.run_dir: plan for each in ready for plan in each.plans.values()}
    order = {str(plan.run_dir): plan for plan in by_checkpoint(ready, every)}
    shared = sharing(order, seconds, started)
    return [
        replace(each, plans={name: shared[str(plan.run_dir)] for name, plan in each.plans.items()}) for each in ready
    ]


class _OpenScan:
    """A scan with its folder, before what is shared over its curve is known."""

    def __init__(
        self, request: Request, subject: ScanSubject, kind: str, observer: Observer, link: MachineStore | None
    ) -> None:
        self.request, self.own = request, subject.own
        self.series, self._subject, self._kind = subject.series.apart(), subject, kind
        self.names = list(self.series.sources)
        inputs = self.inputs(request.sampler)
        self.folder = (request.output_dir or _default_folder(self.series.model, subject.last, inputs)).resolve()
        self.store, shard = RunStore(self.folder, observer.tell, link), request.shard
        self.store.open(inputs)
        if not shard.is_whole:
            self.store.write(f"shards/{shard.name}", shard.to_dict(self.series.checkpoints))
        discard_finished(self.folder, shard, observer.tell)
        self._folders = {name: _point_folder(self.folder, name, source) for name, source in self.series.sources.items()}

    @property
    def shares(self) -> bool:
        """Whether there is a λ̂ at each checkpoint, and so something to share over the curve."""
        return LLC in self.request.measures

    def inputs(self, sampler: SamplerSettings) -> dict[str, Any]:
        """Every input that can change a number of the curve."""
        return _shared_inputs(self._plan(self.names[-1], sampler), self.series.model)

    def plans(self, sampler: SamplerSettings) -> dict[str, Plan]:
        """By name, of the checkpoints that can be used."""
        usable = [name for name in self.names if name not in self.series.errors]
        return {name: replace(self._plan(name, sampler), run_dir=self._folders[name]) for name in usable}

    def _plan(self, name: str, sampler: SamplerSettings) -> Plan:
        subject, request = self._subject, self.request
        plan = planning.plan_for(self.series.sources[name], subject.corpus, sampler, self._kind)
        return replace(plan, probe=subject.probe, measures=request.measures, losses_at=request.losses_at)

    def needed(self) -> list[Plan]:
        """Those of its own checkpoints, and those at which something shared is still to be measured."""
        plans = self.plans(self.request.sampler)
        needed = [plans[name] for name in self.own if name in plans]
        if self.shares and self.store.read(SHARED) is None:
            own = {each.run_dir for each in needed}
            needed += [plan for plan in self.spread() if plan.run_dir not in own]
        return needed

    def spread(self) -> list[Plan]:
        """Of the checkpoints at which what is shared is measured."""
        return _spread(list(self.plans(self.request.sampler).values()))

    def note(self, plan: Plan, error: HfLlcError) -> None:
        """Keeps why a checkpoint cannot be used."""
        name = next(name for name, folder in self._folders.items() if folder == plan.run_dir)
        self.series.errors[name] = reason(plan, error)


class _Downloads:
    """What scans of one series have on disk for the time being."""

    def __init__(self, place: Path, limit: int | None, observer: Observer) -> None:
        self.availability = CheckpointAvailability(place)
        self.budget: DiskBudget | None = None
        self._folder, self._limit, self._observer = place / MODELS, limit, observer

    def expect(self, plans: Sequence[Plan]) -> None:
        """Make room for what these plans need, with what an earlier call left of it; failures of that are forgotten."""
        for plan in plans:
            measure_parts.discard_failures(plan)
        unfinished = [plan for plan in plans if not measure_parts.is_finished(plan)]
        for plan in unfinished:
            discard_failure(plan)
        if self._limit is not None:
            self.budget = DiskBudget(self._folder, self._limit)
            remote = {plan.run_dir.name: plan.source for plan in unfinished if plan.source.path is None}
            self.budget.reconcile({key: size_of(source, self._observer.tell) for key, source in remote.items()})

    @contextmanager
    def bring(self, wanted: Sequence[Plan]) -> Iterator[Here]:
        """Gives each of these plans its checkpoint, in this order."""
        with Prefetcher(wanted, self.availability, self.budget, self._observer.tell, once=True) as supply:
            yield supply.using


def _shared(opened: Sequence[_OpenScan], downloads: _Downloads, observer: Observer) -> list[Shared]:
    """The settings of each of the curves, measured where they are not known."""
    downloads.expect([plan for each in opened for plan in each.needed()])
    groups = [Group(each.spread(), each.store, each.request.sampler, each.note) for each in opened if each.shares]
    known = iter(shared_settings_of(groups, observer, bring=downloads.bring) if groups else [])
    return [next(known) if each.shares else Shared(each.request.sampler, {}) for each in opened]


def _prepared(opened: _OpenScan, shared: Shared, downloads: _Downloads) -> PreparedScan:
    plans = {name: shared.knowing(plan) for name, plan in opened.plans(shared.sampler).items() if name in opened.own}
    return PreparedScan(
        request=opened.request,
        series=opened.series,
        folder=opened.folder,
        own=opened.own,
        plans=plans,
        inputs=opened.inputs(shared.sampler),
        availability=downloads.availability,
        budget=downloads.budget,
    )


def sharing(plans: Mapping[str, Plan], seconds: float | None, started: float) -> dict[str, Plan]:
    """The plans, each of which leaves its share of the time to those that follow it."""
    if seconds is None:
        return dict(plans)
    last = len(plans) - 1
    return {
        name: replace(plan, deadline=started + seconds, followers=last - place)
        for place, (name, plan) in enumerate(plans.items())
    }


def _spread(plans: Sequence[Plan]) -> list[Plan]:
    """At most MEASURED of the plans, the first and the last among them."""
    if len(plans) <= MEASURED:
        return list(plans)
    return [plans[round(i * (len(plans) - 1) / (MEASURED - 1))] for i in range(MEASURED)]


def _shared_inputs(plan: Plan, model: str) -> dict[str, Any]:
    """Every input that can change a number of the curve, but for the checkpoints themselves."""
    inputs = {name: value for name, value in plan.inputs().items() if name not in {"sha", "subfolder", "gguf_file"}}
    # The sha of a module in memory is that of its loss too, which the corpus has of the first one.
    of_loss = {"loss": plan.corpus.revision} if plan.corpus.task == OWN else {}
    return {"model": model, **inputs, **of_loss}


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
