"""Several components of a model, each moved alone: a scan or an estimate of each, at one γ and nβ.

All components of a checkpoint are done before the next one: it is downloaded and loaded once, and its losses at w*,
which do not depend on what moves, are computed once.
"""

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from hf_llc.checkpoints.resolve import series_id
from hf_llc.checkpoints.selection import Selection
from hf_llc.checkpoints.source import label_of
from hf_llc.components.find import named_components
from hf_llc.errors import SettingsError
from hf_llc.execution import planning
from hf_llc.execution.distributed.message_store import MachineStore
from hf_llc.execution.plan import Plan
from hf_llc.execution.store import RunStore
from hf_llc.integrations.tracking import ComponentTracking
from hf_llc.measures import LLC, measure_parts
from hf_llc.measures.llc import estimation
from hf_llc.measures.run import execute_all
from hf_llc.report.component_files import MEASURED, keep_components, refuse_a_run
from hf_llc.results.component_curves import ComponentCurves
from hf_llc.results.curve import Curve, Point
from hf_llc.results.figures.axis_options import View
from hf_llc.results.progress import Observer
from hf_llc.scans.prepare import PreparedScan, prepare_scans, sharing, sharing_of
from hf_llc.scans.recorder import ScanRecorder
from hf_llc.scans.request import Request
from hf_llc.scans.resume import RUNS, asked_for
from hf_llc.scans.run import begun, checked_request, finished, run_prepared
from hf_llc.scans.series import find_subject
from hf_llc.scans.shared_settings import shared_settings
from hf_llc.settings.bounds import Bounds, checked_arguments
from hf_llc.settings.component import APART
from hf_llc.settings.data import DataSettings
from hf_llc.settings.limits import MOST_PROCESSES
from hf_llc.settings.model import ModelSettings
from hf_llc.settings.option import settings_in
from hf_llc.settings.overrides import requested
from hf_llc.settings.posterior import IMPORTANCE, OF_CHAINS
from hf_llc.settings.recording import RecordingSettings
from hf_llc.settings.sampler import SamplerSettings
from hf_llc.tasks.components import outline_of
from hf_llc.tasks.in_memory import data_settings, model_settings, series_address

WHOLE = "whole"
"""Folder of what is measured of the whole model: γ, where it is not given."""
_OF_EACH = ("component", "cross_check", *(each.field for each in settings_in(RecordingSettings)))
"""Settings that say nothing about the whole model's γ."""
LOSSES = "losses"
"""Folder of the losses at w* that all components share."""
OnPoint = Callable[[str, Point], None]


@checked_arguments
def estimate_components(
    model: Any,
    data: Any = None,
    components: str | Sequence[str] = "heads",
    sampler: SamplerSettings | str | None = None,
    *,
    tokenizer: Any = None,
    settings: Any = None,
    output_dir: Path | None = None,
    device: str | None = None,
    num_processes: Annotated[int | None, Bounds(low=1, high=MOST_PROCESSES)] = 1,
    observer: Observer | None = None,
    **overrides: Any,
) -> ComponentCurves | None:
    """The weight-refined learning coefficient of several components of one checkpoint, each moved alone.

    All have one γ and nβ: a γ that is not given is measured once, of the whole model. The checkpoint is loaded once by
    each process, and losses at w* are computed once. Under `accelerate launch` or `torchrun` every rank takes its
    share, and all but the main one return None.

    Args:
        components: names such as `l0h1`, unions such as `l0h1+l0h2`, and kinds such as `heads`, `mlps` or `all`; see
            `hf_llc.find_components`.
        model, data, sampler, tokenizer, settings, device, num_processes, observer, overrides: as of `hf_llc.estimate`.
        output_dir: gets a folder for each component; None means `hf-llc-runs/<model>/<sha>/components-<key>`.

    Raises:
        NotFoundError: the model has no such component. HfLlcError: see `hf_llc.estimate`.
    """
    asked_model, asked_data = model_settings(model, tokenizer, data), data_settings(data)
    asked_data, asked = requested(asked_data, sampler, settings, overrides, "estimate_components")
    return run_component_estimates(
        asked_model,
        asked_data,
        replace(asked, component=_listed(components)),
        output_dir=output_dir,
        device=device,
        processes=num_processes,
        observer=observer,
    )


@checked_arguments
def scan_components(
    model: Any,
    data: Any = None,
    components: str | Sequence[str] = "heads",
    sampler: SamplerSettings | str | None = None,
    *,
    tokenizer: Any = None,
    revisions: str | Sequence[str] | None = None,
    settings: Any = None,
    measures: str | Sequence[str] = (LLC,),
    trust_remote_code: bool = False,
    max_disk: Annotated[int | None, Bounds(low=1)] = None,
    num_processes: Annotated[int | None, Bounds(low=1, high=MOST_PROCESSES)] = None,
    output_dir: Path | None = None,
    device: str | None = None,
    observer: Observer | None = None,
    on_point: Callable[[Point], None] = lambda point: None,
    **overrides: Any,
) -> ComponentCurves | None:
    """The weight-refined learning coefficient of several components over the checkpoints of a series.

    All have one γ and nβ, and each has the sampler and step size that serve it: a γ that is not given is measured once,
    of the whole model at the last checkpoint. All components of a checkpoint are estimated before the next one: each
    is downloaded once and loaded once by each process, and its losses at w* are computed once.

    Args:
        components: as of `hf_llc.estimate_components`.
        measures: those beside `llc` are computed once for each checkpoint, of the whole model; they are the `measured`
            of the result.
        model, data, sampler, tokenizer, revisions, settings, trust_remote_code, max_disk, num_processes, device,
            observer, on_point, overrides: as of `hf_llc.scan`.
        output_dir: gets a scan's folder for each component; None means `hf-llc-runs/<model>/components-<key>`.

    Raises:
        NotFoundError: the model has no such component. HfLlcError: see `hf_llc.scan`.
    """
    asked_data, asked = requested(data_settings(data), sampler, settings, overrides, "scan_components")
    names = [revisions] if isinstance(revisions, str) else revisions
    request = Request(
        model=series_address(model, tokenizer, data),
        data=asked_data,
        sampler=replace(asked, component=_listed(components)),
        selection=None if names is None else Selection.parse(list(names)),
        trust_remote_code=trust_remote_code,
        max_disk=max_disk,
        output_dir=output_dir,
        device=device,
        measures=(measures,) if isinstance(measures, str) else tuple(measures),
    )
    return run_component_scans(
        request, processes=num_processes, observer=observer, on_point=lambda name, point: on_point(point)
    )


def _listed(components: str | Sequence[str]) -> str:
    return components if isinstance(components, str) else APART.join(components)


def run_component_estimates(
    model: ModelSettings,
    data: DataSettings,
    sampler: SamplerSettings,
    *,
    output_dir: Path | None = None,
    device: str | None = None,
    processes: int | None = None,
    tracking: ComponentTracking | None = None,
    observer: Observer | None = None,
) -> ComponentCurves | None:
    """What `estimate_components` returns for these settings, whose component is a list; None on ranks of a user's own
    launch but for the main one."""
    observer, tracking = observer or Observer(), tracking or ComponentTracking([])
    started, begun_at = time.time(), time.monotonic()

    def make_plans(link: MachineStore | None) -> tuple[list[Plan], Path]:
        plain = replace(sampler, component=None)
        whole = planning.plan(model, data, plain, device=device, observer=observer)
        names = named_components(outline_of(whole.source, data.task), sampler.component)
        folder = (output_dir or whole.run_dir.with_name(f"components-{whole.key}")).resolve()
        refuse_a_run(folder)
        RunStore(folder, observer.tell, link).open(whole.inputs())
        gamma = sampler.gamma
        if gamma is None:
            place, asked = folder / WHOLE, _for_gamma(sampler)
            plan = replace(planning.plan_for(whole.source, whole.corpus, asked, whole.device), run_dir=place)
            store = RunStore(place, observer.tell, link)
            store.open(plan.inputs())
            gamma = shared_settings([plan], store, plan.sampler, observer).sampler.gamma
        plans = {}
        for name in names:
            asked = replace(sampler, component=name, gamma=gamma)
            plan = planning.plan_for(whole.source, whole.corpus, asked, whole.device)
            plans[name] = replace(plan, run_dir=folder / name, probe=whole.probe, losses_at=folder / LOSSES)
        return list(sharing(plans, sampler.budget_seconds, started).values()), folder

    ended = execute_all(make_plans, processes=processes, device=device, observer=observer)
    if ended is None:
        return None
    plans, folder = ended
    curves: dict[str, Curve] = {}
    for plan in plans:
        name = plan.run_dir.name
        with observer.part("results"):
            estimate = estimation.collect(plan, observer, begun_at)
        curves[name] = Curve.of_estimate(estimate)
        report = tracking.of(name)
        report.begin(plan.run_dir, {"model": estimate.model, **estimate.settings.to_dict()})
        report.log(curves[name].points[0])
        begun_at = time.monotonic()
    result = ComponentCurves(model=plans[0].source.id, curves=curves, run_dir=str(folder))
    _keep(result, observer)
    return result


def run_component_scans(
    request: Request,
    *,
    processes: int | None = None,
    view: View | None = None,
    tracking: ComponentTracking | None = None,
    observer: Observer | None = None,
    on_point: OnPoint = lambda name, point: None,
) -> ComponentCurves | None:
    """What `scan_components` returns for this request, whose component is a list; None on ranks of a user's own launch
    but for the main one.

    Measures that the request names beside λ̂ are computed once for each checkpoint, of the whole model.
    """
    observer, started, asked = observer or Observer(), time.time(), request.sampler
    tracking = tracking or ComponentTracking([])
    if LLC not in request.measures:
        raise SettingsError("Without `llc` there is nothing to compute of components: leave out `component`.")
    plain, kind = checked_request(replace(request, sampler=replace(asked, component=None)), observer)
    model = series_id(request.model)
    folder = (request.output_dir or Path(RUNS) / label_of(model) / f"components-{_key(request)}").resolve()
    refuse_a_run(folder)
    plain = replace(plain, output_dir=folder, losses_at=folder / LOSSES)
    others = tuple(name for name in plain.measures if name != LLC)

    @contextmanager
    def prepare(link: MachineStore | None) -> Iterator[list[PreparedScan]]:
        subject = find_subject(plain, observer)
        if subject is None:
            yield []
            return
        names = named_components(outline_of(subject.last, request.data.task), asked.component)
        requests = [
            replace(plain, sampler=replace(asked, component=name), output_dir=folder / name, measures=(LLC,))
            for name in names
        ]
        if others:
            beside = measure_parts.ordered(others)
            requests.append(replace(plain, output_dir=folder / MEASURED, measures=tuple(beside)))
        whole = None
        if asked.gamma is None:
            whole = replace(plain, sampler=_for_gamma(asked), output_dir=folder / WHOLE, measures=(LLC,))
        with prepare_scans(plain, whole, requests, subject, kind, observer, link) as ready:
            yield sharing_of(ready, asked.budget_seconds, started)

    def begin(ready: PreparedScan) -> ScanRecorder:
        name = ready.folder.name
        return begun(ready, tracking.of(name), partial(on_point, name), observer)

    reports = run_prepared(prepare, begin, plain, kind, processes=processes, observer=observer)
    if reports is None:
        return None
    curves = {each.ready.folder.name: finished(each, view, observer) for each in reports}
    measured = curves.pop(MEASURED, None)
    result = ComponentCurves(model=model, curves=curves, run_dir=str(folder), measured=measured)
    if curves:
        _keep(result, observer)
    return result


def _keep(curves: ComponentCurves, observer: Observer) -> None:
    """Write the files about all components; calls for other ones may end at the same time."""
    with RunStore(Path(curves.run_dir), observer.tell).turn("components"):
        keep_components(curves, observer)


def _for_gamma(sampler: SamplerSettings) -> SamplerSettings:
    """Settings with which γ alone is measured, of the whole model: those of independent draws, without recording."""
    plain = SamplerSettings()
    left_out: Any = {name: getattr(plain, name) for name in (*OF_CHAINS, *_OF_EACH)}
    return replace(sampler, **{**left_out, "sampler": IMPORTANCE})


def _key(request: Request) -> str:
    """Twelve hex digits that differ whenever what is asked for does; components of one kind and another share them."""
    plain = replace(request.sampler, component=None, budget_seconds=None)
    asked = asked_for(replace(request, sampler=plain, measures=(LLC,)))
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:12]
