"""The sharpest curvature of the loss, which limits the step size."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from hf_llc.core import seeds
from hf_llc.core.objective import Objective, clear_gradients, copy_of, dimension, gradients, restore

ITERATIONS = 12
TOLERANCE = 0.02
RELATIVE_PROBE = 0.1
"""Length of the whole finite-difference displacement in units of one root mean square weight: far above float32
rounding of the gradient, far below the scale on which the curvature itself changes."""


def root_mean_square(parameters: Sequence[Tensor]) -> float:
    """The root mean square of all weights, in weight units; 1 if they are all zero."""
    total = sum(float(p.detach().square().sum()) for p in parameters)
    return math.sqrt(total / sum(p.numel() for p in parameters)) or 1.0


class Spectrum(NamedTuple):
    """Largest |h| in nats per weight², and tr H² (Hutchinson 1990, from one direction: a rough figure)."""

    largest: float
    squares: float


def spectrum(objective: Objective, batch: Tensor, seed: int) -> Spectrum:
    """The largest absolute eigenvalue of the Hessian of the batch's mean loss where the weights are, and tr H².

    Power iteration on Hessian-vector products; each product is the central difference of two gradients,
    H v ≈ ( g(w+δv) − g(w−δv) ) / 2δ, which every attention kernel supports. The weights are as before afterwards.
    The value approaches |h| from below; it is returned after ITERATIONS, or once it moves by less than TOLERANCE.
    With v of length 1 the first product gives tr H² ≈ d ‖Hv‖².
    """
    parameters = objective.parameters
    anchors = copy_of(parameters)
    stream = seeds.generator(seed, "curvature", device=parameters[0].device)
    vector = _normalise([torch.empty_like(p).normal_(generator=stream) for p in parameters])
    probe = RELATIVE_PROBE * root_mean_square(parameters)
    value, first = 0.0, 0.0
    try:
        for _ in range(ITERATIONS):
            product = hessian_vector(objective, anchors, batch, vector, probe)
            previous, value = value, _norm(product)
            first = first or value
            if value == 0 or not math.isfinite(value) or abs(value - previous) <= TOLERANCE * value:
                break
            vector = _normalise(product)
    finally:
        restore(parameters, anchors)
        clear_gradients(parameters)
    return Spectrum(value, first**2 * dimension(parameters))


def hessian_vector(
    objective: Objective, anchors: Sequence[Tensor], batch: Tensor, vector: Sequence[Tensor], probe: float
) -> list[Tensor]:
    """H v of the batch's mean loss at w*, by central differences over ±`probe`·v; leaves the weights displaced."""
    forward = _gradient_at(objective, anchors, batch, vector, probe)
    backward = _gradient_at(objective, anchors, batch, vector, -probe)
    return [f.sub_(b).div_(2 * probe) for f, b in zip(forward, backward, strict=True)]


def _gradient_at(
    objective: Objective, anchors: Sequence[Tensor], batch: Tensor, vector: Sequence[Tensor], distance: float
) -> list[Tensor]:
    with torch.no_grad():
        for parameter, anchor, direction in zip(objective.parameters, anchors, vector, strict=True):
            parameter.copy_(anchor).add_(direction, alpha=distance)
    objective.losses_and_gradient(batch)
    # Not copied: the next evaluation drops them from the parameters and makes its own.
    return gradients(objective.parameters)


def _norm(vector: Sequence[Tensor]) -> float:
    return math.sqrt(sum(float(part.square().sum()) for part in vector))


def _normalise(vector: Sequence[Tensor]) -> list[Tensor]:
    """The vector itself, scaled to length 1 in place."""
    length = _norm(vector)
    return [part.div_(length) for part in vector]
