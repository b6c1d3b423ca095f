"""Measures with a value for each layer, head, matrix or position, as matrices of entries and checkpoints."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from hf_llc.results.columns import Column
from hf_llc.results.curve import Curve, Point

MOST_VALUES = 24_000
"""Values of all lists of a page together: about 150 kB."""
DIGITS = 4
NAMES_OF = "names of "
"""Beginning of the meaning of a column of names."""


def lists_of(curves: Sequence[Curve], panels: Sequence[str]) -> list[dict[str, Any]]:
    """Each list that is drawn, with its matrix of every run that has one.

    Args:
        panels: names of the panels, in whose order the lists are.
    """
    columns = {column.name: column for curve in curves for column in curve.columns if column.entries}
    matrices = {
        name: [
            {"run": place, **matrix}
            for place, curve in enumerate(curves)
            if (matrix := _matrix(curve.points, column)) is not None
        ]
        for name, column in columns.items()
    }
    count = sum(map(len, matrices.values()))
    order = {name: place for place, name in enumerate(panels)}
    return [
        {
            "name": name,
            "panel": columns[name].panel,
            "unit": columns[name].unit.strip("`"),
            "meaning": _meaning(columns[name], curves),
            "runs": [_thinned(each, MOST_VALUES // count) for each in matrices[name]],
        }
        for name in sorted(columns, key=lambda each: order.get(columns[each].panel, len(order)))
        if matrices[name]
    ]


def _meaning(column: Column, curves: Sequence[Curve]) -> str:
    """The column's meaning, with what its entries are in place of the name of their column."""
    names = next((each for curve in curves for each in curve.columns if each.name == column.entries), None)
    if names is None or not names.meaning.startswith(NAMES_OF):
        return column.meaning.replace("`", "")
    return column.meaning.replace(f"`{names.name}`", names.meaning.removeprefix(NAMES_OF)).replace("`", "")


def _matrix(points: Sequence[Point], column: Column) -> dict[str, Any] | None:
    """The names of rows, the places of the points that are columns, and a list of values a row; None without any."""
    by_point = {place: _entries(point, column) for place, point in enumerate(points)}
    places = [place for place, entries in by_point.items() if entries]
    if not places:
        return None
    rows = list(dict.fromkeys(name for place in places for name in by_point[place]))
    values = [[_rounded(by_point[place].get(name)) for place in places] for name in rows]
    return {"rows": rows, "points": places, "values": values}


def _entries(point: Point, column: Column) -> Mapping[str, Any]:
    """The values of a point's list by the names of its entries; none where it was not measured."""
    for record in point.measures.values():
        values = record.values.get(column.name)
        if isinstance(values, list):
            names = record.values.get(column.entries)
            if not isinstance(names, list):
                names = [f"{column.entries} {number}" for number in range(len(values))]
            shown = [f"{name:g}" if isinstance(name, float) else str(name) for name in names]
            return dict(zip(shown, values, strict=False))
    return {}


def _thinned(matrix: dict[str, Any], most: int) -> dict[str, Any]:
    """The matrix with at most about so many values: evenly spread checkpoints, then evenly spread rows."""
    rows, points = len(matrix["rows"]), len(matrix["points"])
    across = math.ceil(points / max(1, most // rows))
    down = math.ceil(rows / max(1, most))
    strides = [
        f"one in {stride} of {count} {what} is drawn"
        for stride, count, what in ((across, points, "checkpoints"), (down, rows, "rows"))
        if stride > 1
    ]
    # The last checkpoint stays.
    kept = slice((points - 1) % across, None, across)
    return {
        "run": matrix["run"],
        "rows": matrix["rows"][::down],
        "points": matrix["points"][kept],
        "values": [row[kept] for row in matrix["values"][::down]],
        "thinned": " and ".join(strides),
    }


def _rounded(value: Any) -> float | None:
    if not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(f"{value:.{DIGITS}g}")
