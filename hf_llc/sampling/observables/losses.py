"""The loss of every item."""

from collections.abc import Sequence

import torch
from torch import Tensor

from hf_llc.sampling.objective import Objective


class Losses:
    """ℓ_i(w) of each item, in the unit of the loss."""

    precision = torch.float32

    def values(self, objective: Objective) -> Tensor:
        """ℓ_i(w), in nats, shape (n,)."""
        return objective.losses(torch.arange(objective.n))

    def positions(self, objective: Objective) -> Sequence[tuple[int, int | None]]:
        """A column an item."""
        return [(item, None) for item in range(objective.n)]


OBSERVABLE = Losses()
