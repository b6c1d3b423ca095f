"""What an observable is."""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from hf_llc.sampling.objective import Objective


class Observable(Protocol):
    """Numbers of the model at its weights as they are, in a fixed order, the same at every draw.

    Attributes:
        precision: in which what is above the values at w* is kept: 16 bits round it by a two-thousandth, far less than
            it varies from draw to draw, and halve memory and disk.
    """

    precision: torch.dtype

    def values(self, objective: Objective) -> Tensor:
        """The values over all items of the objective, in nats, shape (columns,).

        Raises:
            UnusableError: the objective has no such values.
        """
        ...

    def positions(self, objective: Objective) -> Sequence[tuple[int, int | None]]:
        """The item that each column belongs to, and the place in it; None for the whole item."""
        ...
