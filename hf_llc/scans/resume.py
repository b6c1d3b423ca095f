"""A finished scan known again by what was asked for, before anything heavy is loaded."""

import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hf_llc.checkpoints.checkpoint import Checkpoint
from hf_llc.checkpoints.identity import data_revision
from hf_llc.checkpoints.resolve import base_finder, find_model, series_id
from hf_llc.checkpoints.source import label_of
from hf_llc.errors import NotFoundError, SourceError
from hf_llc.execution import machine
from hf_llc.execution.store import RunStore
from hf_llc.measures import LLC
from hf_llc.report.export import draw
from hf_llc.report.load import SCAN, load_run
from hf_llc.results.curve import Curve, Point
from hf_llc.results.estimate import SCHEMA
from hf_llc.results.figures.axis_options import View
from hf_llc.results.progress import Observer
from hf_llc.scans.request import Request
from hf_llc.scans.shard import Shard

Tell = Callable[[str], None]
ASKED, RUNS = "asked", "hf-llc-runs"


def find_finished(request: Request, observer: Observer, view: View | None = None) -> Curve | None:
    """The curve of an earlier call that asked for the same and of which nothing failed; None if there is none.

    The pictures are drawn again with this view. Costs the requests that list the checkpoints and pin the text, and only
    if a folder looks promising.

    Raises:
        HfLlcError: the checkpoints or the text cannot be found.
    """
    tell, shard = observer.tell, request.shard
    label = label_of(series_id(request.model))
    folders = [request.output_dir] if request.output_dir else sorted((Path(RUNS) / label).glob("scan-*"))
    promising = [folder for folder in folders if RunStore(folder, tell).read(_name(shard)) == asked_for(request)]
    if not promising:
        return None
    checkpoints = request.checkpoints(tell)
    own = set(shard.own(checkpoints))
    revision = data_revision(request.data, tell)
    for folder in promising:
        try:
            curve = load_run(folder)
        except NotFoundError:
            continue
        except SourceError:
            tell(f"{folder / SCAN} is damaged or was changed; it is computed again.")
            continue
        # The folder of several parts is about all of them.
        points = [point for point in curve.points if shard.is_whole or point.revision in own]
        if curve.dataset.get("revision") == revision and _are_all(points, checkpoints, own, tell):
            draw(curve, folder, view, observer)
            return Curve.of_points(curve.model, points, run_dir=str(folder.resolve()), versions=curve.versions)
    return None


def store_finished(curve: Curve, request: Request, tell: Tell) -> None:
    """Notes with the curve what was asked for, unless a point of it is to be tried again, or modules are in memory."""
    if request.own is None and all(point.error is None for point in curve.points):
        RunStore(Path(curve.run_dir), tell).write(_name(request.shard), asked_for(request))


def discard_finished(folder: Path, shard: Shard, tell: Tell) -> None:
    """The curve in the folder is about to change by this part of the scan."""
    for name in (ASKED, _name(shard)):
        RunStore(folder, tell).path(name).unlink(missing_ok=True)


def _name(shard: Shard) -> str:
    return ASKED if shard.is_whole else f"{ASKED}-{shard.name}"


def asked_for(request: Request) -> dict[str, Any]:
    """What decides the numbers beside checkpoints and text, JSON-ready."""
    asked = {
        "schema": SCHEMA,
        "model": request.model,
        "data": asdict(request.data),
        "sampler": asdict(request.sampler),
        "trust_remote_code": request.trust_remote_code,
        # Scans of before there was such a setting are known again.
        **({"base_model": request.base_model} if request.base_model is not None else {}),
        "device": request.device,
        **({"measures": list(request.measures)} if request.measures != (LLC,) else {}),
        "cores": machine.cores(),
    }
    return dict(json.loads(json.dumps(asked)))


def _are_all(points: Sequence[Point], checkpoints: Sequence[Checkpoint], own: Collection[str], tell: Tell) -> bool:
    """True if the points are those of the checkpoints of these names, each with its number."""
    asked = [checkpoint for checkpoint in checkpoints if checkpoint.name in own]
    known = [(p.revision, p.stage, p.step, p.tokens, p.duplicate_of) for p in points]
    wanted = [(c.name, c.stage, c.step, c.tokens, c.duplicate_of) for c in asked]
    if known != wanted or not known or any(point.error is not None for point in points):
        return False
    # A copy on this disk is known by the one it is a copy of.
    by_name = {checkpoint.name: checkpoint for checkpoint in checkpoints}
    find_base = base_finder(False, tell)

    def is_same(checkpoint: Checkpoint, point: Point) -> bool:
        base = None if point.estimate is None else point.estimate.base_sha
        if checkpoint.sha is not None and base is None:
            return point.sha == checkpoint.sha
        first = by_name[checkpoint.duplicate_of or checkpoint.name].model
        source = find_model(first, download=False, tell=tell, find_base=find_base)
        known = point.sha == (checkpoint.sha or source.sha)
        return known and base == (None if source.base is None else source.base.sha)

    return all(is_same(checkpoint, point) for checkpoint, point in zip(asked, points, strict=True))
