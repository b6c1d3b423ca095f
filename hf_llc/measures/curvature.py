"""Trace and top of the Hessian at w*, of the weights that move.

The trace is Hutchinson's (1990), from the mean rise of the loss at w* ± σξ; the top is the largest |eigenvalue|, by
power iteration on central differences of gradients, from below. Gradient descent of step η without momentum is stable
where the top is below 2/η, and training without much noise brings it there (Cohen et al. 2021, arXiv 2103.00065): that
limit stands beside it where it is known (`stability_limit`). Under a relative prior both are in its coordinates, which
the limit is not: there is none then.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from hf_llc.measures.base import ExactAnswer, MeasureContext
from hf_llc.measures.stability_limit import stability_limit
from hf_llc.results.columns import Column
from hf_llc.sampling import seeds
from hf_llc.sampling.objective import Objective
from hf_llc.sampling.tuning.curvature import spectrum
from hf_llc.sampling.tuning.gamma import trace_of_hessian
from hf_llc.tasks.items import ItemObjective

TOKENS = 512
"""Tokens, about, of the sequences whose loss is looked at."""
DIRECTIONS, PRODUCTS = 4, 6
"""Random directions of the trace; Hessian-vector products of the top."""
TRIED = 64
"""Directions and products of the exact answers."""


class Curvature:
    """tr H and the largest |h|."""

    needs = ()
    columns = (
        Column("curvature_trace", "number", "nats/weight²", "tr H at w*", has_panel=True),
        Column("curvature_trace_stderr", "number", "nats/weight²", "its standard error over directions"),
        Column("curvature_top", "number", "nats/weight²", "largest |eigenvalue| of H, from below", "curvature_limit",
               True),
        Column("curvature_limit", "number", "nats/weight²",
               "where the Trainer's SGD becomes unstable, 2/learning rate without momentum; null of Adam"),
    )  # fmt: skip

    def run(self, context: MeasureContext) -> dict[str, Any]:
        """About 40 forward passes of few items."""
        objective = context.bench.objective.in_full()
        batch = context.items(TOKENS)
        trace, stderr = trace_and_error(objective, batch, context.seed, DIRECTIONS)
        return {
            "curvature_trace": trace,
            "curvature_trace_stderr": stderr,
            "curvature_top": spectrum(objective, batch, context.seed, PRODUCTS).largest,
            "curvature_limit": _limit(context),
        }

    def exact_answers(self) -> Sequence[ExactAnswer]:
        """½ Σ h w² with h = 1, 2, …, 31 and 64 at a point that is no minimum."""
        curvatures = torch.tensor([*range(1, 32), 64.0])
        weights = torch.ones(32)
        weights.requires_grad_()
        objective = ItemObjective(
            lambda rows: 0.5 * (curvatures * weights.square()).sum() * rows["scale"],
            [weights],
            {"scale": torch.ones(2)},
            2,
        )
        batch = torch.arange(2)
        trace, stderr = trace_and_error(objective, batch, 0, TRIED)
        top = spectrum(objective, batch, 0, TRIED).largest
        return [
            ExactAnswer(case="tr H of ½ Σ h w², h = 1 … 31, 64", truth=560.0, value=trace, tolerance=4 * stderr),
            # Power iteration ends once it moves by less than 2 %.
            ExactAnswer(case="top of H of ½ Σ h w², h = 1 … 31, 64", truth=64.0, value=top, tolerance=0.02 * 64),
        ]


MEASURE = Curvature()


def trace_and_error(objective: Objective, batch: torch.Tensor, seed: int, directions: int) -> tuple[float, float]:
    """tr H of the batch's mean loss, and the standard error of the mean over directions."""
    anchors = objective.losses(batch)
    traces = torch.tensor(
        [
            trace_of_hessian(objective, batch, anchors, seeds.derive(seed, "curvature", index), 1)
            for index in range(directions)
        ],
        dtype=torch.float64,
    )
    return float(traces.mean()), float(traces.std() / math.sqrt(directions))


def _limit(context: MeasureContext) -> float | None:
    """The curvature up to which the training was stable; None where it is not known."""
    path = context.plan.source.path
    # The path of a module in memory is empty, which would be the working directory.
    if not path or path == Path() or context.plan.sampler.prior != "isotropic":
        return None
    return stability_limit(path / (context.plan.source.subfolder or ""))
