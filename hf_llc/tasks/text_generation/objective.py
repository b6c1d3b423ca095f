"""The next-token loss of a causal language model as an Objective."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from hf_llc.tasks.items import ItemObjective
from hf_llc.tasks.text_generation.head import (
    IGNORED,
    Head,
    chunk_of,
    log_probabilities,
    token_losses,
    token_losses_and_gradient,
)

LOGIT_BUDGET = 2**26
"""Logits per forward pass when the micro-batch is left to choose: 256 MiB in float32, and a few such tensors live."""
ACTIVATION_BUDGET = 2**24
"""Tokens × layers × width per forward pass where logits are not kept: about 20 float32 numbers each, 1.3 GiB."""


class Sequences(NamedTuple):
    """Some sequences.

    Attributes:
        ids: (m, length) int64. targets: of each position the token that it is to predict, or IGNORED, (m, length).
        counts: how many targets each sequence has, (m, 1); one number where that is all the same.
    """

    ids: Tensor
    targets: Tensor
    counts: Tensor | int

    def means(self, losses: Tensor) -> Tensor:
        """Losses of all positions, (m · length,), as the mean over each sequence's targets, (m,)."""
        counts = self.counts if isinstance(self.counts, int) else self.counts[:, 0]
        return losses.view_as(self.ids).sum(dim=1) / counts

    def scale(self, batch_size: int) -> Tensor | float:
        """What a position's loss counts for in the mean over a batch: one number, or (m · length,)."""
        if isinstance(self.counts, int):
            return 1 / (batch_size * self.counts)
        return (1 / (batch_size * self.counts)).expand(self.ids.shape).flatten()


def packed(ids: Tensor) -> Sequences:
    """Sequences, (m, context), of which every token but the first is predicted."""
    # The last position predicts nothing, which spares a copy of the logits.
    targets = torch.full_like(ids, IGNORED)
    targets[:, :-1] = ids[:, 1:]
    return Sequences(ids, targets, ids.shape[1] - 1)


def labelled(ids: Tensor, labels: Tensor) -> Sequences:
    """Sequences, (m, length), of which the tokens are predicted whose label is not IGNORED, and not the first."""
    targets = torch.full_like(labels, IGNORED)
    targets[:, :-1] = labels[:, 1:]
    return Sequences(ids, targets, (targets != IGNORED).sum(dim=1, keepdim=True))


def sequence_losses(
    logits: Tensor,  # (m, length, vocabulary)
    sequences: Sequences,
) -> Tensor:
    """ℓ_i: mean cross-entropy of a sequence's targets given the tokens before, in nats, shape (m,), float32."""
    return sequences.means(position_losses(logits, sequences.targets))


def position_losses(logits: Tensor, targets: Tensor) -> Tensor:
    """The cross-entropy of each position's target, 0 where that is IGNORED, in nats, shape (m · length,), float32."""
    return functional.cross_entropy(
        logits.flatten(0, 1).float(), targets.flatten(), ignore_index=IGNORED, reduction="none"
    )


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
    """L_n of a language model over sequences of tokens, in nats per token.

    Args:
        logits: token ids (m, length) int64 -> logits (m, length, vocabulary).
        parameters: the model's trainable tensors, each once.
        tokens: ids, shape (n, length), any integer type; kept where they are, moved batch by batch.
        micro_batch: sequences per forward pass.
        head: the same model before its last layer; used where a forward pass has more logits than a chunk.
        dtype: as in `ItemObjective`.
        labels: as transformers has them: the ids of tokens that count, IGNORED elsewhere, (n, length); None counts all.
            What is behind a sequence's last target is not looked at, whatever its ids are: the model is causal.
    """

    def __init__(
        self,
        logits: Callable[[Tensor], Tensor],
        parameters: Sequence[Tensor],
        tokens: Tensor,
        micro_batch: int,
        head: Head | None = None,
        dtype: torch.dtype | None = None,
        labels: Tensor | None = None,
    ) -> None:
        items: Mapping[str, Tensor] = {"tokens": tokens} if labels is None else {"tokens": tokens, "labels": labels}
        super().__init__(
            lambda rows: sequence_losses(logits(rows.ids), rows), parameters, items, micro_batch, dtype
        )  # fmt: skip
        self._logits = logits
        self._head = head
        self._lengths = None if labels is None else lengths_of(labels).cpu()

    def _rows(self, indices: Tensor) -> Sequences:
        ids = self._taken(self._items["tokens"], indices).to(torch.int64)
        if self._lengths is None:
            return packed(ids)
        # Sequences of a batch are often much shorter than the longest of all.
        longest = int(self._lengths[indices.cpu()].max())
        labels = self._taken(self._items["labels"], indices).to(torch.int64)
        return labelled(ids[:, :longest], labels[:, :longest])

    def _cut(self, ids: Tensor) -> Head | None:
        """The head, where it pays."""
        head = self._head
        return head if head is not None and ids.numel() > chunk_of(head) else None

    def predicted(self) -> Tensor:
        """True for every token that has a loss, shape (n, length)."""
        if self._lengths is None:
            mask = torch.ones_like(self._items["tokens"], dtype=torch.bool)
        else:
            mask = self._items["labels"] != IGNORED
        mask[:, 0] = False  # nothing predicts it
        return mask

    def tokens(self, indices: Tensor) -> Tensor:
        """Token ids of these items, (m, length), int64."""
        return self._taken(self._items["tokens"], indices).to(torch.int64)

    def token_losses(self, indices: Tensor) -> Tensor:
        """The loss of every token of these items, in nats, shape (m, length); 0 for a token without one."""
        length = self._items["tokens"].shape[1]
        with torch.no_grad():
            parts = []
            for part in indices.split(self.micro_batch):
                rows = self._rows(part)
                losses = self._position_losses(rows).view_as(rows.ids)
                # What a position predicts is the token behind it.
                parts.append(functional.pad(losses[:, :-1], (1, length - rows.ids.shape[1])))
            return torch.cat(parts)

    def predictions(self, indices: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """What the model predicts behind each position of packed items, some positions at a time and in their order.

        Yields:
            The token ids at these positions, (positions,), and log-probabilities of what follows, (positions,
            vocabulary), float32.
        """
        with torch.no_grad():
            for part in indices.split(self.micro_batch):
                ids = self._rows(part).ids
                head = self._cut(ids)
                with self._precision():
                    if head is None:
                        yield ids.flatten(), self._logits(ids).flatten(0, 1).float().log_softmax(dim=1)
                        continue
                    hidden = head.hidden(ids).flatten(0, 1)
                tokens = chunk_of(head)
                for some, rows in zip(ids.flatten().split(tokens), hidden.split(tokens), strict=True):
                    yield some, log_probabilities(head, rows, self._dtype)

    def _losses(self, rows: Sequences) -> Tensor:
        return rows.means(self._position_losses(rows))

    def _position_losses(self, rows: Sequences) -> Tensor:
        """The loss of what each position predicts, 0 where that is nothing, (m · length,), float32."""
        head = self._cut(rows.ids)
        with self._precision():
            if head is None:
                return position_losses(self._logits(rows.ids), rows.targets)
            hidden = head.hidden(rows.ids)
        return token_losses(head, hidden.flatten(0, 1), rows.targets.flatten(), self._dtype)

    def _backward(self, rows: Sequences, batch_size: int) -> Tensor:
        """ℓ_i of these sequences; adds the gradient of their sum over the batch size to every parameter's."""
        head = self._cut(rows.ids)
        if head is None:
            return super()._backward(rows, batch_size)
        with self._precision():
            hidden = head.hidden(rows.ids)
        flat, targets = hidden.detach().flatten(0, 1), rows.targets.flatten()
        flat_losses, slope = token_losses_and_gradient(head, flat, targets, rows.scale(batch_size), self._dtype)
        if hidden.requires_grad:
            hidden.backward(slope.view_as(hidden))
        return rows.means(flat_losses)


def lengths_of(labels: Tensor) -> Tensor:
    """Of each row the tokens up to its last target, (n,)."""
    positions = torch.arange(1, labels.shape[1] + 1, device=labels.device)
    longest: Tensor = ((labels != IGNORED) * positions).amax(dim=1)
    return longest
