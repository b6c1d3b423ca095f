"""λ̂ over the bits of quantisation: the checkpoints of a curve and the line through them (matplotlib)."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hf_llc.results.curve import Curve, Point
from hf_llc.results.figures.axes import head
from hf_llc.results.figures.style import BLUE, GREY, PALE, save, tidy
from hf_llc.results.line_fit import LineFit, used_points

MOST_LABELLED = 12
"""Checkpoints whose step stands beside the point; the names of more would cover each other."""
NOT_USED = "left out: "


def line_fits(path: Path, curve: Curve) -> None:
    """Draws `figure_of` into a file; PNG, or SVG if `path` ends so."""
    save(figure_of(curve), path)


def figure_of(curve: Curve) -> Figure:
    """A panel for each of `Curve.line_fits`.

    Points that the line goes through are filled, with their standard errors. Hollow ones are left out, such as those
    whose chains did not converge. What has only one of the two numbers is not drawn, and counted above.
    """
    fits = curve.line_fits
    figure = Figure(figsize=(1.2 + 4.4 * len(fits), 4.6), dpi=150, layout="constrained")
    every = figure.subplots(1, len(fits), sharey=True, squeeze=False)[0]
    for axes, fit in zip(every, fits.values(), strict=True):
        _draw(axes, curve.points, fit)
        axes.set_xlabel(fit.column.replace("_", " "))
        tidy(axes)
    every[0].set_ylabel(r"LLC  $\hat\lambda$  (± standard error)")
    head(
        every[0],
        f"LLC of {Path(curve.model).name} over bits at which rounding costs 10 and 50 mnats",
        "R² with its 95 % interval, if checkpoints were independent; those of one run are not.",
    )
    return figure


def _draw(axes: Axes, points: Sequence[Point], fit: LineFit) -> None:
    used, _ = used_points(points, fit.column)
    rows = {point.revision: point.to_row()[fit.column] for point in points}
    own = [point for point in points if point.duplicate_of is None and point.llc is not None]
    hollow = [point for point in own if point not in used and rows[point.revision] is not None]
    for chosen, colour, fill in ((hollow, PALE, "white"), (used, BLUE, BLUE)):
        axes.errorbar(
            [rows[point.revision] for point in chosen],
            [point.llc or 0.0 for point in chosen],
            yerr=[point.stderr or 0.0 for point in chosen],
            fmt="o",
            color=colour,
            markerfacecolor=fill,
            markersize=5,
            linewidth=1.2,
        )
    if fit.slope is not None and fit.intercept is not None:
        ends = [min(rows[point.revision] for point in used), max(rows[point.revision] for point in used)]
        axes.plot(ends, [fit.intercept + fit.slope * end for end in ends], color=GREY, linewidth=1.2)
    for point in used if len(used) <= MOST_LABELLED else []:
        name = point.revision if point.step is None else str(point.step)
        axes.annotate(name, (rows[point.revision], point.llc or 0.0), xytext=(5, -9), textcoords="offset points",
                      fontsize=7, color=GREY, parse_math=False)  # fmt: skip
    axes.text(0.03, 0.97, _told(fit), transform=axes.transAxes, va="top", fontsize=8.5, parse_math=False)


def _told(fit: LineFit) -> str:
    """R² and what is left out, in a line each."""
    value = f"no R²: {fit.reason}"
    if fit.r_squared is not None:
        value = f"R² = {fit.r_squared:.2f} ({fit.low:.2f} to {fit.high:.2f}), {fit.count} checkpoints"
    return "\n".join([value, *(f"{NOT_USED}{len(names)} × {reason}" for reason, names in fit.left_out.items())])
