"""How far the weights have moved over a scan, from the sketch that each checkpoint keeps of its own."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hf_llc.results.curve import Point

MEASURE, SKETCH = "distances", "weight_sketch"
FROM_FIRST, FROM_LAST, COSINE = "distance_from_first", "distance_from_last", "displacement_cosine"


def distance(first: "Point", second: "Point") -> float | None:
    """‖w − w′‖ of two checkpoints, from their sketches; None if one of them has none."""
    sketches = [sketch for point in (first, second) if (sketch := _sketch(point))]
    return math.dist(*sketches) if len(sketches) == 2 and len(sketches[0]) == len(sketches[1]) else None


def with_distances(points: Sequence["Point"], is_whole: bool) -> list["Point"]:
    """The points of a scan in order of training, with their distances; without any while sketches are missing.

    A number depends on the checkpoints of the scan alone, not on the order in which they were measured. The first and
    the last checkpoint are those of all that could be measured.

    Args:
        is_whole: all checkpoints of the scan are among the points.
    """
    own = [point for point in points if point.duplicate_of is None]
    is_known = is_whole and all(MEASURE in point.measures or point.error is not None for point in own)
    measured = [point for point in own if _sketch(point)] if is_known else []
    values = {point.revision: _values(measured, index) for index, point in enumerate(measured)}
    return [_with(point, values.get(point.duplicate_of or point.revision, {})) for point in points]


def _values(measured: Sequence["Point"], index: int) -> dict[str, float | None]:
    point = measured[index]
    return {
        FROM_FIRST: distance(measured[0], point),
        FROM_LAST: distance(point, measured[-1]),
        COSINE: _cosine(*measured[index - 2 : index + 1]) if index > 1 else None,
    }


def _cosine(before: "Point", between: "Point", after: "Point") -> float | None:
    """Of the angle between two successive displacements; None if there was none."""
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
