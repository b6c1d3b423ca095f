"""A whole series: checkpoints chosen by name, one point each, written down as they come."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from hf_llc.checkpoints.selection import Selection
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
from hf_llc.report.export import curve_of
from hf_llc.results.curve import Curve, Point
from hf_llc.results.figures.axis_options import View
from hf_llc.results.progress import Observer
from hf_llc.sampling.samplers import AUTO
from hf_llc.scans.prefetch import Prefetcher
from hf_llc.scans.prepare import PreparedScan, by_checkpoint, prepare_scan
from hf_llc.scans.recorder import ScanRecorder
from hf_llc.scans.request import Request
from hf_llc.scans.resume import store_finished
from hf_llc.scans.shard import Shard
from hf_llc.settings.bounds import Bounds, checked_arguments, require
from hf_llc.settings.data import DataSettings
from hf_llc.settings.limits import MOST_PROCESSES, MOST_TOKENS
from hf_llc.settings.overrides import requested
from hf_llc.settings.sampler import SamplerSettings
from hf_llc.tasks.in_memory import data_settings, series_address
from hf_llc.tasks.own_module import series_handed_over


@checked_arguments
def scan(
    model: Any,
    data: Any = None,
    sampler: SamplerSettings | str | None = None,
    *,
    measures: str | Sequence[str] = (LLC,),
    tokenizer: Any = None,
    losses: Any = None,
    revisions: str | Sequence[str] | None = None,
    settings: Any = None,
    selection: Selection | None = None,
    tokens_per_step: Annotated[int | None, Bounds(low=1, high=MOST_TOKENS)] = None,
    steps: Mapping[str, int] | None = None,
    trust_remote_code: bool = False,
    base_model: str | None = None,
    allow_duplicates: bool = False,
    max_disk: Annotated[int | None, Bounds(low=1)] = None,
    num_processes: Annotated[int | None, Bounds(low=1, high=MOST_PROCESSES)] = None,
    processes: Annotated[int | None, Bounds(low=1, high=MOST_PROCESSES)] = None,
    output_dir: Path | None = None,
    device: str | None = None,
    shard: Shard | None = None,
    view: View | None = None,
    tracking: Tracking | None = None,
    observer: Observer | None = None,
    on_point: Callable[[Point], None] = lambda point: None,
    **overrides: Any,
) -> Curve | None:
    """The local learning coefficient at each chosen checkpoint of a series, in order of training.

    All points have the same γ, nβ, minibatches and noise, and one sampler and ε if chains are asked for. Settings that
    are not given are measured once, at up to 12 of the checkpoints of the first call, and stored in the folder; later
    calls add points to the same curve. Identical
    weights are estimated once. A checkpoint without weights or that cannot be used becomes a point with an `error`.
    `scan.json`, `results.jsonl` and `results.parquet` are rewritten after each point, the pictures at the end.

    Under `accelerate launch` or `torchrun` every rank takes its share, and all but the main one return None.

    Args:
        model: the Hub id of a repository with checkpoints, or a local folder of checkpoints; or transformers or
            peft models in memory, as a mapping from training step to model or as a list, which are saved below
            `hf-llc-runs/in-memory` first and stay as they are; or with `losses` any modules of torch in the same way.
        data: a Hub dataset, a file, `DataSettings`, or in memory a `datasets.Dataset`, a list of texts or a tensor of
            token ids of shape (n, context length); None is the default text. With `losses` the items, as of `estimate`.
        sampler: how the posterior is sampled, or the name of a sampler. What is None is chosen.
        measures: names of what is computed at each checkpoint, such as `["llc", "rank", "activations"]`, or `all`; see
            `hf_llc.measures`. Without `llc` no λ̂ is estimated. One that has no meaning for the model or fails leaves
            its columns null, and the scan goes on.
        tokenizer: of models in memory; token ids need none.
        losses: a loss of your own, (module, items) -> ℓ_i, as of `estimate`; all is computed in this process.
        revisions: which checkpoints, as `--revisions` says them: `log:20`, `step1000..step9000`, a list of names; None
            takes all that have a step in their name.
        settings: a settings file, a mapping of its names, or a result whose settings to use, such as a calibration.
        selection: as a `Selection`, in place of `revisions`.
        tokens_per_step: training tokens in a step, where names say only steps.
        steps: the step of names that do not say it, or say it wrongly.
        trust_remote_code: run the model code that the repository ships.
        base_model: what adapters are put on; None is the model that they name.
        allow_duplicates: estimate checkpoints with identical weights one by one, as if they differed.
        max_disk: bytes that downloads may take together; they go to the scan's folder and are removed once used. None
            downloads to the Hub's cache. What is in that cache already is used from there.
        num_processes: how many to start; None chooses, 1 computes in this process. Ignored under a launcher.
        processes: an older name of `num_processes`.
        output_dir: folder of the run; None means `hf-llc-runs/<model>/scan-<key>` under the working directory.
        device: `cpu`, `cuda` or `mps`; None takes the best one available.
        shard: estimate only this part of the selection, at the γ, ε and text of a scan of all of it, and return its
            points; the files in the folder contain all existing points, whichever part computed them.
        view: x axis of the pictures. tracking: receives each point as well.
        observer: receives progress and messages; None is silent.
        on_point: called with each point as soon as it exists.
        overrides: single settings by name, such as `gamma=7800` or `max_sequences=512`; they win over all others.

    Raises:
        SettingsError: the settings contradict each other. NotFoundError: no such series or checkpoint.
        HfLlcError: no checkpoint can be used, or see `estimate`.
    """
    if revisions is not None and selection is not None:
        raise SettingsError("Set revisions or selection, not both.")
    if revisions is not None:
        selection = Selection.parse([revisions] if isinstance(revisions, str) else list(revisions))
    own = None
    with ExitStack() as stack:
        if losses is not None:
            _refuse_beside_losses(selection, num_processes or processes)
            own = stack.enter_context(series_handed_over(model, data, losses))
        asked_data, asked_sampler = requested(
            DataSettings() if own else data_settings(data), sampler, settings, overrides, "scan"
        )
        if own and asked_data != DataSettings():
            raise SettingsError(planning.NO_TEXT)
        require(own is None or asked_sampler.probe is None, planning.NO_PROBE)
        request = Request(
            model=own.name if own else series_address(model, tokenizer, data),
            data=asked_data,
            sampler=asked_sampler,
            selection=selection,
            tokens_per_step=tokens_per_step,
            steps=steps,
            trust_remote_code=trust_remote_code,
            base_model=base_model,
            allow_duplicates=allow_duplicates,
            max_disk=max_disk,
            output_dir=output_dir,
            device=device,
            shard=shard or Shard(),
            measures=_measures(measures),
            own=own,
        )
        return run_scan(
            request,
            processes=1 if own else num_processes or processes,
            view=view,
            tracking=tracking,
            observer=observer,
            on_point=on_point,
        )


def _refuse_beside_losses(selection: Selection | None, processes: int | None) -> None:
    """Raise SettingsError for what modules in memory cannot have."""
    if selection is not None:
        raise SettingsError("revisions and selection are for checkpoints with names: pass the modules to scan alone.")
    if processes not in {None, 1} or fleets.launched():
        raise SettingsError(
            f"num_processes must be 1 for modules in memory, got {processes or 'a launcher of several processes'}."
        )


def _measures(measures: str | Sequence[str]) -> tuple[str, ...]:
    """The measures and those that they need, in the order in which they are computed.

    Raises:
        SettingsError: there is no such measure, or none is named.
    """
    names = [measures] if isinstance(measures, str) else list(measures)
    if not names:
        raise SettingsError("measures is an empty list; name at least one.")
    return tuple(measure_parts.ordered(names))


def run_scan(
    request: Request,
    *,
    processes: int | None = None,
    view: View | None = None,
    tracking: Tracking | None = None,
    observer: Observer | None = None,
    on_point: Callable[[Point], None] = lambda point: None,
) -> Curve | None:
    """What `scan` returns for these arguments."""
    observer = observer or Observer()
    request, kind = checked_request(request, observer)

    @contextmanager
    def prepare(link: MachineStore | None) -> Iterator[list[PreparedScan]]:
        with prepare_scan(request, kind, observer, link) as ready:
            yield [] if ready is None else [ready]

    def begin(ready: PreparedScan) -> ScanRecorder:
        return begun(ready, tracking or Tracking([]), on_point, observer)

    reports = run_prepared(prepare, begin, request, kind, processes=processes, observer=observer)
    if reports is None:
        return None
    if not reports:
        return _nothing(request)
    return finished(reports[0], view, observer)


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


def _nothing(request: Request) -> Curve:
    """The curve of a part that has no checkpoints."""
    return curve_of(request.model, [], request.output_dir or Path())


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
