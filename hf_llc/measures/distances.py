"""A sketch of the weights, from which distances between any two checkpoints of a scan follow; needs no data.

Each weight is added to, or subtracted from, one of k sums chosen at random (the count sketch of Charikar, Chen &
Farach-Colton 2002; Weinberger et al. 2009). The sketch S is linear, with E ‖S(v)‖² = ‖v‖² and a relative variance of
at most 2/k: a distance has the relative standard error 1/√(2k), a cosine about 1/√k, whatever the size of the model.
The choices follow from the names of the parameters alone, so that sketches of any two checkpoints of one architecture
go together and no other checkpoint need be on the disk. Their errors go together too: of displacements in one direction
they are equal.

Distances from the first and the last checkpoint and the cosine of successive displacements are filled in once all
checkpoints of a scan have been measured: see `results.displacements`.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from hf_llc.measures.base import ExactAnswer, MeasureContext
from hf_llc.results.columns import Column
from hf_llc.results.displacements import COSINE, FROM_FIRST, FROM_LAST, SHAPES, SKETCH
from hf_llc.sampling import seeds

SIZE = 1024
"""k: a standard error of 2.2 % for distances."""
SEED = 0
"""That of the run does not count, so that scans of other seeds have sketches that go together."""
CHUNK = 2**22
"""Weights that are taken at a time."""
DIGITS = 7
"""Of the numbers that are kept, as many as float32 weights have."""


class Distances:
    """The sketch of one checkpoint."""

    needs = ()
    columns = (
        Column(FROM_FIRST, "number", "weight", "‖w − w_first‖, from sketches: ± 2.2 %", has_panel=True),
        Column(FROM_LAST, "number", "weight", "‖w − w_last‖, from sketches: ± 2.2 %", has_panel=True),
        Column(COSINE, "number", "", "of the displacements from and to the checkpoint before: ± 0.03"),
        Column(SKETCH, "numbers", "weight", "sums of all weights with random signs"),
        Column(SHAPES, "text", "", "digest of the weights' names and shapes, without which there is no distance"),
    )

    def run(self, context: MeasureContext) -> dict[str, Any]:
        """One look at each weight."""
        sums = sketch(context.model.named_parameters())
        shapes = [(name, list(each.shape)) for name, each in context.model.named_parameters()]
        return {
            FROM_FIRST: None,
            FROM_LAST: None,
            COSINE: None,
            SKETCH: [float(f"{value:.{DIGITS}g}") for value in sums.tolist()],
            SHAPES: hashlib.sha256(json.dumps(shapes).encode()).hexdigest()[:12],
        }

    def exact_answers(self) -> Sequence[ExactAnswer]:
        """One weight that moves, a displacement that is doubled, and random ones."""
        before = torch.randn(50_000, generator=torch.Generator().manual_seed(0))
        one = before.clone()
        one[17] += 3
        moved = before + torch.rand(50_000, generator=torch.Generator().manual_seed(1))
        at, at_one, at_moved, at_twice = (
            sketch([("weight", each.double())]) for each in (before, one, moved, 2 * moved.double() - before.double())
        )
        length = float((at_moved - at).norm())
        return [
            ExactAnswer(case="distance of a weight that moves by 3", truth=3.0, value=float((at_one - at).norm()),
                        tolerance=1e-6),
            ExactAnswer(case="distance of a displacement twice as long, over once", truth=2.0,
                        value=float((at_twice - at).norm()) / length, tolerance=1e-9),
            ExactAnswer(case="distance of 50,000 random displacements, over the truth", truth=1.0,
                        value=length / float((moved.double() - before.double()).norm()),
                        tolerance=4 / (2 * SIZE) ** 0.5),
        ]  # fmt: skip


MEASURE = Distances()


def sketch(parameters: Iterable[tuple[str, Tensor]]) -> Tensor:
    """The k sums, float64 on the CPU."""
    sums = torch.zeros(SIZE, dtype=torch.float64)
    for name, parameter in parameters:
        stream = seeds.generator(SEED, f"sketch of {name}")
        for weights in parameter.detach().flatten().split(CHUNK):
            choice = torch.randint(0, 2 * SIZE, (len(weights),), generator=stream)
            signs = 2.0 * (choice % 2) - 1
            sums.index_add_(0, choice // 2, signs * weights.cpu().double())
    return sums
