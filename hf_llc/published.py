"""`llc/results.jsonl`: a curve as lines that a dataset viewer shows, and the very same curve read back from them.

One JSON object a checkpoint, in order of training: the flat columns of `Point.to_row`, then

model      the repository or folder that the checkpoint is of
versions   of what ran, as JSON text
estimate   the whole `Estimate.to_dict()` as JSON text, null where there is none; text, so that each column has one type
"""

import json
import re
from collections.abc import Iterator
from typing import Any

from hf_llc.curve import Curve, Point
from hf_llc.errors import SourceError
from hf_llc.results import SCHEMA

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def lines_of(curve: Curve) -> str:
    """The file's text."""
    return "".join(json.dumps(_row(curve, point), allow_nan=False) + "\n" for point in curve.points)


def curve_from(text: str, run_dir: str) -> Curve:
    """The curve that `lines_of` wrote.

    Args:
        run_dir: where it was read from.

    Raises:
        SourceError: the text is damaged, of another schema, or holds control characters, which a terminal would obey.
    """
    try:
        rows = [json.loads(line) for line in text.split("\n") if line]
        if foreign := {row["schema"] for row in rows} - {SCHEMA}:
            raise SourceError(f"{run_dir} has results of schema {foreign.pop()}; this version reads {SCHEMA}.")
        if any(_CONTROL.search(word) for row in rows for word in _words(_decoded(row))):
            raise SourceError(f"{run_dir} holds control characters and is not shown.")
        first = rows[0]
        return Curve.of_points(
            first["model"],
            [_point(row) for row in rows],
            run_dir=run_dir,
            versions=json.loads(first["versions"]),
        )
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise SourceError(f"{run_dir} holds no results of hf-llc, or they are damaged ({error}).") from error


def _row(curve: Curve, point: Point) -> dict[str, Any]:
    record = point.estimate
    return {
        **point.to_row(),
        "model": curve.model,
        "versions": json.dumps(dict(curve.versions)),
        "estimate": None if record is None else json.dumps(record.to_dict(), allow_nan=False),
    }


def _decoded(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, **{name: json.loads(row[name] or "null") for name in ("versions", "estimate")}}


def _point(row: dict[str, Any]) -> Point:
    return Point.from_dict(_decoded(row))


def _words(value: Any) -> Iterator[str]:
    """Every text in a JSON value, keys too."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _words(key)
            yield from _words(item)
    elif isinstance(value, list):
        for item in value:
            yield from _words(item)
