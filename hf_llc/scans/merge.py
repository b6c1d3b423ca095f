"""Folders of one scan's parts made into one: the same inputs, one measured γ and ε, each checkpoint once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from glob import escape
from pathlib import Path
from typing import Any

from hf_llc.errors import NotFoundError, ResourceError, SourceError, listed
from hf_llc.execution.store import INPUTS, RunStore, differences, whole_payload
from hf_llc.measures import LLC
from hf_llc.report.component_files import read_index
from hf_llc.report.export import curve_of, draw, keep
from hf_llc.report.load import AGAIN, SCAN, load_run
from hf_llc.results.component_curves import INDEX
from hf_llc.results.curve import Curve, Point, training_order
from hf_llc.results.displacements import with_distances
from hf_llc.results.figures.axis_options import View
from hf_llc.results.progress import Observer
from hf_llc.scans.prepare import POINTS, label_of_point
from hf_llc.scans.shard import missing
from hf_llc.settings.bounds import checked_arguments
from hf_llc.settings.files import write_atomically

SHARED, SHARDS = "shared", "shards"
NOT_COPIED = {"plans.json", "estimate.json"}
"""What is about the place itself: the second is written anew with its own."""
CLOCK = ("seconds", "run_dir", "versions")
"""Of an estimate: what may differ between two that are the same."""


@dataclass(frozen=True, kw_only=True)
class _Part:
    """One folder: what it was made from, what it measured for the whole curve, its points, which shards it holds.

    `shared` is None where λ̂ was not asked for, so that nothing was measured for the curve.
    """

    folder: Path
    inputs: Mapping[str, Any]
    shared: Mapping[str, Any] | None
    shards: Mapping[str, Mapping[str, Any]]
    curve: Curve


@checked_arguments
def merge(
    folders: Sequence[Path], output: Path, *, view: View | None = None, observer: Observer | None = None
) -> tuple[Curve, list[str]]:
    """Join the parts of one scan: the curve of all points in the folders and in `output`, and what is missing.

    Afterwards `output` holds everything, the finished chains too, so that a scan of the same options on it recomputes
    nothing. Of two points of one checkpoint, one with a number is kept rather than one without, else that of the folder
    named first; the observer is told wherever they are not equal. The same call again changes nothing.

    Args:
        folders: of the parts. output: folder of the whole scan. view: x axis of its pictures.
        observer: receives messages; None is silent.

    Returns:
        The curve, and one sentence for each thing that keeps it from being the whole scan.

    Raises:
        NotFoundError: a folder holds no scan. SourceError: it is damaged.
        ResourceError: the folders were made from other inputs, or with another γ, ε, …; the message names them.
    """
    observer = observer or Observer()
    output = output.resolve()
    named = list(dict.fromkeys(folder.resolve() for folder in folders))
    parts = [_read(folder) for folder in named]
    if output not in named and (output / SCAN).is_file():
        parts.append(_read(output))
    sampled = next((part for part in parts if part.shared is not None), parts[0])
    for part in parts:
        _check(sampled, part, observer)
    store = RunStore(output, observer.tell)
    store.open(parts[0].inputs)
    if sampled.shared is not None:
        store.write(SHARED, sampled.shared)
    shards = {name: stored for part in reversed(parts) for name, stored in part.shards.items()}
    for name, stored in shards.items():
        store.write(f"{SHARDS}/{name}", stored)
    points = [_moved(point, origins, output, observer) for point, origins in _chosen(parts, observer)]
    left = missing(list(shards.values()), [point.revision for point in points])
    ordered = with_distances(_in_order(points, list(shards.values())), is_whole=not left)
    curve = curve_of(parts[0].curve.model, ordered, output)
    curve = replace(curve, versions=parts[0].curve.versions)
    with store.turn(SCAN):
        keep(curve, output)
    draw(curve, output, view, observer)
    return curve, [*left, *_unmeasured(points)]


def _unmeasured(points: Sequence[Point]) -> list[str]:
    """A sentence for each measure that some checkpoints have and others lack."""
    of_points = {
        point.revision: {*point.measures, *([LLC] if point.estimate is not None else [])}
        for point in points
        if point.error is None
    }
    lacking = {
        name: [revision for revision, names in of_points.items() if name not in names]
        for name in sorted(set().union(*of_points.values()))
    }
    return [f"Without the measure {name}: {listed(names)}." for name, names in lacking.items() if names]


def _read(folder: Path) -> _Part:
    if (folder / INDEX).is_file():
        name = read_index(folder)[1][:1] or ["l0h0"]
        raise NotFoundError(
            f"{folder} holds a scan of several components: join the parts of each, such as {folder / name[0]}, in a "
            "folder of its own."
        )
    if not all((folder / name).is_file() for name in (f"{INPUTS}.json", SCAN)):
        raise NotFoundError(
            f"{folder} holds no scan (no {SCAN}). Give the folders that `hf-llc scan` printed (`run_dir`)."
        )
    shared = folder / f"{SHARED}.json"
    return _Part(
        folder=folder,
        inputs=_payload(folder / f"{INPUTS}.json"),
        shared=_payload(shared) if shared.is_file() else None,
        shards={path.stem: _payload(path) for path in sorted((folder / SHARDS).glob("*.json"))},
        curve=load_run(folder),
    )


def _payload(path: Path) -> dict[str, Any]:
    """The payload of a part.

    Raises:
        SourceError: if it is damaged.
    """
    payload = whole_payload(path)
    if payload is None:
        raise SourceError(f"{path} is damaged (half-written or changed). {AGAIN}")
    return payload


def _check(first: _Part, other: _Part, observer: Observer) -> None:
    """Raise ResourceError if the two do not belong to one scan."""
    unequal = differences(first.inputs, other.inputs)
    if first.shared is not None and other.shared is not None:
        unequal += differences(first.shared["settings"], other.shared["settings"])
    if unequal:
        listed = "; ".join(f"{name} is {old} in the first and {new} in the other" for name, old, new in unequal)
        raise ResourceError(
            f"{other.folder} is not a part of the scan in {first.folder}: {listed}. Run all parts with the "
            "same settings, and set `threads` and `device` if their machines differ."
        )
    for name, old, new in differences(first.curve.versions, other.curve.versions):
        observer.tell(
            f"{first.folder} was made with {name} {old}, {other.folder} with {new}: numbers may differ in rounding."
        )


def _chosen(parts: Sequence[_Part], observer: Observer) -> list[tuple[Point, list[_Part]]]:
    """Each checkpoint once, and the parts that have it, first the one it is from; the others add their measures."""
    candidates: dict[str, list[tuple[Point, _Part]]] = {}
    for part in parts:
        for point in part.curve.points:
            candidates.setdefault(point.revision, []).append((point, part))
    chosen = []
    for name, several in candidates.items():
        point, part = next(((p, f) for p, f in several if p.llc is not None), several[0])
        equal = {id(each): each for each in [part, *(f for p, f in several if p.sha == point.sha)]}
        measures = {
            name: record for p, _ in reversed(several) if p.sha == point.sha for name, record in p.measures.items()
        }
        chosen.append((replace(point, measures={**measures, **point.measures}), list(equal.values())))
        differing = [_compared(point, other, elsewhere) for other, elsewhere in several]
        if sentence := "; ".join(filter(None, differing)):
            observer.tell(f"{name}: {sentence}. That of {part.folder} is kept.")
    return chosen


def _compared(kept: Point, other: Point, elsewhere: _Part) -> str:
    """What is different about another point of the same checkpoint; "" if nothing is."""
    if kept.sha != other.sha:
        return f"{elsewhere.folder} has it at commit {other.sha}, not {kept.sha}"
    if other.estimate is None and kept.estimate is not None:
        return f"it failed in {elsewhere.folder} ({other.error})" if other.error else ""
    if kept.llc != other.llc:
        return f"{elsewhere.folder} has LLC {other.llc}, not {kept.llc}"
    return (
        "" if _numbers(kept) == _numbers(other) else f"{elsewhere.folder} has the same LLC, but different diagnostics"
    )


def _numbers(point: Point) -> dict[str, Any]:
    record = point.estimate.to_dict() if point.estimate else {}
    return {name: value for name, value in record.items() if name not in CLOCK}


def _in_order(points: Sequence[Point], shards: Sequence[Mapping[str, Any]]) -> list[Point]:
    """By training; what does not say its step as the selection had it."""
    selected = {name: place for shard in shards for place, name in enumerate(shard["selection"])}
    known = sorted(points, key=lambda point: selected.get(point.revision, len(selected)))
    return sorted(known, key=lambda point: training_order(point.stage, point.step))


def _moved(point: Point, origins: Sequence[_Part], output: Path, observer: Observer) -> Point:
    """The point with its folder in `output`, where its finished parts now are."""
    name = _folder_name(point, origins)
    if name is None:
        return point
    target = output / POINTS / name
    if point.duplicate_of is None:
        for origin in reversed(origins):
            source = origin.folder / POINTS / name
            if source != target and source.is_dir():
                _copy(source, target)
    if point.estimate is None:
        return point
    estimate = replace(point.estimate, run_dir=str(target))
    if point.duplicate_of is None and target.is_dir():
        RunStore(target, observer.tell).write("estimate", estimate.to_dict())
    return replace(point, estimate=estimate)


def _folder_name(point: Point, origins: Sequence[_Part]) -> str | None:
    """Name of the folder of the checkpoint's parts; None if there is none."""
    if point.estimate is not None:
        return Path(point.estimate.run_dir).name
    if point.sha is None or not point.measures:
        return None
    known = f"{label_of_point(point.revision)}-{point.sha.removeprefix('sha256:')[:12]}"
    names = [path.name for origin in origins for path in (origin.folder / POINTS).glob(f"{escape(known)}*")]
    return names[0] if names else None


def _copy(source: Path, target: Path) -> None:
    for path in sorted([*source.rglob("*.json"), *source.rglob("*.safetensors"), *source.glob("*.png")]):
        copy, content = target / path.relative_to(source), path.read_bytes()
        if path.name not in NOT_COPIED and not (copy.is_file() and copy.read_bytes() == content):
            write_atomically(copy, content)
