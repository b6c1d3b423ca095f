"""The next-token loss of a causal language model as an Objective."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from hf_llc.tasks.items import ItemObjective
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


class LanguageObjective(ItemObjective):
    """L_n of a language model over packed tokens, in nats per token.

    Args:
        logits: token ids (m, context) int64 -> logits (m, context, vocabulary).
        parameters: the model's trainable tensors, each once.
        tokens: packed ids, shape (n, context), any integer type; kept where they are, moved batch by batch.
        micro_batch: sequences per forward pass.
        head: the same model before its last layer; used where a forward pass has more logits than a chunk.
        dtype: as in `ItemObjective`.
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
        super().__init__(
            lambda ids: sequence_losses(logits(ids), ids), parameters, {"tokens": tokens}, micro_batch, dtype
        )
        self._head = head

    def _rows(self, indices: Tensor) -> Tensor:
        return self._taken(self._items["tokens"], indices).to(torch.int64)

    def _cut(self, ids: Tensor) -> Head | None:
        """The head, where it pays."""
        head = self._head
        return head if head is not None and ids.numel() > chunk_of(head) else None

    def _losses(self, ids: Tensor) -> Tensor:
        head = self._cut(ids)
        if head is None:
            return super()._losses(ids)
        with self._precision():
            hidden = head.hidden(ids)
        return _per_sequence(token_losses(head, hidden.flatten(0, 1), _targets(ids).flatten(), self._dtype), ids)

    def _backward(self, ids: Tensor, batch_size: int) -> Tensor:
        """ℓ_i of these sequences; adds the gradient of their sum over the batch size to every parameter's."""
        head = self._cut(ids)
        if head is None:
            return super()._backward(ids, batch_size)
        with self._precision():
            hidden = head.hidden(ids)
        scale = 1 / (batch_size * (ids.shape[1] - 1))
        flat, targets = hidden.detach().flatten(0, 1), _targets(ids).flatten()
        flat_losses, slope = token_losses_and_gradient(head, flat, targets, scale, self._dtype)
        if hidden.requires_grad:
            hidden.backward(slope.view_as(hidden))
        return _per_sequence(flat_losses, ids)
