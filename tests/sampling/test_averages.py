"""Means over draws: their errors cover the truth, and say when chains do not mix."""

import math

import pytest
import torch
from torch import Tensor

from hf_llc.sampling.averages import Averages
from hf_llc.sampling.loss_draws import LossDraws


def loss_draws(values: Tensor, log_weights: Tensor | None) -> LossDraws:
    return LossDraws(
        rises=values, anchors=values[0, 0], loss_rises=values.mean(-1), log_weights=log_weights,
        n_beta=1.0, gamma=1.0, n=10,
    )  # fmt: skip


def autoregressive(chains: int, draws: int, variables: int, correlation: float, seed: int) -> Tensor:
    noise = torch.randn(chains, draws, variables, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    for place in range(1, draws):
        noise[:, place] = correlation * noise[:, place - 1] + math.sqrt(1 - correlation**2) * noise[:, place]
    return noise


@pytest.mark.parametrize(("draws", "correlation"), [(200, 0.0), (200, 0.8), (1000, 0.95)])
def test_the_errors_of_means_of_chains_cover_them(draws: int, correlation: float) -> None:
    shares = []
    for seed in range(40):
        values = autoregressive(4, draws, 50, correlation, seed) + 2.0
        averages = Averages(loss_draws(values, None))
        errors = averages.stderr(averages.influence(values))
        shares.append(float(((averages.mean(values) - 2.0).abs() < 1.96 * errors).double().mean()))
    assert abs(sum(shares) / len(shares) - 0.95) < 0.03


def test_the_errors_of_self_normalised_means_cover_them() -> None:
    """Under weights e^(a·w) draws of N(0, 1) have the mean a."""
    tilt, shares = torch.tensor([0.5, -0.3, 0.0], dtype=torch.float64), []
    for seed in range(200):
        values = torch.randn(300, 2, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        averages = Averages(loss_draws(values, values @ tilt))
        errors = averages.stderr(averages.influence(values))
        shares.append(((averages.mean(values) - tilt).abs() < 1.96 * errors).double())
    assert torch.stack(shares).mean(0).tolist() == pytest.approx([0.95] * 3, abs=0.045)


def test_the_bias_of_a_self_normalised_mean_is_taken_off() -> None:
    """Under weights e^w draws of N(0, 1) have the mean 1; of twenty groups the mean is too near to 0."""
    plain, expected = [], []
    for seed in range(600):
        values = torch.randn(20, 1, 1, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        averages = Averages(loss_draws(values, 0.8 * values[..., 0]))
        plain.append(float(averages.mean(values)))
        expected.append(float(averages.expectation(values)))
    biases = [abs(sum(each) / 600 - 0.8) for each in (plain, expected)]
    # Both are known to about 0.3/√600.
    assert biases[0] > 0.05
    assert biases[1] < 0.5 * biases[0]


def test_chains_apart_have_an_error_of_their_spread() -> None:
    values = autoregressive(4, 200, 6, 0.0, seed=0) + torch.tensor([-3.0, -1.0, 1.0, 3.0])[:, None, None]
    averages = Averages(loss_draws(values, None))
    assert averages.stderr(averages.influence(values)).tolist() == pytest.approx([math.sqrt(20 / 3 / 4)] * 6, rel=0.1)


def test_an_odd_quantity_has_no_error_from_antithetic_pairs() -> None:
    steps = torch.randn(100, 1, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    values = torch.cat([steps, -steps], dim=1)
    averages = Averages(loss_draws(values, torch.zeros(100, 2)))
    assert float(averages.stderr(averages.influence(values)).max()) < 1e-15


def test_the_autocorrelation_time_is_that_of_the_process() -> None:
    for correlation, time in ((0.0, 1.0), (0.8, 9.0), (0.95, 39.0)):
        values = autoregressive(4, 2000, 10, correlation, seed=1)
        assert Averages(loss_draws(values, None)).autocorrelation(values).time == pytest.approx(time, rel=0.15)


def test_few_draws_of_slow_chains_are_worth_few() -> None:
    values = autoregressive(4, 60, 20, 0.9, seed=1)
    time = Averages(loss_draws(values, None)).autocorrelation(values).time
    assert 10 < time < 30
