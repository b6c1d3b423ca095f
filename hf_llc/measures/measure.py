"""`hf_llc.measure`: measures of one checkpoint, from Python."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hf_llc.errors import SettingsError
from hf_llc.execution.distributed import world as fleets
from hf_llc.execution.loaded_model import LoadedModel, computing
from hf_llc.execution.plan import Plan
from hf_llc.execution.planning import plan
from hf_llc.execution.store import RunStore
from hf_llc.measures import MEASURES
from hf_llc.measures.base import MeasureContext, Record
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
    settings: Any = None,
    output_dir: Path | None = None,
    device: str | None = None,
    observer: Observer | None = None,
    **overrides: Any,
) -> dict[str, dict[str, Any]]:
    """What the named measures give at one checkpoint: a record for each, by the names of its columns.

    The model is loaded once for all of them. Records that an earlier call has left in the folder are used.

    Args:
        measures: names of measures, such as `llc`.
        model, data, sampler, tokenizer, settings, output_dir, device, observer, overrides: as of `hf_llc.estimate`,
            whose number is the measure `llc`.

    Raises:
        SettingsError: there is no such measure. HfLlcError: see `hf_llc.estimate`.
    """
    names = [measures] if isinstance(measures, str) else list(dict.fromkeys(measures))
    if not names:
        raise SettingsError("measures is an empty list; name at least one.")
    ordered = _ordered(names, [])
    observer = observer or Observer()
    asked_model, asked_data = model_settings(model, tokenizer, data), data_settings(data)
    asked_data, asked_sampler = requested(asked_data, sampler, settings, overrides, "measure")
    own = plan(asked_model, asked_data, asked_sampler, output_dir=output_dir, device=device, observer=observer)
    records = _records(own, ordered, observer)
    return {name: dict(records[name]) for name in names}


def _ordered(names: Sequence[str], needed_by: Sequence[str]) -> list[str]:
    """The measures and those that they need, each after what it needs."""
    ordered: list[str] = []
    for name in names:
        MEASURES.check("measures", name)
        if name in needed_by:
            raise SettingsError(f"The measure {name} needs itself, by way of {', '.join(needed_by)}.")
        ordered += [*_ordered(MEASURES[name].needs, [*needed_by, name]), name]
    return list(dict.fromkeys(ordered))


def _records(own: Plan, names: Sequence[str], observer: Observer) -> dict[str, Record]:
    world = fleets.single_process(own.device)
    store = RunStore(own.run_dir, observer.tell)
    store.open(own.inputs())
    bench = LoadedModel(own, world.device)
    records: dict[str, Record] = {}
    for name in names:
        stored = store.read(f"measures/{name}")
        if stored is None:
            needed = {each: records[each] for each in MEASURES[name].needs}
            context = MeasureContext(plan=own, bench=bench, world=world, observer=observer, records=needed)
            with computing(own.threads):
                values = MEASURES[name].run(context)
            stored = {column.name: values[column.name] for column in MEASURES[name].columns}
            store.write(f"measures/{name}", stored)
        records[name] = stored
    return records
