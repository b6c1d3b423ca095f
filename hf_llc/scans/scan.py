"""A whole series: checkpoints chosen by name, one point each, written down as they come."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from hf_llc.checkpoints.selection import Selection
from hf_llc.errors import SettingsError
from hf_llc.execution import planning
from hf_llc.execution.availability import CheckpointAvailability
from hf_llc.execution.distributed import world as fleets
from hf_llc.execution.plan import Plan
from hf_llc.integrations.tracking import Tracking
from hf_llc.measures import LLC, measure_parts
from hf_llc.measures.llc import estimation
from hf_llc.measures.run import run_all, tethered
from hf_llc.measures.schedule import run_plans
from hf_llc.report.export import curve_of
from hf_llc.results.curve import Curve, Point
from hf_llc.results.figures.axis_options import View
from hf_llc.results.progress import Observer
from hf_llc.sampling.samplers import AUTO
from hf_llc.scans.prefetch import Prefetcher
from hf_llc.scans.prepare import POINTS, PreparedScan, prepare_scan
from hf_llc.scans.recorder import ScanRecorder
from hf_llc.scans.request import Request
from hf_llc.scans.resume import store_finished
from hf_llc.scans.shard import Shard
from hf_llc.settings.bounds import Bounds, checked_arguments
from hf_llc.settings.limits import MOST_PROCESSES, MOST_TOKENS
from hf_llc.settings.overrides import requested
from hf_llc.settings.sampler import SamplerSettings
from hf_llc.tasks.in_memory import data_settings, series_address


@checked_arguments
def scan(
    model: Any,
    data: Any = None,
    sampler: SamplerSettings | str | None = None,
    *,
    measures: str | Sequence[str] = (LLC,),
    tokenizer: Any = None,
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
            `hf-llc-runs/in-memory` first and stay as they are.
        data: a Hub dataset, a file, `DataSettings`, or in memory a `datasets.Dataset`, a list of texts or a tensor of
            token ids of shape (n, context length); None is the default text.
        sampler: how the posterior is sampled, or the name of a sampler. What is None is chosen.
        measures: names of what is computed at each checkpoint, such as `["llc", "rank", "activations"]`, or `all`; see
            `hf_llc.measures`. Without `llc` no λ̂ is estimated. One that has no meaning for the model or fails leaves
            its columns null, and the scan goes on.
        tokenizer: of models in memory; token ids need none.
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
    if "losses" in overrides:
        raise SettingsError(
            "scan takes no losses of your own; call hf_llc.estimate(module, items, losses=…) for each checkpoint."
        )
    if revisions is not None and selection is not None:
        raise SettingsError("Set revisions or selection, not both.")
    if revisions is not None:
        selection = Selection.parse([revisions] if isinstance(revisions, str) else list(revisions))
    asked_data, asked_sampler = requested(data_settings(data), sampler, settings, overrides, "scan")
    request = Request(
        model=series_address(model, tokenizer, data),
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
    )
    return run_scan(
        request,
        processes=num_processes or processes,
        view=view,
        tracking=tracking,
        observer=observer,
        on_point=on_point,
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
    losses_from: Path | None = None,
) -> Curve | None:
    """What `scan` returns for these arguments.

    Args:
        losses_from: folder of a scan of another component of the same models, whose losses at w* are taken over.
    """
    observer = observer or Observer()
    request = replace(request, measures=tuple(measure_parts.ordered(request.measures)))
    kind = planning.checked_device(request.sampler, request.device)
    planning.tell_of_no_use(request.sampler, observer)
    if LLC in request.measures:
        _require_closed(request.sampler)
    report_on = partial(_report, request, observer, tracking or Tracking([]), on_point)
    if fleets.launched():
        return _as_rank(request, kind, observer, view, report_on)
    with prepare_scan(request, kind, observer) as ready:
        if ready is None:
            return _nothing(request)
        report = report_on(ready)
        if missing := report.missing:
            if losses_from is not None:
                for plan in missing:
                    estimation.take_anchor_losses(plan, losses_from / POINTS / plan.run_dir.name, observer.tell)
            with Prefetcher(missing, ready.availability, ready.budget, observer.tell):
                run_all(
                    missing,
                    processes=processes,
                    observer=observer,
                    keep_going=True,
                    availability=ready.availability,
                    on_settled=report.settle,
                )
        curve = report.finish(view)
    store_finished(curve, request, observer.tell)
    return curve


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


def _as_rank(
    request: Request,
    kind: str,
    observer: Observer,
    view: View | None,
    report_on: Callable[[PreparedScan], ScanRecorder],
) -> Curve | None:
    """One rank's share of a scan below a user's own launcher; the curve on the main one."""
    fleet = fleets.join_launch(kind, request.sampler.devices_per_chain)
    ready: PreparedScan | None = None
    report: ScanRecorder | None = None
    with fleet.together(), ExitStack() as stack:

        def prepare() -> tuple[list[Plan], Path]:
            nonlocal ready
            ready = stack.enter_context(prepare_scan(request, kind, observer, fleet.link))
            return (list(ready.plans.values()), ready.availability.folder) if ready else ([], Path())

        def begin() -> list[str]:
            nonlocal report
            report = report_on(ready) if ready else None
            return [plan.run_dir.name for plan in report.missing] if report else []

        def supply() -> None:
            if ready is not None:
                stack.enter_context(Prefetcher(missing, ready.availability, ready.budget, observer.tell))

        plans, folder = fleet.on_each_machine(prepare, _inputs)
        names = fleet.on_main(begin)
        missing = [plan for plan in plans if plan.run_dir.name in names]
        fleet.on_each_machine(supply)
        run_plans(
            missing,
            fleet,
            tethered(fleet, observer),
            keep_going=True,
            availability=CheckpointAvailability(folder),
            on_settled=report.settle if report else lambda plan: None,
            check=fleet.check,
        )
        fleet.wait()
    if report is None:
        return _nothing(request) if fleet.is_main else None
    curve = report.finish(view)
    store_finished(curve, request, observer.tell)
    return curve


def _inputs(prepared_here: tuple[list[Plan], Path]) -> dict[str, Any]:
    """What has to be the same on every machine."""
    return {plan.run_dir.name: plan.inputs() for plan in prepared_here[0]}


def _nothing(request: Request) -> Curve:
    """The curve of a part that has no checkpoints."""
    return curve_of(request.model, [], request.output_dir or Path())


def _report(
    request: Request, observer: Observer, tracking: Tracking, on_point: Callable[[Point], None], ready: PreparedScan
) -> ScanRecorder:
    """A report that has begun, with the trackers open."""
    tracking.begin(ready.folder, ready.inputs, request.shard.part)
    report = ScanRecorder(ready, observer, [on_point, tracking.log])
    report.begin()
    return report
