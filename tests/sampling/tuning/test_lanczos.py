"""The quadrature against closed forms."""

import pytest
import torch

from hf_llc.measures.llc.validation.exact import quadratic_llc
from hf_llc.measures.llc.validation.problems import FunctionObjective, quadratic
from hf_llc.sampling.tuning.lanczos import quadratic_llc_of, ritz

ONE = torch.zeros(1, dtype=torch.int64)


@pytest.mark.parametrize("gamma", [0.1, 10.0, 1000.0])
def test_the_quadrature_of_a_quadratic_is_its_closed_form(gamma: float) -> None:
    curvatures = [10 ** (-2 + index / 100) for index in range(300)]
    result = quadratic_llc_of(quadratic(curvatures), ONE, n_beta=100.0, gamma=gamma, seed=0)
    truth = quadratic_llc(curvatures, 100.0, gamma)
    assert result.llc is not None
    assert result.stderr is not None
    assert result.stderr < 0.1 * truth
    assert abs(result.llc - truth) < 4 * result.stderr + 0.01 * truth
    assert result.highest == pytest.approx(max(curvatures), rel=0.01)


def test_equal_curvatures_leave_no_error_and_need_one_product_a_probe() -> None:
    result = quadratic_llc_of(quadratic([2.0] * 50), ONE, n_beta=100.0, gamma=100.0, seed=0)
    assert result.llc == pytest.approx(50 * 2 / 3 / 2, rel=1e-6)
    assert result.stderr == pytest.approx(0.0, abs=1e-6)
    assert result.products == 4


def test_a_direction_that_falls_faster_than_the_prior_rises_leaves_no_number() -> None:
    curvatures = [1.0] * 30 + [-2.0]
    assert quadratic_llc_of(quadratic(curvatures), ONE, n_beta=100.0, gamma=100.0, seed=0).llc is None
    assert quadratic_llc_of(quadratic(curvatures), ONE, n_beta=100.0, gamma=300.0, seed=0).llc is not None


def test_weights_are_back_at_the_anchor() -> None:
    w = torch.randn(40, generator=torch.Generator().manual_seed(0))
    before = w.clone()
    objective = FunctionObjective([w], 1, lambda indices: w.pow(4).sum().expand(len(indices)))
    quadratic_llc_of(objective, ONE, n_beta=10.0, gamma=1.0, seed=0)
    assert torch.equal(w.detach(), before)


def test_ritz_values_of_a_small_matrix_are_its_eigenvalues() -> None:
    stream = torch.Generator().manual_seed(0)
    root = torch.randn(6, 6, generator=stream, dtype=torch.float64)
    matrix = root + root.T
    values, weights = ritz(lambda v: matrix @ v, torch.ones(6, dtype=torch.float64), 6)
    torch.testing.assert_close(values, torch.linalg.eigvalsh(matrix))
    assert float(weights.sum()) == pytest.approx(1.0)
