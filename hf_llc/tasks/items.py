"""An objective over items that are rows of tensors: any loss that is a mean over items."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from copy import copy
from typing import Any, Self

import torch
from torch import Tensor

from hf_llc.sampling.objective import clear_gradients
from hf_llc.sampling.shards import WHOLE, Shards

Rows = Any
"""What a task's losses are computed from: the rows of some items."""


class ItemObjective:
    """L_n as the mean of a loss over items.

    Args:
        item_losses: rows of some items, by the names of the tensors -> ℓ_i, (m,), float32, with their graph.
        parameters: the model's tensors that move, each once.
        items: tensors by name, a row an item; kept where they are, moved batch by batch.
        micro_batch: items per forward pass.
        dtype: in which torch may multiply matrices (autocast); the parameters, their gradients and the losses keep the
            type of the parameters. None is that of the parameters for all.
    """

    def __init__(
        self,
        item_losses: Callable[[Rows], Tensor],
        parameters: Sequence[Tensor],
        items: Mapping[str, Tensor],
        micro_batch: int,
        dtype: torch.dtype | None = None,
    ) -> None:
        self._item_losses = item_losses
        self._parameters = list(parameters)
        self._items = dict(items)
        self.micro_batch = micro_batch
        self._dtype = dtype
        self._device = self._parameters[0].device

    @property
    def n(self) -> int:
        return len(next(iter(self._items.values())))

    @property
    def parameters(self) -> Sequence[Tensor]:
        return self._parameters

    @property
    def shards(self) -> Shards:
        return WHOLE

    def in_full(self) -> Self:
        """This objective, at these tensors, without autocast: differences of gradients need full precision."""
        objective = copy(self)
        objective._dtype = None
        return objective

    def moving(self, parameters: Sequence[Tensor]) -> Self:
        """This loss as a function of these of its tensors; the others stay fixed."""
        objective = copy(self)
        objective._parameters = list(parameters)
        return objective

    def losses(self, indices: Tensor) -> Tensor:
        with torch.no_grad():
            return torch.cat([self._losses(self._rows(part)) for part in indices.split(self.micro_batch)])

    def losses_and_gradient(self, indices: Tensor) -> Tensor:
        clear_gradients(self._parameters)
        with torch.enable_grad():
            parts = [self._backward(self._rows(part), len(indices)) for part in indices.split(self.micro_batch)]
        return torch.cat(parts)

    def _rows(self, indices: Tensor) -> Rows:
        return {name: self._taken(tensor, indices) for name, tensor in self._items.items()}

    def _taken(self, tensor: Tensor, indices: Tensor) -> Tensor:
        # Never waiting for a copy to the device: that would be waiting for all that was asked of it before.
        return tensor[indices.to(tensor.device, non_blocking=True)].to(self._device, non_blocking=True)

    def _precision(self) -> AbstractContextManager[object]:
        """Around each forward pass by itself: copies of the weights that autocast keeps end with it, as they must."""
        return torch.autocast(self._device.type, self._dtype) if self._dtype is not None else nullcontext()

    def _losses(self, rows: Rows) -> Tensor:
        with self._precision():
            return self._item_losses(rows)

    def _backward(self, rows: Rows, batch_size: int) -> Tensor:
        """ℓ_i of these items; adds the gradient of their sum over the batch size to every parameter's."""
        losses = self._losses(rows)
        if losses.requires_grad:
            (losses.sum() / batch_size).backward()
        return losses.detach()
