"""Which items are looked at before the chains: the first ones, unless items drawn at random are unlike them."""

from typing import NamedTuple

import torch
from torch import Tensor

from hf_llc.sampling import seeds
from hf_llc.sampling.objective import Objective, copy_of, restore
from hf_llc.sampling.tuning.curvature import root_mean_square
from hf_llc.sampling.tuning.gamma import TRACE_PROBE

DRAWN = 256
"""Items that are drawn at random, at least; three losses of each."""
ALIKE = 2.0
"""Factor within which the mean bend of the first items' losses and that of items drawn at random are the same."""
SHARPER = 3.0
"""How many times more than the items looked at a minibatch bends that is looked at by itself."""


class Probe(NamedTuple):
    """What to look at.

    Attributes:
        order: items in the order in which they are taken: as they come, or at random.
        sharp: a minibatch of items drawn at random which bends far more than others; None if there is none.
    """

    order: Tensor
    sharp: Tensor | None = None

    def items(self, count: int) -> Tensor:
        """So many of them, or all there are."""
        return self.order[:count]


def choose_probe(objective: Objective, count: int, batch_size: int, seed: int, drawn: int | None = None) -> Probe:
    """The first items, if their losses bend like those of others, else a random order; the weights are w* again.

    A text may begin unlike the rest of it, and a few items may be far sharper than all others: what chains must be
    stable on is not what the first minibatch shows.

    Args:
        count: of the first items that are looked at. batch_size: of the chains' minibatches.
        drawn: items drawn at random; 0 leaves out the comparison and takes items in random order. None is DRAWN or two
            minibatches.
    """
    n = objective.n
    everything = torch.arange(n)
    if batch_size >= n:
        return Probe(everything)
    order = torch.randperm(n, generator=seeds.generator(seed, "probe"))
    if drawn == 0:
        return Probe(order)
    chance = order[: max(DRAWN, 2 * batch_size, count) if drawn is None else drawn]
    bends = _bends(objective, torch.cat([everything[:count], chance]), seed)
    own, others = bends[:count], bends[len(bends) - len(chance) :]
    if not bool(torch.isfinite(bends).all()):
        return Probe(everything)
    alike = _within(float(own.mean()), float(others.mean()), ALIKE)
    looked_at = own if alike else others[:count]
    items = everything if alike else order
    whole = len(others) // batch_size
    if whole == 0:
        return Probe(items)
    groups = others[: whole * batch_size].view(whole, batch_size).mean(dim=1)
    place = int(groups.argmax())
    sharp = chance[place * batch_size : (place + 1) * batch_size]
    return Probe(items, sharp if float(groups[place]) > SHARPER * float(looked_at.mean()) else None)


def _bends(objective: Objective, items: Tensor, seed: int) -> Tensor:
    """|ℓ_i(w* + σξ) + ℓ_i(w* − σξ) − 2 ℓ_i(w*)| of each item in float64: how sharp it is along a random direction."""
    parameters = objective.parameters
    anchors = copy_of(parameters)
    sigma = TRACE_PROBE * root_mean_square(parameters, objective.shards)
    total = -2 * objective.losses(items).cpu().double()
    try:
        for sign in (1.0, -1.0):
            stream = seeds.generator(seed, "bend", device=parameters[0].device)
            with torch.no_grad():
                noise = objective.shards.normals(parameters, stream)
                for parameter, anchor, xi in zip(parameters, anchors, noise, strict=True):
                    parameter.copy_(anchor).add_(xi, alpha=sign * sigma)
            total += objective.losses(items).cpu().double()
    finally:
        restore(parameters, anchors)
    return total.abs()


def _within(one: float, other: float, factor: float) -> bool:
    return one <= factor * other and other <= factor * one
