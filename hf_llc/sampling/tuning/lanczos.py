"""½ tr[ H (H + γ/nβ)⁻¹ ] without sampling: stochastic Lanczos quadrature (Ubaru, Chen & Saad 2017)."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hf_llc.sampling import seeds
from hf_llc.sampling.objective import Objective, clear_gradients, copy_of, dimension, restore
from hf_llc.sampling.shards import WHOLE, Shards
from hf_llc.sampling.tuning.curvature import RELATIVE_PROBE, hessian_vector_, root_mean_square

PROBES = 4
ITERATIONS = 16


@dataclass(frozen=True, kw_only=True)
class Quadrature:
    """What the quadratic part of the loss alone would give.

    Attributes:
        llc, stderr: ½ tr[H(H+γ/nβ)⁻¹] and its standard error over the probes, no unit; None where a curvature at or
            below −γ/nβ was met: the quadratic posterior then does not exist.
        lowest, highest: extreme Ritz values, nats per weight². products: Hessian-vector products taken.
    """

    llc: float | None
    stderr: float | None
    lowest: float
    highest: float
    products: int


@dataclass(frozen=True, kw_only=True)
class Nodes:
    """The spectrum of H as random probes see it, from which tr f(H) follows for any f.

    Attributes:
        values, weights: per probe, nodes θ_k in nats per weight² and weights τ_k², with d Σ τ_k² f(θ_k) ≈ tr f(H).
        dimension: d.
    """

    values: Sequence[Sequence[float]]
    weights: Sequence[Sequence[float]]
    dimension: int

    @property
    def lowest(self) -> float:
        """The lowest curvature met, nats per weight²."""
        return min(min(values) for values in self.values)

    def llc(self, resolution: float) -> tuple[float, float] | None:
        """½ tr[H(H+r)⁻¹] at the resolution r = γ/nβ, and its standard error over the probes.

        None where a curvature at or below −r was met: the quadratic posterior then does not exist.
        """
        totals = [
            sum(weight * value / (value + resolution) for value, weight in zip(values, weights, strict=True))
            * self.dimension
            / 2
            for values, weights in zip(self.values, self.weights, strict=True)
            if min(values) > -resolution
        ]
        if len(totals) < len(self.values) or not all(map(math.isfinite, totals)):
            return None
        mean = sum(totals) / len(totals)
        spread = sum((total - mean) ** 2 for total in totals) / (len(totals) - 1)
        return mean, math.sqrt(spread / len(totals))


def quadratic_llc_of(objective: Objective, batch: Tensor, n_beta: float, gamma: float, seed: int) -> Quadrature:
    """The λ̂ of the batch's quadratic loss at w*: ½ Σ h/(h + γ/nβ); the weights are w* again afterwards."""
    nodes = nodes_of(objective, batch, seed)
    value = nodes.llc(gamma / n_beta)
    return Quadrature(
        llc=value[0] if value else None,
        stderr=value[1] if value else None,
        lowest=nodes.lowest,
        highest=max(max(values) for values in nodes.values),
        products=sum(map(len, nodes.values)),
    )


def nodes_of(objective: Objective, batch: Tensor, seed: int) -> Nodes:
    """The nodes of the batch's Hessian at w*, from PROBES random directions; the weights are w* again afterwards.

    Each is the start of a Lanczos process of ITERATIONS products, central differences of gradients; the basis is kept
    orthogonal in full.
    """
    parameters, shards = objective.parameters, objective.shards
    anchors = copy_of(parameters)
    probe, size = RELATIVE_PROBE * root_mean_square(parameters, shards), dimension(parameters, shards)

    def product(vector: Tensor) -> Tensor:
        image = vector.clone()
        hessian_vector_(objective, anchors, batch, _split(image, parameters), probe)
        return image

    values, weights = [], []
    try:
        for index in range(PROBES):
            stream = seeds.generator(seed, "lanczos", index, device=parameters[0].device)
            start = torch.cat([xi.flatten() for xi in shards.normals(parameters, stream)])
            at, shares = ritz(product, start, min(ITERATIONS, size), shards)
            values.append(at.tolist())
            weights.append(shares.tolist())
    finally:
        restore(parameters, anchors)
        clear_gradients(parameters)
    return Nodes(values=values, weights=weights, dimension=size)


def ritz(
    product: Callable[[Tensor], Tensor], start: Tensor, iterations: int, shards: Shards = WHOLE
) -> tuple[Tensor, Tensor]:
    """Ritz values θ_k of the operator, and the squares τ_k² of the first components of their vectors; float64.

    Stops early where the directions seen are closed under the operator.
    """

    def length(of: Tensor) -> float:
        return math.sqrt(shards.total(of.norm().square()))

    vector = start / length(start)
    basis: list[Tensor] = []
    alphas: list[float] = []
    betas: list[float] = []
    for _ in range(iterations):
        basis.append(vector)
        image = product(vector)
        alphas.append(float(shards.total(vector.double() @ image.double())))
        # Twice is enough (Parlett 1998): rounding would otherwise bring converged directions back.
        for _ in range(2):
            for seen in basis:
                image = image - seen * shards.total(seen @ image)
        beta = length(image)
        if beta <= 1e-6 * max(map(abs, alphas)):
            break
        betas.append(beta)
        vector = image / beta
    values, vectors = decomposed(alphas, betas)
    return values, vectors[0].square()


def decomposed(alphas: Sequence[float], betas: Sequence[float]) -> tuple[Tensor, Tensor]:
    """Eigenvalues and eigenvectors (columns) of the tridiagonal matrix of a Lanczos process, float64.

    Args:
        alphas: its diagonal. betas: what stands beside it; what is left over at the end is not part of it.
    """
    beside = torch.tensor(betas[: len(alphas) - 1], dtype=torch.float64)
    whole = torch.diag(torch.tensor(alphas, dtype=torch.float64)) + torch.diag(beside, 1) + torch.diag(beside, -1)
    values, vectors = torch.linalg.eigh(whole)
    return values, vectors


def _split(vector: Tensor, like: Sequence[Tensor]) -> list[Tensor]:
    sizes = [parameter.numel() for parameter in like]
    return [part.view_as(parameter) for part, parameter in zip(vector.split(sizes), like, strict=True)]
