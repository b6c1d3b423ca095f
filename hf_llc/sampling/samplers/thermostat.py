"""The kinetic temperature that thermostats steer by."""

from collections.abc import Sequence

import torch
from torch import Tensor

from hf_llc.sampling.objective import dimension
from hf_llc.sampling.shards import WHOLE, Shards


@torch.no_grad()
def excess(momenta: Sequence[Tensor], shards: Shards = WHOLE) -> Tensor:
    """p·p/d − 1, a float64 scalar on the momenta's device: above 0 where gradient noise has raised it."""
    total = torch.stack([momentum.square().sum(dtype=torch.float64) for momentum in momenta]).sum()
    return shards.total(total) / dimension(momenta, shards) - 1
