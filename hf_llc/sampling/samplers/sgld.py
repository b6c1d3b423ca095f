"""Stochastic gradient Langevin dynamics, the Euler–Maruyama step (Welling & Teh 2011; Lau et al. 2023).

    w ← w − ε/2 ( nβ g + γ (w − w*) ) + √ε ξ,   ξ ~ N(0, 1)

On L = ½ h w² its stationary variance is 1 / (A (1 − εA/4)) with A = nβh + γ, where the target's is 1/A.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from hf_llc.sampling.foreach import tensor_chunks
from hf_llc.sampling.randomness import add_noise
from hf_llc.sampling.samplers.base import ChainState, GradientSample, Sampler


def init(walk: ChainState) -> None:
    """No state beside w itself."""


@torch.no_grad()
def drift(walk: ChainState, gradients: Sequence[Tensor]) -> None:
    """w ← w − ε/2 ( nβ g + γ (w − w*) ), in place and without a temporary."""
    law = walk.law
    for parameters, anchors, slopes in tensor_chunks(walk.parameters, walk.anchors, gradients):
        torch._foreach_lerp_(parameters, anchors, law.lr * law.gamma / 2)
        torch._foreach_add_(parameters, slopes, alpha=-law.lr * law.n_beta / 2)


def step(walk: ChainState, look: GradientSample, state: None, index: int) -> None:
    """One step; the noise is that of step `index`."""
    drift(walk, look.gradients)
    add_noise(walk.parameters, [walk.randomness.noise(index)], math.sqrt(walk.law.lr))


SAMPLER = Sampler(
    init, step, step_fraction=0.1, why="the Euler step widens a direction's variance by εA/4: at most 2.6 %"
)
