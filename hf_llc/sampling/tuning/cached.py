"""What was measured around w* for a series, so that a run at that checkpoint need not measure it again."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from hf_llc.sampling.tuning.measure import GeometryReport
from hf_llc.sampling.tuning.measurements import LocalGeometry


@dataclass(frozen=True)
class CachedMeasurements:
    """What was measured before every setting was chosen.

    Attributes:
        measured: before a warm-up run, if there was one. start: where chains were to start. sigma: as in
            `GeometryReport`.
        gradient: whose noise was measured.
    """

    measured: LocalGeometry
    start: str
    sigma: float
    gradient: str

    @classmethod
    def of(cls, around: GeometryReport, gradient: str) -> Self:
        """The part of it that a run at that checkpoint would measure."""
        return cls(around.first, around.start, around.sigma, gradient)

    @property
    def is_finite(self) -> bool:
        """True if there is a number for all of it; there is none for the rise without a localizing prior."""
        numbers = [self.sigma, *(value for value in asdict(self.measured).values() if value is not None)]
        return all(map(math.isfinite, numbers))

    def serves(self, start: str) -> bool:
        """True if chains that start there go where it was measured."""
        return (self.start == "anchor") == (start == "anchor")

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready mapping, if it is finite."""
        return asdict(self)

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Self:
        """What `to_dict` wrote."""
        return cls(**{**stored, "measured": LocalGeometry(**stored["measured"])})
