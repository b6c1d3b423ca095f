"""The closed forms against independent ones."""

import itertools

import pytest

from hf_llc.core.exact import (
    deep_linear_llc,
    euler_quadratic_llc,
    normal_crossing_llc,
    quadratic_llc,
    separable_power_llc,
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


def test_finite_localisation_tends_to_half_the_curved_directions() -> None:
    assert quadratic_llc([1.0, 2.0, 0.0], 1e9, 1.0) == pytest.approx(1.0)
    assert quadratic_llc([3.0], 1.0, 3.0) == pytest.approx(0.25)


def test_the_euler_form_tends_to_the_exact_one_and_lies_above_it() -> None:
    exact = quadratic_llc([1.0, 4.0], 50.0, 7.0)
    assert euler_quadratic_llc([1.0, 4.0], 50.0, 7.0, 1e-12) == pytest.approx(exact)
    assert euler_quadratic_llc([1.0, 4.0], 50.0, 7.0, 1e-3) > exact
