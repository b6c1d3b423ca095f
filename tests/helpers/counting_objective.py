"""An objective that counts, and a count of what is alive."""

import gc
from collections.abc import Sequence

from torch import Tensor

from hf_llc.sampling.objective import Objective
from hf_llc.sampling.tuning.proportion import Meter, Metered


class Counted(Metered):
    """An objective that counts the gradients taken of it, in minibatches."""

    def __init__(self, inner: Objective, batch_size: int) -> None:
        super().__init__(inner, Meter())
        self._batch_size = batch_size

    @property
    def gradients(self) -> float:
        """So far."""
        return self._meter.taken / self._batch_size

    def losses(self, indices: Tensor) -> Tensor:
        return self._inner.losses(indices)


def live_copies(parameters: Sequence[Tensor]) -> float:
    """Tensors of the parameters' one shape that are alive, per parameter; those frozen by `gc` are not seen."""
    shape = parameters[0].shape
    alive = [each for each in gc.get_objects() if type(each) is Tensor and each.shape == shape]
    alive += [*parameters, *(each.grad for each in parameters if each.grad is not None)]
    return len({each.data_ptr() for each in alive}) / len(parameters)
