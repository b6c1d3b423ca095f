"""An objective whose weights a group of processes shares: each holds some rows of every tensor and sees some items."""

from collections.abc import Sequence

from torch import Tensor

from hf_llc.sampling.shards import Shards
from hf_llc.sampling.wrapped_objective import Inner, WrappedObjective


class SharedObjective(WrappedObjective):
    """What one process of a group has of it; all of them make the same calls in the same order.

    A minibatch is dealt out in equal parts, so that a group of N takes about an N-th of the time of one; where that
    leaves a remainder each process takes all of it. Losses are the same numbers in every process.

    Args:
        inner: called by every process of the group at the same time, over tensors that they share. The gradient that it
            leaves in a parameter's `.grad` is the mean over the processes of that of the items each of them was asked
            for, as it is below FSDP. parameters: what is here of each of them, in
            order, in the very memory of the shared ones.
    """

    def __init__(self, inner: Inner, parameters: Sequence[Tensor], shards: Shards) -> None:
        super().__init__(inner, parameters)
        self._shards = shards

    @property
    def shards(self) -> Shards:
        return self._shards

    def losses(self, indices: Tensor) -> Tensor:
        return self._of_all(self._inner.losses(self._shards.own_share(indices)), indices)

    def losses_and_gradient(self, indices: Tensor) -> Tensor:
        losses = self._inner.losses_and_gradient(self._shards.own_share(indices))
        for own, shared in zip(self._parameters, self._inner.parameters, strict=True):
            own.grad = None if shared.grad is None else self._shards.local(shared.grad)
            shared.grad = None
        return self._of_all(losses, indices)

    def _of_all(self, losses: Tensor, indices: Tensor) -> Tensor:
        """ℓ_i of every index; where each process has seen all of them, those of the first."""
        return self._shards.joined(losses)[: len(indices)]
