"""Influences between items, against closed forms of least squares."""

import json
from dataclasses import replace
from pathlib import Path

import numpy
import pandas
import pytest
import torch

from hf_llc.measures.influence.estimate import influence
from hf_llc.results.influence import Influence
from hf_llc.results.matrix import MatrixVerdict
from hf_llc.settings.strict_json import DamagedError
from tests.sampling.test_covariance import chains, exact_pairs, importance_pairs, least_squares

NAMES = [f"item {number}" for number in range(20)]


def test_the_influence_is_the_classical_one_and_what_curvature_adds() -> None:
    """BIF = −(1/n) r_i r_j x_iᵀ (H + γ/nβ)⁻¹ x_j − (nβ/n) ½ A_ij²."""
    problem = least_squares(n_beta=400.0, gamma=200.0)
    result = influence(exact_pairs(problem, 40_000, seed=0), NAMES)
    residuals = problem.values - problem.rows @ problem.mean
    damped = problem.rows.T @ problem.rows / 20 + 200 / 400 * torch.eye(20, dtype=torch.float64)
    classical = -residuals[:, None] * residuals * (problem.rows @ torch.linalg.inv(damped) @ problem.rows.T) / 20
    exact = (classical - 400 / 20 * (problem.rows @ problem.spread @ problem.rows.T).square() / 2).numpy()
    apart = numpy.abs(result.influence - exact) / result.influence_stderr
    assert apart.max() < 4.5
    # The mean square of z is 1, and 0.25 if errors are twice as large as they should be.
    assert 0.5 < (apart**2).mean() < 2
    assert numpy.linalg.norm(result.influence - exact) < 0.05 * numpy.linalg.norm(exact)
    assert result.quality.verdict is MatrixVerdict.RESOLVED


@pytest.mark.parametrize("kind", ["pairs", "chains"])
def test_few_draws_are_noise_and_many_are_not(kind: str) -> None:
    problem = least_squares()
    few = importance_pairs(problem, 20, 0) if kind == "pairs" else chains(problem, 40, 0.9, 0)
    many = importance_pairs(problem, 4000, 0) if kind == "pairs" else chains(problem, 8000, 0.8, 0)
    noise, clear = influence(few, NAMES).quality, influence(many, NAMES).quality
    assert noise.verdict is MatrixVerdict.NOISE
    assert noise.entries == 190
    assert clear.verdict is not MatrixVerdict.NOISE
    assert clear.signal > noise.signal
    assert clear.agreement is not None
    assert noise.agreement is not None
    assert clear.agreement > noise.agreement


def test_influence_between_classes_is_the_mean_over_their_items() -> None:
    draws = importance_pairs(least_squares(), 200, seed=0)
    labels = [number % 3 for number in range(20)]
    items, classes = influence(draws, NAMES), influence(draws.classes(labels), ["a", "b", "c"])
    for one in range(3):
        for other in range(3):
            block = items.influence[numpy.equal(labels, one)][:, numpy.equal(labels, other)]
            assert classes.influence[one, other] == pytest.approx(block.mean(), rel=1e-9)


def test_top_pairs_are_significant_and_in_order() -> None:
    result = influence(importance_pairs(least_squares(), 2000, seed=0), NAMES)
    pairs = result.top_pairs(5)
    sizes = [abs(pair.influence) for pair in pairs]
    assert sizes == sorted(sizes, reverse=True)
    off = numpy.abs(result.influence[numpy.triu_indices(20, k=1)])
    assert sizes[0] == off.max()
    assert all(size > 3 * pair.influence_stderr for size, pair in zip(sizes, pairs, strict=True))
    assert str(pairs[0]).startswith(f"{pairs[0].first} | {pairs[0].second}: ")
    assert influence(importance_pairs(least_squares(), 8, seed=0), NAMES).top_pairs(200) == []


@pytest.mark.parametrize("n_beta", [1.0, 20.0, 4000.0])
def test_the_share_of_far_pairs_is_that_of_the_stated_errors_in_any_unit(n_beta: float) -> None:
    draws = replace(importance_pairs(least_squares(), 400, seed=0), n_beta=n_beta)
    result = influence(draws, NAMES)
    above = numpy.triu_indices(20, k=1)
    share = float((numpy.abs(result.influence) > 3 * result.influence_stderr)[above].mean())
    assert 0.1 < share < 0.9
    assert result.quality.significant == share
    assert f"; {share:.0%} lie more than 3 errors from 0, 0.3% would by chance; " in result.quality.reason


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    result = influence(importance_pairs(least_squares(), 50, seed=0), NAMES)
    again = Influence.from_dict(json.loads(json.dumps(result.to_dict(), allow_nan=False)))
    numpy.testing.assert_array_equal(again.influence, result.influence)
    assert (again.quality, again.names, again.draws) == (result.quality, result.names, 100)
    result.to_parquet(tmp_path / "influence.parquet")
    rows = pandas.read_parquet(tmp_path / "influence.parquet")
    assert len(rows) == 20 * 21 // 2
    values = ["influence", "influence_stderr", "kernel", "kernel_stderr"]
    assert list(rows) == ["first", "second", *values, "first_index", "second_index"]
    row = rows[(rows["first"] == "item 2") & (rows["second"] == "item 7")].iloc[0]
    assert row["influence"] == result.influence[2, 7]


@pytest.mark.parametrize("change", ["missing", "shape", "text", "quality"])
def test_damaged_influences_are_refused(change: str) -> None:
    stored = influence(importance_pairs(least_squares(), 50, seed=0), NAMES).to_dict()
    if change == "missing":
        del stored["kernel"]
    elif change == "shape":
        stored["influence"] = stored["influence"][:5]
    elif change == "text":
        stored["influence"][0][0] = "much"
    else:
        stored["quality"]["verdict"] = "good"
    with pytest.raises(DamagedError):
        Influence.from_dict(stored)


def test_a_name_for_each_item_is_needed() -> None:
    with pytest.raises(ValueError, match="a name for each of the 20 items, got 1"):
        influence(importance_pairs(least_squares(), 50, seed=0), ["one"])


def test_the_picture_names_the_items_and_warns_of_noise() -> None:
    noise = influence(importance_pairs(least_squares(), 20, 0), NAMES)
    axes = noise.plot().axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == NAMES
    written = " ".join(text.get_text() for text in axes.texts).replace("\n", " ")
    assert str(noise.quality) in written
