"""Metropolis-adjusted Langevin (Roberts & Tweedie 1996): the Euler step as a proposal, accepted or taken back.

With U(w) = nβ L_n(w) + γ/2 ‖w−w*‖² and the proposal w′ = w − ε/2 ∇U(w) + √ε ξ,

    log α = U(w) − U(w′) − ( ‖w − w′ + ε/2 ∇U(w′)‖² − ‖w′ − w + ε/2 ∇U(w)‖² ) / 2ε

Its stationary distribution is the posterior itself at any ε, provided that L_n is the whole loss and not a minibatch's:
the reference for small models. It costs two gradients a step. A high acceptance rate says that ε is small, not that the
chain is done."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from hf_llc.sampling.objective import copy_of, restore
from hf_llc.sampling.samplers.base import ChainState, GradientSample, Sampler


def init(walk: ChainState) -> None:
    """No state beside w itself."""


@torch.no_grad()
def step(walk: ChainState, look: GradientSample, state: None, index: int) -> None:
    """One proposal; its noise is that addressed `index`, whose next number decides on acceptance."""
    law, before = walk.law, copy_of(walk.parameters)
    slopes = _slopes(walk, look.gradients)
    noise = walk.randomness.noise(index)
    for parameter, slope in zip(walk.parameters, slopes, strict=True):
        parameter.add_(slope, alpha=-law.lr / 2)
        noise.add_to(parameter, math.sqrt(law.lr))
    energy = _energy(walk, look.losses, before)
    forward = _mismatch(walk, walk.parameters, before, slopes)
    with torch.enable_grad():
        losses, gradients = walk.evaluate(look.batch)
    proposed = _energy(walk, losses, walk.parameters)
    backward = _mismatch(walk, before, walk.parameters, _slopes(walk, gradients))
    draw = torch.zeros(1, dtype=torch.float64, device=look.losses.device)
    noise.add_to(draw, 1.0)
    # Written so that a proposal whose loss is NaN is taken back.
    accepted = torch.special.log_ndtr(draw) < energy - proposed - (backward - forward) / (2 * law.lr)
    if not bool(accepted):
        restore(walk.parameters, before)


def _slopes(walk: ChainState, gradients: Sequence[Tensor]) -> list[Tensor]:
    """∇U(w) = nβ ∇L + γ (w − w*)."""
    law = walk.law
    return [
        gradient * law.n_beta + (parameter - anchor) * law.gamma
        for parameter, anchor, gradient in zip(walk.parameters, walk.anchors, gradients, strict=True)
    ]


def _energy(walk: ChainState, losses: Tensor, at: Sequence[Tensor]) -> Tensor:
    """U at those weights, float64."""
    squared = torch.stack([(w - a).double().square().sum() for w, a in zip(at, walk.anchors, strict=True)]).sum()
    return walk.law.n_beta * losses.double().mean() + walk.law.gamma / 2 * walk.shards.total(squared)


def _mismatch(walk: ChainState, to: Sequence[Tensor], start: Sequence[Tensor], slopes: Sequence[Tensor]) -> Tensor:
    """‖to − start + ε/2 ∇U(start)‖², float64."""
    half = walk.law.lr / 2
    parts = [(t - s + g * half).double().square().sum() for t, s, g in zip(to, start, slopes, strict=True)]
    return walk.shards.total(torch.stack(parts).sum())


SAMPLER = Sampler(
    init, step, step_fraction=0.1, why="larger steps would be rejected more often", coupled=False, whole=True
)
