"""An objective as a function of parts of its tensors, such as the rows of an attention head: the rest stays at w*.

This is what a weight-refined local learning coefficient is sampled on (Wang et al. 2024, arXiv 2410.02984).
"""

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from hf_llc.sampling.objective import clear_gradients
from hf_llc.sampling.wrapped_objective import Inner, WrappedObjective


class Part(NamedTuple):
    """Neighbouring rows or columns of a tensor, or all of it.

    Attributes:
        position: of the tensor among the parameters. dim: the dimension that is cut, None for the whole tensor.
        start, stop: indices along it.
    """

    position: int
    dim: int | None = None
    start: int = 0
    stop: int = 0

    def of(self, tensors: Sequence[Tensor]) -> Tensor:
        """The view of its tensor."""
        tensor = tensors[self.position].detach()
        return tensor if self.dim is None else tensor.narrow(self.dim, self.start, self.stop - self.start)


class PartObjective(WrappedObjective):
    """A loss as a function of parts of its tensors, which are views: what moves them in place moves the model.

    Args:
        inner: over whole tensors, all of them in this process, of which only the parts are to move.
        parts: without overlap.
    """

    def __init__(self, inner: Inner, parts: Sequence[Part]) -> None:
        super().__init__(inner, [part.of(inner.parameters) for part in parts])
        self._parts = list(parts)

    def losses(self, indices: Tensor) -> Tensor:
        return self._inner.losses(indices)

    def losses_and_gradient(self, indices: Tensor) -> Tensor:
        losses = self._inner.losses_and_gradient(indices)
        slopes = [parameter.grad for parameter in self._inner.parameters]
        for own, part in zip(self._parameters, self._parts, strict=True):
            slope = slopes[part.position]
            own.grad = None if slope is None else part._replace(position=0).of([slope])
        clear_gradients(self._inner.parameters)
        return losses

    def at(self, positions: Sequence[int]) -> "PartObjective":
        """The objective as a function of the parts at these positions alone."""
        return PartObjective(self._inner, [self._parts[position] for position in positions])
