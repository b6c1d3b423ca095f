"""Gradient noise scale: where there is no gradient there is no number, and where there is one it is told."""

import pytest
import torch

from hf_llc.measures.noise_scale import BATCHES, STUDENT, noise_and_signal
from hf_llc.tasks.items import ItemObjective


def share_told(mean: float, dimension: int, trials: int = 200) -> float:
    """How often ‖G‖² is told from 0 where each item's gradient is N(mean, 1) in every direction."""
    told_apart = 0
    for trial in range(trials):
        stream = torch.Generator().manual_seed(trial)
        slopes = torch.randn((8 * BATCHES, dimension), generator=stream) + mean
        weights = torch.zeros(dimension, requires_grad=True)
        objective = ItemObjective(lambda rows, w=weights: rows["s"] @ w, [weights], {"s": slopes}, len(slopes))  # type: ignore[misc]
        _, square, student = noise_and_signal(objective, torch.arange(len(slopes)).split(8))
        told_apart += square > 0 and student > STUDENT
    return told_apart / trials


@pytest.mark.parametrize("dimension", [1, 200])
def test_a_gradient_of_zero_is_told_from_0_once_in_forty_times(dimension: int) -> None:
    # 0.025, and four standard errors of so many trials.
    assert share_told(0.0, dimension) <= 0.025 + 4 * (0.025 * 0.975 / 200) ** 0.5


@pytest.mark.parametrize(("mean", "dimension"), [(2.0, 1), (0.2, 200)])
def test_a_gradient_above_its_noise_is_told_from_0(mean: float, dimension: int) -> None:
    assert share_told(mean, dimension) >= 0.99
