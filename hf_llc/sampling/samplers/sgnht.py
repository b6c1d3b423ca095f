"""Stochastic gradient Nosé–Hoover thermostat (Ding et al. 2014), with the momentum that its name promises.

    p ← √(1−z) ( √(1−z) p − h ∇U(w) ) + √(1−c²) ξ;   w ← w + h p;   z ← z + κ (p·p/d − 1),      h = √ε

The friction z, 1 − c at the start, is driven until the momenta have unit temperature, whatever isotropic noise the
gradient carries. Half of it acts before the kick and half after: all of it before would make the variance of w on a
quadratic too small by z/2. What is left is of second order in z and h√A.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from hf_llc.sampling.samplers import baoab
from hf_llc.sampling.samplers.base import ChainState, GradientSample, Sampler
from hf_llc.sampling.samplers.thermostat import excess

COUPLING = 0.02


@dataclass
class State:
    """Momenta p, and the friction z of a step, a scalar tensor on the parameters' device."""

    momenta: list[Tensor]
    friction: Tensor


def init(walk: ChainState) -> State:
    """Momenta from their stationary distribution, and the friction that noiseless gradients ask for."""
    momenta = baoab.init(walk)
    friction = torch.tensor(1 - walk.law.momentum, device=momenta[0].device, dtype=torch.float64)
    return State(momenta, friction)


@torch.no_grad()
def step(walk: ChainState, look: GradientSample, state: State, index: int) -> None:
    """One step; its noise is that addressed `index`."""
    h = math.sqrt(walk.law.lr)
    keep = torch.sqrt(torch.clamp(1 - state.friction, min=0))
    for momentum in state.momenta:
        momentum.mul_(keep.to(momentum.dtype))
    baoab.kick(walk, look.gradients, state.momenta)
    noise = walk.randomness.noise(index)
    for parameter, momentum in zip(walk.parameters, state.momenta, strict=True):
        momentum.mul_(keep.to(momentum.dtype))
        noise.add_to(momentum, math.sqrt(1 - walk.law.momentum**2))
        parameter.add_(momentum, alpha=h)
    state.friction += COUPLING * excess(state.momenta, walk.shards)


SAMPLER = Sampler(
    init, step, step_fraction=0.1, why="this sampler is off by a part of order εA", momentum=True, coupled=False
)
