"""Gradient noise scale: how many items a minibatch needs until more of them no longer help (McCandlish et al. 2018,
arXiv 1812.06162).

B = tr Σ / ‖G‖², with Σ the covariance of one item's gradient and G the mean gradient. Both are unbiased from the
gradients of K disjoint minibatches of b items and their mean over K·b:

    ‖G‖² = (K ‖ḡ‖² − mean ‖g_k‖²) / (K − 1),    tr Σ = b K (mean ‖g_k‖² − ‖ḡ‖²) / (K − 1).

Near a minimum noise is all there is. With T_k the sum of the first k gradients and G = 0, the e_k = g_k·T_{k−1}/√(k−1)
have mean 0 given those before them and one variance, and K(K−1)/2 ‖G‖² = Σ √(k−1) e_k: there is no number unless
Student's t of the K−1 numbers e_k is above 2.45, which it is by chance once in forty times.
"""

import math
import statistics
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from hf_llc.measures.base import ExactAnswer, MeasureContext, NotApplicableError
from hf_llc.results.columns import Column
from hf_llc.sampling import seeds
from hf_llc.sampling.objective import Objective, clear_gradients, gradients
from hf_llc.sampling.shards import sum_of_squares
from hf_llc.tasks.items import ItemObjective

TOKENS = 2048
"""Tokens, about, of all minibatches."""
BATCHES = 8
"""Minibatches; the running sum of their gradients takes one copy of the weights."""
STUDENT = 2.447
"""The value that Student's t with BATCHES − 2 degrees of freedom exceeds with a probability of 0.025."""


class NoiseScale:
    """tr Σ, ‖G‖ and their quotient."""

    needs = ()
    columns = (
        Column("noise_scale", "number", "items", "tr Σ/‖G‖²; null where ‖G‖² cannot be told from 0", has_panel=True),
        Column("gradient_noise", "number", "(nats/weight)²", "tr Σ, of the gradient of one item"),
        Column("gradient_norm", "number", "nats/weight", "‖G‖ over all items, as far as it can be told from 0"),
    )

    def run(self, context: MeasureContext) -> dict[str, Any]:
        """Gradients of few items."""
        objective = context.bench.objective.in_full()
        size = len(context.items(TOKENS, least=BATCHES)) // BATCHES
        if size == 0:
            raise NotApplicableError(f"there are fewer than {BATCHES} items")
        order = torch.randperm(objective.n, generator=seeds.generator(context.seed, "noise scale"))
        noise, square, t = noise_and_signal(objective, order[: size * BATCHES].split(size))
        is_known = square > 0 and t > STUDENT
        return {
            "noise_scale": noise / square if is_known else None,
            "gradient_noise": noise,
            "gradient_norm": square**0.5 if is_known else None,
        }

    def exact_answers(self) -> Sequence[ExactAnswer]:
        """Losses linear in w: the gradients of items are known."""
        stream = torch.Generator().manual_seed(0)
        slopes = torch.randn((4096, 20), generator=stream) + 0.5
        weights = torch.zeros(20, requires_grad=True)
        objective = ItemObjective(lambda rows: rows["slopes"] @ weights, [weights], {"slopes": slopes}, 4096)
        noise, square, _ = noise_and_signal(objective, torch.arange(4096).split(2))
        mean = slopes.double().mean(dim=0)
        spread = float((slopes.double() - mean).square().sum() / 4095)
        cases = (("tr Σ of linear losses", spread, noise), ("‖G‖² of linear losses", float(mean @ mean), square))
        # Pairs of items are what is seen: tr Σ is known to √(2/2048) of the share of a direction.
        return [
            ExactAnswer(case=case, truth=truth, value=value, tolerance=4 * spread * (2 / 2048 / 20) ** 0.5)
            for case, truth, value in cases
        ]


MEASURE = NoiseScale()


def noise_and_signal(objective: Objective, batches: Sequence[Tensor]) -> tuple[float, float, float]:
    """tr Σ and ‖G‖² from the gradients of disjoint minibatches of one size, and Student's t of G = 0."""
    total: list[Tensor] = []
    squares = square_of_total = 0.0
    products: list[float] = []
    for index, batch in enumerate(batches):
        objective.losses_and_gradient(batch)
        slopes = gradients(objective.parameters)
        square = sum_of_squares(slopes, objective.shards)
        total = [slope.clone() for slope in slopes] if not total else list(torch._foreach_add(total, slopes))
        before, square_of_total = square_of_total, sum_of_squares(total, objective.shards)
        if index:
            products.append((square_of_total - before - square) / 2 / math.sqrt(index))
        squares += square
    clear_gradients(objective.parameters)
    count, size = len(batches), len(batches[0])
    mean_square, square_of_mean = squares / count, square_of_total / count**2
    noise = size * count * (mean_square - square_of_mean) / (count - 1)
    return noise, (count * square_of_mean - mean_square) / (count - 1), _student(products)


def _student(values: Sequence[float]) -> float:
    """t of the mean of independent values."""
    error = statistics.stdev(values) / math.sqrt(len(values))
    return statistics.fmean(values) / error if error > 0 else math.copysign(math.inf, statistics.fmean(values))
