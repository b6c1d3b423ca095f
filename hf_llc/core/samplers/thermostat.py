"""The kinetic temperature that thermostats steer by."""

from collections.abc import Sequence

import torch
from torch import Tensor


@torch.no_grad()
def excess(momenta: Sequence[Tensor]) -> Tensor:
    """p·p/d − 1, a float64 scalar on the momenta's device: above 0 where gradient noise has heated them."""
    total = torch.stack([momentum.square().sum(dtype=torch.float64) for momentum in momenta]).sum()
    return total / sum(momentum.numel() for momentum in momenta) - 1
