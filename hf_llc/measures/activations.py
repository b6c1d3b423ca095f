"""Massive activations and the rank of activations, by layer, behind each block.

- Massive activations (Sun et al. 2024, arXiv 2402.17762): of each sequence the largest |h| over positions and channels
  and its ratio to the median |h|, mean over sequences. Sun et al. call |h| > 100 and > 1000 medians massive. Beside it
  stands the ratio that independent Gaussian numbers have.
- RankMe (Garrido et al. 2023, arXiv 2210.02885): exp H(σ/Σσ) of the matrix of states, a row a position; beside it that
  of a matrix of Gaussian numbers.
"""

import math
from collections import Counter
from collections.abc import Sequence
from statistics import NormalDist
from typing import Any

import torch
from torch import Tensor

from hf_llc.measures import spectral_ranks as ranks
from hf_llc.measures.base import ExactAnswer, MeasureContext
from hf_llc.measures.layer_outputs import items_of_states, states_of_layers
from hf_llc.results.columns import Column

TOKENS = 2048
"""Tokens, about, of the sequences that are looked at."""
STATES = 512
"""Positions of which the states make the matrix of RankMe."""
LAYER = "in the layer where the ratio is largest"


class Activations:
    """Massive activations of the layer with the largest ratio, and of each layer."""

    needs = ()
    columns = (
        Column("activation_ratio", "number", "", "max/median |h|, in the layer where it is largest",
               "activation_ratio_null", True),
        Column("activation_ratio_null", "number", "", "`activation_ratio` of independent Gaussian numbers"),
        Column("activation_max", "number", "", f"largest |h| of a sequence, mean over sequences, {LAYER}"),
        Column("activation_median", "number", "", f"median |h| of a sequence, mean over sequences, {LAYER}"),
        Column("activation_layer", "integer", "", "layer where the ratio is largest, from 0"),
        Column("activation_position", "integer", "", f"position of the largest |h| in most sequences, from 0, {LAYER}"),
        Column("activation_ratios", "numbers", "", "max/median |h| behind each layer", entries="layer",
               panel="activation_ratio"),
        Column("rankme", "number", "", "exp H(σ/Σσ) of the states behind the last layer", "rankme_null", True),
        Column("rankme_null", "number", "", "`rankme` of independent Gaussian numbers"),
        Column("rankme_by_layer", "numbers", "", "`rankme` behind each layer", entries="layer", panel="rankme"),
    )  # fmt: skip

    def run(self, context: MeasureContext) -> dict[str, Any]:
        """One forward pass for both."""
        items = items_of_states(context, TOKENS, STATES)
        peaks: dict[int, list[Peak]] = {}
        sizes: list[int] = []

        def see(index: int, states: Tensor, real: Tensor) -> None:
            for sequence, kept in zip(states, real, strict=True):
                peaks.setdefault(index, []).append(peak_of(sequence[kept]))
                sizes.append(sequence[kept].numel())

        states = states_of_layers(context, items, STATES, see)
        layers = len(states)
        ratios = [_mean([peak[0] / peak[1] if peak[1] else math.inf for peak in peaks[i]]) for i in range(layers)]
        layer = max(range(layers), key=lambda index: ratios[index])
        spectra = [ranks.effective_rank(ranks.singular_values(each)) for each in states]
        return {
            "activation_ratio": _finite(ratios[layer]),
            "activation_ratio_null": _mean([gaussian_ratio(size) for size in set(sizes)]),
            "activation_max": _mean([peak[0] for peak in peaks[layer]]),
            "activation_median": _mean([peak[1] for peak in peaks[layer]]),
            "activation_layer": layer,
            "activation_position": Counter(peak[2] for peak in peaks[layer]).most_common(1)[0][0],
            "activation_ratios": [_finite(ratio) for ratio in ratios],
            "rankme": spectra[-1],
            "rankme_null": ranks.random_effective_rank(*states[-1].shape),
            "rankme_by_layer": spectra,
        }

    def exact_answers(self) -> Sequence[ExactAnswer]:
        """One entry of −500 among ones; Gaussian numbers."""
        states = torch.ones((6, 8))
        states[2, 3] = -500.0
        largest, median, position = peak_of(states)
        draws = torch.randn((200, 10_000), generator=torch.Generator().manual_seed(0)).abs()
        ratios = draws.amax(dim=1) / draws.median(dim=1).values
        return [
            ExactAnswer(case="max/median, −500 among ones", truth=500.0, value=largest / median, tolerance=0.0),
            ExactAnswer(case="position of −500 in row 2", truth=2.0, value=position, tolerance=0.0),
            ExactAnswer(
                case="max/median of 10,000 Gaussian numbers",
                truth=gaussian_ratio(10_000),
                value=float(ratios.mean()),
                tolerance=4 * float(ratios.std()) / len(ratios) ** 0.5 + 0.02,
            ),
        ]


MEASURE = Activations()

Peak = tuple[float, float, int]
"""Largest and median |h| of a sequence, and the position of the largest."""


def peak_of(states: Tensor) -> Peak:
    """The peak of states, (length, width)."""
    sizes = states.abs()
    flat = sizes.flatten()
    place = int(flat.argmax())
    return float(flat[place]), float(flat.median()), place // states.shape[1]


def gaussian_ratio(count: int) -> float:
    """E max|z| / median|z| of so many independent Gaussian numbers, by the mean of the Gumbel law."""

    euler = 0.5772156649015329
    beyond = -math.expm1(-math.exp(-euler) / count)
    return NormalDist().inv_cdf(1 - beyond / 2) / NormalDist().inv_cdf(0.75)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
