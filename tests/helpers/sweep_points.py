"""Points of a sweep as calibrations make them."""

from dataclasses import replace
from typing import Any

from hf_llc.results.calibration import SweepPoint


def point(resolution: float, llc: float | None, **changes: Any) -> SweepPoint:
    """A point at nβ = 100."""
    result = SweepPoint(
        resolution=resolution,
        gamma=100 * resolution,
        lr=1e-3,
        sampler="sgld-lm",
        momentum=0.0,
        start="localiser",
        burn_in=10,
        llc=llc,
        stderr=None if llc is None else 0.5,
        delta_loss=0.1,
    )
    return replace(result, **changes)
