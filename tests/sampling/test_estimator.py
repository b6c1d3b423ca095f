"""The slopes of λ̂ from the draws of one posterior, against the exact ones."""

import math
from collections.abc import Callable
from itertools import combinations

import pytest
import torch

from hf_llc.measures.llc.validation import exact
from hf_llc.measures.llc.validation.problems import quadratic
from hf_llc.sampling.estimator import batch_noise, gamma_slope, n_beta_slope
from hf_llc.sampling.statistics import summarise
from tests.helpers.chains import settings, traces


@pytest.mark.parametrize("gamma", [1.0, 100.0, 3000.0])
def test_the_covariance_gives_the_slope_of_a_quadratic(gamma: float) -> None:
    curvatures = [1.0, 2.0, 4.0] * 3
    lr = 1.0 / (100.0 * 4 + gamma)
    chosen = settings(n_beta=100.0, gamma=gamma, lr=lr, start="localiser", burn_in=100, draws=4000)
    result = traces(quadratic(curvatures), chosen)
    slope = gamma_slope(gamma, [t.draws(chosen) for t in result], [t.squared_distances for t in result])
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


def test_the_noise_of_a_minibatch_is_how_the_means_of_all_minibatches_differ() -> None:
    values = torch.tensor([0.3, -1.2, 0.7, 2.5, 0.1, 0.9], dtype=torch.float64)
    for size in (2, 3, 5, 6):
        every = [values[list(chosen)] for chosen in combinations(range(6), size)]
        variance = torch.stack([each.mean() for each in every]).var(unbiased=False)
        noise = [batch_noise(each, 6) for each in every]
        assert all(each is not None for each in noise)
        assert float(torch.stack([each for each in noise if each is not None]).mean()) == pytest.approx(
            float(variance), abs=1e-15
        )
    assert batch_noise(values[:1], 6) is None
    assert batch_noise(values[:1], 1) == 0


def crossing_draws(n_beta: float, gamma: float, shape: tuple[int, int], stream: torch.Generator) -> torch.Tensor:
    """w₁² w₂² at independent draws: w₁ from its density on a grid, and w₂ given it from a Gaussian."""
    grid = torch.linspace(-8, 8, 20_001, dtype=torch.float64) * gamma**-0.5
    stiffness = 2 * n_beta * grid.square() + gamma
    weight = torch.exp(-gamma / 2 * grid.square()) * stiffness.rsqrt()
    chosen = torch.multinomial(weight, math.prod(shape), replacement=True, generator=stream).view(shape)
    second = torch.randn(shape, generator=stream, dtype=torch.float64) * stiffness[chosen].rsqrt()
    return torch.mul(grid[chosen].square(), second.square())


def quartic_draws(n_beta: float, gamma: float, shape: tuple[int, int], stream: torch.Generator) -> torch.Tensor:
    """w⁴ at independent draws from the density of w on a grid."""
    grid = torch.linspace(-8, 8, 20_001, dtype=torch.float64) * n_beta**-0.25
    weight = torch.exp(-n_beta * grid.pow(4) - gamma / 2 * grid.square())
    chosen = torch.multinomial(weight, math.prod(shape), replacement=True, generator=stream).view(shape)
    return torch.pow(grid[chosen], 4)


def quadratic_draws(n_beta: float, gamma: float, shape: tuple[int, int], stream: torch.Generator) -> torch.Tensor:
    """½ w² at independent draws of a Gaussian."""
    return torch.randn(shape, generator=stream, dtype=torch.float64).square() / (2 * (n_beta + gamma))


def exact_quadratic(n_beta: float, gamma: float) -> float:
    return exact.quadratic_llc([1.0], n_beta, gamma)


def exact_quartic(n_beta: float, gamma: float) -> float:
    return exact.power_llc(4, n_beta, gamma)


Draws = Callable[[float, float, tuple[int, int], torch.Generator], torch.Tensor]


@pytest.mark.parametrize(
    ("draws", "truth", "n_beta", "gamma"),
    [
        (quadratic_draws, exact_quadratic, 100.0, 1.0),
        (quadratic_draws, exact_quadratic, 100.0, 300.0),
        (quartic_draws, exact_quartic, 1e4, 1.0),
        (quartic_draws, exact_quartic, 1e4, 1e3),
        (crossing_draws, exact.crossing_llc, 1e4, 100.0),
    ],
)
@pytest.mark.parametrize("noise", [0.0, 1.0])
def test_the_variance_of_the_loss_gives_the_slope_in_n_beta(
    draws: Draws, truth: Callable[[float, float], float], n_beta: float, gamma: float, noise: float
) -> None:
    """With noise whose standard deviation is the mean of the draws, and known as the mean of a χ² law only."""
    step = 1.001
    known = math.log(truth(n_beta * step, gamma) / truth(n_beta / step, gamma)) / (2 * math.log(step))
    shape, stream = (4, 10_000), torch.Generator().manual_seed(0)
    rises = draws(n_beta, gamma, shape, stream)
    size = noise * float(rises.mean())
    seen = (rises + size * torch.randn(shape, generator=stream, dtype=torch.float64)).tolist()
    scatter = (size**2 * torch.randn((9, *shape), generator=stream, dtype=torch.float64).square().mean(0)).tolist()
    result = n_beta_slope(n_beta, seen, scatter, summarise(seen).mcse)
    assert result is not None
    error = summarise(result.parts).stderr
    assert error < 0.05
    assert abs(result.slope - known) < 3 * error


def test_the_error_of_the_slope_in_n_beta_is_how_far_it_scatters() -> None:
    """Over 300 runs of 4 × 60 draws of ten directions on a plateau, where the slope is 0."""
    stream = torch.Generator().manual_seed(1)
    slopes, errors = [], []
    for _ in range(300):
        seen = torch.randn((10, 4, 60), generator=stream, dtype=torch.float64).square().sum(0).div(2)
        result = n_beta_slope(1.0, seen.tolist(), torch.zeros(4, 60).tolist(), summarise(seen.tolist()).mcse)
        assert result is not None
        slopes.append(result.slope)
        errors.append(summarise(result.parts).stderr)
    spread = torch.tensor(slopes).std()
    assert abs(float(torch.tensor(slopes).mean())) < 4 * float(spread) / 300**0.5
    assert float(torch.tensor(errors).mean()) == pytest.approx(float(spread), rel=0.15)


def test_a_number_that_is_not_above_zero_has_no_slope_in_n_beta() -> None:
    assert n_beta_slope(1.0, [[-1.0, 0.5], [-1.0, 0.5]], [[0.0, 0.0], [0.0, 0.0]], 0.1) is None


def test_the_variance_about_a_mean_of_few_draws_is_not_too_small() -> None:
    """Over 2000 runs of 2 × 5 draws of mean 100 and variance 1, so that λ̂ hardly scatters."""
    stream = torch.Generator().manual_seed(2)
    variances = []
    for _ in range(2000):
        seen = 100 + torch.randn((2, 5), generator=stream, dtype=torch.float64)
        error = float(seen.std()) / math.sqrt(10)
        result = n_beta_slope(1.0, seen.tolist(), torch.zeros(2, 5).tolist(), error)
        assert result is not None
        variances.append(100 * (1 - result.slope))
    known = torch.tensor(variances)
    assert abs(float(known.mean()) - 1) < 3 * float(known.std()) / 2000**0.5
