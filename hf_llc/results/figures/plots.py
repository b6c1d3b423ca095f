"""Pictures: the LLC over training, and the chains behind one number (matplotlib, without its global state)."""

import math
from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hf_llc.results.columns import Column, panels_of
from hf_llc.results.curve import Point
from hf_llc.results.estimate import ChainTrace, Estimate, Status, Verdict
from hf_llc.results.figures.axes import head, x_axis
from hf_llc.results.figures.axis_options import View
from hf_llc.results.figures.draws import draws
from hf_llc.results.figures.style import BLUE, GREY, ORANGE, PALE, printable, save, tidy
from hf_llc.settings.posterior import IMPORTANCE

CYCLE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7A5195", "#000000")
"""Distinguishable with any colour vision (Okabe & Ito 2008; their yellow is too pale for a line on white)."""
SMOOTHING = 9
"""Steps in the running mean that is drawn over a chain's minibatch losses."""
CROWD = 40
"""Points above which they are drawn smaller, since they would cover the line."""
PANEL = 0.85
"""Height of a measure's panel in units of that of the loss."""
DECADES = 30
"""Ratio of the largest to the smallest value above which a measure has a logarithmic axis."""
NO_NUMBER = "no number: diverged"
FAILED = "could not be used"
COPY = "same weights as another"


def curve(path: Path, estimates: Sequence[Estimate], *, name: str = "") -> None:
    """Draws λ̂ ± its standard error, and below it L_n(w*), over the training steps; PNG, or SVG if `path` ends so.

    A point whose chains did not converge is hollow; one without a number is a cross on the axis. Estimates without a
    training step are placed in the order given.

    Args:
        name: of the model, for the title; "" takes it from the estimates.
    """
    points = [
        Point(revision=estimate.revision or _full_name(estimate), step=estimate.step, estimate=estimate)
        for estimate in estimates
    ]
    series(path, points, name=name or _common_name(estimates))


def series(path: Path, points: Sequence[Point], *, name: str, view: View | None = None) -> None:
    """Draws `series_figure` into a file; PNG, or SVG if `path` ends so."""
    save(series_figure(points, name=name, view=view), path)


def series_figure(points: Sequence[Point], *, name: str, view: View | None = None) -> Figure:
    """The points of a curve.

    A point whose chains did not converge is hollow; one without a number is a cross on the axis. Checkpoints whose
    weights are those of another are grey diamonds off the line, since they are no evidence of their own, and one that
    could not be used is a grey cross on the axis. The band along the line is the standard error. The loss has none: it
    is that of all n sequences. Measures have a panel for each of their main columns below.
    """
    panels = measured_panels(points)
    has_llc = not panels or any(point.estimate is not None or point.error is not None for point in points)
    heights = [*([2.2, 1.0] if has_llc else []), *[PANEL] * len(panels)]
    figure = Figure(figsize=(7.2, 1.1 + 1.47 * sum(heights)), dpi=150, layout="constrained")
    every = figure.subplots(len(heights), 1, sharex=True, height_ratios=heights, squeeze=False)[:, 0]
    axis = x_axis([points], view or View())
    places = axis.places(points)
    if has_llc:
        _draw_llc(every[0], places, points)
        draw_loss(every[1], places, points, GREY, "s")
    for axes, column in zip(every[2 * has_llc :], panels, strict=True):
        draw_measure(axes, places, points, column)
    axis.draw(every[-1])
    for axes in every:
        tidy(axes)
    small_print = _settings_lines([point.estimate for point in points if point.estimate]) if has_llc else ""
    head(every[0], f"Local learning coefficient of {name}" if has_llc else f"Measures of {name}", small_print)
    return figure


def traces(path: Path, chains: Sequence[ChainTrace], estimate: Estimate) -> None:
    """Draws `traces_figure` into a file; PNG, or SVG if `path` ends so."""
    save(traces_figure(chains, estimate), path)


def traces_figure(chains: Sequence[ChainTrace], estimate: Estimate) -> Figure:
    """Each chain's minibatch loss over its steps, and its running λ̂ over the draws; of independent draws `draws`.

    The warm-up is shaded; the final λ̂ ± its standard error is a line in a band. A chain that failed ends in a cross.
    """
    settings = estimate.settings
    if settings.sampler == IMPORTANCE:
        return draws(chains, estimate, _full_name(estimate))
    figure = Figure(figsize=(7.2, 6.4), dpi=150, layout="constrained")
    upper, lower = figure.subplots(2, 1)
    upper.axvspan(0, settings.burn_in, color="#EEEEEE", linewidth=0, zorder=0)
    upper.axhline(estimate.init_loss, color="black", linewidth=1, linestyle=(0, (1, 1.5)), label="loss at w*")
    for index, trace in enumerate(chains):
        _draw_trace(upper, lower, trace, estimate, CYCLE[index % len(CYCLE)])
    if estimate.llc is not None and estimate.stderr is not None:
        low, high = estimate.llc - estimate.stderr, estimate.llc + estimate.stderr
        lower.axhspan(low, high, color="#DDDDDD", linewidth=0, zorder=0)
        lower.axhline(estimate.llc, color="black", linewidth=1, linestyle=(0, (5, 3)), label="LLC ± standard error")
    upper.set_xlim(0, settings.steps)
    lower.set_xlim(0, settings.draws)
    upper.set_xlabel("step (shaded: burn-in)")
    upper.set_ylabel(f"minibatch loss\n({estimate.dataset.unit})")
    lower.set_xlabel("draw")
    lower.set_ylabel(r"running mean of $\hat\lambda$")
    for axes in (upper, lower):
        tidy(axes)
    figure.legend(fontsize=8.5, frameon=False, ncols=4, loc="outside lower center")
    title = f"Chains at {printable(_full_name(estimate))}: {estimate.verdict}"
    upper.set_title(title, loc="left", fontsize=12, parse_math=False)
    return figure


Style = str | tuple[float, tuple[float, ...]]


def draw_line(
    axes: Axes, places: Sequence[float], points: Sequence[Point], colour: str, style: Style = "-", label: str = ""
) -> None:
    """λ̂ as a line in a band of its standard error; both break where there is no number, and copies are left out."""
    own = [index for index, point in enumerate(points) if point.duplicate_of is None]
    across = [places[i] for i in own]
    middle = [_or_nan(points[i].llc) for i in own]
    errors = [_or_nan(points[i].stderr) for i in own]
    low = [value - error for value, error in zip(middle, errors, strict=True)]
    high = [value + error for value, error in zip(middle, errors, strict=True)]
    axes.fill_between(across, low, high, color=colour, alpha=0.18, linewidth=0, zorder=1)
    axes.plot(across, middle, color=colour, linewidth=1.4, linestyle=style, label=label, zorder=2)


def draw_points(
    axes: Axes, places: Sequence[float], points: Sequence[Point], marker: str, fill: str, colour: str, label: str
) -> None:
    """λ̂ ± its standard error."""
    size = (6 if marker == "o" else 5) if len(points) <= CROWD else 3.5
    axes.errorbar(
        places,
        [_or_nan(point.llc) for point in points],
        [_or_nan(point.stderr) for point in points],
        fmt=marker,
        color=colour,
        markerfacecolor=fill,
        markersize=size,
        capsize=3 if len(points) <= CROWD else 0,
        elinewidth=1.5 if len(points) <= CROWD else 0.7,
        label=label,
        zorder=3,
    )


def draw_crosses(axes: Axes, places: Sequence[float], colour: str, label: str) -> None:
    """Crosses on the x axis."""
    crosses = axes.plot(places, [0.0] * len(places), "X", color=colour, markersize=9, label=label)[0]
    crosses.set(transform=axes.get_xaxis_transform(), clip_on=False, zorder=4)


def draw_loss(
    axes: Axes, places: Sequence[float], points: Sequence[Point], colour: str, marker: str, style: Style = "-"
) -> None:
    """L_n(w*) as a line, copies left out."""
    own = [i for i, point in enumerate(points) if point.duplicate_of is None]
    size = 4 if len(own) <= CROWD else 2
    axes.plot(
        [places[i] for i in own],
        [_or_nan(points[i].loss) for i in own],
        color=colour,
        marker=marker,
        markersize=size,
        linewidth=1.4,
        linestyle=style,
    )
    units = dict.fromkeys(point.estimate.dataset.unit for point in points if point.estimate is not None)
    axes.set_ylabel(f"loss at w*\n({', '.join(units) or 'nats'})")


def measured_panels(points: Sequence[Point]) -> list[Column]:
    """The columns of measures that have a panel, of which there is a number."""
    columns = {column.name: column for point in points for each in point.measures.values() for column in each.columns}
    rows = [point.to_row() for point in points]
    return [
        column for column in panels_of(list(columns.values())) if any(row.get(column.name) is not None for row in rows)
    ]


def draw_measure(axes: Axes, places: Sequence[float], points: Sequence[Point], column: Column) -> None:
    """A column of a measure as a line, copies left out; dotted what it is of random numbers."""
    own = [i for i, point in enumerate(points) if point.duplicate_of is None]
    rows = [points[i].to_row() for i in own]
    across = [places[i] for i in own]
    values = [_or_nan(row.get(column.name)) for row in rows]
    size = 3 if len(own) <= CROWD else 1.5
    axes.plot(across, values, color=BLUE, marker="o", markersize=size, linewidth=1.2)
    if column.null:
        nulls = [_or_nan(row.get(column.null)) for row in rows]
        axes.plot(across, nulls, color=GREY, linewidth=1.2, linestyle=(0, (1, 1.5)))
    finite = [value for value in values if math.isfinite(value)]
    if min(finite) > 0 and max(finite) > DECADES * min(finite):
        axes.set_yscale("log")
    axes.set_ylabel(column.name.replace("_", " ") + (f"\n({column.unit})" if column.unit else ""), fontsize=8)


def _draw_llc(axes: Axes, places: Sequence[float], points: Sequence[Point]) -> None:
    draw_line(axes, places, points, BLUE)
    numbers = [i for i, point in enumerate(points) if point.llc is not None]
    own = [i for i in numbers if points[i].duplicate_of is None]
    good = [i for i in own if points[i].verdict is Verdict.CONVERGED]
    doubtful = [i for i in own if points[i].verdict is not Verdict.CONVERGED]
    copies = [i for i in numbers if points[i].duplicate_of is not None]
    for chosen, marker, fill, colour in (
        (good, "o", BLUE, BLUE),
        (doubtful, "o", "white", BLUE),
        (copies, "D", "white", PALE),
    ):
        if chosen:
            label = COPY if chosen is copies else ", ".join(sorted({str(points[i].verdict) for i in chosen}))
            draw_points(axes, [places[i] for i in chosen], [points[i] for i in chosen], marker, fill, colour, label)
    for label, colour, chosen in (
        (NO_NUMBER, ORANGE, [i for i, p in enumerate(points) if p.estimate and p.llc is None and not p.duplicate_of]),
        (FAILED, GREY, [i for i, point in enumerate(points) if point.estimate is None and point.error is not None]),
    ):
        if chosen:
            draw_crosses(axes, [places[i] for i in chosen], colour, label)
    axes.set_ylabel(r"LLC  $\hat\lambda$  (± standard error)")
    if points:
        handles, names = axes.get_legend_handles_labels()
        order = sorted(range(len(names)), key=lambda i: (names[i] == FAILED, names[i] == NO_NUMBER, names[i] == COPY))
        axes.legend([handles[i] for i in order], [names[i] for i in order], fontsize=8.5, frameon=False, loc="best")


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value


def _draw_trace(upper: Axes, lower: Axes, trace: ChainTrace, estimate: Estimate, colour: str) -> None:
    losses = [loss for loss in trace.losses if math.isfinite(loss)]
    healthy = trace.status is Status.HEALTHY
    label = f"chain {trace.chain}" + ("" if healthy else f" (failed at step {trace.failed_at})")
    upper.plot(losses, color=colour, linewidth=0.6, alpha=0.35)
    upper.plot(*_running_mean(losses, SMOOTHING), color=colour, linewidth=1.4, label=label)
    if not healthy:
        end = losses[-1] if losses else estimate.init_loss
        upper.plot(max(0, len(losses) - 1), end, marker="X", markersize=9, color=colour, clip_on=False)
        return
    running, total = [], 0.0
    for count, delta in enumerate(trace.draws(estimate.settings), start=1):
        total += delta
        running.append(estimate.settings.n_beta * total / count)
    lower.plot(range(1, len(running) + 1), running, color=colour, linewidth=1.4)


def _running_mean(values: Sequence[float], width: int) -> tuple[list[float], list[float]]:
    """Centres and means of every full window of `width` values; the values themselves if there are too few."""
    if len(values) < width:
        return [float(index) for index in range(len(values))], list(values)
    means = [sum(values[start : start + width]) / width for start in range(len(values) - width + 1)]
    return [start + (width - 1) / 2 for start in range(len(means))], means


def _settings_lines(estimates: Sequence[Estimate]) -> str:
    if not estimates:
        return "There are no numbers yet."
    each_settings = [estimate.settings for estimate in estimates]
    every = {(s.n_beta, s.gamma, s.n, s.context_length, s.component, s.params) for s in each_settings}
    steps = {estimate.settings.lr for estimate in estimates if not estimate.settings.by_draws}
    if len(every) != 1 or len(steps) > 1:
        return "The settings differ from point to point:\nthese numbers are not comparable with each other."
    n_beta, gamma, n, context, component, params = every.pop()
    moved = "" if component == "full" else component or ", ".join(params)
    lr = f"lr {steps.pop():.2g}, " if steps else ""
    data = estimates[0].dataset
    most = "up to " if data.loss_on else ""
    size = f"{n} sequences of {most}{context} tokens" if data.task == "text-generation" else f"{n} {data.items}"
    return (
        (f"Only {moved} moves, all other weights stay at w*.\n" if moved else "")
        + f"n_beta {n_beta:.4g}, gamma {gamma:.4g}, {lr}n = {size}.\n"
        "Comparable along this curve, not with numbers at other settings."
    )


def _common_name(estimates: Sequence[Estimate]) -> str:
    """The model that all are checkpoints of, without a revision; how many checkpoints they are if that is not known."""
    names = {estimate.model if not _is_local(estimate) else _full_name(estimate) for estimate in estimates}
    return names.pop() if len(names) == 1 else f"{len(estimates)} checkpoints"


def _full_name(estimate: Estimate) -> str:
    """`org/name@revision`, or the last part of a local path."""
    if _is_local(estimate):
        return Path(estimate.model).name
    return f"{estimate.model}@{estimate.revision}" if estimate.revision else estimate.model


def _is_local(estimate: Estimate) -> bool:
    return estimate.sha.startswith("sha256:")
