"""What the page shows, as one JSON object: curves, chains of their points, and panels of everything measured."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from hf_llc.errors import one_line
from hf_llc.hub.reference import is_remote
from hf_llc.report.card.escaping import dataset_name
from hf_llc.report.comparability import comparable_sets
from hf_llc.report.load import traces_in
from hf_llc.report.page.lists import lists_of
from hf_llc.results.columns import COLUMNS, Column
from hf_llc.results.curve import Curve, Point
from hf_llc.results.estimate import ChainTrace, Estimate

ERROR = "_stderr"
"""A column of this ending is the standard error of the column before it."""
NO_PANEL = {
    "schema",
    "stderr",
    "step",
    "tokens",
    "n_beta",
    "gamma",
    "lr",
    "n",
    "context_length",
    "dimension",
    "resolution",
}
"""Columns of numbers that say where a point is and how it was measured."""
FIRST = ("llc", "loss")
LLC = "local learning coefficient"
ALONE = Column("", "number", "", "", has_panel=True)
"""In place of a column that a curve does not describe."""
MOST_CHAIN_VALUES = 24_000
"""Values of all chains of a page together: about 200 kB."""
FEWEST_VALUES = 40
"""Values of a chain, however many chains there are."""


@dataclass(frozen=True, kw_only=True)
class ShownRun:
    """A run of the page.

    Attributes:
        curve: as it may be shown to others, without paths of this machine. place: its folder or URI.
        kept: the same curve as it was read, whose points say where their chains are.
        comparable: its numbers may be compared with those of the first run. command: what makes it again.
    """

    name: str
    curve: Curve
    kept: Curve
    place: str
    comparable: bool
    command: str


def page_data(
    runs: Sequence[ShownRun], differences: Sequence[str], matrices: Sequence[Mapping[str, Any]] = ()
) -> dict[str, Any]:
    """The JSON object of the page.

    Args:
        differences: why the numbers of the runs are not comparable, a sentence each.
        matrices: of `matrices_of`, of which the script draws the maps.
    """
    points = [point for run in runs for point in run.curve.points]
    chains = sum(len(point.estimate.chains) for point in points if point.estimate is not None)
    values = max(FEWEST_VALUES, MOST_CHAIN_VALUES // max(1, chains))
    panels = _panels(runs)
    return {
        "axes": _axes(points),
        "panels": panels,
        "lists": lists_of([run.curve for run in runs], [panel["name"] for panel in panels]),
        "matrices": [{"maps": matrix["maps"]} for matrix in matrices],
        "differences": list(differences),
        "component_maps": _component_maps(runs),
        "runs": [
            {
                "name": run.name,
                "comparable": run.comparable,
                "component": run.curve.settings.get("component"),
                "fits": [
                    {"column": fit.column, "slope": fit.slope, "intercept": fit.intercept, "text": str(fit)}
                    for fit in run.curve.line_fits.values()
                ],
                "points": [
                    _point(point, _traces(run, kept), values)
                    for point, kept in zip(run.curve.points, run.kept.points, strict=True)
                ],
            }
            for run in runs
        ],
    }


def _component_maps(runs: Sequence[ShownRun]) -> list[dict[str, Any]]:
    """Runs of components whose λ̂ may be compared with each other, each such set with what tells it from others."""
    places = [
        place
        for place, run in enumerate(runs)
        if run.curve.settings.get("component") and any(point.llc is not None for point in run.curve.points)
    ]
    # Drawn together because another part of the model moves in each.
    curves = [
        replace(run.curve, settings={**run.curve.settings, "component": None}) for run in map(runs.__getitem__, places)
    ]
    return [
        {"title": title, "runs": [places[index] for index in members]} for title, members in comparable_sets(curves)
    ]


def _axes(points: Sequence[Point]) -> list[dict[str, str]]:
    """What the x axis can show, and on which scale at first: what every point has, else the order of checkpoints."""
    stages = {point.stage for point in points}
    known = {"step": ("training step", [p.step for p in points]), "tokens": ("tokens", [p.tokens for p in points])}
    axes = [
        {"key": key, "label": label, "scale": _scale([value for value in values if value is not None])}
        for key, (label, values) in known.items()
        if all(value is not None for value in values) and (key == "tokens" or len(stages) == 1)
    ]
    return axes or [{"key": "order", "label": "checkpoint, in order of training", "scale": "linear"}]


def _scale(values: Sequence[int]) -> str:
    """`linear` for checkpoints that are about evenly spaced, else `log`."""
    marks = sorted(set(values))
    if len(marks) < 3:
        return "log"
    usual = statistics.median(b - a for a, b in pairwise(marks))
    return "linear" if usual * (len(marks) - 1) > (marks[-1] - marks[0]) / 2 else "log"


def _panels(runs: Sequence[ShownRun]) -> list[dict[str, str]]:
    """Everything that was measured at a point, with its unit and meaning, and the column that is drawn beside it."""
    points = [point for run in runs for point in run.curve.points]
    rows = [point.to_row() for point in points]
    names = list(dict.fromkeys(name for row in rows for name, value in row.items() if _is_number(value)))
    known = {column.name: column for run in runs for column in run.curve.columns}
    ours = {column.name for column in COLUMNS}
    wanted = [
        name
        for name in names
        if name not in NO_PANEL and not name.endswith(ERROR) and (name in ours or known.get(name, ALONE).has_panel)
    ]

    def beside(name: str) -> str:
        other = known.get(name, ALONE).null
        return other if other in names else ""

    unit = next((point.estimate.dataset.unit for point in points if point.estimate is not None), "")
    return [
        {
            "name": name,
            "error": name + ERROR if name + ERROR in names else "stderr" if name == "llc" else "",
            "null": (null := beside(name)),
            "null_meaning": known.get(null, ALONE).meaning.replace("`", ""),
            "unit": unit if name == "loss" else known.get(name, ALONE).unit.strip("`"),
            "meaning": LLC if name == "llc" else known.get(name, ALONE).meaning.replace("`", ""),
        }
        for name in sorted(wanted, key=lambda each: FIRST.index(each) if each in FIRST else len(FIRST))
    ]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _point(point: Point, traces: Sequence[ChainTrace], most: int) -> dict[str, Any]:
    row, estimate = point.to_row(), point.estimate
    return {
        "revision": point.revision,
        "step": point.step,
        "tokens": point.tokens,
        "values": {
            name: value if isinstance(value, int) else _rounded(value, 7)
            for name, value in row.items()
            if _is_number(value)
        },
        "verdict": None if point.verdict is None else str(point.verdict),
        "reason": "" if estimate is None else estimate.verdict_reason,
        "interpretation": "" if estimate is None else estimate.interpretation,
        "choices": {} if estimate is None else dict(estimate.choices),
        "duplicate_of": point.duplicate_of,
        "error": point.error,
        "missing": [f"{name}: {one_line(each.error)}" for name, each in point.measures.items() if each.error],
        "chains": [] if estimate is None else [_chain(trace, estimate, most) for trace in traces],
        "chain_word": "group" if estimate is not None and estimate.settings.by_draws else "chain",
    }


def _chain(trace: ChainTrace, estimate: Estimate, most: int) -> dict[str, Any]:
    """A chain as nβΔL at some of its draws, evenly spread, in units of λ̂."""
    draws = trace.draws(estimate.settings)
    stride = max(1, math.ceil(len(draws) / most))
    return {
        "chain": trace.chain,
        "status": trace.status.sentence,
        "stride": stride,
        "values": [_rounded(estimate.settings.n_beta * value, 4) for value in draws[::stride]],
    }


def _traces(run: ShownRun, point: Point) -> list[ChainTrace]:
    """The chains of a point, none where its run left none on this disk."""
    if is_remote(run.place):
        return []
    candidates = (traces_in(place) for place in folders_of(run, point))
    return next((traces for traces in candidates if traces), [])


def folders_of(run: ShownRun, point: Point) -> tuple[Path, ...]:
    """Where the folder of a point's estimate may be: the run may have been moved since it was written."""
    if point.estimate is None:
        return ()
    own, folder = Path(point.estimate.run_dir), Path(run.place)
    return own, folder / own, folder / "points" / own.name, folder


def _rounded(value: float, digits: int) -> float | None:
    return float(f"{value:.{digits}g}") if math.isfinite(value) else None


def facts_of(run: ShownRun) -> list[tuple[str, str]]:
    """Names and values of what all points of a run share: model, data and settings."""
    curve = run.curve
    last = next((point.estimate for point in reversed(curve.points) if point.estimate is not None), None)
    data = [] if last is None else [("data", f"{dataset_name(last)} ({last.dataset.split})")]
    return [
        ("model", curve.model),
        *data,
        *((name, _shown(value)) for name, value in curve.settings.items() if value not in (None, "")),
        *((f"version of {name}", value) for name, value in curve.versions.items()),
    ]


def _shown(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
