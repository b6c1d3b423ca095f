"""The next-token loss of a causal language model as an Objective."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from hf_llc.core.objective import clear_gradients

IGNORED = -100
LOGIT_BUDGET = 2**26
"""Logits per forward pass when the micro-batch is left to choose: 256 MiB in float32, and a few such tensors live."""


def sequence_losses(
    logits: Tensor,  # (m, context, vocabulary)
    ids: Tensor,  # (m, context) int64
) -> Tensor:
    """ℓ_i: mean cross-entropy of tokens 2 … context given those before, in nats per token, shape (m,), float32."""
    targets = torch.full_like(ids, IGNORED)
    targets[:, :-1] = ids[:, 1:]
    # The last position predicts nothing; marking it ignored spares a copy of the logits without it.
    flat = functional.cross_entropy(
        logits.flatten(0, 1).float(), targets.flatten(), ignore_index=IGNORED, reduction="none"
    )
    return flat.view_as(ids).sum(dim=1) / (ids.shape[1] - 1)


def default_micro_batch(batch_size: int, context_length: int, vocabulary: int) -> int:
    """Sequences per forward pass that keep the logits within LOGIT_BUDGET: a function of shapes alone, so that
    every machine splits a batch in the same way."""
    return max(1, min(batch_size, LOGIT_BUDGET // (context_length * vocabulary)))


class LanguageObjective:
    """L_n of a language model over packed tokens, in nats per token.

    Args:
        logits: token ids (m, context) int64 -> logits (m, context, vocabulary).
        parameters: the model's trainable tensors, each once.
        tokens: packed ids, shape (n, context), any integer type; kept where they are, moved batch by batch.
        micro_batch: sequences per forward pass.
    """

    def __init__(
        self, logits: Callable[[Tensor], Tensor], parameters: Sequence[Tensor], tokens: Tensor, micro_batch: int
    ) -> None:
        self._logits = logits
        self._parameters = list(parameters)
        self._tokens = tokens
        self.micro_batch = micro_batch
        self._device = self._parameters[0].device

    @property
    def n(self) -> int:
        return len(self._tokens)

    @property
    def parameters(self) -> Sequence[Tensor]:
        return self._parameters

    def losses(self, indices: Tensor) -> Tensor:
        with torch.no_grad():
            return torch.cat([self._losses(part) for part in indices.split(self.micro_batch)])

    def losses_and_gradient(self, indices: Tensor) -> Tensor:
        clear_gradients(self._parameters)
        parts = []
        with torch.enable_grad():
            for part in indices.split(self.micro_batch):
                losses = self._losses(part)
                (losses.sum() / len(indices)).backward()
                parts.append(losses.detach())
        return torch.cat(parts)

    def _losses(self, indices: Tensor) -> Tensor:
        ids = self._tokens[indices.to(self._tokens.device)].to(self._device, torch.int64)
        return sequence_losses(self._logits(ids), ids)
