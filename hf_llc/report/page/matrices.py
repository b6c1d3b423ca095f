"""Influence of items on each other, and susceptibilities, of runs that recorded losses: what the page shows of them."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy

from hf_llc.errors import HfLlcError, one_line
from hf_llc.hub.reference import is_remote
from hf_llc.report.page.data import ShownRun, folders_of
from hf_llc.results.matrix import FAR, Matrix, MatrixQuality, MatrixVerdict, excerpt
from hf_llc.results.progress import Observer
from hf_llc.results.views import with_error

if TYPE_CHECKING:
    from hf_llc.results.influence import Influence
    from hf_llc.results.susceptibility import Susceptibility

MOST_RUNS = 3
"""Runs whose influences are shown."""
MOST_ITEMS = 100
"""Items of a matrix of influences: 5,000 pairs, about 100 kB."""
MOST_ENTRIES = 5_000
"""Entries of a matrix of susceptibilities."""
PAIRS = 10
LARGEST = 3
"""Items that are named of a component."""
UNITS = 9_999
"""Whole numbers that an entry is written in, of either sign."""


class _Recorded(NamedTuple):
    """The last checkpoint of a run whose losses were recorded: its folder and what it is called."""

    name: str
    revision: str
    component: str | None
    folder: Path


def matrices_of(runs: Sequence[ShownRun], observer: Observer) -> list[dict[str, Any]]:
    """What was recorded of the runs, as far as it lies on this disk: influences of those that moved all weights, and
    susceptibilities of the components. What cannot be computed is left out, and told."""
    recorded = [each for run in runs if (each := _recording(run)) is not None]
    whole = [each for each in recorded if each.component in (None, "", "full")]
    parts = [each.folder for each in recorded if each not in whole]
    for each in whole[MOST_RUNS:]:
        observer.tell(f"The influences of {each.name} are left out: those of {MOST_RUNS} runs are in the page.")
    shown = [
        _of_influence(result, each)
        for each in whole[:MOST_RUNS]
        if (result := _computed("influence", each.folder, observer)) is not None
    ]
    if whole and parts:
        result = _computed("susceptibilities", [whole[0].folder, *parts], observer)
        shown += [] if result is None else [_of_susceptibility(result)]
    return shown


def _recording(run: ShownRun) -> _Recorded | None:
    """None where no recording is on this disk."""
    if is_remote(run.place):
        return None
    component = run.curve.settings.get("component")
    places = ((point, folder) for point in reversed(run.kept.points) for folder in folders_of(run, point))
    return next(
        (_Recorded(run.name, point.revision, component, folder) for point, folder in places if _recordings_in(folder)),
        None,
    )


def _recordings_in(folder: Path) -> list[str]:
    """Names of the recordings of a run, without torch; `measures.recorded` reads them."""
    patterns = ("recorded/*/anchors.json", "open/recorded/*/anchors.json")
    return sorted({path.parent.name for pattern in patterns for path in folder.glob(pattern)})


def _computed(what: str, where: Any, observer: Observer) -> Any:
    """The matrix of recorded losses; None, and told, if there is none to be had."""
    import hf_llc

    of_tokens = what == "influence" and all(name.startswith("token-losses") for name in _recordings_in(where))
    try:
        return getattr(hf_llc, what)(where, **({"by": "token"} if of_tokens else {}))
    except HfLlcError as error:
        observer.tell(f"The page has no {what}: {one_line(str(error))}")
        return None


def _of_influence(result: "Influence", recorded: _Recorded) -> dict[str, Any]:
    count = len(result.names)
    pairs = result.top_pairs(PAIRS)
    named = [place for pair in pairs for place in (pair.first_index, pair.second_index)]
    kept = _kept(count, MOST_ITEMS, named)
    note = (
        f"{len(kept)} of {count} items are drawn: those of the pairs below, and others evenly."
        if len(kept) < count
        else ""
    )
    parts = (
        ("influence", "nats per unit of weight", result.influence, result.influence_stderr, result.quality),
        ("correlation", "", result.kernel, result.kernel_stderr, result.kernel_quality),
    )
    labels = {
        "influence": ("more weight on", "loss of"),
        "correlation": ("loss of", "and of"),
    }
    entries = count * (count - 1) // 2
    return {
        "title": f"Influence of items on each other: {recorded.name}",
        "about": f"{count} items at {result.draws} draws at {recorded.revision}, n_beta {result.n_beta:.4g}, "
        f"gamma {result.gamma:.4g}. An influence below 0: more weight on the first item lowers the loss of the second.",
        "qualities": [(part, str(quality)) for part, *_, quality in parts],
        "maps": [
            _map(part, unit, values[numpy.ix_(kept, kept)], errors[numpy.ix_(kept, kept)], symmetric=True)
            | {
                "title": f"{part} of {recorded.name}",
                "rows": [f"{place} {result.names[place]}" for place in kept],
                "columns": [f"{place} {result.names[place]}" for place in kept],
                "numbers": kept,
                "row_word": labels[part][0],
                "column_word": labels[part][1],
                "note": note,
            }
            for part, unit, values, errors, quality in parts
            if quality.verdict is not MatrixVerdict.NOISE
        ],
        "headers": ["first item", "second item", "influence, nats per unit of weight", "correlation"],
        "rows": [
            [
                f"{pair.first_index} {excerpt(pair.first)}",
                f"{pair.second_index} {excerpt(pair.second)}",
                with_error(pair.influence, pair.influence_stderr),
                with_error(pair.kernel, pair.kernel_stderr),
            ]
            for pair in pairs
        ],
        "caption": f"The largest of {result.far_pairs:,} influences more than {FAR:g} standard errors from 0, of "
        f"{entries:,} pairs; about {result.far_by_chance:.0f} would lie so far by chance",
    }


def _of_susceptibility(result: "Susceptibility") -> dict[str, Any]:
    is_noise = result.quality.verdict is MatrixVerdict.NOISE
    clear = [] if is_noise else [row for row, each in enumerate(result.qualities) if _is_clear(each)]
    largest = {row: _largest(result.covariance[row], result.covariance_stderr[row]) for row in clear}
    named = [item for items in largest.values() for item in items]
    kept = _kept(len(result.items), max(LARGEST, MOST_ENTRIES // max(1, len(clear))), named)
    left_out = [name for row, name in enumerate(result.components) if row not in clear]
    notes = [
        f"Not drawn, as they are noise: {', '.join(left_out)}." if left_out and clear else "",
        f"{len(kept)} of {len(result.items)} items are drawn." if len(kept) < len(result.items) else "",
    ]
    control = "not known from chains" if result.control_quality is None else str(result.control_quality)
    kinds = (("standardised", "standard deviations over items"), ("covariance", "nats²"))
    return {
        "title": "Susceptibilities of components to items",
        "about": f"{len(result.components)} components, {len(result.items)} items, {result.draws} draws of each, "
        f"n_beta {result.n_beta:.4g}, gamma {result.gamma:.4g}. Minus the covariance of the loss with that of an item "
        "less the mean, while one component moves.",
        "qualities": [
            ("covariance", str(result.quality)),
            ("with the shift of the mean", str(result.total_quality)),
            ("at nβ = 0", control),
        ],
        "maps": [
            _map(part, unit, getattr(result, part)[numpy.ix_(clear, kept)],
                 getattr(result, f"{part}_stderr")[numpy.ix_(clear, kept)])
            | {
                "title": f"{part} susceptibilities",
                "rows": [result.components[row] for row in clear],
                "columns": [f"{item} {excerpt(result.items[item])}" for item in kept],
                "numbers": kept,
                "row_word": "component",
                "column_word": "item",
                "note": " ".join(filter(None, notes)),
            }
            for part, unit in kinds
            if clear
        ],
        "headers": ["component", "item", "covariance, nats²"],
        "rows": [
            [
                result.components[row],
                f"{item} {result.item_in_text(item)}",
                with_error(result.covariance[row, item], result.covariance_stderr[row, item]),
            ]
            for row, items in largest.items()
            for item in items
        ],
        "caption": f"Of each component the {LARGEST} items farthest from 0 in standard errors, more than {FAR:g}",
    }  # fmt: skip


def _is_clear(quality: MatrixQuality) -> bool:
    return quality.verdict is not MatrixVerdict.NOISE


def _largest(values: Matrix, errors: Matrix) -> list[int]:
    """The items farthest from 0 in units of their errors."""
    sizes = numpy.abs(values) / numpy.maximum(errors, 1e-300)
    order = numpy.argsort(-numpy.nan_to_num(sizes), kind="stable")[:LARGEST]
    return [int(item) for item in order if sizes[item] > FAR]


def _kept(count: int, most: int, named: Sequence[int]) -> list[int]:
    """At most so many of the items, in their order: those named first, then others evenly spread."""
    if count <= most:
        return list(range(count))
    first = list(dict.fromkeys(named))[:most]
    others = [place for place in range(count) if place not in set(first)]
    room = most - len(first)
    return sorted([*first, *(others[place * len(others) // room] for place in range(room))])


def _map(name: str, unit: str, values: Matrix, errors: Matrix, *, symmetric: bool = False) -> dict[str, Any]:
    """A matrix as whole multiples of a scale; of a symmetric one what lies below the diagonal."""
    finite = numpy.isfinite(values) & numpy.isfinite(errors)
    if symmetric:
        finite &= numpy.tri(len(values), k=-1, dtype=bool)
    most = float(numpy.abs(values[finite]).max()) if finite.any() else 0.0
    scale = float(f"{most / UNITS:.6g}") or 1.0

    def whole(matrix: Matrix) -> list[list[int | None]]:
        rows = []
        for number, (row, good) in enumerate(zip(matrix, finite, strict=True)):
            end = number + 1 if symmetric else len(row)
            rows.append([_whole(row[place], scale) if good[place] else None for place in range(end)])
        return rows

    return {
        "name": name,
        "unit": unit,
        "symmetric": symmetric,
        "scale": scale,
        "values": whole(values),
        "errors": whole(errors),
    }


def _whole(value: float, scale: float) -> int:
    """The value in units of the scale; an error that is less than half of one is one, and not 0."""
    number = round(value / scale)
    return number if number or not value else int(math.copysign(1, value))
