"""The sharpest curvature of the loss, which limits the step size."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from hf_llc.sampling import seeds
from hf_llc.sampling.objective import Objective, clear_gradients, copy_of, dimension, gradients, restore
from hf_llc.sampling.shards import WHOLE, Shards, sum_of_squares

ITERATIONS = 12
TOLERANCE = 0.02
RELATIVE_PROBE = 0.1
"""Length of the whole finite-difference displacement in units of one root mean square weight: far above float32
rounding of the gradient, far below the scale on which the curvature itself changes."""


def root_mean_square(parameters: Sequence[Tensor], shards: Shards = WHOLE) -> float:
    """The root mean square of all weights, in weight units; 1 if they are all zero."""
    return math.sqrt(sum_of_squares(parameters, shards) / dimension(parameters, shards)) or 1.0


MIXED = 0.5
"""Length of the random part mixed into a known direction, so that a sharper one that it has no share of is found."""


class Spectrum(NamedTuple):
    """Largest |h| in nats per weight², tr H² (Hutchinson 1990, from one direction: a rough figure), and the direction
    of the largest |h|, of length 1."""

    largest: float
    squares: float
    direction: list[Tensor]


def spectrum(objective: Objective, batch: Tensor, seed: int, products: int = ITERATIONS) -> Spectrum:
    """The largest absolute eigenvalue of the Hessian of the batch's mean loss where the weights are, and tr H².

    Power iteration on Hessian-vector products; each product is the central difference of two gradients,
    H v ≈ ( g(w+δv) − g(w−δv) ) / 2δ, which every attention kernel supports. The weights are as before afterwards.
    The value approaches |h| from below; it is returned after so many products, or once it moves by less than
    TOLERANCE.
    With v of length 1 the first product gives tr H² ≈ d ‖Hv‖².
    """
    lengths, direction = _power(objective, batch, _normalise(_random(objective, seed), objective.shards), products)
    return Spectrum(lengths[-1], lengths[0] ** 2 * dimension(objective.parameters, objective.shards), direction)


def sharpest(
    objective: Objective, batch: Tensor, near: Sequence[Tensor], seed: int, products: int = ITERATIONS
) -> tuple[float, list[Tensor]]:
    """The largest absolute eigenvalue and its direction, as `spectrum` finds them, with fewer products.

    Args:
        near: a direction of length 1 that was the sharpest close by; its tensors are written over.
        products: with the Hessian, at most.
    """
    start = list(near)
    for part in start:
        # What was not finite elsewhere is no reason not to look here.
        part.nan_to_num_(0.0, 0.0, 0.0)
    torch._foreach_add_(start, _normalise(_random(objective, seed), objective.shards), alpha=MIXED)
    lengths, direction = _power(objective, batch, _normalise(start, objective.shards), products)
    return lengths[-1], direction


def squares(objective: Objective, batch: Tensor, seed: int) -> float:
    """tr H² of the batch's mean loss where the weights are, from one direction; see `spectrum`."""
    lengths, _ = _power(objective, batch, _normalise(_random(objective, seed), objective.shards), 1)
    return lengths[0] ** 2 * dimension(objective.parameters, objective.shards)


def _random(objective: Objective, seed: int) -> list[Tensor]:
    stream = seeds.generator(seed, "curvature", device=objective.parameters[0].device)
    return list(objective.shards.normals(objective.parameters, stream))


def _power(
    objective: Objective, batch: Tensor, vector: list[Tensor], iterations: int
) -> tuple[list[float], list[Tensor]]:
    """‖Hv‖ of each iterate v, and the direction of the last product, written over `vector`; the weights are as before
    afterwards."""
    parameters, shards = objective.parameters, objective.shards
    anchors = copy_of(parameters)
    probe = RELATIVE_PROBE * root_mean_square(parameters, shards)
    lengths: list[float] = []
    try:
        for _ in range(iterations):
            hessian_vector_(objective, anchors, batch, vector, probe)
            lengths.append(_norm(vector, shards))
            value, previous = lengths[-1], lengths[-2] if len(lengths) > 1 else 0.0
            _normalise(vector, shards)
            if value == 0 or not math.isfinite(value) or abs(value - previous) <= TOLERANCE * value:
                break
    finally:
        restore(parameters, anchors)
        clear_gradients(parameters)
    return lengths, vector


def hessian_vector_(
    objective: Objective, anchors: Sequence[Tensor], batch: Tensor, vector: list[Tensor], probe: float
) -> None:
    """v ← H v of the batch's mean loss at w*, by central differences over ±`probe`·v; leaves the weights displaced.

    In place, so that beside w*, the weights and v there is one gradient, which counts where a model fills a device.
    """
    weights = list(objective.parameters)
    with torch.no_grad():
        restore(weights, anchors)
        torch._foreach_add_(weights, vector, alpha=probe)
    objective.losses_and_gradient(batch)
    torch._foreach_copy_(vector, gradients(weights))
    with torch.no_grad():
        torch._foreach_neg_(weights)
        torch._foreach_add_(weights, list(anchors), alpha=2)
    objective.losses_and_gradient(batch)
    torch._foreach_sub_(vector, gradients(weights))
    torch._foreach_div_(vector, 2 * probe)


def _norm(vector: Sequence[Tensor], shards: Shards) -> float:
    return math.sqrt(sum_of_squares(vector, shards))


def _normalise(vector: Sequence[Tensor], shards: Shards) -> list[Tensor]:
    """The vector itself, scaled to length 1 in place."""
    length = _norm(vector, shards)
    return [part.div_(length) for part in vector]
