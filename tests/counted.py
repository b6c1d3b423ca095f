"""An objective that counts, and a count of what is alive."""

import gc
from collections.abc import Sequence

from torch import Tensor

from hf_llc.core.objective import Objective
from hf_llc.core.shards import Shards


class Counted:
    """An objective that counts the gradients taken of it, in minibatches."""

    def __init__(self, inner: Objective, batch_size: int) -> None:
        self._inner, self._batch_size = inner, batch_size
        self.gradients = 0.0

    @property
    def n(self) -> int:
        return self._inner.n

    @property
    def parameters(self) -> Sequence[Tensor]:
        return self._inner.parameters

    @property
    def shards(self) -> Shards:
        return self._inner.shards

    def losses(self, indices: Tensor) -> Tensor:
        return self._inner.losses(indices)

    def losses_and_gradient(self, indices: Tensor) -> Tensor:
        self.gradients += len(indices) / self._batch_size
        return self._inner.losses_and_gradient(indices)


def live_copies(parameters: Sequence[Tensor]) -> float:
    """Tensors of the parameters' one shape that are alive, per parameter; those frozen by `gc` are not seen."""
    shape = parameters[0].shape
    alive = [each for each in gc.get_objects() if type(each) is Tensor and each.shape == shape]
    alive += [*parameters, *(each.grad for each in parameters if each.grad is not None)]
    return len({each.data_ptr() for each in alive}) / len(parameters)
