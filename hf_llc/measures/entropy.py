"""Diffusion spectral entropy of the states behind each layer: how many clusters they are (Liu et al. 2023,
arXiv 2312.04823).

With G_ij = exp(−‖x_i − x_j‖² / 2σ²) and D its row sums, the eigenvalues e of D^{-1/2} G D^{-1/2} make the entropy
H = −Σ p log p of p = |e|/Σ|e|, in nats: log m of m tight clusters far apart, log n of n separate points, 0 of equal
ones.

σ is the median distance here, so that the scale of the states does not count; at a fixed σ it is all that counts. One
massive channel makes the entropy small, so that it is given of rows of length 1 too. Beside it stands that of as many
Gaussian points of as many dimensions.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from hf_llc.measures.base import ExactAnswer, MeasureContext
from hf_llc.measures.layer_outputs import items_of_states, states_of_layers
from hf_llc.results.columns import Column
from hf_llc.sampling import seeds

TOKENS = 2048
"""Tokens, about, of the sequences that are looked at."""
STATES = 256
"""Positions of which there are states: eigenvalues take the cube of it."""
RELATIVE = "σ the median distance"


class DiffusionEntropy:
    """The diffusion spectral entropy of the states behind the last layer, and behind each layer."""

    needs = ()
    columns = (
        Column("diffusion_entropy", "number", "nats", f"of the states behind the last layer, {RELATIVE}",
               "diffusion_entropy_null", True),
        Column("diffusion_entropy_null", "number", "nats", "`diffusion_entropy` of independent Gaussian numbers"),
        Column("diffusion_entropy_of_rows", "number", "nats", "`diffusion_entropy` of states scaled to length 1",
               "diffusion_entropy_null", True),
        Column("diffusion_entropies", "numbers", "nats", "`diffusion_entropy` behind each layer", entries="layer",
               panel="diffusion_entropy"),
        Column("diffusion_entropies_of_rows", "numbers", "nats", "`diffusion_entropy_of_rows` behind each layer",
               entries="layer", panel="diffusion_entropy_of_rows"),
    )  # fmt: skip

    def run(self, context: MeasureContext) -> dict[str, Any]:
        """One forward pass, and eigenvalues for each layer."""
        items = items_of_states(context, TOKENS, STATES)
        states = [each.double() for each in states_of_layers(context, items, STATES)]
        raw = [relative_entropy(each) for each in states]
        of_rows = [relative_entropy(torch.nn.functional.normalize(each, dim=1)) for each in states]
        stream = seeds.generator(context.seed, "diffusion entropy")
        points = torch.randn(states[-1].shape, generator=stream, dtype=torch.float64)
        return {
            "diffusion_entropy": raw[-1],
            "diffusion_entropy_null": relative_entropy(points),
            "diffusion_entropy_of_rows": of_rows[-1],
            "diffusion_entropies": raw,
            "diffusion_entropies_of_rows": of_rows,
        }

    def exact_answers(self) -> Sequence[ExactAnswer]:
        """Separate and equal points, clusters, a simplex and a circle."""
        float64 = torch.float64
        clusters = torch.cat(
            [torch.full((count, 2), 1e3 * at, dtype=float64) for at, count in ((0, 50), (1, 9), (2, 5))]
        )
        angles = torch.arange(32, dtype=float64) * 2 * math.pi / 32
        cases = {
            "64 separate points": (1e3 * torch.eye(64, dtype=float64), 1.0, math.log(64)),
            "64 equal points": (torch.ones((64, 3), dtype=float64), 1.0, 0.0),
            "3 clusters of 50, 9 and 5": (clusters, 1.0, math.log(3)),
            "simplex, 32 points at distance 3, σ 2": (3 / 2**0.5 * torch.eye(32, dtype=float64), 2.0, 2.891442287),
            "circle, 32 points, radius 5, σ 2": (
                5 * torch.stack([angles.cos(), angles.sin()], dim=1), 2.0, 2.334753716
            ),
        }  # fmt: skip
        return [
            ExactAnswer(case=case, truth=truth, value=diffusion_entropy(points, sigma), tolerance=1e-9)
            for case, (points, sigma, truth) in cases.items()
        ]


MEASURE = DiffusionEntropy()


def diffusion_entropy(points: Tensor, sigma: float) -> float:
    """The entropy in nats of points in float64, (n, d), at the width σ of the kernel."""

    # By matrix products small distances would be lost in rounding.
    distances = torch.cdist(points, points, compute_mode="donot_use_mm_for_euclid_dist")
    kernel = (distances.square() / (-2 * sigma**2)).exp()
    scale = kernel.sum(dim=1).rsqrt()
    values = torch.linalg.eigvalsh(scale[:, None] * kernel * scale).abs()
    shares = values / values.sum()
    return max(0.0, -float(torch.special.xlogy(shares, shares).sum()))


def relative_entropy(points: Tensor) -> float:
    """The entropy at σ = the median distance between two of the points; 0 where that is 0."""

    median = float(torch.pdist(points).median())
    return diffusion_entropy(points, median) if median > 0 else 0.0
