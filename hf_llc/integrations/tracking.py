"""Points reported to experiment trackers while a run goes on."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from hf_llc.execution.store import RunStore
from hf_llc.integrations.trackers import TRACKERS
from hf_llc.integrations.trackers.base import TrackedRun, Tracker
from hf_llc.results.columns import panels_of
from hf_llc.results.curve import Point
from hf_llc.results.estimate import Verdict
from hf_llc.settings.bounds import checked_arguments

TRACKIO = "trackio"
"""The tracker that a named project is for."""
PROJECT = "hf-llc"
"""The project if none is named."""


class Tracking:
    """Where points are reported to; nowhere if nothing is named. To be used as a context, which closes what it opened.

    Each point is reported once: which ones were is kept in the run's folder and written when the tracker has a point on
    disk, so that a run that goes on, even after a `kill -9`, or is only looked at again, does not report twice.

    Args:
        names: of trackers, such as `trackio` and `tensorboard`. project: of trackers that have projects; it asks for
            `trackio`.

    Raises:
        SettingsError: there is no such tracker, or its package is not installed.
    """

    @checked_arguments
    def __init__(
        self, names: Sequence[str], project: str | None = None, tell: Callable[[str], None] = lambda message: None
    ) -> None:
        self._names = list(dict.fromkeys([*names, *[TRACKIO] * (project is not None)]))
        self._project, self._tell = project or PROJECT, tell
        self._open: dict[str, Tracker] = {}
        self._store: RunStore | None = None
        self._part = ""
        for name in self._names:
            TRACKERS.check("report_to", name)
            TRACKERS[name].require()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for tracker in self._open.values():
            tracker.close()
        self._open = {}

    def begin(self, folder: Path, config: Mapping[str, Any], part: str = "") -> None:
        """Opens the trackers for the run in this folder.

        Args:
            config: what is shown beside the numbers; `model` is part of the run's name on a Trackio board.
            part: of a scan that other processes work on at the same time.
        """
        self._store, self._part = RunStore(folder, self._tell), part
        run = TrackedRun(
            folder=folder,
            project=self._project,
            name=_run_name(folder, str(config["model"]), part),
            part=part,
            config=config,
        )
        for name in self._names:
            self._open[name] = TRACKERS[name](run)
            self._tell(f"View it with: {self._open[name].view_command}")

    def has_all(self, folder: Path, points: Sequence[Point], part: str = "") -> bool:
        """True if an earlier run in this folder reported these points to every tracker."""
        store, self._part = RunStore(folder, self._tell), part
        ledgers = [self._reported(store, name) for name in self._names]
        return all(ledger.get(point.revision) == _outcome(point) for ledger in ledgers for point in points)

    def log(self, point: Point) -> None:
        """Reports a point, if it was not reported before.

        It stands at its training step, or at the number of points before it if it has none. Copies and failures have
        words only.
        """
        values, fresh = values_of(point), _outcome(point)
        for name, tracker in self._open.items():
            assert self._store is not None
            # Another scan may be at work on the same folder.
            with self._store.turn(self._ledger(name).replace("/", "-")):
                reported = self._reported(self._store, name)
                if reported.get(point.revision) != fresh:
                    tracker.log(values, len(reported) if point.step is None else point.step)
                    self._store.write(self._ledger(name), {"reported": {**reported, point.revision: fresh}})

    def _reported(self, store: RunStore, name: str) -> dict[str, Any]:
        return dict((store.read(self._ledger(name)) or {"reported": {}})["reported"])

    def _ledger(self, name: str) -> str:
        return "-".join(filter(None, (f"reported/{name}", self._part)))


class ComponentTracking:
    """Where points of several components are reported to: a run of each, by the name of its folder.

    Args:
        names, project: as of `Tracking`.

    Raises:
        SettingsError: as of `Tracking`.
    """

    def __init__(
        self, names: Sequence[str], project: str | None = None, tell: Callable[[str], None] = lambda message: None
    ) -> None:
        self._make = partial(Tracking, names, project, tell)
        self._open: dict[str, Tracking] = {}
        self._make()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for each in self._open.values():
            each.__exit__(kind, error, trace)

    def of(self, component: str) -> Tracking:
        """Where points of this component are reported to."""
        if component not in self._open:
            self._open[component] = self._make()
        return self._open[component]


def _run_name(folder: Path, model: str, part: str) -> str:
    """The run's name, the same when a run in this folder is resumed; folders of one name get different names."""
    place = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:6]
    return "-".join(filter(None, (Path(model).name, folder.name, place, part)))


def _outcome(point: Point) -> list[float | str | None]:
    """What is reported again when it changes."""
    return [point.llc, point.error, *sorted(point.measures)]


def values_of(point: Point) -> dict[str, float | str]:
    """What is reported of a point: numbers by name, and words."""
    row = point.to_row()
    columns = [column for each in point.measures.values() for column in each.columns]
    measured = {each.name: row[each.name] for each in panels_of(columns) if row[each.name] is not None}
    if point.duplicate_of is None and point.error is None and point.estimate is None:
        return {**measured, "revision": point.revision}
    if point.estimate is None or point.llc is None:
        return {"revision": point.revision, "error": point.error or ""}
    if point.duplicate_of is not None:
        return {"revision": point.revision, "duplicate_of": point.duplicate_of}
    numbers = {"llc": point.llc, "stderr": point.stderr, "loss": point.loss}
    return {
        **{name: value for name, value in numbers.items() if value is not None},
        "converged": float(point.verdict is Verdict.CONVERGED),
        **measured,
        "verdict": str(point.verdict),
        "revision": point.revision,
    }
