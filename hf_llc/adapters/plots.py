"""Pictures: the LLC over training, and the chains behind one number (matplotlib, without its global state)."""

import math
from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hf_llc.adapters.drawing import BLUE, GREY, ORANGE, PALE, printable, save, tidy
from hf_llc.curve import Point
from hf_llc.results import ChainTrace, Estimate, Status, Verdict

CYCLE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7A5195", "#000000")
"""Distinguishable with any colour vision (Okabe & Ito 2008; their yellow is too pale for a line on white)."""
SMOOTHING = 9
"""Steps in the running mean that is drawn over a chain's minibatch losses."""
MOST_TICKS = 16
LONGEST_LABEL = 16
NO_NUMBER = "no number: chains diverged"
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
        Point(revision=found.revision or _full_name(found), step=found.step, estimate=found) for found in estimates
    ]
    series(path, points, name=name or _common_name(estimates))


def series(path: Path, points: Sequence[Point], *, name: str) -> None:
    """Draws the points of a curve; PNG, or SVG if `path` ends so.

    As in `curve`; checkpoints whose weights are those of another are grey diamonds off the line, since they are no
    evidence of their own, and one that could not be used is a grey cross on the axis.
    """
    figure = Figure(figsize=(7.2, 5.8), dpi=150, layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(2.2, 1))
    places, labels, axis = _steps(points)
    _draw_llc(upper, places, points)
    alone = [(place, point.loss) for place, point in zip(places, points, strict=True) if point.duplicate_of is None]
    losses = [(place, math.nan if loss is None else loss) for place, loss in alone]
    lower.plot(*zip(*losses, strict=True), color=GREY, marker="s", markersize=4, linewidth=1.4)
    lower.set_ylabel("loss at w*\n(nats per token)")
    lower.set_xlabel(axis)
    _label(lower, places, labels)
    for axes in (upper, lower):
        tidy(axes)
    title = f"Local learning coefficient of {printable(name)}"
    upper.set_title(title, loc="left", fontsize=12, parse_math=False, pad=36)
    words = _settings_lines([point.estimate for point in points if point.estimate])
    upper.text(0, 1.03, words, transform=upper.transAxes, fontsize=8.5, color=GREY, linespacing=1.4)
    save(figure, path)


def traces(path: Path, chains: Sequence[ChainTrace], estimate: Estimate) -> None:
    """Draws each chain's minibatch loss over its steps, and its running λ̂ over the draws; PNG, or SVG.

    The burn-in is shaded; the final λ̂ ± its standard error is a line in a band. A chain that failed ends in a cross.
    """
    figure = Figure(figsize=(7.2, 6.4), dpi=150, layout="constrained")
    upper, lower = figure.subplots(2, 1)
    settings = estimate.settings
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
    upper.set_ylabel("minibatch loss\n(nats per token)")
    lower.set_xlabel("draw")
    lower.set_ylabel(r"running mean of $\hat\lambda$")
    for axes in (upper, lower):
        tidy(axes)
    figure.legend(fontsize=8.5, frameon=False, ncols=4, loc="outside lower center")
    title = f"Chains at {printable(_full_name(estimate))}: {estimate.verdict}"
    upper.set_title(title, loc="left", fontsize=12, parse_math=False)
    save(figure, path)


def _draw_llc(axes: Axes, places: Sequence[float], points: Sequence[Point]) -> None:
    own = [index for index, point in enumerate(points) if point.duplicate_of is None]
    # NaN breaks the line where there is no number.
    axes.plot([places[i] for i in own], [_or_nan(points[i].llc) for i in own], color=BLUE, linewidth=1.4, zorder=2)
    good = [i for i in own if points[i].llc is not None and points[i].verdict is Verdict.CONVERGED]
    doubtful = [i for i in own if points[i].llc is not None and points[i].verdict is not Verdict.CONVERGED]
    copies = [i for i, point in enumerate(points) if point.duplicate_of is not None and point.llc is not None]
    for chosen, marker, fill, colour in (
        (good, "o", BLUE, BLUE),
        (doubtful, "o", "white", BLUE),
        (copies, "D", "white", PALE),
    ):
        if chosen:
            axes.errorbar(
                [places[i] for i in chosen],
                [_or_nan(points[i].llc) for i in chosen],
                [_or_nan(points[i].stderr) for i in chosen],
                fmt=marker,
                color=colour,
                markerfacecolor=fill,
                markersize=6 if marker == "o" else 5,
                capsize=3,
                label=COPY if chosen is copies else ", ".join(sorted({str(points[i].verdict) for i in chosen})),
                zorder=3,
            )
    for label, colour, chosen in (
        (NO_NUMBER, ORANGE, [i for i in own if points[i].llc is None and points[i].error is None]),
        (FAILED, GREY, [i for i, point in enumerate(points) if point.error is not None]),
    ):
        if chosen:
            where = [places[i] for i in chosen]
            crosses = axes.plot(where, [0.0] * len(where), "X", color=colour, markersize=9, label=label)[0]
            crosses.set(transform=axes.get_xaxis_transform(), clip_on=False, zorder=4)
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


def _steps(points: Sequence[Point]) -> tuple[list[float], list[str], str]:
    """Where the points stand, what is written below them, and what the axis is called.

    Doublings of the step are one unit apart, and step 0 is one unit before step 1.
    """
    own = {point.revision: point.step for point in points if point.duplicate_of is None}
    # `main` often is the last checkpoint once more, without a step in its name.
    every = [own.get(point.duplicate_of or "") if point.step is None else point.step for point in points]
    steps = [step for step in every if step is not None]
    if len(steps) < len(points) or len(set(own.values())) < len(own):
        names = [printable(point.revision) for point in points]
        short = [name if len(name) <= LONGEST_LABEL else name[: LONGEST_LABEL - 1] + "…" for name in names]
        return [float(index) for index in range(len(points))], short, "checkpoint"
    return [math.log2(step) + 1 if step else 0.0 for step in steps], [str(step) for step in steps], "training step"


def _label(axes: Axes, places: Sequence[float], labels: Sequence[str]) -> None:
    shown = _spread_out(places)
    long = any(len(labels[index]) > 7 for index in shown)
    axes.set_xticks(
        [places[index] for index in shown],
        [labels[index] for index in shown],
        rotation=30 if long else 0,
        ha="right" if long else "center",
        parse_math=False,
    )
    # Labels that belong to single points say more than the places between them.
    axes.minorticks_off()


def _spread_out(places: Sequence[float]) -> list[int]:
    """Indices of at most MOST_TICKS places that are far enough apart to be labelled, the last one among them."""
    gap = (max(places) - min(places)) / MOST_TICKS if places else 0.0
    chosen: list[int] = []
    for index in sorted(range(len(places)), key=lambda i: -places[i]):
        if not chosen or places[chosen[-1]] - places[index] > gap:
            chosen.append(index)
    return chosen[::-1]


def _settings_lines(estimates: Sequence[Estimate]) -> str:
    if not estimates:
        return "There are no numbers yet."
    every = {(s.n_beta, s.gamma, s.lr, s.n, s.context_length) for s in (found.settings for found in estimates)}
    if len(every) != 1:
        return "The settings differ from point to point:\nthese numbers are not comparable with each other."
    n_beta, gamma, lr, n, context = every.pop()
    return (
        f"n_beta {n_beta:.4g}, gamma {gamma:.4g}, lr {lr:.2g}, n = {n} sequences of {context} tokens.\n"
        "Comparable along this curve, not with numbers at other settings."
    )


def _common_name(estimates: Sequence[Estimate]) -> str:
    """The model that all are checkpoints of, without a revision; how many checkpoints they are if that is not known."""
    names = {found.model if not _is_local(found) else _full_name(found) for found in estimates}
    return names.pop() if len(names) == 1 else f"{len(estimates)} checkpoints"


def _full_name(found: Estimate) -> str:
    """`org/name@revision`, or the last part of a local path."""
    if _is_local(found):
        return Path(found.model).name
    return f"{found.model}@{found.revision}" if found.revision else found.model


def _is_local(found: Estimate) -> bool:
    return found.sha.startswith("sha256:")
