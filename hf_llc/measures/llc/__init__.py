"""The local learning coefficient: estimate, verdict, forecast, calibration, validation."""

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from hf_llc.results.columns import COLUMNS

if TYPE_CHECKING:
    from hf_llc.measures.base import MeasureContext


class LocalLearningCoefficient:
    """λ̂ as a measure: the columns of `hf_llc.estimate` that say what was found."""

    needs = ()
    columns = tuple(column for column in COLUMNS if column.name in {"llc", "stderr", "verdict", "loss"})

    def run(self, context: "MeasureContext") -> Mapping[str, Any]:
        """The number; all that belongs to it is in `estimate.json` of the run's folder."""
        # Only here: those who read results import this package, and need no torch for it.
        from hf_llc.measures.llc import estimation
        from hf_llc.results.curve import Curve

        started = time.monotonic()
        estimation.run(context.plan, context.world, context.observer, context.bench)
        return Curve.of_estimate(estimation.collect(context.plan, context.observer, started)).points[0].to_row()


MEASURE = LocalLearningCoefficient()
