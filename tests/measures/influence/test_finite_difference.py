"""Influences against what happens: posteriors of a loss that is changed a little, at common random numbers."""

import math

import pytest
import torch

from hf_llc.measures.influence.finite_difference import Response, agreement, response
from hf_llc.sampling.covariance import covariances
from hf_llc.sampling.loss_draws import LossDraws
from tests.sampling.test_covariance import Problem, importance_pairs, least_squares, normal

DELTA = 0.02


def changed(problem: Problem, item: int, delta: float, seed: int, correlation: float) -> LossDraws:
    """Draws under L + δ ℓ_j: a Gaussian of another mean and precision; chains where they are correlated."""
    row, value = problem.rows[item], problem.values[item]
    precision = torch.linalg.inv(problem.spread) + problem.n_beta * delta * torch.outer(row, row)
    spread = torch.linalg.inv(precision)
    pull = problem.rows.T @ problem.values / len(problem.values) + delta * value * row
    noise = normal(4, 1000, len(row), seed=seed)
    for place in range(1, 1000):
        noise[:, place] = correlation * noise[:, place - 1] + math.sqrt(1 - correlation**2) * noise[:, place]
    mean = problem.n_beta * spread @ pull
    # The symmetric root changes least with δ, so that draws at the same random numbers stay close.
    values, vectors = torch.linalg.eigh(spread)
    root = vectors @ torch.diag(values.sqrt()) @ vectors.T
    return problem.draws(mean + noise @ root, None)


def answer(problem: Problem, item: int, correlation: float = 0.0) -> Response:
    above, below = (changed(problem, item, sign * DELTA, 2, correlation) for sign in (1, -1))
    return response(above, below, DELTA)


@pytest.mark.parametrize("correlation", [0.0, 0.8])
def test_signs_and_sizes_are_those_of_the_responses(correlation: float) -> None:
    problem = least_squares()
    estimated = covariances(changed(problem, 0, 0.0, 1, correlation))
    significant = same = 0
    squares = []
    for item in range(20):
        measured = answer(problem, item, correlation)
        result = agreement(
            -problem.n_beta * estimated.covariance[item], problem.n_beta * estimated.covariance_stderr[item], measured
        )
        significant, same = significant + result.significant, same + result.same_sign
        squares.append(result.mean_square)
    assert significant > 100
    assert same >= 0.95 * significant
    assert 0.5 < sum(squares) / len(squares) < 1.6


def test_the_response_is_the_exact_one() -> None:
    problem = least_squares()
    exact = -problem.n_beta * problem.covariance()[3]
    measured = answer(problem, 3)
    assert float(((measured.value - exact) / measured.stderr).abs().max()) < 4
    # Common random numbers: far less than the error of two means, √2 s/√N/2δ.
    spread = changed(problem, 3, 0.0, 2, 0.0).rises.flatten(0, 1).std(0)
    assert float((measured.stderr / (spread / (2 * 4000) ** 0.5 / DELTA / 2)).max()) < 0.3


def test_an_influence_of_the_wrong_sign_is_seen() -> None:
    problem = least_squares()
    estimated = covariances(changed(problem, 0, 0.0, 1, 0.0))
    measured = answer(problem, 3)
    result = agreement(
        problem.n_beta * estimated.covariance[3], problem.n_beta * estimated.covariance_stderr[3], measured
    )
    assert result.same_sign < 0.1 * result.significant
    assert result.mean_square > 5


def test_weighted_draws_and_other_items_are_refused() -> None:
    problem = least_squares()
    pairs = importance_pairs(problem, 50, seed=0)
    with pytest.raises(ValueError, match="not weighted draws of another"):
        response(pairs, pairs, DELTA)
    with pytest.raises(ValueError, match="the same draws and items"):
        response(pairs, importance_pairs(problem, 40, seed=0), DELTA)
