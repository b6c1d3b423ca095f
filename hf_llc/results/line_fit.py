"""How closely λ̂ follows another measure over the checkpoints of a curve: R² of a line, with an interval.

Urdshals et al. (2025, arXiv 2510.12077) find that over training λ̂ and the bits to which a checkpoint can be quantised
lie about on a line. Checkpoints whose chains did not converge, copies of another one, and those without one of the two
numbers are left out, and counted.

The interval is that of R² = r² for the correlation r by Fisher's z (1921): tanh(atanh r ± 1.96/√(n − 3)). It holds for
independent checkpoints of a normal law. Those of one run follow each other, so that they say less than as many
independent ones: the interval is the narrowest that can be claimed.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from hf_llc.errors import counted
from hf_llc.results.estimate import Verdict

if TYPE_CHECKING:
    from hf_llc.results.curve import Point

FITTED = ("quantisation_bits_10", "quantisation_bits_50")
"""Columns that λ̂ is compared with wherever a curve has them."""
FEWEST = 4
"""Checkpoints below which Fisher's interval has no width: √(n − 3) must be above 0."""
LEVEL = 0.95
MOST_NAMED = 6
"""Checkpoints that a sentence names of those left out for one reason."""
SHARED = ("n_beta", "gamma", "n", "context_length", "params")
"""Settings that all of the λ̂ must share."""
COPY, NO_LLC, NO_VALUE = "weights of another", "no λ̂", "no number of this measure"


@dataclass(frozen=True, kw_only=True)
class LineFit:
    """The line λ̂ = `intercept` + `slope` · value, by least squares.

    Attributes:
        column: the other measure. count: checkpoints that the line goes through.
        r_squared: share of the variance of λ̂ that the line explains; `reason` says why where it is None.
        low, high: ends of its 95 % interval, for independent checkpoints.
        error_share: mean squared standard error of λ̂ over its variance: where λ̂ and the measure lay exactly on a line,
            errors alone would leave R² about that much below 1.
        left_out: revisions by the reason for which they are left out.
    """

    column: str
    count: int
    r_squared: float | None = None
    low: float | None = None
    high: float | None = None
    slope: float | None = None
    intercept: float | None = None
    error_share: float | None = None
    left_out: Mapping[str, Sequence[str]]
    reason: str | None = None

    def __str__(self) -> str:
        """`R² of λ̂ and quantisation_bits_10: 0.93 over 7 checkpoints (95 % interval 0.62 to 0.99 …); left out: …`."""
        value = f"none, {self.reason}"
        if self.r_squared is not None:
            assert self.low is not None
            assert self.high is not None
            value = (
                f"{self.r_squared:.2f} over {counted(self.count, 'checkpoint')} ({100 * LEVEL:.0f} % interval "
                f"{self.low:.2f} to {self.high:.2f} if they were independent, which those of one run are not)"
            )
        left = [
            f"{', '.join(names[:MOST_NAMED])}{', …' * (len(names) > MOST_NAMED)} ({len(names)} × {reason})"
            for reason, names in self.left_out.items()
        ]
        return f"R² of λ̂ and {self.column}: {value}" + (f"; left out: {', '.join(left)}" if left else "")

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready mapping, with the sentence."""
        return {**asdict(self), "left_out": {key: list(names) for key, names in self.left_out.items()}}


def line_fit(points: "Sequence[Point]", column: str, settings: Mapping[str, Any]) -> LineFit:
    """The line through the converged checkpoints of a curve.

    Args:
        points: of the curve. column: name of a column of numbers.
        settings: what all λ̂ share, as in `Curve`.
    """
    used, left_out = used_points(points, column)
    values = [float(point.to_row()[column]) for point in used]
    numbers = [point.llc for point in used if point.llc is not None]
    frame: dict[str, Any] = {"column": column, "count": len(used), "left_out": left_out}
    if len(used) < FEWEST:
        return LineFit(**frame, reason=f"{counted(len(used), 'checkpoint')} to compare, and it takes {FEWEST}")
    if missing := [name for name in SHARED if name not in settings]:
        return LineFit(**frame, reason=f"{missing[0]} differs between checkpoints, whose λ̂ are not comparable")
    if len(set(values)) == 1 or len(set(numbers)) == 1:
        return LineFit(**frame, reason="all values are equal")
    correlation = max(-1.0, min(1.0, statistics.correlation(values, numbers)))
    slope, intercept = statistics.linear_regression(values, numbers)
    low, high = squared(correlation_interval(correlation, len(used)))
    spread = statistics.pvariance(numbers)
    return LineFit(
        **frame,
        r_squared=correlation**2,
        low=low,
        high=high,
        slope=slope,
        intercept=intercept,
        error_share=statistics.fmean((point.stderr or 0.0) ** 2 for point in used) / spread,
    )


def used_points(points: "Sequence[Point]", column: str) -> "tuple[list[Point], dict[str, list[str]]]":
    """The points that a line goes through, and the revisions of the others by the reason."""
    used, left_out = [], dict[str, list[str]]()
    for point in points:
        reason = _reason(point, column)
        if reason is None:
            used.append(point)
        else:
            left_out.setdefault(reason, []).append(point.revision)
    return used, left_out


def _reason(point: "Point", column: str) -> str | None:
    """Why a point is left out; None if it is not."""
    if point.duplicate_of is not None:
        return COPY
    if point.llc is None or not math.isfinite(point.llc):
        return NO_LLC
    if point.verdict is not Verdict.CONVERGED:
        return str(point.verdict)
    return NO_VALUE if point.to_row().get(column) is None else None


def correlation_interval(correlation: float, count: int) -> tuple[float, float]:
    """The interval of a correlation of so many independent pairs at LEVEL, by Fisher's z."""
    if abs(correlation) == 1:
        return correlation, correlation
    half = statistics.NormalDist().inv_cdf((1 + LEVEL) / 2) / math.sqrt(count - 3)
    center = math.atanh(correlation)
    return math.tanh(center - half), math.tanh(center + half)


def squared(interval: tuple[float, float]) -> tuple[float, float]:
    """The interval of the square of what lies in an interval."""
    low, high = sorted(abs(end) for end in interval)
    return (0.0 if interval[0] <= 0 <= interval[1] else low**2), high**2
