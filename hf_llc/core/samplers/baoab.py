"""Underdamped Langevin dynamics in the BAOAB splitting (Leimkuhler & Matthews 2013), one gradient a step.

With h = √ε, U(w) = nβ L(w) + γ/2 ‖w−w*‖² and momentum p of unit mass:

    p ← p − h ∇U(w);   w ← w + h/2 p;   p ← c p + √(1−c²) ξ;   w ← w + h/2 p

The two half kicks that meet between steps are one whole kick, so that w is observed where BAOAB has it. On a quadratic
loss the law of w is exact at any stable ε, whatever c; at c = 0 it is `sgld-lm`. A flat direction relaxes faster than
there by about (1+c)/(1−c), and gradient noise heats by that factor more.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from hf_llc.core.randomness import Randomness
from hf_llc.core.samplers.law import Law


def init(parameters: Sequence[Tensor]) -> list[Tensor]:
    """An empty list: momenta are drawn at the first step, from noise of their own."""
    return []


@torch.no_grad()
def step(
    parameters: Sequence[Tensor],
    anchors: Sequence[Tensor],
    gradients: Sequence[Tensor],
    state: list[Tensor],
    law: Law,
    randomness: Randomness,
    index: int,
) -> None:
    """One step; its noise is that addressed `index + 1`, the momentum at the start that addressed `index`."""
    h, c = math.sqrt(law.lr), law.momentum
    if not state:
        start = randomness.noise(index)
        state.extend(torch.zeros_like(parameter) for parameter in parameters)
        for momentum in state:
            start.add_to(momentum, 1.0)
    noise = randomness.noise(index + 1)
    for parameter, anchor, gradient, momentum in zip(parameters, anchors, gradients, state, strict=True):
        momentum.add_(gradient, alpha=-h * law.n_beta)
        momentum.add_(parameter, alpha=-h * law.gamma).add_(anchor, alpha=h * law.gamma)
        parameter.add_(momentum, alpha=h / 2)
        momentum.mul_(c)
        noise.add_to(momentum, math.sqrt(1 - c * c))
        parameter.add_(momentum, alpha=h / 2)
