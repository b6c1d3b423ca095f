"""Points of a curve in words: what scan and show have in common."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import typer

from hf_llc.errors import counted
from hf_llc.results.columns import panels_of
from hf_llc.results.curve import Curve, Point
from hf_llc.results.estimate import Verdict
from hf_llc.results.profile import Profile

from .estimate_table import number
from .flags import with_flags
from .output import Form, write_agent, write_json, write_line, write_table
from .profiling import with_profile

HEADERS = ("revision", "step", "loss at w*", "LLC ± standard error", "R-hat", "verdict")
MOST_NAMED = 6
"""Checkpoints of one verdict that are named below the table."""
BLOCKS = "▁▂▃▄▅▆▇█"


def write_curve(curve: Curve, form: Form, profile: Profile | None = None) -> None:
    """The curve on stdout, with the profile if there is one and the form has a place for it."""
    if form is Form.JSON:
        write_json(with_profile(curve.to_dict(), profile))
    elif form is Form.AGENT:
        left_out = {"points", "checksum"}
        about = {key: value for key, value in with_profile(curve.to_dict(), profile).items() if key not in left_out}
        write_agent({**about, **{point.revision: _short(point) for point in curve.points}})
    elif form is Form.QUIET:
        for point in curve.points:
            write_line("" if point.llc is None else repr(point.llc))
    else:
        if any(point.estimate is not None or point.error is not None for point in curve.points) or not curve.points:
            write_table(f"LLC over the training of {curve.model}", HEADERS, [row(point) for point in curve.points])
        else:
            write_line(f"Measures over the training of {curve.model}, {counted(len(curve.points), 'checkpoint')}")
        write_line()
        if line := sparkline([point.llc for point in curve.points if point.duplicate_of is None]):
            write_line(line)
        for line in measure_lines(curve):
            write_line(line)
        for fit in curve.line_fits.values():
            write_line(fit)
        for sentence in reasons(curve.points):
            write_line(sentence)


def end_with_failures(curve: Curve) -> None:
    """Exit code 1 if a point has no number that was asked for."""
    if any(point.error is not None for point in curve.points):
        raise typer.Exit(1)


def row(point: Point, width: int = 60) -> Sequence[str]:
    """The cells below HEADERS; the reason of a failure in at most `width` characters."""
    estimate = point.estimate
    step = "" if point.step is None else str(point.step)
    if estimate is None and point.error is None:
        return (point.revision, step, "", "not asked for", "", f"{counted(len(point.measures), 'measure')} taken")
    if estimate is None:
        return (point.revision, step, "", "no number", "", f"failed: {_clipped(with_flags(point.error or ''), width)}")
    r_hat = estimate.diagnostics.r_hat
    verdict = f"{estimate.verdict} (weights of {point.duplicate_of})" if point.duplicate_of else str(estimate.verdict)
    return (
        point.revision,
        step,
        f"{estimate.init_loss:.4f}",
        number(estimate),
        "" if r_hat is None else f"{r_hat:.3f}",
        verdict,
    )


def reasons(points: Sequence[Point]) -> list[str]:
    """One line for each verdict but `converged`: the reason of the first checkpoint that has it, and the other ones."""
    named: dict[Verdict, list[Point]] = {}
    for point in points:
        if point.estimate is not None and point.estimate.verdict is not Verdict.CONVERGED:
            named.setdefault(point.estimate.verdict, []).append(point)
    sentences = []
    for verdict, those in named.items():
        first, *others = those
        assert first.estimate is not None
        sentence = f"{verdict}, {first.revision}: {with_flags(first.estimate.verdict_reason)}"
        names = ", ".join(point.revision for point in others[:MOST_NAMED]) + ", …" * (len(others) > MOST_NAMED)
        sentences.append(f"{sentence} (also {names}, each with a `verdict_reason` of its own)" if others else sentence)
    return sentences


def measure_lines(curve: Curve) -> list[str]:
    """A line for each column of a measure that pictures show: its course, and what it is of random numbers."""
    rows = [row for point, row in zip(curve.points, curve.to_rows(), strict=True) if point.duplicate_of is None]
    lines = []
    for column in panels_of(curve.columns):
        course = sparkline([row[column.name] for row in rows], column.name)
        nulls = [row[column.null] for row in rows if column.null and row[column.null] is not None]
        beside = f" ({column.null} {nulls[-1]:.4g})" if nulls else ""
        if course:
            lines.append(f"{course}{beside}")
    return lines


def sparkline(values: Sequence[float | None], name: str = "λ̂") -> str:
    """One block a value, from the lowest to the highest of them; a dot where there is none."""
    numbers = [value for value in values if value is not None and math.isfinite(value)]
    if not numbers:
        return ""
    low, span = min(numbers), (max(numbers) - min(numbers)) or 1.0
    shown = ["·" if value is None else BLOCKS[int((value - low) / span * (len(BLOCKS) - 1) + 0.5)] for value in values]
    return f"{name} {''.join(shown)} {low:.4g} … {max(numbers):.4g}"


def _clipped(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def _short(point: Point) -> Mapping[str, Any]:
    names = ("llc", "stderr", "loss", "verdict", "verdict_reason", "duplicate_of", "error")
    return {name: value for name, value in point.to_row().items() if name in names}
