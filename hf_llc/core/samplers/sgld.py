"""Stochastic gradient Langevin dynamics, the Euler–Maruyama step (Welling & Teh 2011; Lau et al. 2023).

    w ← w − ε/2 ( nβ g + γ (w − w*) ) + √ε ξ,   ξ ~ N(0, 1)

On L = ½ h w² its stationary variance is 1 / (A (1 − εA/4)) with A = nβh + γ, where the target's is 1/A.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from hf_llc.core.randomness import Randomness
from hf_llc.core.samplers.law import Law


def init(parameters: Sequence[Tensor]) -> None:
    """Nothing: the chain's state is w itself."""


@torch.no_grad()
def drift(parameters: Sequence[Tensor], anchors: Sequence[Tensor], gradients: Sequence[Tensor], law: Law) -> None:
    """w ← w − ε/2 ( nβ g + γ (w − w*) ), in place and without a temporary."""
    for parameter, anchor, gradient in zip(parameters, anchors, gradients, strict=True):
        parameter.lerp_(anchor, law.lr * law.gamma / 2)
        parameter.add_(gradient, alpha=-law.lr * law.n_beta / 2)


def step(
    parameters: Sequence[Tensor],
    anchors: Sequence[Tensor],
    gradients: Sequence[Tensor],
    state: None,
    law: Law,
    randomness: Randomness,
    index: int,
) -> None:
    """One step; the noise is that of step `index`."""
    drift(parameters, anchors, gradients, law)
    noise = randomness.noise(index)
    for parameter in parameters:
        noise.add_to(parameter, math.sqrt(law.lr))
