"""The closed forms against independent ones."""

import itertools

import pytest
import torch

from hf_llc.measures.llc.validation.exact import (
    crossing_llc,
    deep_linear_llc,
    euler_quadratic_llc,
    normal_crossing_llc,
    power_llc,
    quadratic_llc,
    separable_power_llc,
    zero_product_llc,
)


def reduced_rank_llc(inputs: int, hidden: int, outputs: int, rank: int) -> float:
    """λ of reduced-rank regression by the four cases of Aoyagi & Watanabe 2005, which share no term with the
    formula under test."""
    if outputs + rank <= inputs + hidden and inputs + rank <= outputs + hidden and hidden + rank <= inputs + outputs:
        eight = 2 * (hidden + rank) * (inputs + outputs) - (inputs - outputs) ** 2 - (hidden + rank) ** 2
        return (eight + (inputs + outputs + hidden + rank) % 2) / 8
    if inputs + hidden < outputs + rank:
        return (hidden * inputs - hidden * rank + outputs * rank) / 2
    if outputs + hidden < inputs + rank:
        return (hidden * outputs - hidden * rank + inputs * rank) / 2
    return inputs * outputs / 2


def test_deep_linear_formula_agrees_with_the_reduced_rank_cases() -> None:
    sizes = range(1, 9)
    for inputs, hidden, outputs in itertools.product(sizes, sizes, sizes):
        for rank in range(min(inputs, hidden, outputs) + 1):
            expected = reduced_rank_llc(inputs, hidden, outputs, rank)
            assert deep_linear_llc((inputs, hidden, outputs), rank) == pytest.approx(expected)


def test_a_single_matrix_has_half_its_entries() -> None:
    for rank in range(5):
        assert deep_linear_llc((5, 4), rank) == 10.0


def test_a_product_of_scalars_has_one_half() -> None:
    for depth in range(2, 9):
        assert deep_linear_llc([1] * (depth + 1), 0) == pytest.approx(0.5)


def test_the_net_of_the_documentation() -> None:
    assert deep_linear_llc((20, 20, 20), 10) == 187.5


def test_transposing_the_net_changes_nothing() -> None:
    for widths in itertools.product(range(1, 6), repeat=4):
        assert deep_linear_llc(widths, 1) == pytest.approx(deep_linear_llc(widths[::-1], 1))


def test_power_and_crossing_forms() -> None:
    assert separable_power_llc([1, 1, 1]) == 1.5
    assert separable_power_llc([2, 2]) == 0.5
    assert normal_crossing_llc([1, 2]) == 0.25
    assert normal_crossing_llc([1, 2], [0, 3]) == 0.5


def test_finite_gamma_tends_to_half_the_curved_directions() -> None:
    assert quadratic_llc([1.0, 2.0, 0.0], 1e9, 1.0) == pytest.approx(1.0)
    assert quadratic_llc([3.0], 1.0, 3.0) == pytest.approx(0.25)


def test_the_euler_form_tends_to_the_exact_one_and_lies_above_it() -> None:
    exact = quadratic_llc([1.0, 4.0], 50.0, 7.0)
    assert euler_quadratic_llc([1.0, 4.0], 50.0, 7.0, 1e-12) == pytest.approx(exact)
    assert euler_quadratic_llc([1.0, 4.0], 50.0, 7.0, 1e-3) > exact


def test_quadrature_tends_to_the_power_law_and_is_exact_on_a_quadratic() -> None:
    assert power_llc(2, 10.0, 3.0) == pytest.approx(quadratic_llc([2.0], 10.0, 3.0), rel=1e-6)
    assert power_llc(4, 1e8, 1.0) == pytest.approx(0.25, rel=1e-3)
    assert power_llc(4, 1e4, 1.0) < 0.25


def test_the_crossing_integral_agrees_with_a_grid_in_two_dimensions() -> None:
    n_beta, gamma = 50.0, 4.0
    axis = torch.linspace(-5, 5, 2001, dtype=torch.float64)
    x, y = axis[:, None], axis[None, :]
    loss = (x * y).square()
    weight = torch.exp(-n_beta * loss - gamma / 2 * (x.square() + y.square()))
    assert crossing_llc(n_beta, gamma) == pytest.approx(float(n_beta * (loss * weight).sum() / weight.sum()), rel=1e-4)


def test_local_values_of_a_zero_product_lie_at_or_above_the_global_one() -> None:
    assert zero_product_llc(20, 20, 0) == 200
    assert zero_product_llc(20, 10, 10) == 150
    for second, first in itertools.product(range(6), range(6)):
        if second + first <= 5:
            assert zero_product_llc(5, second, first) >= deep_linear_llc((5, 5, 5), 0) - 1e-9
            assert zero_product_llc(5, second, first) == zero_product_llc(5, first, second)
