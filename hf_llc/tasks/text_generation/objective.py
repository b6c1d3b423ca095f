"""The next-token loss of a causal language model as an Objective."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from copy import copy
from typing import Self

import torch
from torch import Tensor
from torch.nn import functional

from hf_llc.sampling.objective import clear_gradients
from hf_llc.sampling.shards import WHOLE, Shards
from hf_llc.tasks.text_generation.head import IGNORED, Head, chunk_of, token_losses, token_losses_and_gradient

LOGIT_BUDGET = 2**26
"""Logits per forward pass when the micro-batch is left to choose: 256 MiB in float32, and a few such tensors live."""
ACTIVATION_BUDGET = 2**24
"""Tokens × layers × width per forward pass where logits are not kept: about 20 float32 numbers each, 1.3 GiB."""


def sequence_losses(
    logits: Tensor,  # (m, context, vocabulary)
    ids: Tensor,  # (m, context) int64
) -> Tensor:
    """ℓ_i: mean cross-entropy of tokens 2 … context given those before, in nats per token, shape (m,), float32."""
    flat = functional.cross_entropy(
        logits.flatten(0, 1).float(), _targets(ids).flatten(), ignore_index=IGNORED, reduction="none"
    )
    return _per_sequence(flat, ids)


def _targets(ids: Tensor) -> Tensor:
    """The token that follows each one; the last position predicts nothing, which spares a copy of the logits."""
    targets = torch.full_like(ids, IGNORED)
    targets[:, :-1] = ids[:, 1:]
    return targets


def _per_sequence(losses: Tensor, ids: Tensor) -> Tensor:
    return losses.view_as(ids).sum(dim=1) / (ids.shape[1] - 1)


def default_micro_batch(batch_size: int, context_length: int, vocabulary: int, activations: int | None = None) -> int:
    """Sequences per forward pass that keep memory within bounds: a function of shapes alone, so that every machine
    splits a batch in the same way.

    Args:
        activations: layers × width of a model with a `Head`, whose logits are not kept; None bounds the logits.
    """
    if activations is not None:
        return max(1, min(batch_size, ACTIVATION_BUDGET // (context_length * activations)))
    return max(1, min(batch_size, LOGIT_BUDGET // (context_length * vocabulary)))


class LanguageObjective:
    """L_n of a language model over packed tokens, in nats per token.

    Args:
        logits: token ids (m, context) int64 -> logits (m, context, vocabulary).
        parameters: the model's trainable tensors, each once.
        tokens: packed ids, shape (n, context), any integer type; kept where they are, moved batch by batch.
        micro_batch: sequences per forward pass.
        head: the same model before its last layer; used where a forward pass has more logits than a chunk.
        dtype: in which torch may multiply matrices (autocast); the parameters, their gradients and the losses keep the
            type of the parameters. None is that of the parameters for all.
    """

    def __init__(
        self,
        logits: Callable[[Tensor], Tensor],
        parameters: Sequence[Tensor],
        tokens: Tensor,
        micro_batch: int,
        head: Head | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        self._logits = logits
        self._parameters = list(parameters)
        self._tokens = tokens
        self.micro_batch = micro_batch
        self._head = head
        self._dtype = dtype
        self._device = self._parameters[0].device

    @property
    def n(self) -> int:
        return len(self._tokens)

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
            return torch.cat([self._losses(self._ids(part)) for part in indices.split(self.micro_batch)])

    def losses_and_gradient(self, indices: Tensor) -> Tensor:
        clear_gradients(self._parameters)
        with torch.enable_grad():
            parts = [self._backward(self._ids(part), len(indices)) for part in indices.split(self.micro_batch)]
        return torch.cat(parts)

    def _ids(self, indices: Tensor) -> Tensor:
        # Never waiting for a copy to the device: that would be waiting for all that was asked of it before.
        rows = self._tokens[indices.to(self._tokens.device, non_blocking=True)]
        return rows.to(self._device, torch.int64, non_blocking=True)

    def _cut(self, ids: Tensor) -> Head | None:
        """The head, where it pays."""
        head = self._head
        return head if head is not None and ids.numel() > chunk_of(head) else None

    def _precision(self) -> AbstractContextManager[object]:
        """Around each forward pass by itself: copies of the weights that autocast keeps end with it, as they must."""
        return torch.autocast(self._device.type, self._dtype) if self._dtype is not None else nullcontext()

    def _whole(self, ids: Tensor) -> Tensor:
        with self._precision():
            logits = self._logits(ids)
        return sequence_losses(logits, ids)

    def _losses(self, ids: Tensor) -> Tensor:
        head = self._cut(ids)
        if head is None:
            return self._whole(ids)
        with self._precision():
            hidden = head.hidden(ids)
        return _per_sequence(token_losses(head, hidden.flatten(0, 1), _targets(ids).flatten(), self._dtype), ids)

    def _backward(self, ids: Tensor, batch_size: int) -> Tensor:
        """ℓ_i of these sequences; adds the gradient of their sum over the batch size to every parameter's."""
        head = self._cut(ids)
        if head is None:
            losses = self._whole(ids)
            if losses.requires_grad:
                (losses.sum() / batch_size).backward()
            return losses.detach()
        with self._precision():
            hidden = head.hidden(ids)
        scale = 1 / (batch_size * (ids.shape[1] - 1))
        flat, targets = hidden.detach().flatten(0, 1), _targets(ids).flatten()
        flat_losses, slope = token_losses_and_gradient(head, flat, targets, scale, self._dtype)
        if hidden.requires_grad:
            hidden.backward(slope.view_as(hidden))
        return _per_sequence(flat_losses, ids)
