"""Prepared scans: run by this process and those that it starts, or as a rank of a user's own launch."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from hf_llc.errors import SettingsError
from hf_llc.execution import planning
from hf_llc.execution.availability import CheckpointAvailability
from hf_llc.execution.distributed import world as fleets
from hf_llc.execution.distributed.message_store import MachineStore
from hf_llc.execution.plan import Plan
from hf_llc.integrations.tracking import Tracking
from hf_llc.measures import LLC, measure_parts
from hf_llc.measures.run import run_all, tethered
from hf_llc.measures.schedule import run_plans
from hf_llc.results.curve import Curve, Point
from hf_llc.results.figures.axis_options import View
from hf_llc.results.progress import Observer
from hf_llc.sampling.samplers import AUTO
from hf_llc.scans.prefetch import Prefetcher
from hf_llc.scans.prepare import PreparedScan, by_checkpoint
from hf_llc.scans.recorder import ScanRecorder
from hf_llc.scans.request import Request
from hf_llc.scans.resume import store_finished
from hf_llc.settings.sampler import SamplerSettings


def checked_request(request: Request, observer: Observer) -> tuple[Request, str]:
    """The request with measures in their order, and the kind of device.

    Raises:
        SettingsError: a scan cannot be made of it.
    """
    request = replace(request, measures=tuple(measure_parts.ordered(request.measures)))
    kind = planning.checked_device(request.sampler, request.device)
    planning.tell_of_no_use(request.sampler, observer)
    if LLC in request.measures:
        _require_closed(request.sampler)
    return request, kind


def _require_closed(sampler: SamplerSettings) -> None:
    """Raise SettingsError if one process would have to measure for the curve at a model that several hold together, or
    if chains are asked to end by their error or the time."""
    by_draws = sampler.by_draws or sampler.tries_draws
    if sampler.target_stderr is not None and not by_draws:
        raise SettingsError(
            "`target_stderr` in a scan needs independent draws: set `sampler=importance`, or `chains` and "
            "`draws` for chains."
        )
    if by_draws and sampler.gamma is not None:
        return
    chosen = AUTO not in {sampler.sampler, sampler.start, sampler.gradient, sampler.batches}
    if sampler.devices_per_chain > 1 and not (chosen and sampler.gamma is not None and sampler.lr is not None):
        raise SettingsError(
            "With `devices_per_chain` a scan cannot measure its settings, since one process may not hold "
            "the model: set `gamma`, `lr`, `sampler`, `start`, `gradient` and `batches`, or `settings` to "
            "the file that hf-llc calibrate writes."
        )


Prepare = Callable[[MachineStore | None], AbstractContextManager[list[PreparedScan]]]
"""Scans of one series, which go over each checkpoint together; none where their part of it is empty."""
Begin = Callable[[PreparedScan], ScanRecorder]


def run_prepared(
    prepare: Prepare, begin: Begin, request: Request, kind: str, *, processes: int | None, observer: Observer
) -> list[ScanRecorder] | None:
    """Reports of scans of which everything is computed; None on ranks of a user's own launch but for the main one.

    Args:
        begin: reports on a scan that was prepared. request: of one of them.
    """
    if fleets.launched():
        return _as_rank(prepare, begin, request, kind, observer)
    with prepare(None) as ready:
        reports = list(map(begin, ready))
        if missing := by_checkpoint(ready, {plan.run_dir for report in reports for plan in report.missing}):
            with Prefetcher(missing, ready[0].availability, ready[0].budget, observer.tell):
                run_all(
                    missing,
                    processes=processes,
                    observer=observer,
                    keep_going=True,
                    availability=ready[0].availability,
                    on_settled=partial(_settle, reports),
                )
    return reports


def _settle(reports: Sequence[ScanRecorder], plan: Plan) -> None:
    """Tells the report that a plan belongs to; there are none but on the main process."""
    for report in reports:
        report.settle(plan)
    for report in reports:
        report.restart_clock()


def _as_rank(
    prepare: Prepare, begin: Begin, request: Request, kind: str, observer: Observer
) -> list[ScanRecorder] | None:
    """One rank's share of scans below a user's own launcher; the reports on the main one."""
    fleet = fleets.join_launch(kind, request.sampler.devices_per_chain)
    ready: list[PreparedScan] = []
    reports: list[ScanRecorder] = []
    with fleet.together(), ExitStack() as stack:

        def prepared() -> tuple[dict[str, Plan], Path]:
            ready.extend(stack.enter_context(prepare(fleet.link)))
            every = by_checkpoint(ready, {plan.run_dir for each in ready for plan in each.plans.values()})
            return {_key(plan): plan for plan in every}, ready[0].availability.folder if ready else Path()

        def begun() -> list[str]:
            reports.extend(map(begin, ready))
            return [_key(plan) for report in reports for plan in report.missing]

        def supply() -> None:
            if ready:
                stack.enter_context(Prefetcher(missing, ready[0].availability, ready[0].budget, observer.tell))

        plans, folder = fleet.on_each_machine(prepared, _inputs)
        names = set(fleet.on_main(begun))
        missing = [plan for key, plan in plans.items() if key in names]
        fleet.on_each_machine(supply)
        run_plans(
            missing,
            fleet,
            tethered(fleet, observer),
            keep_going=True,
            availability=CheckpointAvailability(folder),
            on_settled=partial(_settle, reports),
            check=fleet.check,
        )
        fleet.wait()
    return reports if fleet.is_main else None


def _key(plan: Plan) -> str:
    """The plan's name on all machines, which may have different folders."""
    return f"{plan.run_dir.name} {plan.sampler.component or ''} {','.join(plan.measures)}"


def _inputs(prepared_here: tuple[dict[str, Plan], Path]) -> dict[str, Any]:
    """What has to be the same on every machine."""
    return {key: plan.inputs() for key, plan in prepared_here[0].items()}


def begun(
    ready: PreparedScan, tracking: Tracking, on_point: Callable[[Point], None], observer: Observer
) -> ScanRecorder:
    """A report that has begun, with the trackers open."""
    tracking.begin(ready.folder, ready.inputs, ready.request.shard.part)
    report = ScanRecorder(ready, observer, [on_point, tracking.log])
    report.begin()
    return report


def finished(report: ScanRecorder, view: View | None, observer: Observer) -> Curve:
    """The curve of a scan of which everything is computed, which is known again from now on."""
    curve = report.finish(view)
    store_finished(curve, report.ready.request, observer.tell)
    return curve
