"""What a chain needs to know of a model: per-item losses, their gradient, and the tensors that move."""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from hf_llc.sampling.foreach import tensor_chunks
from hf_llc.sampling.shards import WHOLE, Shards


class Objective(Protocol):
    """An empirical loss L_n(w) = (1/n) Σ ℓ_i(w) over `n` items, at parameters that are changed in place."""

    @property
    def n(self) -> int:
        """Items in the empirical loss."""
        ...

    @property
    def parameters(self) -> Sequence[Tensor]:
        """The tensors w that move, each once, in a fixed order; of each what is here, see `shards`."""
        ...

    @property
    def shards(self) -> Shards:
        """How the parameters lie over processes; WHOLE where this one holds all of them."""
        ...

    def losses(self, indices: Tensor) -> Tensor:
        """ℓ_i(w) for each index, in nats, shape (len(indices),); keeps no gradient."""
        ...

    def losses_and_gradient(self, indices: Tensor) -> Tensor:
        """ℓ_i(w) for each index, in nats; also leaves the gradient of their mean in `.grad` of every parameter."""
        ...


def clear_gradients(parameters: Sequence[Tensor]) -> None:
    """Drops `.grad` of every parameter."""
    for parameter in parameters:
        parameter.grad = None


def gradients(parameters: Sequence[Tensor]) -> list[Tensor]:
    """`.grad` of every parameter; zeros where the loss does not depend on it."""
    return [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]


def copy_of(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Detached copies, such as w*."""
    return [tensor.detach().clone() for tensor in tensors]


@torch.no_grad()
def restore(parameters: Sequence[Tensor], anchors: Sequence[Tensor]) -> None:
    """Puts w back to w*, bit for bit."""
    for parameter, anchor in zip(parameters, anchors, strict=True):
        parameter.copy_(anchor)


@torch.no_grad()
def squared_distance(parameters: Sequence[Tensor], anchors: Sequence[Tensor], shards: Shards = WHOLE) -> Tensor:
    """‖w − w*‖², a scalar tensor on the parameters' device."""
    lengths: list[Tensor] = []
    for weights, centers in tensor_chunks(parameters, anchors):
        lengths += torch._foreach_norm(torch._foreach_sub(weights, centers))
    return shards.total(torch.stack(lengths).square().sum())


def dimension(parameters: Sequence[Tensor], shards: Shards = WHOLE) -> int:
    """d, the number of scalar parameters that move."""
    return sum(shards.sizes(parameters))


@torch.no_grad()
def all_finite(parameters: Sequence[Tensor], shards: Shards = WHOLE) -> bool:
    """False if any weight is inf or NaN."""
    bad = torch.stack([torch.isfinite(parameter).logical_not().any() for parameter in parameters]).any()
    return not bool(shards.total(bad.to(torch.float32)))
