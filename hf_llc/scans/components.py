"""Several components of a model, one at a time: a scan or an estimate of each, at one γ and nβ."""

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from hf_llc.checkpoints.resolve import find_model, series_id
from hf_llc.checkpoints.selection import Selection
from hf_llc.checkpoints.source import label_of
from hf_llc.components.find import chosen, component_of, components_of
from hf_llc.errors import SettingsError
from hf_llc.execution import machine, planning
from hf_llc.execution.plan import Plan
from hf_llc.execution.store import RunStore
from hf_llc.measures.llc import estimation
from hf_llc.measures.run import execute
from hf_llc.report.component_files import keep_components
from hf_llc.results.component_curves import ComponentCurves
from hf_llc.results.curve import Curve, Point
from hf_llc.results.figures.axis_options import View
from hf_llc.results.progress import Observer
from hf_llc.scans.prepare import prepare_scan
from hf_llc.scans.request import Request
from hf_llc.scans.resume import RUNS, asked_for
from hf_llc.scans.scan import run_scan
from hf_llc.scans.shared_settings import shared_settings
from hf_llc.settings.bounds import Bounds, checked_arguments, require
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
OnCurve = Callable[[str, Curve], None]


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
) -> ComponentCurves:
    """The weight-refined learning coefficient of several components of one checkpoint, each moved alone.

    All have one γ and nβ: a γ that is not given is measured once, of the whole model. Losses at w* are computed once.

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
    trust_remote_code: bool = False,
    num_processes: Annotated[int | None, Bounds(low=1, high=MOST_PROCESSES)] = None,
    output_dir: Path | None = None,
    device: str | None = None,
    observer: Observer | None = None,
    on_point: Callable[[Point], None] = lambda point: None,
    **overrides: Any,
) -> ComponentCurves:
    """The weight-refined learning coefficient of several components over the checkpoints of a series.

    All have one γ and nβ, and each has the sampler and step size that serve it: a γ that is not given is measured once,
    of the whole model at the last checkpoint. Losses at w* are computed once for all.

    Args:
        components: as of `hf_llc.estimate_components`.
        model, data, sampler, tokenizer, revisions, settings, trust_remote_code, num_processes, device, observer,
            on_point, overrides: as of `hf_llc.scan`.
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
        output_dir=output_dir,
        device=device,
    )
    return run_component_scans(request, processes=num_processes, observer=observer, on_point=on_point)


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
    observer: Observer | None = None,
    on_curve: OnCurve = lambda name, curve: None,
) -> ComponentCurves:
    """What `estimate_components` returns for these settings, whose component is a list."""
    observer = observer or Observer()
    _refuse_launch()
    source = find_model(model, download=False, tell=observer.tell)
    names = _names(outline_of(source, data.task), sampler)

    def plan_of(asked: SamplerSettings, folder: Path | None = None) -> Plan:
        return planning.plan(model, data, asked, output_dir=folder, device=device, observer=observer)

    whole = plan_of(replace(sampler, component=None))
    folder = (output_dir or whole.run_dir.with_name(f"components-{whole.key}")).resolve()
    if sampler.gamma is None:
        place = folder / WHOLE
        plan = plan_of(_for_gamma(sampler), place)
        store = RunStore(place, observer.tell)
        store.open(plan.inputs())
        sampler = replace(sampler, gamma=shared_settings([plan], store, plan.sampler, observer).sampler.gamma)
    ends = _ends(sampler)
    curves: dict[str, Curve] = {}
    for index, name in enumerate(names):
        observer.tell(f"Component {index + 1} of {len(names)}: {name}.")
        asked = replace(sampler, component=name, budget_seconds=_share(ends, len(names) - index))
        plan = plan_of(asked, folder / name)
        if curves:
            estimation.take_anchor_losses(plan, folder / names[0], observer.tell)
        estimate = execute(lambda plan=plan: plan, processes=processes, device=device, observer=observer)  # type: ignore[misc]
        assert estimate is not None  # only ranks of a user's own launch have none
        curves[name] = Curve.of_estimate(estimate)
        on_curve(name, curves[name])
    result = ComponentCurves(model=source.id, curves=curves, run_dir=str(folder))
    keep_components(result, observer)
    return result


def run_component_scans(
    request: Request,
    *,
    processes: int | None = None,
    view: View | None = None,
    observer: Observer | None = None,
    on_point: Callable[[Point], None] = lambda point: None,
    on_curve: OnCurve = lambda name, curve: None,
) -> ComponentCurves:
    """What `scan_components` returns for this request, whose component is a list."""
    observer, sampler = observer or Observer(), request.sampler
    _refuse_launch()
    require(
        request.max_disk is None,
        "`max_disk` cannot be set with several components, for each of which checkpoints would be downloaded again; "
        "leave it out.",
    )
    last = request.checkpoints(observer.tell)[-1]
    names = _names(outline_of(find_model(last.model, download=False, tell=observer.tell), request.data.task), sampler)
    model = series_id(request.model)
    folder = (request.output_dir or Path(RUNS) / label_of(model) / f"components-{_key(request)}").resolve()
    if sampler.gamma is None:
        kind = planning.checked_device(_for_gamma(sampler), request.device)
        alone = replace(request, sampler=_for_gamma(sampler), output_dir=folder / WHOLE)
        with prepare_scan(alone, kind, observer) as ready:
            if ready is None:
                return ComponentCurves(model=model, curves={}, run_dir=str(folder))
            sampler = replace(sampler, gamma=next(iter(ready.plans.values())).sampler.gamma)
    ends = _ends(sampler)
    curves: dict[str, Curve] = {}
    for index, name in enumerate(names):
        observer.tell(f"Component {index + 1} of {len(names)}: {name}.")
        asked = replace(sampler, component=name, budget_seconds=_share(ends, len(names) - index))
        curve = run_scan(
            replace(request, sampler=asked, output_dir=folder / name),
            processes=processes,
            view=view,
            observer=observer,
            on_point=on_point,
            losses_from=folder / names[0] if curves else None,
        )
        assert curve is not None  # only ranks of a user's own launch have none
        curves[name] = curve
        on_curve(name, curve)
    result = ComponentCurves(model=model, curves=curves, run_dir=str(folder))
    keep_components(result, observer)
    return result


def _refuse_launch() -> None:
    if machine.launched():
        raise SettingsError(
            "Several components cannot be sampled below a launcher: name one `component` in each launch, or start "
            "the processes with `num_processes`."
        )


def _names(model: Any, sampler: SamplerSettings) -> list[str]:
    """The components that are asked for, each of which the model has.

    Raises:
        NotFoundError, SettingsError: it has not.
    """
    asked = sampler.component or ""
    names = chosen(components_of(model), asked)
    for name in names:
        component_of(model, name)
    if not names:
        raise SettingsError(f"component {asked}: {type(model).__name__} has none of these; see hf-llc components.")
    return names


def _for_gamma(sampler: SamplerSettings) -> SamplerSettings:
    """Settings with which γ alone is measured, of the whole model: those of independent draws, without recording."""
    plain = SamplerSettings()
    left_out: Any = {name: getattr(plain, name) for name in (*OF_CHAINS, *_OF_EACH)}
    return replace(sampler, **{**left_out, "sampler": IMPORTANCE})


def _ends(sampler: SamplerSettings) -> float | None:
    return None if sampler.budget_seconds is None else time.monotonic() + sampler.budget_seconds


def _share(ends: float | None, left: int) -> float | None:
    """Seconds for the next of so many components."""
    return None if ends is None else max(1.0, (ends - time.monotonic()) / left)


def _key(request: Request) -> str:
    """Twelve hex digits that differ whenever what is asked for does; components of one kind and another share them."""
    asked = asked_for(replace(request, sampler=replace(request.sampler, component=None, budget_seconds=None)))
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:12]
