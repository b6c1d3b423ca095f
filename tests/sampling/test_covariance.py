"""Covariances of losses and their errors, against closed forms of least squares under a Gaussian posterior."""

import math
import time
from fractions import Fraction
from itertools import product
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from hf_llc.sampling.autocorrelation import autocorrelation
from hf_llc.sampling.averages import Averages
from hf_llc.sampling.covariance import covariance_with, covariances
from hf_llc.sampling.loss_draws import LossDraws


class Problem(NamedTuple):
    """ℓ_i = ½(y_i − x_i·w)², localized at the origin: rows X, values y, posterior N(μ, Σ)."""

    rows: Tensor
    values: Tensor
    mean: Tensor
    spread: Tensor
    n_beta: float
    gamma: float

    def covariance(self) -> Tensor:
        """Cov(ℓ_i, ℓ_j) = r_i r_j A_ij + ½ A_ij² with A = X Σ Xᵀ and the residuals r at μ (Isserlis 1918)."""
        inner, residuals = self.rows @ self.spread @ self.rows.T, self.values - self.rows @ self.mean
        return residuals[:, None] * residuals * inner + inner.square() / 2

    def draws(self, weights: Tensor, log_weights: Tensor | None) -> LossDraws:
        """The losses at weights of shape (groups, draws, d)."""
        rises = ((self.values - weights @ self.rows.T).square() - self.values.square()) / 2
        return LossDraws(
            rises=rises,
            anchors=self.values.square() / 2,
            loss_rises=rises.mean(-1),
            log_weights=log_weights,
            n_beta=self.n_beta,
            gamma=self.gamma,
            n=len(self.values),
        )


def least_squares(items: int = 20, size: int = 20, n_beta: float = 40.0, gamma: float = 20.0) -> Problem:
    stream = torch.Generator().manual_seed(0)
    rows = torch.randn(items, size, generator=stream, dtype=torch.float64) / size**0.5
    values = torch.randn(items, generator=stream, dtype=torch.float64) / 2
    spread = torch.linalg.inv(n_beta * rows.T @ rows / items + gamma * torch.eye(size, dtype=torch.float64))
    return Problem(rows, values, spread @ rows.T @ values * (n_beta / items), spread, n_beta, gamma)


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def exact_pairs(problem: Problem, count: int, seed: int) -> LossDraws:
    """Two independent exact draws a group."""
    weights = problem.mean + normal(count, 2, len(problem.mean), seed=seed) @ torch.linalg.cholesky(problem.spread).T
    return problem.draws(weights, torch.zeros(count, 2))


def importance_pairs(problem: Problem, count: int, seed: int) -> LossDraws:
    """Antithetic draws of the localizing prior, and their weights."""
    steps = normal(count, 1, len(problem.mean), seed=seed) / problem.gamma**0.5
    draws = problem.draws(torch.cat([steps, -steps], dim=1), torch.zeros(count, 2))
    return LossDraws(**{**vars(draws), "log_weights": -problem.n_beta * draws.loss_rises})


def chains(problem: Problem, count: int, correlation: float, seed: int, groups: int = 4) -> LossDraws:
    """Stationary AR(1) chains whose draws have the exact distribution."""
    noise = normal(groups, count, len(problem.mean), seed=seed)
    for place in range(1, count):
        noise[:, place] *= math.sqrt(1 - correlation**2)
        noise[:, place] += correlation * noise[:, place - 1]
    return problem.draws(problem.mean + noise @ torch.linalg.cholesky(problem.spread).T, None)


def test_the_four_points_have_their_exact_covariances() -> None:
    """Nodes of a quadrature that is exact up to degree five stand for draws: 0 and ±√3 with 4 : 1 : 1 copies."""
    rows = [(1, 0), (0, 1), (1, 1), (1, -1)]
    residuals = [Fraction(0), Fraction(2, 3), Fraction(-1, 3), Fraction(1, 3)]
    inner = [[Fraction(a[0] * b[0] + a[1] * b[1], 7) for b in rows] for a in rows]
    exact = [[residuals[i] * residuals[j] * inner[i][j] + inner[i][j] ** 2 / 2 for j in range(4)] for i in range(4)]
    assert [exact[i][i] for i in range(4)] == [Fraction(1, 98), Fraction(65, 882), Fraction(32, 441), Fraction(32, 441)]
    assert exact[0][1:] == [Fraction(0), Fraction(1, 98), Fraction(1, 98)]
    assert exact[1][2:] == [Fraction(-19, 882), Fraction(-19, 882)]
    assert exact[2][3] == 0
    size = math.sqrt(3 / 7)
    axis = [-size, 0.0, 0.0, 0.0, 0.0, size]
    nodes = torch.tensor([*product(axis, axis)], dtype=torch.float64)
    groups = torch.stack([nodes, -nodes], dim=1).repeat(512, 1, 1)
    matrix, target = torch.tensor(rows, dtype=torch.float64), torch.tensor([1.0, 0.0, 0.0, 2.0], dtype=torch.float64)
    anchor = torch.tensor([1.0, -2 / 3], dtype=torch.float64)
    anchors = (target - matrix @ anchor).square() / 2
    rises = (target - (groups + anchor) @ matrix.T).square() / 2 - anchors
    draws = LossDraws(
        rises=rises, anchors=anchors, loss_rises=rises.mean(-1), log_weights=torch.zeros(rises.shape[:2]),
        n_beta=8.0, gamma=1.0, n=4,
    )  # fmt: skip
    # The even parts, whose mean is taken from the same pairs, have the factor P/(P − 1) of an unbiased variance.
    unbiased = Fraction(len(rises), len(rises) - 1)
    expected = torch.tensor(
        [[float(exact[i][j] + inner[i][j] ** 2 / 2 * (unbiased - 1)) for j in range(4)] for i in range(4)],
        dtype=torch.float64,
    )
    torch.testing.assert_close(covariances(draws).covariance, expected, atol=1e-12, rtol=0)
    averages = Averages(draws)
    torch.testing.assert_close(
        averages.mean(draws.rises), torch.tensor([1 / 14, 1 / 14, 1 / 7, 1 / 7], dtype=torch.float64)
    )
    # χ = −Cov(L, ℓ_k): 3/784 with the signs +, +, −, − after the mean over items is taken off.
    with_loss = covariance_with(averages, draws.loss_rises, draws.rises - draws.loss_rises[..., None]).value
    signs = torch.tensor([1.0, 1.0, -1.0, -1.0], dtype=torch.float64)
    torch.testing.assert_close(-with_loss, signs * float(Fraction(3, 784) * unbiased), atol=1e-12, rtol=0)


@pytest.mark.parametrize("kind", ["exact", "importance", "chains"])
def test_two_standard_errors_hold_the_exact_covariance_19_times_in_20(kind: str) -> None:
    problem = least_squares()
    exact, repeats = problem.covariance(), 50
    scale = exact.diagonal().sqrt()
    exact_correlation = exact / scale / scale[:, None]
    covered, of_correlations, deviations = [], [], []
    for seed in range(repeats):
        if kind == "chains":
            result = covariances(chains(problem, 400, 0.9, seed))
        else:
            result = covariances((exact_pairs if kind == "exact" else importance_pairs)(problem, 200, seed))
        apart = (result.covariance - exact) / result.covariance_stderr
        covered.append(float((apart.abs() < 1.96).double().mean()))
        apart = ((result.correlation - exact_correlation) / result.correlation_stderr)[~torch.eye(20, dtype=torch.bool)]
        of_correlations.append(float((apart.abs() < 1.96).double().mean()))
        deviations.append(result.covariance - exact)
    for shares in (torch.tensor(covered), torch.tensor(of_correlations)):
        assert float(shares.std()) / repeats**0.5 < 0.01
        assert abs(float(shares.mean()) - 0.95) < 0.03
    # No bias: means over repeats are normal about 0, so that the squares of their z have the mean 1 ± √(2/400).
    means = torch.stack(deviations)
    assert float((means.mean(0) / means.std(0) * repeats**0.5).square().mean()) < 1.6


def test_centring_takes_nothing_from_covariances_of_short_chains() -> None:
    problem = least_squares()
    exact = problem.covariance().diagonal()
    shares, plain = [], []
    for seed in range(60):
        draws = chains(problem, 60, 0.9, seed)
        shares.append(covariances(draws).covariance.diagonal() / exact)
        plain.append((draws.rises - draws.rises.mean(1, keepdim=True)).square().mean((0, 1)) / exact)
    # 60 draws at τ = 19, so that a third is missing without the correction; a mean share is known to about 0.02.
    assert float(torch.stack(plain).mean()) < 0.8
    assert float(torch.stack(shares).mean()) == pytest.approx(1.0, abs=0.1)


def test_chains_that_do_not_mix_invent_no_covariance() -> None:
    problem = least_squares()
    draws = chains(problem, 400, 0.5, seed=3)
    away = 20 * problem.covariance().diagonal().sqrt() * torch.tensor([-1.5, -0.5, 0.5, 1.5])[:, None, None]
    apart = LossDraws(**{**vars(draws), "rises": draws.rises + away})
    torch.testing.assert_close(covariances(apart).covariance, covariances(draws).covariance)
    torch.testing.assert_close(covariances(apart).covariance_stderr, covariances(draws).covariance_stderr)


def test_chains_of_different_covariances_have_an_error_that_says_so() -> None:
    problem = least_squares()
    draws = chains(problem, 400, 0.5, seed=3)
    sizes = torch.tensor([0.2, 0.5, 1.0, 3.0])[:, None, None]
    apart = covariances(LossDraws(**{**vars(draws), "rises": draws.rises * sizes}))
    assert float((apart.covariance_stderr / apart.covariance).diagonal().min()) > 0.5


@pytest.mark.parametrize(("correlation", "time_of_products"), [(0.0, 1.0), (0.5, 5 / 3), (0.9, 9.5)])
def test_effective_draws_are_those_of_products(correlation: float, time_of_products: float) -> None:
    """A product of two AR(1) processes is correlated by ρ² from draw to draw."""
    rises = chains(least_squares(), 2000, correlation, seed=1)
    linear = LossDraws(**{**vars(rises), "rises": normal(1, 1, 20, seed=0) + _linear(2000, correlation)})
    assert covariances(linear).effective == pytest.approx(8000 / time_of_products, rel=0.15)


def test_the_autocorrelation_of_products_is_that_of_all_of_them() -> None:
    draws = chains(least_squares(5, 3), 40, 0.7, seed=4)
    averages = Averages(draws)
    deviations = averages.centred(draws.rises)
    deviations = deviations / deviations.square().mean((0, 1)).sqrt()
    mean = torch.einsum("gdi,gdj->ij", deviations, deviations) / 160
    products = deviations[..., None] * deviations[..., None, :] - mean

    def at(lag: int) -> float:
        return float((products[:, lag:] * products[:, : 40 - lag]).sum((-1, -2)).mean())

    expected = autocorrelation(at, 40, 160)
    assert covariances(draws).effective == pytest.approx(160 / expected.time, rel=1e-9)
    assert expected.time > 1.2


def _linear(count: int, correlation: float) -> Tensor:
    noise = normal(4, count, 20, seed=2)
    for place in range(1, count):
        noise[:, place] = correlation * noise[:, place - 1] + math.sqrt(1 - correlation**2) * noise[:, place]
    return noise


@pytest.mark.parametrize("kind", ["importance", "chains"])
def test_errors_of_short_blocks_are_those_of_any(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    problem = least_squares()
    draws = chains(problem, 100, 0.6, seed=0) if kind == "chains" else importance_pairs(problem, 60, seed=0)
    results = []
    for short in (0, 50):
        monkeypatch.setattr("hf_llc.sampling.covariance.SHORT", short)
        results.append(covariances(draws))
    torch.testing.assert_close(results[0].covariance_stderr, results[1].covariance_stderr)
    off = ~torch.eye(20, dtype=torch.bool)
    torch.testing.assert_close(results[0].correlation_stderr[off], results[1].correlation_stderr[off])
    assert float(results[1].correlation_stderr.diagonal().max()) < 1e-6


def test_parts_of_a_large_matrix_are_those_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    draws = chains(least_squares(), 100, 0.6, seed=0)
    whole = covariances(draws)
    monkeypatch.setattr("hf_llc.sampling.covariance.ROOM", 60)
    torch.testing.assert_close(covariances(draws).covariance_stderr, whole.covariance_stderr)
    torch.testing.assert_close(covariances(draws).correlation_stderr, whole.correlation_stderr)


def test_a_loss_that_does_not_vary_has_no_covariance_and_no_error() -> None:
    draws = chains(least_squares(), 50, 0.5, seed=0)
    rises = draws.rises.clone()
    rises[..., 3] = 0.1
    result = covariances(LossDraws(**{**vars(draws), "rises": rises}))
    for matrix in (result.covariance, result.covariance_stderr, result.correlation, result.correlation_stderr):
        assert bool(torch.isfinite(matrix).all())
        assert not matrix[3].any()


def test_heavy_weights_are_told() -> None:
    problem = least_squares(n_beta=40.0, gamma=20.0)
    draws = importance_pairs(problem, 200, seed=0)
    assert draws.log_weights is not None
    heavy = covariances(LossDraws(**{**vars(draws), "log_weights": 40 * draws.log_weights}))
    assert heavy.pareto_k is not None
    assert heavy.pareto_k > 0.7
    assert heavy.effective < 40


def test_many_items_take_seconds() -> None:
    problem = least_squares(256, 30)
    draws = importance_pairs(problem, 400, seed=0)
    begun = time.process_time()
    result = covariances(draws)
    assert time.process_time() - begun < 20
    assert result.covariance.shape == (256, 256)


def test_a_covariance_with_one_quantity_is_a_row_of_the_matrix() -> None:
    problem = least_squares()
    for draws in (chains(problem, 200, 0.8, seed=5), importance_pairs(problem, 100, seed=5)):
        averages, matrix = Averages(draws), covariances(draws)
        row = covariance_with(averages, draws.rises[..., 4], draws.rises)
        # The bias of centring is by the autocorrelation of that quantity, and of all items in the matrix.
        torch.testing.assert_close(row.value, matrix.covariance[4], rtol=0.1, atol=1e-6)
        ratio = averages.stderr(row.influence) / matrix.covariance_stderr[4]
        assert float(ratio.min()) > 0.75
        assert float(ratio.max()) < 1.3
