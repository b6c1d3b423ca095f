"""How far the weights have moved over a scan, from the sketch that each checkpoint keeps of its own."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hf_llc.results.curve import Point

MEASURE, SKETCH, SHAPES = "distances", "weight_sketch", "weight_shapes"
FROM_FIRST, FROM_LAST, COSINE = "distance_from_first", "distance_from_last", "displacement_cosine"


def distance(first: "Point", second: "Point") -> float | None:
    """‖w − w′‖ of two checkpoints, from their sketches; None if one has none, or its weights have other shapes."""
    return math.dist(_sketch(first), _sketch(second)) if _are_alike(first, second) else None


def with_distances(points: Sequence["Point"], is_whole: bool) -> list["Point"]:
    """The points of a scan in order of training, with their distances; without any while sketches are missing.

    A number depends on the checkpoints of the scan alone, not on the order in which they were measured. The first and
    the last checkpoint are those of all that could be measured. Cosines leave out checkpoints that have not moved.

    Args:
        is_whole: all checkpoints of the scan are among the points.
    """
    own = [point for point in points if point.duplicate_of is None]
    is_known = is_whole and all(MEASURE in point.measures or point.error is not None for point in own)
    measured = [point for point in points if _sketch(point)] if is_known else []
    values: dict[str, dict[str, float | None]] = {}
    path: list[Point] = []
    for point in measured:
        if not path or distance(path[-1], point) != 0:
            path.append(point)
        values[point.revision] = {
            FROM_FIRST: distance(measured[0], point),
            FROM_LAST: distance(point, measured[-1]),
            COSINE: _cosine(*path[-3:]) if len(path) > 2 else None,
        }
    return [_with(point, values.get(point.revision, {})) for point in points]


def _are_alike(*points: "Point") -> bool:
    """Whether all have a sketch, of weights of the same names and shapes."""
    shapes = {(len(_sketch(point)), point.measures[MEASURE].values.get(SHAPES)) for point in points if _sketch(point)}
    return len(shapes) == 1 and all(map(_sketch, points))


def _cosine(before: "Point", between: "Point", after: "Point") -> float | None:
    """Of the angle between two successive displacements; None if their weights have other shapes."""
    if not _are_alike(before, between, after):
        return None
    steps = [
        [b - a for a, b in zip(_sketch(start), _sketch(end), strict=True)]
        for start, end in ((before, between), (between, after))
    ]
    length = math.hypot(*steps[0]) * math.hypot(*steps[1])
    return sum(a * b for a, b in zip(*steps, strict=True)) / length if length > 0 else None


def _with(point: "Point", values: Mapping[str, float | None]) -> "Point":
    record = point.measures.get(MEASURE)
    if record is None or record.error is not None:
        return point
    none = dict.fromkeys((FROM_FIRST, FROM_LAST, COSINE))
    record = replace(record, values={**record.values, **none, **values})
    return replace(point, measures={**point.measures, MEASURE: record})


def _sketch(point: "Point") -> Sequence[float]:
    record = point.measures.get(MEASURE)
    return [] if record is None else record.values.get(SKETCH) or []
