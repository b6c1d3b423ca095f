"""A whole series: checkpoints chosen by name, one point each, written down as they come."""

import gc
import json
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from hf_llc import estimation
from hf_llc.adapters import fleet as fleets
from hf_llc.adapters import machine, plots
from hf_llc.adapters.store import RunStore, write_atomically
from hf_llc.adapters.tables import parquet
from hf_llc.arrivals import Arrivals
from hf_llc.checkpoints import Checkpoint
from hf_llc.curve import Curve, Point
from hf_llc.fetching import Supply
from hf_llc.launching import run_all
from hf_llc.observer import Observer
from hf_llc.plan import Plan
from hf_llc.preparation import Series, prepared
from hf_llc.recall import remember
from hf_llc.request import Request
from hf_llc.results import Estimate
from hf_llc.runs import SCAN
from hf_llc.selector import Selection
from hf_llc.settings import DataSettings, SamplerSettings
from hf_llc.working import failure, work_through

COLLECTED = 5
"""Points after which garbage is collected: a picture leaves megabytes in circles that Python is slow to find."""
ROWS, TABLE, PICTURES = "results.jsonl", "results.parquet", ("llc.png", "llc.svg")


def scan(
    model: str,
    data: DataSettings | None = None,
    sampler: SamplerSettings | None = None,
    *,
    selection: Selection | None = None,
    tokens_per_step: int | None = None,
    steps: Mapping[str, int] | None = None,
    trust_remote_code: bool = False,
    allow_duplicates: bool = False,
    max_disk: int | None = None,
    processes: int | None = None,
    output_dir: Path | None = None,
    device: str | None = None,
    observer: Observer | None = None,
    on_point: Callable[[Point], None] = lambda point: None,
) -> Curve | None:
    """A point for each chosen checkpoint, in order of training, at one γ, nβ, ε and on the same batches and noise.

    What the settings leave open is measured once, at up to MEASURED of the checkpoints of the first call, and kept with
    the folder; later calls add points to the same curve. Equal weights are estimated once. A checkpoint without weights
    or that cannot be used becomes a point with an `error`. `scan.json`, `results.jsonl` and `results.parquet` are
    rewritten whole after each point, the pictures at the end.

    Under `accelerate launch` or `torchrun` every rank takes its share, and all but the main one return None.

    Args:
        selection, tokens_per_step, steps: as in `catalogue.find_checkpoints`.
        allow_duplicates: checkpoints with the very same weights are estimated one by one, as if they differed.
        max_disk: bytes that downloads may take together; they go to a folder of the scan's own and are removed once
            used. None keeps them in the Hub's cache. What is in that cache already is used from there.
        processes: how many to start; ignored under a launcher, see `launching.execute`.
        output_dir: None means `hf-llc-runs/<model>/scan-<key>` under the working directory.
        on_point: called with each point when it is there.

    Raises:
        HfLlcError: no checkpoint can be used, or see `estimation.plan`.
    """
    request = Request(
        model=model,
        data=data or DataSettings(),
        sampler=sampler or SamplerSettings(),
        selection=selection,
        tokens_per_step=tokens_per_step,
        steps=steps,
        trust_remote_code=trust_remote_code,
        allow_duplicates=allow_duplicates,
        max_disk=max_disk,
        output_dir=output_dir,
        device=device,
    )
    return run_scan(request, processes=processes, observer=observer, on_point=on_point)


def run_scan(
    request: Request,
    *,
    processes: int | None = None,
    observer: Observer | None = None,
    on_point: Callable[[Point], None] = lambda point: None,
) -> Curve | None:
    """What `scan` returns for these arguments."""
    observer = observer or Observer()
    kind = estimation.checked_device(request.sampler, request.device)
    if fleets.launched():
        return _as_rank(request, kind, observer, on_point)
    with prepared(request, kind, observer) as ready:
        report = _Report(ready.series, ready.plans, ready.folder, observer, on_point)
        report.begin()
        if missing := report.missing:
            with Supply(missing, ready.arrivals, ready.shelf, observer.tell):
                run_all(
                    missing,
                    processes=processes,
                    observer=observer,
                    keep_going=True,
                    arrivals=ready.arrivals,
                    on_settled=report.settle,
                )
        curve = report.finish()
    remember(curve, request, observer.tell)
    return curve


def _as_rank(request: Request, kind: str, observer: Observer, on_point: Callable[[Point], None]) -> Curve | None:
    """One rank's share of a scan below a user's own launcher; the curve on the main one."""
    fleet = fleets.join(kind)
    report: _Report | None = None
    with ExitStack() as stack:

        def prepare() -> tuple[list[Plan], Path]:
            nonlocal report
            ready = stack.enter_context(prepared(request, kind, observer))
            report = _Report(ready.series, ready.plans, ready.folder, observer, on_point)
            report.begin()
            stack.enter_context(Supply(report.missing, ready.arrivals, ready.shelf, observer.tell))
            return report.missing, ready.arrivals.folder

        missing, folder = fleet.on_main(prepare)
        work_through(
            missing,
            fleet,
            observer if fleet.is_main else Observer(),
            keep_going=True,
            arrivals=Arrivals(folder),
            on_settled=report.settle if report else lambda plan: None,
        )
        fleet.wait()
    fleet.leave()
    if report is None:
        return None
    curve = report.finish()
    remember(curve, request, observer.tell)
    return curve


class _Report:
    """The points so far, kept on disk."""

    def __init__(
        self,
        series: Series,
        plans: dict[str, Plan],
        folder: Path,
        observer: Observer,
        on_point: Callable[[Point], None],
    ) -> None:
        self._series, self._plans, self._folder = series, plans, folder
        self._observer, self._on_point = observer, on_point
        self._names = {plan.run_dir: name for name, plan in plans.items()}
        self._told: set[str] = set()
        self._started = time.monotonic()
        self.estimates: dict[str, Estimate] = {}

    def begin(self) -> None:
        """Takes over what an earlier call has finished, and tells of what is known without sampling."""
        for name, plan in self._plans.items():
            stored = RunStore(plan.run_dir, self._observer.tell).read("estimate")
            if stored is not None and estimation.is_finished(plan):
                self.estimates[name] = Estimate.from_dict(stored)
        self._write()

    @property
    def missing(self) -> list[Plan]:
        """What is left to estimate."""
        return [plan for name, plan in self._plans.items() if name not in self.estimates]

    def settle(self, plan: Plan) -> None:
        """Takes up a plan that is finished or has failed."""
        name = self._names[plan.run_dir]
        if estimation.is_finished(plan):
            self.estimates[name] = estimation.collect(plan, self._observer, self._started)
        else:
            self._series.errors[name] = failure(plan) or "its run was interrupted"
        self._started = time.monotonic()
        self._write()
        if len(self._told) % COLLECTED == 0:
            gc.collect()

    def finish(self) -> Curve:
        """The whole curve, with its pictures."""
        curve = self._write()
        for name in PICTURES:
            plots.series(self._folder / name, curve.points, name=Path(self._series.model).name)
        return curve

    def _write(self) -> Curve:
        points = [point for each in self._series.checkpoints if (point := self._point(each)) is not None]
        curve = curve_of(self._series.model, points, self._folder)
        write_atomically(self._folder / SCAN, json.dumps(curve.to_dict(), allow_nan=False).encode())
        rows = [point.to_row() for point in points]
        lines = [json.dumps(row, allow_nan=False) + "\n" for row in rows]
        write_atomically(self._folder / ROWS, "".join(lines).encode())
        if rows:
            write_atomically(self._folder / TABLE, parquet(rows))
        for point in points:
            if point.revision not in self._told:
                self._told.add(point.revision)
                self._on_point(point)
        return curve

    def _point(self, checkpoint: Checkpoint) -> Point | None:
        first = checkpoint.duplicate_of or checkpoint.name
        found, error = self.estimates.get(first), self._series.errors.get(first)
        if found is None and error is None:
            return None
        source = self._series.sources.get(first)
        return Point(
            revision=checkpoint.name,
            sha=checkpoint.sha or (source.sha if source else None),
            stage=checkpoint.stage,
            step=checkpoint.step,
            tokens=checkpoint.tokens,
            duplicate_of=checkpoint.duplicate_of,
            error=None if found else error,
            estimate=found,
        )


def curve_of(model: str, points: Sequence[Point], folder: Path) -> Curve:
    """The curve of these points, with the settings and the text that all of them share."""
    records = [point.estimate.to_dict() for point in points if point.estimate is not None]
    first: dict[str, Any] = records[0] if records else {"settings": {}, "dataset": {}}
    settings = {
        name: value
        for name, value in first["settings"].items()
        if all(record["settings"][name] == value for record in records)
    }
    return Curve(
        model=model,
        settings=settings,
        dataset=first["dataset"],
        points=tuple(points),
        run_dir=str(folder),
        versions=machine.versions(),
    )
