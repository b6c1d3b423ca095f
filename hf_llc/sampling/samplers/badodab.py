"""BAOAB with an adaptive thermostat, BADODAB (Leimkuhler & Shang 2016): friction that answers gradient noise.

    p ← p − h ∇U(w);   w ← w + h/2 p;   z ← z + κ/2 (p·p/d − 1);   p ← e^{−z} p + √(z₀ (1 − e^{−2z}) / z) ξ
    z ← z + κ/2 (p·p/d − 1);   w ← w + h/2 p,      h = √ε, z₀ = −log c

Gradient noise that has the same variance in every direction is taken out exactly: z settles at z₀ plus its heat.
Noise that follows the curvature, as that of minibatches does, is taken out on average over directions only.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from hf_llc.sampling.samplers import baoab
from hf_llc.sampling.samplers.base import EXACT, ChainState, GradientSample, Sampler
from hf_llc.sampling.samplers.thermostat import excess

COUPLING = 0.02
"""κ: how fast the friction answers; slow against the momenta, fast against the chain."""


@dataclass
class State:
    """Momenta p, and the friction z of a step, a scalar tensor on the parameters' device."""

    momenta: list[Tensor]
    friction: Tensor


def init(walk: ChainState) -> State:
    """Momenta from their stationary distribution, and the friction that noiseless gradients ask for."""
    momenta = baoab.init(walk)
    return State(momenta, torch.tensor(_free_friction(walk), device=momenta[0].device, dtype=torch.float64))


@torch.no_grad()
def step(walk: ChainState, look: GradientSample, state: State, index: int) -> None:
    """One step; its noise is that addressed `index`."""
    h = math.sqrt(walk.law.lr)
    baoab.kick(walk, look.gradients, state.momenta)
    for parameter, momentum in zip(walk.parameters, state.momenta, strict=True):
        parameter.add_(momentum, alpha=h / 2)
    state.friction += COUPLING / 2 * excess(state.momenta, walk.shards)
    keep = torch.exp(-state.friction)
    # (1 − e^{−2z})/z tends to 2 as z → 0, where the quotient itself cannot be computed.
    safe = torch.where(state.friction.abs() < 1e-8, torch.full_like(state.friction, 1e-8), state.friction)
    spread = float(torch.sqrt(_free_friction(walk) * -torch.expm1(-2 * safe) / safe))
    noise = walk.randomness.noise(index)
    for momentum in state.momenta:
        momentum.mul_(keep.to(momentum.dtype))
        noise.add_to(momentum, spread)
    state.friction += COUPLING / 2 * excess(state.momenta, walk.shards)
    for parameter, momentum in zip(walk.parameters, state.momenta, strict=True):
        parameter.add_(momentum, alpha=h / 2)


def _free_friction(walk: ChainState) -> float:
    """z₀ = −log c; without any momentum kept, that of c = 0.01."""
    return -math.log(max(walk.law.momentum, 0.01))


SAMPLER = Sampler(init, step, step_fraction=0.25, why=EXACT, momentum=True, coupled=False)
