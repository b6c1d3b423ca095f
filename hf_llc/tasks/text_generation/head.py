"""The last layer of a language model and its loss together, some tokens at a time, so that no whole logits are kept.

Cross-entropy needs of the logits z of a token only log softmax(z), and its gradient is softmax(z) less 1 at the target:
both are made and used up while a chunk of tokens is at hand. Losses and gradients are those of whole logits up to the
order of sums.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

IGNORED = -100
"""The target of a position that predicts nothing."""
CHUNK, CHUNK_OFF_CPU = 2**22, 2**26
"""Logits made at once: 16 MiB in float32, near the size of a cache; 256 MiB where launches cost more than memory.
Where the layer is wide they are more: a chunk reads all of W and adds to all of its gradient, which must pay."""


class Head(NamedTuple):
    """A model cut before its last layer: its logits are hidden(ids) Wᵀ + b.

    Attributes:
        hidden: token ids (m, context) int64 -> (m, context, width).
        weight: W, (vocabulary, width). bias: b, (vocabulary,), or None.
    """

    hidden: Callable[[Tensor], Tensor]
    weight: Tensor
    bias: Tensor | None


def chunk_of(head: Head) -> int:
    """Tokens whose logits are made at once."""
    vocabulary, width = head.weight.shape
    logits = CHUNK if head.weight.device.type == "cpu" else CHUNK_OFF_CPU
    return max(1, logits // vocabulary, width // 2)


@torch.no_grad()
def token_losses(
    head: Head,
    hidden: Tensor,  # (tokens, width)
    targets: Tensor,  # (tokens,) int64
    dtype: torch.dtype | None = None,
) -> Tensor:
    """Cross-entropy of each token in nats, shape (tokens,), float32; 0 where the target is IGNORED.

    Args:
        dtype: of the matrix products; None means that of the weights.
    """
    weight = head.weight.to(dtype or head.weight.dtype)
    chunks = [
        _pick(_log_probabilities(rows, weight, head.bias), aims)
        for rows, aims in _chunks(head, hidden.to(weight.dtype), targets)
    ]
    return torch.cat(chunks)


@torch.no_grad()
def log_probabilities(head: Head, hidden: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """log softmax of the logits of these tokens, (tokens, vocabulary), float32; for `chunk_of` tokens at most."""
    weight = head.weight.to(dtype or head.weight.dtype)
    return _log_probabilities(hidden.to(weight.dtype), weight, head.bias)


@torch.no_grad()
def token_losses_and_gradient(
    head: Head, hidden: Tensor, targets: Tensor, scale: Tensor | float, dtype: torch.dtype | None = None
) -> tuple[Tensor, Tensor]:
    """The losses of `token_losses`, and the gradient of their sum times `scale` with respect to `hidden`.

    Adds that with respect to W and b to their `.grad`, where they require one.

    Args:
        scale: one number, or one of each token, (tokens,).
    """
    weight, bias = head.weight.to(dtype or head.weight.dtype), head.bias
    for parameter in (head.weight, bias):
        if parameter is not None and parameter.requires_grad and parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    slope = torch.empty_like(hidden)
    losses, done = [], 0
    for rows, aims in _chunks(head, hidden.to(weight.dtype), targets):
        log_probabilities = _log_probabilities(rows, weight, bias)
        losses.append(_pick(log_probabilities, aims))
        slopes = _slopes(log_probabilities, aims, scale if isinstance(scale, float) else scale[done : done + len(aims)])
        if bias is not None and bias.requires_grad and bias.grad is not None:
            bias.grad.add_(slopes.sum(dim=0))
        slopes = slopes.to(weight.dtype)
        slope[done : done + len(rows)] = slopes @ weight
        done += len(rows)
        if head.weight.requires_grad and head.weight.grad is not None:
            if weight.dtype == head.weight.dtype:
                head.weight.grad.addmm_(slopes.t(), rows)
            else:
                head.weight.grad.add_(slopes.t() @ rows)
    return torch.cat(losses), slope


def _chunks(head: Head, hidden: Tensor, targets: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    tokens = chunk_of(head)
    return zip(hidden.split(tokens), targets.split(tokens), strict=True)


def _log_probabilities(hidden: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    logits = functional.linear(hidden, weight, None if bias is None else bias.to(weight.dtype))
    return functional.log_softmax(logits.float() if logits.dtype.itemsize < 4 else logits, dim=1)


def _pick(log_probabilities: Tensor, targets: Tensor) -> Tensor:
    picked = log_probabilities.gather(1, targets.clamp_min(0).unsqueeze(1)).squeeze(1)
    return picked.neg_().masked_fill_(targets == IGNORED, 0.0)


def _slopes(log_probabilities: Tensor, targets: Tensor, scale: Tensor | float) -> Tensor:
    """scale · (softmax − 1 at the target), 0 where the target is IGNORED; made in the memory of the argument."""
    slopes = log_probabilities.exp_()
    slopes.scatter_add_(1, targets.clamp_min(0).unsqueeze(1), slopes.new_full((len(targets), 1), -1.0))
    return slopes.mul_((targets != IGNORED).to(slopes.dtype).mul_(scale).unsqueeze(1))
