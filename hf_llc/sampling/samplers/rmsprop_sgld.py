"""SGLD with a diagonal preconditioner from the running second moment of the loss gradient (Li et al. 2016).

    v ← α v + (1−α) g²,   v̂ = v / (1 − α^t),   G = (1 + a) / ( √v̂ / RMS(√v̂) + a )
    w ← w − ε/2 G ( nβ g + γ (w − w*) ) + √(εG) (ξ_t + ξ_{t+1}) / 2

v is taken from the gradient of the loss alone, not of the localizing prior, and bias-corrected. RMS(√v̂) is that of the
same tensor, so that G is about 1 there and at most (1+a)/a whatever the scale of the gradients. G adapts during the
burn-in and then stays as it is: a G that went on following w would need the divergence of G as a drift to have the
right stationary distribution."""

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from hf_llc.sampling.samplers.base import EXACT, ChainState, GradientSample, Sampler
from hf_llc.sampling.shards import Shards

DECAY = 0.99
STABILISER = 0.5
"""a: no weight's step is more than 3 times that of a typical one of its tensor."""
LARGEST = (1 + STABILISER) / STABILISER


@dataclass
class State:
    """v per parameter, how often it was updated, and √G once there is one."""

    moments: list[Tensor]
    updates: int = 0
    roots: list[Tensor] = field(default_factory=list)


def init(walk: ChainState) -> State:
    """No moments yet, so that G is 1."""
    return State([torch.zeros_like(p) for p in walk.parameters])


@torch.no_grad()
def step(walk: ChainState, look: GradientSample, state: State, index: int) -> None:
    """One step; its noise is the mean of those addressed `index` and `index + 1`."""
    law = walk.law
    if index < law.burn_in:
        _adapt(state, look, walk.shards)
    now, following = walk.randomness.noise(index), walk.randomness.noise(index + 1)
    for position, (parameter, anchor) in enumerate(zip(walk.parameters, walk.anchors, strict=True)):
        force = look.gradients[position].mul(law.n_beta).add_(parameter - anchor, alpha=law.gamma)
        xi = torch.zeros_like(parameter)
        now.add_to(xi, 0.5)
        following.add_to(xi, 0.5)
        if state.roots:
            xi.mul_(state.roots[position])
            force.mul_(state.roots[position].square())
        parameter.add_(force, alpha=-law.lr / 2).add_(xi, alpha=math.sqrt(law.lr))


def _adapt(state: State, look: GradientSample, shards: Shards) -> None:
    state.updates += 1
    correction = 1 - DECAY**state.updates
    state.roots = []
    for moment, gradient in zip(state.moments, look.gradients, strict=True):
        moment.mul_(DECAY).addcmul_(gradient, gradient, value=1 - DECAY)
    sums = shards.total(torch.stack([moment.sum() for moment in state.moments]))
    for moment, total, elements in zip(state.moments, sums, shards.sizes(state.moments), strict=True):
        size = (moment / correction).sqrt()
        scale = (total / (correction * elements)).sqrt()
        # A tensor without any gradient keeps G = 1.
        relative = torch.where(scale > 0, size / scale, torch.ones_like(size))
        state.roots.append(((1 + STABILISER) / (relative + STABILISER)).sqrt())


SAMPLER = Sampler(
    init,
    step,
    step_fraction=1.0 / LARGEST,
    why=f"{EXACT}, and the preconditioner enlarges a weight's step at most {LARGEST:g} times",
    neighbours=True,
)
