"""Underdamped Langevin dynamics in the BAOAB splitting (Leimkuhler & Matthews 2013), one gradient a step.

With h = √ε, U(w) = nβ L(w) + γ/2 ‖w−w*‖² and momentum p of unit mass:

    p ← p − h ∇U(w);   w ← w + h/2 p;   p ← c p + √(1−c²) ξ;   w ← w + h/2 p

The two half kicks that meet between steps are one whole kick, so that w is observed where BAOAB has it. On a quadratic
loss the stationary distribution of w is exact at any stable ε, whatever c; at c = 0 it is `sgld-lm`. A flat direction
relaxes faster than there by about (1+c)/(1−c), and gradient noise adds that factor more bias.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from hf_llc.sampling.foreach import tensor_chunks
from hf_llc.sampling.samplers.base import EXACT, ChainState, GradientSample, Sampler


def init(walk: ChainState) -> list[Tensor]:
    """Momenta from their stationary distribution, a tensor per parameter."""
    momenta = [torch.zeros_like(parameter) for parameter in walk.parameters]
    noise = walk.randomness.start("momentum")
    for momentum in momenta:
        noise.add_to(momentum, 1.0)
    return momenta


@torch.no_grad()
def kick(walk: ChainState, gradients: Sequence[Tensor], momenta: Sequence[Tensor]) -> None:
    """p ← p − h ∇U(w), in place."""
    law, h = walk.law, math.sqrt(walk.law.lr)
    for parameters, anchors, slopes, moved in tensor_chunks(walk.parameters, walk.anchors, gradients, momenta):
        torch._foreach_add_(moved, slopes, alpha=-h * law.n_beta)
        torch._foreach_add_(moved, parameters, alpha=-h * law.gamma)
        torch._foreach_add_(moved, anchors, alpha=h * law.gamma)


@torch.no_grad()
def step(walk: ChainState, look: GradientSample, state: list[Tensor], index: int) -> None:
    """One step; its noise is that addressed `index`."""
    h, c = math.sqrt(walk.law.lr), walk.law.momentum
    kick(walk, look.gradients, state)
    noise = walk.randomness.noise(index)
    for parameters, momenta in tensor_chunks(walk.parameters, state):
        torch._foreach_add_(parameters, momenta, alpha=h / 2)
        torch._foreach_mul_(momenta, c)
        noise.add_to_all(momenta, math.sqrt(1 - c * c))
        torch._foreach_add_(parameters, momenta, alpha=h / 2)


SAMPLER = Sampler(init, step, step_fraction=0.25, why=f"{EXACT}; momentum makes up for the smaller one", momentum=True)
