"""A whole series: checkpoints chosen by name, one point each, written down as they come."""

import hashlib
import json
import re
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hf_llc import estimation
from hf_llc.adapters import fleet as fleets
from hf_llc.adapters.checkpoint import load_tokenizer
from hf_llc.adapters.hub_errors import endpoint
from hf_llc.adapters.store import RunStore
from hf_llc.catalogue import find_checkpoints
from hf_llc.checkpoints import Checkpoint
from hf_llc.curve import Curve, Point
from hf_llc.curve_files import curve_of, draw, keep
from hf_llc.errors import HfLlcError, LaunchError, SourceError, UnusableError
from hf_llc.inputs import Corpus, ModelSource
from hf_llc.launching import failure, forget_failure, run_all
from hf_llc.observer import Observer
from hf_llc.plan import Plan
from hf_llc.references import parse_model
from hf_llc.results import Estimate
from hf_llc.runs import SCAN, load_run
from hf_llc.selector import Selection
from hf_llc.series import shared_settings
from hf_llc.settings import DataSettings, ModelSettings, SamplerSettings
from hf_llc.sharding import Shard, estimated
from hf_llc.sources import find_corpus, find_model
from hf_llc.tracking import Tracking
from hf_llc.view import View

NO_WEIGHTS = "no weights (model.safetensors or pytorch_model.bin) at this revision"
MEASURED = 12
"""Checkpoints, spread over the series, at which curvature is measured before γ and ε are fixed for all."""


@dataclass(frozen=True, kw_only=True)
class _Series:
    """What a scan is about: checkpoints, the sources of those that can be had, and why the others cannot."""

    model: str
    checkpoints: Sequence[Checkpoint]
    sources: dict[str, ModelSource] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)


def scan(
    model: str,
    data: DataSettings | None = None,
    sampler: SamplerSettings | None = None,
    *,
    selection: Selection | None = None,
    tokens_per_step: int | None = None,
    steps: Mapping[str, int] | None = None,
    trust_remote_code: bool = False,
    processes: int | None = None,
    output_dir: Path | None = None,
    device: str | None = None,
    shard: Shard | None = None,
    view: View | None = None,
    tracking: Tracking | None = None,
    observer: Observer | None = None,
    on_point: Callable[[Point], None] = lambda point: None,
) -> Curve:
    """A point for each chosen checkpoint, in order of training, at one γ, nβ, ε and on the same batches and noise.

    What the settings leave open is measured once, at up to MEASURED of the checkpoints of the first call, and kept with
    the folder; later calls add points to the same curve. Equal weights are estimated once. A checkpoint without weights
    or that cannot be used becomes a point with an `error`. `scan.json`, `results.jsonl` and `results.parquet` are
    rewritten whole after each point, the pictures at the end.

    Args:
        selection, tokens_per_step, steps: as in `catalogue.find_checkpoints`.
        output_dir: None means `hf-llc-runs/<model>/scan-<key>` under the working directory.
        shard: estimate only this part of the selection, at the γ, ε and text of a scan of all of it, and return its
            points; the files in the folder are about all points that are there, whichever part made them.
        view: of the pictures. tracking: is told of each point, too.
        on_point: called with each point when it is there.

    Raises:
        LaunchError: under `accelerate launch` or `torchrun`; a scan starts its own processes.
        HfLlcError: no checkpoint can be used, or see `estimation.plan`.
    """
    if fleets.launched():
        raise LaunchError("A scan starts its own processes; run it by itself, with --num-processes.")
    observer, data, sampler = observer or Observer(), data or DataSettings(), sampler or SamplerSettings()
    kind = estimation.checked_device(sampler, device)
    checkpoints = find_checkpoints(
        model,
        selection,
        tokens_per_step=tokens_per_step,
        steps=steps,
        trust_remote_code=trust_remote_code,
        tell=observer.tell,
    )
    shard = shard or Shard()
    series = _Series(model=parse_model(model, None, endpoint()).id, checkpoints=checkpoints)
    own = shard.own(checkpoints)
    if not own:
        observer.tell(f"Part {shard.index}/{shard.count} has nothing to do: there are fewer checkpoints than parts.")
        return curve_of(series.model, [], output_dir or Path())
    _fetch(series, {*own, *_measured(checkpoints)}, observer)
    last = list(series.sources.values())[-1]
    corpus = find_corpus(data, _with_tokenizer(series, trust_remote_code, observer), tell=observer.tell)
    asked = estimation.plan_for(last, corpus, sampler, kind)
    shared = _shared_inputs(asked, series.model)
    folder = (output_dir or _default_folder(series.model, last, shared)).resolve()
    store = RunStore(folder, observer.tell)
    store.open(shared)
    if not shard.is_whole:
        store.write(f"shards/{shard.name}", shard.to_dict(checkpoints))
    resolved = _resolved(series, corpus, sampler, kind, store, observer)
    plans = {
        name: replace(estimation.plan_for(source, corpus, resolved, kind), run_dir=_point_folder(folder, name, source))
        for name, source in series.sources.items()
        if name in own and name not in series.errors
    }
    listeners = [on_point]
    if tracking is not None:
        config = _shared_inputs(replace(asked, sampler=resolved), series.model)
        tracking.begin(folder, config, "" if shard.is_whole else shard.name)
        listeners.append(tracking.log)
    report = _Report(series, own, plans, store, observer, listeners)
    report.begin()
    if missing := [plan for name, plan in plans.items() if name not in report.estimates]:
        for plan in missing:
            forget_failure(plan)
        run_all(missing, processes=processes, observer=observer, keep_going=True, on_settled=report.settle)
    return report.finish(view)


class _Report:
    """The points so far, kept on disk."""

    def __init__(
        self,
        series: _Series,
        own: Sequence[str],
        plans: dict[str, Plan],
        store: RunStore,
        observer: Observer,
        listeners: Sequence[Callable[[Point], None]],
    ) -> None:
        self._series, self._own, self._plans, self._store = series, set(own), plans, store
        self._observer, self._listeners = observer, listeners
        self._names = {plan.run_dir: name for name, plan in plans.items()}
        self._told: set[str] = set()
        self._started = time.monotonic()
        self.estimates: dict[str, Estimate] = {}

    def begin(self) -> None:
        """Takes over what an earlier call has finished, and tells of what is known without sampling."""
        for name, plan in self._plans.items():
            stored = RunStore(plan.run_dir, self._observer.tell).read("estimate")
            if stored is not None and estimation.is_finished(plan):
                self.estimates[name] = Estimate.from_dict(stored)
        self._write()

    def settle(self, plan: Plan) -> None:
        """Takes up a plan that is finished or has failed."""
        name = self._names[plan.run_dir]
        if estimation.is_finished(plan):
            self.estimates[name] = estimation.collect(plan, self._observer, self._started)
        else:
            self._series.errors[name] = failure(plan) or "its run was interrupted"
        self._started = time.monotonic()
        self._write()

    def finish(self, view: View | None) -> Curve:
        """The curve of its own points, with pictures of all that are there."""
        everything = self._write()
        draw(everything, self._store.folder, view, self._observer)
        own = [point for point in everything.points if point.revision in self._own]
        return curve_of(self._series.model, own, self._store.folder)

    def _write(self) -> Curve:
        # Parts of one scan that share a folder all write about the whole of it.
        with self._store.turn(SCAN):
            others = self._others()
            found = {each.name: self._point(each) or others.get(each.name) for each in self._series.checkpoints}
            points = [point for point in found.values() if point is not None]
            curve = curve_of(self._series.model, points, self._store.folder)
            keep(curve, self._store.folder)
        for point in points:
            if point.revision in self._own - self._told:
                self._told.add(point.revision)
                for listener in self._listeners:
                    listener(point)
        return curve

    def _others(self) -> dict[str, Point]:
        """What other parts of the scan have left in the folder about the checkpoints as they are now, by name."""
        left = {each.name: each.sha for each in self._series.checkpoints if each.name not in self._own}
        if not left or not (self._store.folder / SCAN).exists():
            return {}
        points = load_run(self._store.folder).points
        return {point.revision: point for point in points if left.get(point.revision, "") in {None, point.sha}}

    def _point(self, checkpoint: Checkpoint) -> Point | None:
        first = checkpoint.duplicate_of or checkpoint.name
        if first not in self._own:
            return None
        found, error = self.estimates.get(first), self._series.errors.get(first)
        if found is None and error is None:
            return None
        source = self._series.sources.get(first)
        return Point(
            revision=checkpoint.name,
            sha=checkpoint.sha or (source.sha if source else None),
            stage=checkpoint.stage,
            step=checkpoint.step,
            tokens=checkpoint.tokens,
            duplicate_of=checkpoint.duplicate_of,
            error=None if found else error,
            estimate=found,
        )


def _measured(checkpoints: Sequence[Checkpoint]) -> list[str]:
    """At most MEASURED checkpoints, spread over all that are estimated, whichever part of the scan this is."""
    names = estimated(checkpoints)
    if len(names) <= MEASURED:
        return names
    return [names[round(i * (len(names) - 1) / (MEASURED - 1))] for i in range(MEASURED)]


def _fetch(series: _Series, names: Collection[str], observer: Observer) -> None:
    """Finds what can be downloaded of these checkpoints on this disk; of a local series, all.

    Raises:
        HfLlcError: none of them can be had.
    """
    failed: HfLlcError = UnusableError(f"None of the chosen checkpoints of {series.model} has weights.")
    wanted = [each for each in series.checkpoints if each.name in names or each.sha is None]
    observer.begin("checkpoints on this disk", len(wanted))
    for index, each in enumerate(wanted):
        if each.weights is None:
            series.errors[each.name] = NO_WEIGHTS
        elif each.duplicate_of is None:
            try:
                source = find_model(each.model, tell=observer.tell)
                series.sources[each.name] = replace(source, revision=each.name if each.sha else None, step=each.step)
            except (SourceError, UnusableError) as error:
                series.errors[each.name], failed = str(error), error
        observer.advance(index + 1)
    observer.end()
    if not series.sources:
        raise failed


def _with_tokenizer(series: _Series, trust_remote_code: bool, observer: Observer) -> ModelSource:
    """The last checkpoint that has a tokenizer, else the default branch: some series leave it out of the others.

    Raises:
        UnusableError: none has.
    """
    for source in reversed(series.sources.values()):
        try:
            load_tokenizer(source)
        except UnusableError as error:
            failed = error
        else:
            return source
    if source.is_local:
        raise failed
    asked = ModelSettings(model=series.model, trust_remote_code=trust_remote_code)
    found = find_model(asked, download=False, tell=observer.tell)
    load_tokenizer(found)
    observer.tell(f"The tokenizer is that of {series.model} at {found.revision}; the chosen checkpoints have none.")
    return found


def _resolved(
    series: _Series, corpus: Corpus, sampler: SamplerSettings, kind: str, store: RunStore, observer: Observer
) -> SamplerSettings:
    names = [name for name in _measured(series.checkpoints) if name in series.sources]
    plans = {
        name: replace(
            estimation.plan_for(series.sources[name], corpus, sampler, kind),
            run_dir=_point_folder(store.folder, name, series.sources[name]),
        )
        for name in names
    }
    by_folder = {plan.run_dir: name for name, plan in plans.items()}

    def note(plan: Plan, error: HfLlcError) -> None:
        series.errors[by_folder[plan.run_dir]] = str(error)

    return shared_settings(list(plans.values()), store, sampler, observer, note)


def _shared_inputs(plan: Plan, model: str) -> dict[str, Any]:
    """Every input that can change a number of the curve, but for the checkpoints themselves."""
    inputs = {name: value for name, value in plan.inputs().items() if name not in {"sha", "gguf_file"}}
    return {"model": model, **inputs}


def _default_folder(model: str, last: ModelSource, shared: dict[str, Any]) -> Path:
    key = hashlib.sha256(json.dumps(shared, sort_keys=True).encode()).hexdigest()[:12]
    return Path("hf-llc-runs") / replace(last, id=model).label / f"scan-{key}"


def _point_folder(folder: Path, name: str, source: ModelSource) -> Path:
    return folder / "points" / f"{re.sub(r'[^A-Za-z0-9_.-]', '_', name)[:80]}-{source.short_sha}"
