"""What one process holds where a group of them shares the weights: some rows of each tensor.

The chain's arithmetic is elementwise and needs to know nothing of it, but for two things: sums over all weights, and
noise, which is that of whole tensors, so that its numbers do not depend on how many processes hold them.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor


class Slice(NamedTuple):
    """Neighbouring elements of a whole tensor of that shape: `length` of them, from the one numbered `first`."""

    shape: tuple[int, ...]
    first: int
    length: int

    @property
    def elements(self) -> int:
        """Of the whole tensor."""
        return torch.Size(self.shape).numel()


def _itself(value: Tensor) -> Tensor:
    return value


@dataclass(frozen=True)
class Shards:
    """How the parameters of an objective lie over the `count` processes of a group, of which this is number `rank`.

    Attributes:
        slices: of each parameter, in order; empty where one process holds all of them whole.
        total: from a tensor of each process, their sum, on all of them.
        joined: from a tensor of each process, all of them in order along the first dimension, on all of them.
        local: from a tensor that the group shares, what is here.
    """

    slices: Sequence[Slice] = ()
    rank: int = 0
    count: int = 1
    total: Callable[[Tensor], Tensor] = field(default=_itself)
    joined: Callable[[Tensor], Tensor] = field(default=_itself)
    local: Callable[[Tensor], Tensor] = field(default=_itself)

    def sizes(self, parameters: Sequence[Tensor]) -> list[int]:
        """Elements of each whole parameter."""
        if not self.slices:
            return [parameter.numel() for parameter in parameters]
        return [part.elements for part in self.slices]

    def normals(self, parameters: Sequence[Tensor], generator: torch.Generator) -> Iterator[Tensor]:
        """Standard normal tensors like the parameters, drawn one after the other."""
        stream = self.drawn(generator)
        for parameter in parameters:
            yield torch.empty_like(parameter).normal_(generator=generator) if stream is None else stream.like(parameter)

    def drawn(self, generator: torch.Generator) -> "DrawnShards | None":
        """A stream of the shards of whole normal tensors; None where tensors are whole."""
        return DrawnShards(self.slices, generator) if self.slices else None

    def own_share(self, indices: Tensor) -> Tensor:
        """Equal parts of the items for each process, where they can be dealt out so; else all of them for each."""
        return indices if len(indices) % self.count else indices.chunk(self.count)[self.rank]


WHOLE = Shards()
"""Tensors that one process holds by itself."""


class DrawnShards:
    """Standard normal tensors of one address, each drawn whole, of which what is here is handed out.

    A tensor may be asked for piece by piece. Whatever is asked for after the last parameter is drawn as it is.
    """

    def __init__(self, slices: Sequence[Slice], generator: torch.Generator) -> None:
        self._slices, self._generator = iter(slices), generator
        self._whole: Tensor | None = None
        self._at = self._end = 0

    def add_to(self, target: Tensor, scale: float) -> None:
        """target ← target + scale · ξ, in place."""
        target.add_(self.like(target), alpha=scale)

    def fill(self, target: Tensor) -> None:
        """target ← ξ."""
        target.copy_(self.like(target))

    def like(self, target: Tensor) -> Tensor:
        """ξ, the next elements of the stream that are here."""
        if self._whole is None or self._at == self._end:
            self._draw(target)
        assert self._whole is not None
        first, self._at = self._at, self._at + target.numel()
        return self._whole[first : self._at].view_as(target)

    def _draw(self, target: Tensor) -> None:
        part = next(self._slices, Slice(tuple(target.shape), 0, target.numel()))
        whole = torch.empty(part.shape, device=target.device, dtype=target.dtype)
        self._whole = whole.normal_(generator=self._generator).view(-1)
        self._at, self._end = part.first, part.first + part.length


@torch.no_grad()
def sum_of_squares(tensors: Iterable[Tensor], shards: Shards = WHOLE) -> float:
    """Σ over all elements of all tensors, whichever process holds them."""
    return float(sum(shards.total(torch.stack([tensor.square().sum() for tensor in tensors])).tolist()))
