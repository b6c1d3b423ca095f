"""What a gradient does not know of: how far the loss jumps between w* and a draw.

A chain follows ∇L, so it samples exp(−nβS) for the S that its gradient integrates to, while λ̂ averages L itself. Along
a segment the two differ exactly by the jumps of the loss: J = L(w) − L(w*) − ∫₀¹ ∇L(w* + tΔ)·Δ dt for Δ = w − w*.

What they do to λ̂ is, to first order, Cov(nβΔL, nβJ) over the draws: the posterior is the distribution of the chains
times e^(−nβJ). A minibatch's own share of both would pass for such a covariance, so ΔL is taken of other items.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from hf_llc.sampling import seeds
from hf_llc.sampling.foreach import tensor_chunks
from hf_llc.sampling.objective import Objective, clear_gradients, gradients, restore
from hf_llc.sampling.shards import Shards
from hf_llc.settings.resolved import LOSS, ResolvedSettings

NODES = 3
COST = NODES + LOSS
"""Gradients of a segment, and what it costs with the loss of other items."""
SHARE = 0.08
"""Of a chain's gradients that its segments take, but for LEAST of them: one in twenty of a run with its checks."""
LEAST, MOST = 1, 8
"""Segments of a chain."""


class Segment(NamedTuple):
    """Of one draw, nats per token: how far the loss rises from w* by the gradient alone, and the rise of other items.

    Both are scalar tensors.
    """

    smooth: Tensor
    beside: Tensor


class Node(NamedTuple):
    """A place t on the segment, 0 at w* and 1 at the draw, and the weight of the derivative there."""

    t: float
    weight: float


def nodes(seed: int, chain: int, index: int) -> list[Node]:
    """A random rule for ∫₀¹ f(t) dt, from the far end to the near one.

    With ρ of density 3ρ² on (0, 1) the nodes are ½ and ½(1 ± ρ), of weights 1 − 1/(3ρ²) and 1/(6ρ²): unbiased for
    every integrable f, discontinuous ones included, and exact for cubic ones (Siegel & O'Brien 1985). Along a ray of a
    loss of degree four there is no error but rounding; elsewhere what the segments differ by is their error.
    """
    uniform = 1 - float(torch.rand((), generator=seeds.generator(seed, "segment", chain, index), dtype=torch.float64))
    rho = uniform ** (1 / 3)
    outer = 1 / (6 * rho**2)
    return [Node((1 + rho) / 2, outer), Node(0.5, 1 - 2 * outer), Node((1 - rho) / 2, outer)]


def measured_draws(settings: ResolvedSettings) -> frozenset[int]:
    """The draws of a chain, counted from 1, whose segment is looked at: spread evenly, SHARE of its gradients."""
    count = min(max(LEAST, int(SHARE * settings.gradients / COST)), MOST, settings.draws)
    return frozenset(1 + (2 * each + 1) * settings.draws // (2 * count) for each in range(count))


def other_items(settings: ResolvedSettings, chain: int, draw: int) -> Tensor:
    """As many as a minibatch has, for the loss of a draw beside that of its own."""
    generator = seeds.generator(settings.seed, "items beside", chain, draw)
    return torch.randperm(settings.n, generator=generator)[: settings.batch_size]


def integral(objective: Objective, anchors: Sequence[Tensor], batch: Tensor, rule: Sequence[Node]) -> Tensor:
    """∫ ∇L_B·Δ dt from w* to the weights as they are, by the rule: nats per token, a scalar tensor in float64 where
    the device has it.

    The weights are the same again afterwards, bit for bit; meanwhile they wait on the host, since the device must hold
    a gradient beside w and w*.
    """
    parameters = objective.parameters
    position = [parameter.detach().to("cpu", copy=True) for parameter in parameters]
    total: Tensor | None = None
    at = 1.0
    for t, weight in rule:
        with torch.no_grad():
            torch._foreach_lerp_(list(parameters), list(anchors), 1 - t / at)
        at = t
        objective.losses_and_gradient(batch)
        part = _along(parameters, anchors, gradients(parameters), objective.shards) * (weight / t)
        total = part if total is None else total + part
        clear_gradients(parameters)
    restore(parameters, position)
    assert total is not None
    return total


@torch.no_grad()
def _along(parameters: Sequence[Tensor], anchors: Sequence[Tensor], slope: Sequence[Tensor], shards: Shards) -> Tensor:
    """∇L·(w − w*)."""
    precise = None if parameters[0].device.type == "mps" else torch.float64
    products: list[Tensor] = []
    for weights, centers, part in tensor_chunks(parameters, anchors, slope):
        apart = torch._foreach_mul(torch._foreach_sub(weights, centers), part)
        products += [each.sum(dtype=precise) for each in apart]
    return shards.total(torch.stack(products).sum())
