"""Parts of tensors as what moves: gradients, exact weight-refined coefficients by chains and draws, and what stays."""

from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from hf_llc.measures.llc.validation.draws import Request, in_rounds
from hf_llc.measures.llc.validation.problems import aligned, chain_product
from hf_llc.sampling.draws.prior import PriorDraws
from hf_llc.sampling.objective import copy_of, dimension
from hf_llc.sampling.part_objective import Part, PartObjective
from hf_llc.sampling.scaled_objective import ScaledObjective, scales_of
from hf_llc.settings.posterior import IMPORTANCE
from hf_llc.settings.sampler import SamplerSettings
from hf_llc.tasks.items import ItemObjective
from tests.helpers.chains import llc_statistics, settings, traces

N_BETA, GAMMA = 100.0, 10.0
PARTS = [Part(0, 0, 1, 3), Part(0, 0, 4, 5), Part(1, 1, 2, 4), Part(2)]
"""Rows of a matrix, columns of another one, and a whole vector."""
ITEMS = torch.arange(4)


def quadratic() -> tuple[list[Tensor], ItemObjective, Tensor]:
    """Three tensors at the minimum of a quadratic loss that couples all of their weights, and its Hessian."""
    stream = torch.Generator().manual_seed(0)
    shapes = [(5, 3), (3, 6), (4,)]
    tensors = [torch.randn(shape, generator=stream, dtype=torch.float64).requires_grad_() for shape in shapes]
    center = torch.cat([tensor.detach().reshape(-1) for tensor in tensors])
    root = torch.randn(len(center), len(center), generator=stream, dtype=torch.float64) / len(center) ** 0.5
    hessian = root @ torch.diag(torch.logspace(-1, 1, len(center), dtype=torch.float64)) @ root.T

    def losses(rows: Any) -> Tensor:
        away = torch.cat([tensor.reshape(-1) for tensor in tensors]) - center
        values: Tensor = (away @ hessian @ away / 2).expand(len(rows["x"]))
        return values

    return tensors, ItemObjective(losses, tensors, {"x": torch.zeros(4)}, 4), hessian


def positions(tensors: list[Tensor]) -> Tensor:
    """Which of all weights the parts have, in their order."""
    numbers, first = [], 0
    for tensor in tensors:
        numbers.append(torch.arange(first, first + tensor.numel()).view(tensor.shape))
        first += tensor.numel()
    return torch.cat([part.of(numbers).reshape(-1) for part in PARTS])


def exact(hessian: Tensor) -> float:
    """½ Σ nβh/(nβh+γ) over the curvatures h, of which those of a part are of its block of the Hessian."""
    curvatures = torch.linalg.eigvalsh(hessian)
    return float((N_BETA * curvatures / (N_BETA * curvatures + GAMMA)).sum() / 2)


def block(tensors: list[Tensor], hessian: Tensor) -> Tensor:
    own = positions(tensors)
    return hessian[own][:, own]


def test_parts_are_views_and_their_gradients_those_of_the_whole_tensors() -> None:
    tensors, inner, _ = quadratic()
    objective = PartObjective(inner, PARTS)
    assert dimension(objective.parameters) == len(positions(tensors)) == 6 + 3 + 6 + 4
    for parameter in objective.parameters:
        parameter.add_(0.5)
    losses = objective.losses_and_gradient(ITEMS)
    slopes = [parameter.grad for parameter in objective.parameters]
    assert all(tensor.grad is None for tensor in tensors)
    assert torch.equal(losses, inner.losses_and_gradient(ITEMS))
    whole = [tensor.grad for tensor in tensors]
    for part, slope in zip(PARTS, slopes, strict=True):
        assert slope is not None
        assert torch.equal(slope, part.of([each for each in whole if each is not None]))


@pytest.mark.parametrize("sampler", ["sgld-lm", "baoab"])
def test_a_chain_gives_the_coefficient_of_the_parts(sampler: str) -> None:
    tensors, inner, hessian = quadratic()
    steepest = float(torch.linalg.eigvalsh(block(tensors, hessian))[-1])
    chosen = settings(
        n_beta=N_BETA, gamma=GAMMA, sampler=sampler, lr=0.5 / (N_BETA * steepest + GAMMA), n=4, burn_in=400, draws=800
    )
    result = llc_statistics(PartObjective(inner, PARTS), chosen)
    truth = exact(block(tensors, hessian))
    assert result.stderr < 0.05 * truth
    assert result.mean == pytest.approx(truth, abs=4 * result.stderr)
    assert abs(exact(hessian) - truth) > 20 * result.stderr, "all weights would have another one"


def test_independent_draws_give_the_coefficient_of_the_parts() -> None:
    tensors, inner, hessian = quadratic()
    request = Request(SamplerSettings(sampler=IMPORTANCE, chains=4, draws=500))
    _, summary = in_rounds(PartObjective(inner, PARTS), request, n_beta=0.02, gamma=GAMMA, batch_size=4)
    curvatures = torch.linalg.eigvalsh(block(tensors, hessian))
    truth = float((0.02 * curvatures / (0.02 * curvatures + GAMMA)).sum() / 2)
    assert summary.stderr is not None
    assert summary.stderr < 0.05 * truth
    assert summary.llc == pytest.approx(truth, abs=4 * summary.stderr)


@pytest.mark.parametrize("factor", [0, 1, 2])
def test_a_factor_of_a_deep_linear_net_has_half_the_rank_of_its_jacobian(factor: int) -> None:
    """With the others fixed the loss is quadratic in it, ½ ‖A ΔW B‖², and rank A · rank B directions are curved."""
    widths, rank = [5, 6, 6, 4], 3
    factors = [aligned(rows, columns, rank, torch.float64).requires_grad_() for columns, rows in pairwise(widths)]
    product = chain_product(factors).detach()

    def losses(rows: Any) -> Tensor:
        values: Tensor = ((chain_product(factors) - product).square().sum() / 2).expand(len(rows["x"]))
        return values

    objective = PartObjective(ItemObjective(losses, factors, {"x": torch.zeros(4)}, 4), [Part(factor)])
    sides = [widths[0] if factor == 0 else rank, widths[-1] if factor == 2 else rank]
    chosen = settings(n_beta=1000.0, gamma=1.0, lr=5e-4, n=4, burn_in=300, draws=1000)
    result = llc_statistics(objective, chosen)
    assert result.mean == pytest.approx(sides[0] * sides[1] / 2 * 1000 / 1001, abs=4 * result.stderr)
    assert result.stderr < 0.15


def test_a_walk_moves_the_parts_alone_and_leaves_all_weights_as_they_were() -> None:
    tensors, inner, _ = quadratic()
    before = copy_of(tensors)
    objective = PartObjective(inner, PARTS)
    outside: list[bool] = []
    losses = inner.losses_and_gradient

    def looked(indices: Tensor) -> Tensor:
        changed = torch.cat([(now != then).reshape(-1) for now, then in zip(tensors, before, strict=True)])
        inside = torch.zeros_like(changed)
        inside[positions(tensors)] = True
        outside.append(bool((changed & ~inside).any()))
        return losses(indices)

    inner.losses_and_gradient = looked  # type: ignore[method-assign]
    traces(objective, settings(n=4, chains=2, draws=20, burn_in=5, lr=1e-4))
    draws = PriorDraws(objective, objective, gamma=GAMMA, batch_size=4, seed=0)
    draws.losses(0)
    draws.gradients(0)
    draws.bend(0)
    assert len(outside) > 50
    assert not any(outside)
    assert all(torch.equal(now, then) for now, then in zip(tensors, before, strict=True))


def test_scales_of_a_relative_prior_are_those_of_the_parts() -> None:
    tensors, inner, _ = quadratic()
    parts = PartObjective(inner, PARTS)
    scales = scales_of(parts.parameters)
    assert scales[0] == pytest.approx(float(tensors[0][1:3].detach().square().mean().sqrt()))
    objective = ScaledObjective(parts, scales)
    before = copy_of(tensors)
    objective.parameters[0].add_(1.0)
    objective.losses(ITEMS)
    moved = tensors[0].detach() - before[0]
    assert torch.allclose(moved[1:3], torch.full((2, 3), scales[0], dtype=torch.float64))
    assert not moved[[0, 3, 4]].any()
    assert all(torch.equal(now, then) for now, then in zip(tensors[1:], before[1:], strict=True))


def test_some_of_the_parts_are_an_objective_too() -> None:
    tensors, inner, _ = quadratic()
    objective = PartObjective(inner, PARTS).at([2, 0])
    assert [each.shape for each in objective.parameters] == [(3, 2), (2, 3)]
    objective.parameters[0].zero_()
    assert not tensors[1][:, 2:4].any()
