"""The same loss at several sets of weights in one call: what chains in lockstep are answered by."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

import torch
from torch import Tensor

from hf_llc.core.language import sequence_losses
from hf_llc.core.objective import gradients


class StackedObjective(Protocol):
    """The loss of an `Objective` at k sets of weights, (k, *shape) a parameter, each on a batch of its own."""

    def losses(self, weights: Sequence[Tensor], indices: Tensor) -> Tensor:
        """ℓ_i at each set for its own row of indices (k, m), in nats, shape (k, m)."""
        ...

    def losses_and_gradient(self, weights: Sequence[Tensor], indices: Tensor) -> tuple[Tensor, list[Tensor]]:
        """As `losses`; also each set's gradient of its mean loss, (k, *shape) a parameter, in memory of its own."""
        ...


class StackedLanguageObjective:
    """L_n of a language model over packed tokens at several sets of weights, in nats per token.

    Args:
        logits: weights (k, *shape) a parameter and token ids (k, m, context) int64 -> (k, m, context, vocabulary).
        tokens: packed ids, shape (n, context), any integer type. micro_batch: sequences per forward pass of all sets
            together, at least one of each.
        dtype: as in `core.language.LanguageObjective`.
    """

    def __init__(
        self,
        logits: Callable[[Sequence[Tensor], Tensor], Tensor],
        tokens: Tensor,
        micro_batch: int,
        dtype: torch.dtype | None = None,
    ) -> None:
        self._logits, self._tokens = logits, tokens
        self._micro_batch, self._dtype = micro_batch, dtype

    def losses(self, weights: Sequence[Tensor], indices: Tensor) -> Tensor:
        with torch.no_grad():
            return torch.cat([self._losses(weights, part) for part in self._parts(indices)], dim=1)

    def losses_and_gradient(self, weights: Sequence[Tensor], indices: Tensor) -> tuple[Tensor, list[Tensor]]:
        leaves = [each.detach().requires_grad_() for each in weights]
        found = []
        with torch.enable_grad():
            for part in self._parts(indices):
                losses = self._losses(leaves, part)
                # No set's loss depends on another's weights, so that one sum has the gradients of all.
                (losses.sum() / indices.shape[1]).backward()
                found.append(losses.detach())
        return torch.cat(found, dim=1), gradients(leaves)

    def _parts(self, indices: Tensor) -> Sequence[Tensor]:
        found: Sequence[Tensor] = indices.split(max(1, self._micro_batch // len(indices)), dim=1)
        return found

    def _losses(self, weights: Sequence[Tensor], indices: Tensor) -> Tensor:
        device = weights[0].device
        rows = self._tokens[indices.to(self._tokens.device, non_blocking=True)]
        ids = rows.to(device, torch.int64, non_blocking=True)
        with self._precision(device):
            logits = self._logits(weights, ids)
        return sequence_losses(logits.flatten(0, 1), ids.flatten(0, 1)).view_as(indices)

    def _precision(self, device: torch.device) -> AbstractContextManager[object]:
        if self._dtype is None:
            return nullcontext()
        # A copy that autocast keeps would be one of the weights as a transform of functions wraps them.
        return torch.autocast(device.type, self._dtype, cache_enabled=False)
