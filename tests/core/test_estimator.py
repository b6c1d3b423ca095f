"""The slope in γ from the draws of one γ, against the exact one."""

import pytest
import torch

from hf_llc.core.estimator import gamma_slope
from hf_llc.core.problems import quadratic
from tests.core.chains import settings, traces


@pytest.mark.parametrize("gamma", [1.0, 100.0, 3000.0])
def test_the_covariance_gives_the_slope_of_a_quadratic(gamma: float) -> None:
    curvatures = [1.0, 2.0, 4.0] * 3
    lr = 1.0 / (100.0 * 4 + gamma)
    chosen = settings(n_beta=100.0, gamma=gamma, lr=lr, start="localiser", burn_in=100, draws=4000)
    found = traces(quadratic(curvatures), chosen)
    slope = gamma_slope(gamma, [t.draws(chosen) for t in found], [t.squared_distances for t in found])
    share = sum(100 * h * gamma / (100 * h + gamma) ** 2 for h in curvatures)
    exact = -share / sum(100 * h / (100 * h + gamma) for h in curvatures)
    assert slope is not None
    assert slope[1] < 0.06
    assert abs(slope[0] - exact) < 4 * slope[1] + 0.005


def test_a_number_that_is_not_above_zero_has_no_slope() -> None:
    assert gamma_slope(1.0, [[-1.0, 0.5], [-1.0, 0.5]], [[1.0, 2.0], [1.0, 2.0]]) is None
    assert gamma_slope(1.0, [[1.0, 0.5]], [[1.0, 2.0]]) is None


def test_the_slope_from_draws_does_not_know_what_type_the_caller_makes_numbers_of() -> None:
    deltas, distances = [[0.11, 0.13, 0.127], [0.117, 0.121, 0.14]], [[1.01, 1.13, 1.07], [1.2, 1.17, 1.31]]
    expected = gamma_slope(10.0, deltas, distances)
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        assert gamma_slope(10.0, deltas, distances) == expected
    finally:
        torch.set_default_dtype(before)
