"""`hf_llc.measure`: measures of one checkpoint, from Python."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hf_llc.errors import SettingsError
from hf_llc.execution.distributed import world as fleets
from hf_llc.execution.loaded_model import LoadedModel, computing
from hf_llc.execution.plan import Plan
from hf_llc.execution.planning import plan, plan_in_memory
from hf_llc.execution.store import RunStore
from hf_llc.measures import ALL, LLC, MEASURES, measure_parts
from hf_llc.measures.base import MeasureContext, NotApplicableError, Record
from hf_llc.measures.measure_parts import ERROR, SECONDS, folder_of, inputs_of, record
from hf_llc.results.progress import Observer
from hf_llc.settings.bounds import checked_arguments
from hf_llc.settings.overrides import requested
from hf_llc.settings.sampler import SamplerSettings
from hf_llc.tasks.in_memory import data_settings, model_settings


@checked_arguments
def measure(
    model: Any,
    data: Any = None,
    measures: str | Sequence[str] = ("llc",),
    *,
    sampler: SamplerSettings | str | None = None,
    tokenizer: Any = None,
    losses: Any = None,
    settings: Any = None,
    output_dir: Path | None = None,
    device: str | None = None,
    observer: Observer | None = None,
    **overrides: Any,
) -> dict[str, dict[str, Any]]:
    """What the named measures give at one checkpoint: a record for each, by the names of its columns.

    The model is loaded once for all of them. Records that an earlier call has left in the folder are used.

    Args:
        measures: names of measures, such as `llc` and `rank`, or `all` that apply.
        model, data, sampler, tokenizer, losses, settings, output_dir, device, observer, overrides: as of
            `hf_llc.estimate`, whose number is the measure `llc`. With `losses` any `torch.nn.Module` is measured.

    Raises:
        SettingsError: there is no such measure. HfLlcError: see `hf_llc.estimate`.
        NotApplicableError: a measure that is named has no meaning for this model or data.
    """
    names = [measures] if isinstance(measures, str) else list(dict.fromkeys(measures))
    if not names:
        raise SettingsError("measures is an empty list; name at least one.")
    ordered = measure_parts.ordered(names)
    observer = observer or Observer()
    if losses is not None:
        with plan_in_memory(
            model,
            data,
            losses,
            sampler,
            function="measure",
            settings=settings,
            overrides=overrides,
            output_dir=output_dir,
            device=device,
            observer=observer,
        ) as own:
            return _chosen(own, names, ordered, observer)
    asked_model, asked_data = model_settings(model, tokenizer, data), data_settings(data)
    asked_data, asked_sampler = requested(asked_data, sampler, settings, overrides, "measure")
    own = plan(asked_model, asked_data, asked_sampler, output_dir=output_dir, device=device, observer=observer)
    return _chosen(own, names, ordered, observer)


def _chosen(own: Plan, names: Sequence[str], ordered: Sequence[str], observer: Observer) -> dict[str, dict[str, Any]]:
    """The records of the measures that were named."""
    records = _records(own, ordered, observer, leave_out=ALL in names)
    return {name: dict(records[name]) for name in (records if ALL in names else names)}


def _records(own: Plan, names: Sequence[str], observer: Observer, leave_out: bool) -> dict[str, Record]:
    """The records by name; those that do not apply are left out if that is asked for."""
    world = fleets.single_process(own.device)
    of_run, of_measures = (RunStore(folder, observer.tell) for folder in (own.run_dir, folder_of(own)))
    of_run.open(own.inputs())
    of_measures.open(inputs_of(own))
    bench = LoadedModel(own, world.device)
    records: dict[str, Record] = {}
    for name in names:
        # λ̂ depends on how the posterior is sampled, and belongs to the run.
        store, part = (of_run, f"measures/{LLC}") if name == LLC else (of_measures, name)
        stored = store.read(part)
        if stored is None or ERROR in stored:
            needed = {each: records[each] for each in MEASURES[name].needs}
            context = MeasureContext(plan=own, bench=bench, world=world, observer=observer, records=needed)
            started = time.monotonic()
            try:
                with computing(own.threads):
                    values = record(name, context)
            except NotApplicableError as error:
                if not leave_out:
                    raise NotApplicableError(f"{name} does not apply: {error}.") from error
                observer.tell(f"{name} is left out: {error}.")
                continue
            stored = {**values, SECONDS: time.monotonic() - started}
            store.write(part, stored)
        records[name] = {column.name: stored.get(column.name) for column in MEASURES[name].columns}
    return records
