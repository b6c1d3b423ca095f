"""One process's share of several plans: their parts are one queue, and a checkpoint is loaded when its turn comes."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from hf_llc.errors import SettingsError, SourceError, UnusableError
from hf_llc.execution.availability import CheckpointAvailability
from hf_llc.execution.distributed.world import ProcessWorld
from hf_llc.execution.loaded_model import LoadedModel, ModelSlot, computing
from hf_llc.execution.plan import Plan
from hf_llc.execution.store import RunStore
from hf_llc.execution.work_queue import POLL_SECONDS, Steps, WorkState
from hf_llc.measures import measure_parts
from hf_llc.results.progress import Observer
from hf_llc.results.shared_progress import PlanProgress, SharedProgress

CHECKPOINT_FAILURES = (SourceError, UnusableError, SettingsError)
"""What is wrong with one checkpoint and need not stop the others of a series."""
FAILURE = "failed"


def failure(plan: Plan) -> str | None:
    """Why the plan's checkpoint could not be used when it was last tried; None if it could, or was not tried."""
    stored = RunStore(plan.run_dir, lambda message: None).read(FAILURE)
    return None if stored is None else str(stored["error"])


def note_failure(plan: Plan, error: Exception) -> None:
    """Keeps the reason why the plan's checkpoint cannot be used; the first one, since others may follow from it."""
    if failure(plan) is None:
        RunStore(plan.run_dir, lambda message: None).write(FAILURE, {"error": reason(plan, error)})


def reason(plan: Plan, error: Exception) -> str:
    """The error's sentence, in which a file of the checkpoint goes by its name: where it is now means nothing later."""
    return str(error).replace(f"{plan.source.path}/", "")


def discard_failure(plan: Plan) -> None:
    """Remove the recorded failure, so that the checkpoint is tried again."""
    RunStore(plan.run_dir, lambda message: None).path(FAILURE).unlink(missing_ok=True)


def is_over(plan: Plan) -> bool:
    """True if every part is finished, or the checkpoint cannot be used."""
    return measure_parts.is_finished(plan) or failure(plan) is not None


def run_plans(
    plans: Sequence[Plan],
    fleet: ProcessWorld,
    observer: Observer,
    *,
    keep_going: bool = False,
    availability: CheckpointAvailability | None = None,
    on_settled: Callable[[Plan], None] = lambda plan: None,
    check: Callable[[], None] = lambda: None,
) -> None:
    """Makes every missing part of every plan, together with whoever else works on the same folders.

    A checkpoint stays in memory as long as a plan that is left is at it, so that those that follow one another load it
    once.

    Plans are taken in order. Where others make all that is left of one, this process goes on to the next, and comes
    back should they die. Where they make what the rest of it waits for, it waits: no checkpoint is loaded twice.

    Args:
        keep_going: a checkpoint that cannot be used leaves its `failure`, and the others go on.
        availability: tells which checkpoints are here of those that another thread or process downloads; plans whose
            checkpoint will not come are left as they are.
        on_settled: told of each plan once it is over.
        check: called now and then; what it raises ends the work.
    """
    room, stage = ModelSlot(), SharedProgress(observer)
    pending = [_PlanProgress(plan, fleet, room, stage, availability) for plan in plans]
    while pending:
        waiting = False
        for job in list(pending):
            # Only one is asked for at a time: what is asked for stays on this disk until it is over.
            if not (job.is_here or job.begin(ask=not waiting) or job.is_over):
                waiting = True
                continue
            try:
                outcome = job.work()
            except CHECKPOINT_FAILURES as error:
                check()
                if not (keep_going and fleet.all_failed()):
                    raise
                if fleet.writes:
                    note_failure(job.plan, error)
                outcome = None
            if outcome is None:
                job.close()
                pending.remove(job)
                if not any(room.holds(other.plan) for other in pending):
                    room.clear()
                on_settled(job.plan)
            if outcome is WorkState.NEEDED:
                break
        else:
            if waiting and availability is not None and fleet.lead(lambda: availability.is_finished):
                pending = [job for job in pending if job.is_here or job.begin(ask=False) or job.is_over]
        check()
        if pending:
            with observer.part("waiting"):
                time.sleep(POLL_SECONDS)


class _PlanProgress:
    """One plan of several."""

    def __init__(
        self,
        plan: Plan,
        fleet: ProcessWorld,
        room: ModelSlot,
        stage: SharedProgress,
        availability: CheckpointAvailability | None,
    ) -> None:
        self.plan = plan
        self._fleet, self._room, self._availability = fleet, room, availability
        self._events = PlanProgress(stage)
        self._bench: LoadedModel | None = None
        self._steps: Steps[None] | None = None

    @property
    def is_here(self) -> bool:
        """True if its work has begun."""
        return self._steps is not None

    @property
    def is_over(self) -> bool:
        """True if other processes have finished all of it."""
        return self._fleet.lead(lambda: is_over(self.plan))

    def begin(self, ask: bool) -> bool:
        """Begins, if the checkpoint is on this disk; otherwise it may be asked for."""
        plan, key = self.plan, self.plan.run_dir.name
        if plan.source.path is None:
            assert self._availability is not None
            path = self._fleet.lead(lambda: self._path(key, ask))
            if path is None:
                return False
            plan = replace(plan, source=replace(plan.source, path=path))
        self.plan = plan
        self._bench = LoadedModel(plan, self._fleet.device, self._room, self._fleet.group)
        self._steps = measure_parts.steps(plan, self._bench, self._fleet, self._events)
        return True

    def _path(self, key: str, ask: bool) -> Path | None:
        assert self._availability is not None
        return self._availability.request(key) if ask or self._availability.path_of(key) is not None else None

    def work(self) -> WorkState | None:
        """Makes parts until others have the rest in hand, and says so; None when there is nothing left to do."""
        if self._steps is None or self._fleet.lead(lambda: failure(self.plan)) is not None:
            return None
        outcome = WorkState.MADE
        try:
            with computing(self.plan.threads):
                while outcome is WorkState.MADE:
                    outcome = next(self._steps)
        except StopIteration:
            return None
        return outcome

    def close(self) -> None:
        """Forgets the checkpoint, which stays in memory for other plans at it."""
        self._events.end()
        if self._bench is not None:
            self._bench.release()
        self._steps = None
