"""The picture of several models' curves (matplotlib)."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from hf_llc.results.curve import Point
from hf_llc.results.estimate import Verdict
from hf_llc.results.figures.axes import LEADING, clipped, folded, head, x_axis
from hf_llc.results.figures.axis_options import View
from hf_llc.results.figures.plots import CYCLE, draw_crosses, draw_line, draw_loss, draw_points
from hf_llc.results.figures.style import save, tidy

DASHED = (0, (5, 2.5))
POINTS = 72
"""To an inch."""
APART = "not comparable"
LONGEST = 48


Curves = Sequence[tuple[str, Sequence[Point], bool]]


def comparison(path: Path, curves: Curves, reasons: Sequence[str], *, view: View | None = None) -> None:
    """Draws `comparison_figure` to a file: PNG, or SVG if `path` ends so."""
    save(comparison_figure(curves, reasons, view=view), path)


def comparison_figure(curves: Curves, reasons: Sequence[str], *, view: View | None = None) -> Figure:
    """λ̂ and the loss of several models over training.

    A curve that is not comparable with the first one is dashed, and the reasons stand above. Points that did not
    converge are hollow, those without a number crosses on the axis; copies of other checkpoints are left out.

    Args:
        curves: a name, the points, and whether they are not comparable with those of the first curve.
    """
    warnings = [f"Not comparable: {reason}" for reason in reasons]
    height = 5.8 + LEADING * len(folded(warnings)) / POINTS
    figure = Figure(figsize=(7.2, height), dpi=150, layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(2.2, 1))
    own = [[point for point in points if point.duplicate_of is None] for _, points, _ in curves]
    axis = x_axis(own, view or View())
    for index, ((name, _, apart), points) in enumerate(zip(curves, own, strict=True)):
        colour, style = CYCLE[index % len(CYCLE)], DASHED if apart else "-"
        places = axis.places(points)
        draw_line(upper, places, points, colour, style, label=clipped(name, LONGEST) + (f" ({APART})" if apart else ""))
        good = [i for i, point in enumerate(points) if point.verdict is Verdict.CONVERGED]
        doubtful = [i for i, point in enumerate(points) if point.llc is not None and i not in good]
        for chosen, fill in ((good, colour), (doubtful, "white")):
            if chosen:
                draw_points(upper, [places[i] for i in chosen], [points[i] for i in chosen], "o", fill, colour, "")
        if without := [places[i] for i, point in enumerate(points) if point.llc is None]:
            draw_crosses(upper, without, colour, "")
        draw_loss(lower, places, points, colour, "s", style)
    upper.set_ylabel(r"LLC  $\hat\lambda$  (± standard error)")
    upper.legend(fontsize=8.5, frameon=False, loc="best")
    axis.draw(lower)
    for axes in (upper, lower):
        tidy(axes)
    head(upper, "Local learning coefficients", "Hollow: not converged. Cross: no number.", warnings)
    return figure
