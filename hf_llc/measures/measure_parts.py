"""All that a plan computes at its checkpoint: λ̂, and measures beside it, each a durable part of the run's folder."""

import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hf_llc.errors import DivergedError, SettingsError, UnusableError, one_line
from hf_llc.execution import work_queue
from hf_llc.execution.distributed.world import ProcessWorld
from hf_llc.execution.loaded_model import LoadedModel
from hf_llc.execution.plan import Plan
from hf_llc.execution.store import RunStore
from hf_llc.execution.work_queue import Steps
from hf_llc.measures import ALL, LLC, MEASURES
from hf_llc.measures.base import MeasureContext, NotApplicableError
from hf_llc.measures.llc import estimation
from hf_llc.results.measured import MeasureRecord
from hf_llc.results.progress import Observer

ERROR, SECONDS, TRIED_AGAIN = "error", "seconds", "tried_again"
"""Of a part, beside the values of the columns: why there are none, the time it took, whether another try may do."""
CENTER = ("seed", "params", "component", "prior", "batch_norm", "devices_per_chain")
"""Settings of the posterior that say what w* is, which weights move, and which random numbers there are."""
FAILURES = (
    UnusableError, SettingsError, DivergedError, RuntimeError, TypeError, ValueError, AttributeError, LookupError,
    ArithmeticError,
)  # fmt: skip
"""What of a measure does not stop the others, in which code of models runs in ways that nobody has tried."""


def ordered(names: Sequence[str], field: str = "measures", needed_by: Sequence[str] = ()) -> list[str]:
    """The measures and those that they need, each after what it needs; `all` stands for every one.

    Args:
        field: of the settings, as messages call it.

    Raises:
        SettingsError: there is no such measure, or one needs itself.
    """
    order: list[str] = []
    for name in names:
        if name == ALL:
            order += ordered(list(dict.fromkeys([LLC, *MEASURES])), field)
            continue
        MEASURES.check(field, name, [] if needed_by else [ALL])
        if name in needed_by:
            raise SettingsError(f"The measure {name} needs itself, by way of {', '.join(needed_by)}.")
        order += [*ordered(MEASURES[name].needs, field, [*needed_by, name]), name]
    return list(dict.fromkeys(order))


def folder_of(plan: Plan) -> Path:
    """Where records of measures are kept: they do not depend on how the posterior is sampled."""
    return plan.run_dir / "measures"


def inputs_of(plan: Plan) -> dict[str, Any]:
    """Every input that can change a record."""
    inputs = plan.inputs()
    return {**inputs, "sampler": {name: inputs["sampler"][name] for name in CENTER if name in inputs["sampler"]}}


def steps(plan: Plan, bench: LoadedModel, fleet: ProcessWorld, observer: Observer) -> Steps[None]:
    """Everything that the plan asks for, one part at a time."""
    if LLC in plan.measures:
        yield from estimation.steps(plan, bench, fleet, observer)
    others = [name for name in plan.measures if name != LLC]
    if not others:
        return
    store = fleet.store(folder_of(plan), observer.tell, observer.part)
    store.open(inputs_of(plan))
    # In the memory of a process that has drawn is this model, whose minibatches are those of draws.
    own = bench.at(plan.of_draws()) if plan.sampler.tries_draws else bench
    waves: list[list[str]] = []
    for name in others:
        needs = [index for index, wave in enumerate(waves) if set(wave) & set(MEASURES[name].needs)]
        place = max(needs, default=-1) + 1
        waves += [[]] * (place == len(waves))
        waves[place] = [*waves[place], name]
    for index, wave in enumerate(waves):
        yield from work_queue.make_parts(
            store,
            wave,
            lambda name: _made(plan, own, fleet, observer, store, name),
            first=fleet.share,
            last=index == len(waves) - 1,
        )


def _made(
    plan: Plan, bench: LoadedModel, world: ProcessWorld, observer: Observer, store: RunStore, name: str
) -> dict[str, Any]:
    """The payload of a measure's part."""
    if world.group is not None:
        return {ERROR: "it is not computed of a model that several devices hold together"}
    with observer.part("loading"):
        # What is wrong with the checkpoint is no failure of a measure.
        bench.load()
    started = time.monotonic()
    try:
        with observer.part("measures"):
            needed = {each: _needed(plan, store, each, observer) for each in MEASURES[name].needs}
            context = MeasureContext(plan=plan, bench=bench, world=world, observer=observer, records=needed)
            values = record(name, context)
    except NotApplicableError as error:
        return {ERROR: one_line(str(error))}
    except FAILURES as error:
        return {ERROR: one_line(str(error)) or type(error).__name__, TRIED_AGAIN: True}
    return {**values, SECONDS: time.monotonic() - started}


def record(name: str, context: MeasureContext) -> dict[str, Any]:
    """The values of a measure's columns; what is not finite is None."""
    values = MEASURES[name].run(context)
    return {column.name: _finite(values[column.name]) for column in MEASURES[name].columns}


def _finite(value: Any) -> Any:
    if isinstance(value, list):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _needed(plan: Plan, store: RunStore, name: str, observer: Observer) -> Mapping[str, Any]:
    if name == LLC:
        from hf_llc.results.curve import Curve

        row = Curve.of_estimate(estimation.collect(plan, observer, time.monotonic())).points[0].to_row()
        return {column.name: row[column.name] for column in MEASURES[LLC].columns}
    stored = store.read(name)
    if stored is None or ERROR in stored:
        raise NotApplicableError(f"it needs {name}, which has no number here")
    return stored


def is_finished(plan: Plan) -> bool:
    """True if everything that the plan asks for is there, or cannot be had."""
    if LLC in plan.measures and not estimation.is_finished(plan):
        return False
    store = RunStore(folder_of(plan), lambda message: None)
    return all(store.path(name).exists() for name in plan.measures if name != LLC)


def is_whole(plan: Plan) -> bool:
    """True if every record of a measure beside λ̂ that the plan asks for can be read."""
    store = RunStore(folder_of(plan), lambda message: None)
    return all(store.read(name) is not None for name in plan.measures if name != LLC)


def discard_failures(plan: Plan) -> None:
    """Remove records of measures that failed, so that these are tried again."""
    store = RunStore(folder_of(plan), lambda message: None)
    for name in plan.measures:
        if name != LLC and (stored := store.read(name)) is not None and stored.get(TRIED_AGAIN):
            store.path(name).unlink(missing_ok=True)


def records(plan: Plan) -> dict[str, MeasureRecord]:
    """What measures beside λ̂ have left in the run's folder, in this call or an earlier one."""
    store = RunStore(folder_of(plan), lambda message: None)
    records = {}
    for name in MEASURES:
        if name == LLC or not store.path(name).exists():
            continue
        stored = store.read(name) or {ERROR: "its record is damaged; run the same command again"}
        columns = tuple(MEASURES[name].columns)
        values = {column.name: stored.get(column.name) for column in columns}
        records[name] = MeasureRecord(
            columns=columns, values=values, seconds=stored.get(SECONDS), error=stored.get(ERROR)
        )
    return records
