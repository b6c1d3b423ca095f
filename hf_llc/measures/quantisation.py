"""The knee of quantisation: bits a weight at which rounding the weights costs 10 and 50 thousandths of a nat.

Each weight matrix is rounded to the nearest of 2^b − 1 equally spaced values from −m to m, with m the largest |w| of
each output channel; b need not be whole. Urdshals et al. (2025, arXiv 2510.12077) find that bits at a threshold and λ̂
go together over training. The rise is measured on the same items at every b, without calibration data; crossings are
interpolated in b between log rises. Vectors (biases, norms) stay as they are.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from hf_llc.measures.base import ExactAnswer, MeasureContext, NotApplicableError
from hf_llc.measures.weight_matrices import WeightMatrix, weight_matrices
from hf_llc.results.columns import Column

TOKENS = 1024
"""Tokens, about, of the sequences whose loss is looked at."""
THRESHOLDS = {"quantisation_bits_10": 0.010, "quantisation_bits_50": 0.050}
"""Rises of the loss, in nats, by the columns that have their bits."""
BITS = (2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0)
CLOSE = 0.25
"""Bits between the two sides of a crossing, at most, between which it is interpolated."""


class QuantisationKnee:
    """Bits at the thresholds."""

    needs = ()
    columns = (
        Column(
            "quantisation_bits_10",
            "number",
            "bits",
            "at which rounding weights costs 0.010 nats; null where 2 cost less",
            has_panel=True,
        ),
        Column("quantisation_bits_50", "number", "bits", "at which rounding weights costs 0.050 nats"),
        Column("quantisation_bits", "numbers", "bits", "at which the loss was measured"),
        Column("quantisation_rises", "numbers", "nats", "rise of the loss at each of `quantisation_bits`"),
    )

    def run(self, context: MeasureContext) -> dict[str, Any]:
        """About ten forward passes of few items."""
        objective, items = context.objective, context.items(TOKENS)
        weights = list(weight_matrices(context.model))
        if not weights:
            raise NotApplicableError("the model has no weight matrix")
        level = float(objective.losses(items).double().mean())
        rises: dict[float, float] = {}

        def rise(bits: float) -> float:
            if bits not in rises:
                with rounded(weights, bits):
                    rises[bits] = float(objective.losses(items).double().mean()) - level
            return rises[bits]

        knees = {name: crossing(rise, threshold) for name, threshold in THRESHOLDS.items()}
        measured = sorted(bits for bits, value in rises.items() if math.isfinite(value))
        return {**knees, "quantisation_bits": measured, "quantisation_rises": [rises[bits] for bits in measured]}

    def exact_answers(self) -> Sequence[ExactAnswer]:
        """Weights on a grid of 3 bits; a rise of 4^−b; rounding of uniform weights."""
        grid = torch.tensor([[-3.0, -2.0, 1.0, 3.0]])
        at_grid = float((round_to_nearest(grid, [0], 3.0) - grid).abs().max())
        uniform = torch.rand((64, 4096), generator=torch.Generator().manual_seed(0)) * 2 - 1
        step = 2 / (2**6 - 2)
        error = float((round_to_nearest(uniform, [0], 6.0) - uniform).double().square().mean())
        knee = crossing(lambda bits: 4.0**-bits, 0.01)
        return [
            ExactAnswer(case="error of −3 … 3 at 3 bits", truth=0.0, value=at_grid, tolerance=0.0),
            ExactAnswer(case="mean squared error of uniform weights at 6 bits", truth=step**2 / 12, value=error,
                        tolerance=0.01 * step**2 / 12),
            ExactAnswer(case="bits at which 4^−b is 0.01", truth=math.log(100) / math.log(4),
                        value=-1.0 if knee is None else knee, tolerance=1e-9),
        ]  # fmt: skip


MEASURE = QuantisationKnee()


def round_to_nearest(weight: Tensor, outputs: Sequence[int], bits: float) -> Tensor:
    """The weight on a grid of 2^bits − 1 values, symmetric around 0, of each output channel."""
    others = [each for each in range(weight.dim()) if each not in outputs]
    largest = weight.abs().amax(dim=others, keepdim=True)
    step = largest / (2 ** (bits - 1) - 1)
    return torch.where(step > 0, (weight / step).round() * step, weight)


@contextmanager
def rounded(weights: Sequence[WeightMatrix], bits: float) -> Iterator[None]:
    """While the block runs, the weights are rounded; then they are what they were, bit for bit."""
    before = [each.parameter.detach().clone() for each in weights]
    try:
        with torch.no_grad():
            for each in weights:
                each.parameter.copy_(round_to_nearest(each.parameter, each.outputs, bits))
        yield
    finally:
        with torch.no_grad():
            for each, kept in zip(weights, before, strict=True):
                each.parameter.copy_(kept)


def crossing(rise: Callable[[float], float], threshold: float) -> float | None:
    """Bits above which the rise stays below the threshold, among those that were tried; None if all or none do."""
    above = [bits for bits in BITS if not rise(bits) < threshold]
    if not above or above[-1] == BITS[-1]:
        return None
    low, high = above[-1], BITS[BITS.index(above[-1]) + 1]
    while high - low > CLOSE:
        middle = (low + high) / 2
        low, high = (low, middle) if rise(middle) < threshold else (middle, high)
    more, less = rise(low), rise(high)
    if not (less > 0 and math.isfinite(more)):
        return high
    return low + (high - low) * math.log(more / threshold) / math.log(more / less)
