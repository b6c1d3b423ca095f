"""Which tensors count as out of the loss's reach."""

import pytest
import torch
from torch import Tensor

from hf_llc.measures.llc.validation.problems import FunctionObjective
from hf_llc.sampling.gradient_reach import LOOKED_AT, tensors_without_gradient


def experts(n: int, idle: int, asked: list[int]) -> FunctionObjective:
    """Item i is the square of tensor i alone, as if a router sent it to an expert of its own; the last few are idle."""
    tensors = [torch.zeros(2) for _ in range(n + idle)]

    def losses(indices: Tensor) -> Tensor:
        asked.extend(indices.tolist())
        return torch.stack([tensors[int(i)].square().sum() for i in indices])

    return FunctionObjective(tensors, n, losses)


def test_a_tensor_with_a_gradient_from_any_item_counts_even_if_it_is_zero() -> None:
    objective = experts(5, 2, [])
    assert tensors_without_gradient(objective) == [5, 6]
    assert all(parameter.grad is None for parameter in objective.parameters)


def test_no_more_items_are_tried_than_it_takes() -> None:
    asked: list[int] = []
    shared = torch.zeros(2)

    def losses(indices: Tensor) -> Tensor:
        asked.extend(indices.tolist())
        return shared.sum().expand(len(indices))

    assert tensors_without_gradient(FunctionObjective([shared], 9, losses)) == []
    assert asked == [0]


@pytest.mark.parametrize(("n", "tried"), [(3, 3), (LOOKED_AT + 4, LOOKED_AT)])
def test_it_ends_where_items_do_or_enough_were_tried(n: int, tried: int) -> None:
    asked: list[int] = []
    assert tensors_without_gradient(experts(n, 1, asked)) == list(range(tried, n + 1))
    assert asked == list(range(tried))
