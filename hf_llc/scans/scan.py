"""A whole series: checkpoints chosen by name, one point each, written down as they come."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated, Any

from hf_llc.checkpoints.selection import Selection
from hf_llc.errors import SettingsError
from hf_llc.execution import planning
from hf_llc.execution.distributed import world as fleets
from hf_llc.execution.distributed.message_store import MachineStore
from hf_llc.integrations.tracking import Tracking
from hf_llc.measures import LLC, measure_parts
from hf_llc.report.export import curve_of
from hf_llc.results.curve import Curve, Point
from hf_llc.results.figures.axis_options import View
from hf_llc.results.progress import Observer
from hf_llc.scans.prepare import PreparedScan, prepare_scan
from hf_llc.scans.recorder import ScanRecorder
from hf_llc.scans.request import Request
from hf_llc.scans.run import begun, checked_request, finished, run_prepared
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


def _nothing(request: Request) -> Curve:
    """The curve of a part that has no checkpoints."""
    return curve_of(request.model, [], request.output_dir or Path())
