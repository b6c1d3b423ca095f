"""The points of a scan so far: collected, written to disk and passed to listeners as they finish."""

import gc
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from hf_llc.checkpoints.checkpoint import Checkpoint
from hf_llc.execution.loaded_model import drop_gradient
from hf_llc.execution.plan import Plan
from hf_llc.execution.store import RunStore
from hf_llc.measures import LLC, measure_parts
from hf_llc.measures.llc import estimation
from hf_llc.measures.schedule import failure
from hf_llc.report.export import curve_of, draw, keep
from hf_llc.report.load import SCAN, load_run
from hf_llc.results.curve import Curve, Point
from hf_llc.results.displacements import with_distances
from hf_llc.results.estimate import Estimate
from hf_llc.results.figures.axis_options import View
from hf_llc.results.measured import MeasureRecord
from hf_llc.results.progress import Observer
from hf_llc.scans.prepare import PreparedScan
from hf_llc.settings.strict_json import DamagedError

COLLECTED = 5
"""Points after which garbage is collected: a picture leaves megabytes in circles that Python is slow to find."""


class ScanRecorder:
    """The points so far, kept on disk."""

    def __init__(self, ready: PreparedScan, observer: Observer, listeners: Sequence[Callable[[Point], None]]) -> None:
        self.ready = ready
        self._series, self._own, self._plans = ready.series, set(ready.own), ready.plans
        self._store = RunStore(ready.folder, observer.tell)
        self._observer, self._listeners = observer, listeners
        self._asked = {measure for plan in ready.plans.values() for measure in plan.measures} or {LLC}
        self._names = {plan.run_dir: name for name, plan in ready.plans.items()}
        self._told: set[str] = set()
        self._started = time.monotonic()
        self._refusals: set[tuple[str, str]] = set()
        self.estimates: dict[str, Estimate] = {}
        self.measured: dict[str, dict[str, MeasureRecord]] = {}

    def begin(self) -> None:
        """Takes over what an earlier call has finished, and tells of what is known without sampling."""
        for name, plan in self._plans.items():
            stored = RunStore(plan.run_dir, self._observer.tell).read("estimate")
            if stored is not None and estimation.is_finished(plan):
                # A record of an earlier version may lack a field; it is made again from the chains.
                with suppress(DamagedError):
                    self.estimates[name] = Estimate.from_dict(stored)
            self.measured[name] = measure_parts.records(plan)
        self._write()

    @property
    def missing(self) -> list[Plan]:
        """What is left to compute."""
        return [
            plan
            for name, plan in self._plans.items()
            if (LLC in plan.measures and name not in self.estimates) or not measure_parts.is_whole(plan)
        ]

    def settle(self, plan: Plan) -> None:
        """Takes up a plan that is finished or has failed; one of another scan is left to that."""
        if plan.run_dir not in self._names:
            return
        name = self._names[plan.run_dir]
        if LLC in plan.measures and name not in self.estimates and estimation.is_finished(plan):
            with self._observer.part("results"):
                self.estimates[name] = estimation.collect(plan, self._observer, self._started)
        if not measure_parts.is_finished(plan):
            early = "its run was interrupted" if plan.deadline is None else "the time ran out before it had a number"
            self._series.errors[name] = failure(plan) or early
            drop_gradient(plan.run_dir)
        self._take_measures(name, plan)
        self._write()
        if len(self._told) % COLLECTED == 0:
            gc.collect()

    def restart_clock(self) -> None:
        """What is computed from now on is that of the next plan to settle, whichever scan that belongs to."""
        self._started = time.monotonic()

    def _take_measures(self, name: str, plan: Plan) -> None:
        """Take up what measures gave, and tell once of each reason why one gave nothing."""
        self.measured[name] = measure_parts.records(plan)
        for measure, record in self.measured[name].items():
            if record.error is not None and (measure, record.error) not in self._refusals:
                self._refusals.add((measure, record.error))
                self._observer.tell(f"{measure} of {name} has no numbers: {record.error}.")

    def finish(self, view: View | None) -> Curve:
        """The curve of this scan's own points, with pictures of all points."""
        everything = self._write()
        with self._observer.part("results"):
            draw(everything, self._store.folder, view, self._observer)
        own = [point for point in everything.points if point.revision in self._own]
        return curve_of(self._series.model, own, self._store.folder)

    def _write(self) -> Curve:
        # Parts of one scan that share a folder all write about the whole of it.
        with self._store.turn(SCAN):
            others = self._others()
            by_name = {each.name: self._point(each) or others.get(each.name) for each in self._series.checkpoints}
            known = [point for point in by_name.values() if point is not None]
            points = with_distances(known, is_whole=len(known) == len(by_name))
            curve = curve_of(self._series.model, points, self._store.folder)
            keep(curve, self._store.folder)
        for point in points:
            if point.revision in self._own - self._told:
                self._told.add(point.revision)
                for listener in self._listeners:
                    listener(point)
        return curve

    def _others(self) -> dict[str, Point]:
        """What other parts of the scan have left in the folder about the checkpoints as they are now, by name."""
        missing = {each.name: each.sha for each in self._series.checkpoints if each.name not in self._own}
        if not missing or not (self._store.folder / SCAN).exists():
            return {}
        points = load_run(self._store.folder).points
        return {point.revision: point for point in points if missing.get(point.revision, "") in {None, point.sha}}

    def _point(self, checkpoint: Checkpoint) -> Point | None:
        first = checkpoint.duplicate_of or checkpoint.name
        if checkpoint.name not in self._own:
            return None
        estimate, error = self.estimates.get(first), self._series.errors.get(first)
        measures = self.measured.get(first, {})
        is_there = estimate is not None if LLC in self._asked else self._asked <= measures.keys()
        if not is_there and error is None:
            return None
        source = self._series.sources.get(first)
        return Point(
            revision=checkpoint.name,
            sha=checkpoint.sha or (source.sha if source else None),
            stage=checkpoint.stage,
            step=checkpoint.step,
            tokens=checkpoint.tokens,
            duplicate_of=checkpoint.duplicate_of,
            error=None if estimate else error,
            estimate=estimate,
            measures=measures,
        )
