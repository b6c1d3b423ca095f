"""Draws of the localized posterior in the Laplace approximation at w*, w* + (γ + nβH)^(−½) ξ (Laplace).

Flat directions have the localizing prior's distribution at once, stiff ones about their own. A draw of the localizing
prior alone is far out in the stiff ones, and a chain that begins there has first to come down by a factor of nβh/γ.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from hf_llc.sampling.objective import Objective, restore
from hf_llc.sampling.randomness import Noise
from hf_llc.sampling.shards import Shards, sum_of_squares
from hf_llc.sampling.tuning.curvature import RELATIVE_PROBE, hessian_vector_, root_mean_square
from hf_llc.sampling.tuning.lanczos import decomposed
from hf_llc.settings.resolved import ResolvedSettings

PRODUCTS = 4
"""Hessian-vector products of a draw, two gradients each."""


def displace(
    objective: Objective, anchors: Sequence[Tensor], batch: Tensor, noise: Noise, *, n_beta: float, gamma: float
) -> None:
    """w ← w* + (γ + nβH)^(−½) ξ for the Hessian H of the batch's mean loss at w*, by PRODUCTS steps of Lanczos from ξ.

    With V T Vᵀ the Lanczos decomposition, f(H) ξ ≈ ‖ξ‖ V f(T) e₁ (Druskin & Knizhnerman 1989; for draws of a Gaussian,
    Chow & Saad 2014). Negative curvatures count by their size. Without noise w stays at w*, and where the products are
    not finite w is a draw of the localizing prior alone. Beside w*, w and a gradient one copy of the weights is on the
    device; the basis is on the host.
    """
    parameters, shards = objective.parameters, objective.shards
    vector = [torch.zeros_like(parameter) for parameter in parameters]
    for part in vector:
        noise.add_to(part, 1.0)
    length = math.sqrt(sum_of_squares(vector, shards))
    if length == 0:
        return
    torch._foreach_div_(vector, length)
    probe = RELATIVE_PROBE * root_mean_square(anchors, shards)
    basis: list[list[Tensor]] = []
    alphas: list[float] = []
    betas: list[float] = []
    for _ in range(PRODUCTS):
        basis.append([part.to("cpu", copy=True) for part in vector])
        hessian_vector_(objective, anchors, batch, vector, probe)
        alphas.append(_inner(vector, basis[-1], shards))
        _subtract(vector, basis[-1], alphas[-1])
        if len(basis) > 1:
            _subtract(vector, basis[-2], betas[-1])
        betas.append(math.sqrt(sum_of_squares(vector, shards)))
        if not betas[-1] > 1e-6 * abs(alphas[0]):
            break
        torch._foreach_div_(vector, betas[-1])
    shares = _root_inverse(alphas, betas, n_beta, gamma)
    restore(parameters, anchors)
    with torch.no_grad():
        for share, direction in zip(shares, basis, strict=False):
            for parameter, part in zip(parameters, direction, strict=True):
                parameter.add_(part.to(parameter.device), alpha=share * length)


def gradients_of(settings: ResolvedSettings) -> int:
    """Gradients of a minibatch that a chain with noise takes before its first step."""
    return 2 * PRODUCTS if settings.start == "laplace" else 0


def _root_inverse(alphas: Sequence[float], betas: Sequence[float], n_beta: float, gamma: float) -> list[float]:
    """(γ + nβ|T|)^(−½) e₁ for the tridiagonal T; γ^(−½) e₁ if T is not finite."""
    entries = [*alphas, *betas[: len(alphas) - 1]]
    if not all(map(math.isfinite, entries)):
        return [gamma**-0.5]
    values, vectors = decomposed(alphas, betas)
    shares: list[float] = (vectors @ ((gamma + n_beta * values.abs()).rsqrt() * vectors[0])).tolist()
    return shares


@torch.no_grad()
def _inner(tensors: Sequence[Tensor], others: Sequence[Tensor], shards: Shards) -> float:
    products = [(one * other.to(one.device)).sum() for one, other in zip(tensors, others, strict=True)]
    return float(sum(shards.total(torch.stack(products)).tolist()))


@torch.no_grad()
def _subtract(tensors: Sequence[Tensor], others: Sequence[Tensor], share: float) -> None:
    for tensor, other in zip(tensors, others, strict=True):
        tensor.sub_(other.to(tensor.device), alpha=share)
