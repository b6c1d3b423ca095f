"""The picture of a calibration: λ̂ over the resolution and over the step size (matplotlib)."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from hf_llc.results.calibration import Calibration, Finding, StepPoint, SweepPoint
from hf_llc.results.figures.style import BLUE, GREY, ORANGE, PALE, printable, save, tidy

COUNTED, NOT_COUNTED, QUADRATIC = "pilot chains", "does not count", "quadratic part, no sampling"
CHOSEN, SHADED, LIMIT = "chosen", "plateau", "unstable from here"
NO_NUMBER = "no positive number"
LEAST_SPAN = 0.25
"""Of λ̂, that the axis of the lower panel reaches up and down at least."""
TITLES = {Finding.FOUND: "a plateau", Finding.NONE: "no plateau", Finding.UNDECIDED: "no plateau shown nor excluded"}


def sweep(path: Path, calibration: Calibration) -> None:
    """Draws `sweep_figure` to a file: PNG, or SVG if `path` ends so."""
    save(sweep_figure(calibration), path)


def sweep_figure(calibration: Calibration) -> Figure:
    """λ̂ ± its standard error over γ/nβ, and over ε at the γ chosen.

    Points that do not count in the search for a plateau, or that disagree with smaller steps, are hollow; one without a
    positive number is a cross on the axis. The plateau is shaded.
    """
    figure = Figure(figsize=(7.2, 7.0), dpi=150, layout="constrained")
    upper, lower = figure.subplots(2, 1, height_ratios=(1.5, 1))
    _draw_resolutions(upper, calibration)
    _draw_steps(lower, calibration)
    for axes in (upper, lower):
        tidy(axes)
    name = printable(Path(calibration.model).name + (f"@{calibration.revision}" if calibration.revision else ""))
    upper.set_title(f"Calibration at {name}: {TITLES[calibration.plateau]}", loc="left", fontsize=12, parse_math=False)
    return figure


def _draw_resolutions(axes: Axes, calibration: Calibration) -> None:
    axes.set_xscale("log")
    if any((value or 0) > 0 for point in calibration.sweep for value in (point.llc, point.quadratic)):
        _logarithmic(axes)
    if calibration.flat is not None:
        axes.axvspan(calibration.flat.low, calibration.flat.high, color="#DCEBF5", linewidth=0, zorder=0, label=SHADED)
    _draw_quadratic(axes, [point for point in calibration.sweep if (point.quadratic or 0) > 0])
    for excluded, marker, fill, colour, label in (
        (False, "o", BLUE, BLUE, COUNTED),
        (True, "o", "white", PALE, NOT_COUNTED),
    ):
        _points(
            axes,
            [point for point in calibration.sweep if (point.excluded is not None) is excluded],
            marker,
            fill,
            colour,
            label,
        )
    nowhere = [point.resolution for point in calibration.sweep if not (point.llc or 0) > 0]
    if nowhere:
        _crosses(axes, nowhere)
    chosen = calibration.settings["gamma"] / calibration.settings["n_beta"]
    axes.axvline(chosen, color="black", linewidth=1, linestyle=(0, (5, 3)), label=CHOSEN, zorder=1)
    axes.set_xlabel("resolution γ/nβ  (curvatures below it are not seen)")
    axes.set_ylabel(r"LLC  $\hat\lambda$  (± standard error)")
    axes.legend(fontsize=8.5, frameon=False, loc="best")


def _logarithmic(axes: Axes) -> None:
    """λ̂ on a logarithmic axis with plain numbers, three a decade."""
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=12))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, position: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())


def _draw_quadratic(axes: Axes, points: Sequence[SweepPoint]) -> None:
    if not points:
        return
    x = [point.resolution for point in points]
    y = [point.quadratic or 0.0 for point in points]
    error = [point.quadratic_stderr or 0.0 for point in points]
    axes.plot(x, y, color=ORANGE, linewidth=1.3, label=QUADRATIC, zorder=2)
    low, high = [a - b for a, b in zip(y, error, strict=True)], [a + b for a, b in zip(y, error, strict=True)]
    axes.fill_between(x, low, high, color=ORANGE, alpha=0.2, linewidth=0, zorder=1)


def _points(axes: Axes, points: Sequence[SweepPoint], marker: str, fill: str, colour: str, label: str) -> None:
    drawn = [(point.resolution, point.llc, point.stderr or 0.0) for point in points if point.llc and point.llc > 0]
    if drawn:
        x, y, error = zip(*drawn, strict=True)
        axes.errorbar(
            x, y, error, fmt=marker, color=colour, markerfacecolor=fill, markersize=6, capsize=3, label=label, zorder=3
        )


def _crosses(axes: Axes, where: Sequence[float]) -> None:
    crosses = axes.plot(where, [0.0] * len(where), "X", color=GREY, markersize=9, label=NO_NUMBER)[0]
    crosses.set(transform=axes.get_xaxis_transform(), clip_on=False, zorder=4)


def _draw_steps(axes: Axes, calibration: Calibration) -> None:
    axes.set_xscale("log")
    for agrees, fill, label in ((True, BLUE, "agrees with smaller steps"), (False, "white", "does not")):
        drawn = [point for point in calibration.steps if point.agrees is agrees and point.llc is not None]
        if drawn:
            axes.errorbar(
                [point.lr for point in drawn],
                [point.llc or 0.0 for point in drawn],
                [point.stderr or 0.0 for point in drawn],
                fmt="o",
                color=BLUE,
                markerfacecolor=fill,
                markersize=6,
                capsize=3,
                label=label,
                zorder=3,
            )
    nowhere = [point.lr for point in calibration.steps if point.llc is None]
    if nowhere:
        _crosses(axes, nowhere)
    axes.axvline(calibration.settings["lr"], color="black", linewidth=1, linestyle=(0, (5, 3)), label=CHOSEN, zorder=1)
    axes.axvline(_limit(calibration.steps[-1]), color=ORANGE, linewidth=1.4, label=LIMIT, zorder=1)
    low, high = axes.get_ylim()
    middle = calibration.pilot.llc
    # Else the noise of a perfect plateau would fill the panel.
    axes.set_ylim(min(low, middle - LEAST_SPAN * abs(middle)), max(high, middle + LEAST_SPAN * abs(middle)))
    ticks = [*(point.lr for point in calibration.steps), _limit(calibration.steps[-1])]
    axes.set_xticks(ticks, [f"{tick:.2g}" for tick in ticks])
    axes.minorticks_off()
    axes.set_xlabel(f"step size ε, at γ = {calibration.settings['gamma']:.4g}")
    axes.set_ylabel(r"LLC  $\hat\lambda$")
    axes.legend(fontsize=8.5, frameon=False, ncols=4, loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0.2)


def _limit(point: StepPoint) -> float:
    """ε at which ε(nβh+γ) is 4."""
    return 4 * point.lr / point.stability
