"""The relative localizing prior: its formula, and that weights and gradients follow its coordinates."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from hf_llc.sampling.draws.prior import PriorDraws
from hf_llc.sampling.scaled_objective import ScaledObjective, scales_of
from hf_llc.tasks.items import ItemObjective


def make() -> tuple[list[Tensor], ItemObjective]:
    """Two tensors of very different size, and a loss of both."""
    torch.manual_seed(0)
    weights = [torch.randn(30, 20).mul_(100).requires_grad_(), torch.randn(40).mul_(1e-3).requires_grad_()]
    rows = torch.randn(12)

    def losses(part: Any) -> Tensor:
        values: Tensor = (
            part["x"] * (weights[0] / 100).square().mean() + (weights[1] * 1e3).sin().sum() * part["x"].square()
        )
        return values

    return weights, ItemObjective(losses, weights, {"x": rows}, 5)


def test_a_scale_is_the_root_mean_square_and_none_for_zeros() -> None:
    tensors = [torch.full((3, 4), -2.0), torch.tensor([3.0, 4.0]), torch.zeros(5), torch.full((2,), 1e-25)]
    assert scales_of(tensors) == pytest.approx([2.0, math.sqrt(12.5), 0.0, 1e-25])


def test_the_prior_has_the_precision_gamma_over_the_mean_square_of_each_tensor() -> None:
    """γ_j = γ d_j/‖W_j‖²: the mean square of what draws move a tensor by is 1/γ_j."""
    weights, inner = make()
    gamma = 400.0
    precisions = [gamma * each.numel() / float(each.detach().square().sum()) for each in weights]
    anchors = [each.detach().clone() for each in weights]
    objective = ScaledObjective(inner, scales_of(weights))
    draws = PriorDraws(objective, objective, gamma=gamma, batch_size=4, seed=0)
    squares, distances = [0.0, 0.0], []
    for pair in range(40):
        distances.append(draws.move("test", pair, 1.0))
        objective.losses(torch.arange(2))
        for position, (weight, anchor) in enumerate(zip(weights, anchors, strict=True)):
            squares[position] += float((weight.detach() - anchor).square().sum()) / weight.numel() / 40
    assert [square * precision for square, precision in zip(squares, precisions, strict=True)] == pytest.approx(
        [1.0, 1.0], abs=0.1
    )
    # What chains and draws call the squared distance is γ_j/γ ‖ΔW_j‖² over tensors.
    moved = [(weight.detach() - anchor).square().sum() for weight, anchor in zip(weights, anchors, strict=True)]
    by_hand = sum(float(each) * precision / gamma for each, precision in zip(moved, precisions, strict=True))
    assert distances[-1] == pytest.approx(by_hand, rel=1e-4)


def test_a_loss_that_no_tensor_changes_is_told_and_weights_are_w_star_afterwards() -> None:
    weights, inner = make()
    stars = [each.detach().clone() for each in weights]
    assert not ScaledObjective(inner, scales_of(weights)).is_constant()
    rows = torch.randn(12)
    flat = ItemObjective(lambda part: part["x"] + 0 * weights[0].sum(), weights, {"x": rows}, 5)
    assert ScaledObjective(flat, scales_of(weights)).is_constant()
    assert all(torch.equal(each, star) for each, star in zip(weights, stars, strict=True))


def test_weights_are_the_checkpoint_bit_for_bit_at_the_center_and_after_a_walk() -> None:
    weights, inner = make()
    anchors = [each.detach().clone() for each in weights]
    objective = ScaledObjective(inner, scales_of(weights))
    items = torch.arange(12)
    expected = inner.losses(items)
    centers = [each.clone() for each in objective.parameters]
    assert torch.equal(objective.losses(items), expected)
    for parameter in objective.parameters:
        parameter.add_(torch.randn_like(parameter))
    assert not torch.equal(objective.losses(items), expected)
    for parameter, center in zip(objective.parameters, centers, strict=True):
        parameter.copy_(center)
    assert torch.equal(objective.losses(items), expected)
    assert all(torch.equal(weight, anchor) for weight, anchor in zip(weights, anchors, strict=True))


def test_the_gradient_is_that_in_its_coordinates() -> None:
    weights, inner = make()
    scales = scales_of(weights)
    items = torch.arange(12)
    inner.losses_and_gradient(items)
    expected = [weight.grad * scale for weight, scale in zip(weights, scales, strict=True) if weight.grad is not None]
    objective = ScaledObjective(inner, scales)
    losses = objective.losses_and_gradient(items)
    assert torch.equal(losses, objective.losses(items))
    for parameter, gradient, weight in zip(objective.parameters, expected, weights, strict=True):
        assert parameter.grad is not None
        assert torch.allclose(parameter.grad, gradient, rtol=1e-5)
        assert weight.grad is None
    parameter, other = objective.parameters[1], objective.in_full()
    assert other.parameters[1] is parameter
    step = 1e-2
    gradient = parameter.grad.clone()  # type: ignore[union-attr]
    means = []
    for sign in (1, -1):
        parameter.add_(gradient / gradient.norm(), alpha=sign * step)
        means.append(float(other.losses(items).double().mean()))
        parameter.sub_(gradient / gradient.norm(), alpha=sign * step)
    assert (means[0] - means[1]) / (2 * step) == pytest.approx(float(gradient.norm()), rel=1e-2)
    assert (objective.n, objective.micro_batch, objective.shards.count) == (12, 5, 1)
