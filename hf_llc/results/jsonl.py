"""`llc/results.jsonl`: a curve as lines that a dataset viewer shows, and the very same curve read back from them.

One JSON object a checkpoint, in order of training: the flat columns of `Point.to_row`, then

model      the repository or folder that the checkpoint is of
versions   of what ran, as JSON text
estimate   the whole `Estimate.to_dict()` as JSON text, null where there is none; text, so that each column has one type
measures   what measures beside λ̂ gave and the meaning of their columns, as JSON text; left out where there are none
checksum   of all rows of the file without this column (`strict_json.checksum`), the same in each of them
"""

import json
import re
from collections.abc import Iterator
from typing import Any

from hf_llc.errors import SourceError
from hf_llc.results.curve import Curve, Point
from hf_llc.results.estimate import SCHEMA
from hf_llc.results.measured import columns_from, columns_to
from hf_llc.settings.bounds import shown
from hf_llc.settings.strict_json import CHECKSUM, DamagedError, checksum, parsed

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_MODEL = re.compile(r"[^\s-].*")
_REVISION = re.compile(r"(?!-|@|re:|commits:|subfolder:|repos:)\S.*")
"""What a command can name: no option, no list in a file of the reader's, no pattern."""
MEASURES = "measures"
AGAIN = "Publish the run again, from the folder that has it."


def lines_of(curve: Curve) -> str:
    """The file's text."""
    rows = [_row(curve, point, flat) for point, flat in zip(curve.points, curve.to_rows(), strict=True)]
    seal = {CHECKSUM: checksum(rows)}
    return "".join(json.dumps({**row, **seal}, allow_nan=False) + "\n" for row in rows)


def curve_from(content: bytes | str, run_dir: str) -> Curve:
    """The curve that `lines_of` wrote.

    Args:
        run_dir: where it was read from.

    Raises:
        SourceError: if the content is damaged, was changed since it was written, is of another schema, or holds control
            characters, which a terminal would obey.
    """
    try:
        rows = _rows(content)
        if foreign := [row.get("schema") for row in rows if row.get("schema") != SCHEMA and "schema" in row]:
            raise SourceError(f"{run_dir} has results of schema {shown(foreign[0])}; this version reads {SCHEMA}.")
        decoded = [_decoded(row, index) for index, row in enumerate(rows, start=1)]
        if any(_CONTROL.search(text) for row in decoded for text in _texts(row)):
            raise SourceError(f"{run_dir} holds control characters and is not shown.")
        return _curve(rows, decoded, run_dir)
    except DamagedError as error:
        raise SourceError(f"{run_dir} holds no results of hf-llc, or they are damaged ({error}). {AGAIN}") from error


def _rows(content: bytes | str) -> list[dict[str, Any]]:
    if isinstance(content, bytes):
        try:
            content = content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise DamagedError(f"byte {error.start} is not UTF-8") from error
    rows = []
    for number, line in enumerate(content.split("\n"), start=1):
        if line.strip():
            try:
                rows.append(parsed(line))
            except DamagedError as error:
                raise DamagedError(f"line {number}: {error}") from error
            if not isinstance(rows[-1], dict):
                raise DamagedError(f"line {number}: it is no JSON object")
    if not rows:
        raise DamagedError("it has no rows")
    return rows


def _curve(rows: list[dict[str, Any]], decoded: list[dict[str, Any]], run_dir: str) -> Curve:
    """The curve of rows whose checksum matches.

    Raises:
        DamagedError: if it does not match, or a row is not one of a curve.
    """
    seals = [row.pop(CHECKSUM, None) for row in rows]
    if None in seals:
        raise DamagedError("it has rows without a checksum")
    if any(seal != checksum(rows) for seal in seals):
        raise DamagedError("its checksum does not match: rows were changed, left out or added after it was written")
    points = [_point(row, f"row {index}") for index, row in enumerate(decoded, start=1)]
    first = decoded[0]
    if any((row.get("model"), row["versions"]) != (first.get("model"), first["versions"]) for row in decoded):
        raise DamagedError("its rows are not of one run")
    if unfit := [point.revision for point in points if not _REVISION.fullmatch(point.revision)]:
        raise DamagedError(f"revision is {shown(unfit[0])}, which names none")
    if not isinstance(first.get("model"), str) or not _MODEL.fullmatch(first["model"]):
        raise DamagedError(f"model is {shown(first.get('model'))}, which names none")
    if not all(isinstance(version, str) for version in first["versions"].values()):
        raise DamagedError("versions are no texts")
    return Curve.of_points(first["model"], points, run_dir=run_dir, versions=first["versions"])


def _point(row: dict[str, Any], where: str) -> Point:
    described = row[MEASURES] or {"records": {}, "columns": {}}
    columns = columns_from(described.get("columns"), f"{where}: columns")
    return Point.from_dict({**row, MEASURES: described.get("records")}, where, columns)


def _row(curve: Curve, point: Point, flat: dict[str, Any]) -> dict[str, Any]:
    record = point.estimate
    described = {"records": point.measures_to_dict(), "columns": columns_to(curve.measure_columns)}
    measures = {MEASURES: json.dumps(described, allow_nan=False)} if curve.measure_columns else {}
    return {
        **flat,
        "model": curve.model,
        "versions": json.dumps(dict(curve.versions)),
        "estimate": None if record is None else json.dumps(record.to_dict(), allow_nan=False),
        **measures,
    }


def _decoded(row: dict[str, Any], index: int) -> dict[str, Any]:
    """The row with the JSON in it parsed.

    Raises:
        DamagedError: if there is none, or none of that kind.
    """
    values: dict[str, Any] = {}
    for name, empty in (("versions", ()), ("estimate", (None,)), (MEASURES, (None,))):
        text = row.get(name)
        if not isinstance(text, str) and text not in empty:
            raise DamagedError(f"row {index}: {name} is {shown(text)}, not JSON as text")
        values[name] = parsed(text) if isinstance(text, str) else None
        if values[name] is not None and not isinstance(values[name], dict):
            raise DamagedError(f"row {index}: {name} is no JSON object")
    if values["versions"] is None:
        raise DamagedError(f"row {index}: versions are missing")
    return {**row, **values}


def _texts(value: Any) -> Iterator[str]:
    """Every text in a JSON value, keys too."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _texts(key)
            yield from _texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
