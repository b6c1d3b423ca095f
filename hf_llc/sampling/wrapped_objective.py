"""What objectives share that are the loss of another one, as a function of other tensors."""

from collections.abc import Sequence
from copy import copy
from typing import Protocol, Self

from torch import Tensor

from hf_llc.sampling.objective import Objective
from hf_llc.sampling.shards import Shards


class Inner(Objective, Protocol):
    """The objective that is wrapped."""

    @property
    def micro_batch(self) -> int:
        """Items per forward pass of one process."""
        ...

    def in_full(self) -> Self:
        """This objective in the precision of its parameters."""
        ...


class WrappedObjective:
    """A loss as a function of tensors of its own, from which those of an inner objective follow.

    Args:
        inner: the loss over the model's tensors. parameters: the tensors that move in their place.
    """

    def __init__(self, inner: Inner, parameters: Sequence[Tensor]) -> None:
        self._inner, self._parameters = inner, list(parameters)

    @property
    def n(self) -> int:
        """Items in the empirical loss."""
        return self._inner.n

    @property
    def parameters(self) -> Sequence[Tensor]:
        """The tensors that move."""
        return self._parameters

    @property
    def shards(self) -> Shards:
        """How the parameters lie over processes."""
        return self._inner.shards

    @property
    def micro_batch(self) -> int:
        """Items per forward pass of one process."""
        return self._inner.micro_batch

    def in_full(self) -> Self:
        """This objective, at these tensors, without autocast."""
        objective = copy(self)
        objective._inner = self._inner.in_full()
        return objective
