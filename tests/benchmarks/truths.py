"""Losses with their λ̂ at finite nβ and γ, by quadrature or in closed form, worked out without the product."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from hf_llc.measures.llc.validation.cases import Case
from hf_llc.measures.llc.validation.problems import FunctionObjective

REACH = 8.0
"""Standard deviations of the localizing prior alone out to which is integrated."""
NEGLIGIBLE = 1e-16
"""Share of the largest density below which a place is left out of the finer grid."""
POINTS = {1: 200_001, 2: 1201, 3: 181}
"""Points along each axis, by dimension."""
OF_SAMPLES = 241
"""Points along each axis where each point takes a loss over all samples; the integrands are smooth."""
ITEMS, BATCH = 200, 20
"""Of kinds whose items differ in their slopes alone."""


@dataclass(frozen=True)
class Block:
    """A function of a few weights, repeated; the loss is the sum over blocks, so that λ̂ is the sum of theirs.

    Attributes:
        loss: maps weights of shape (…, d) to nats of shape (…). at: w*, d numbers. copies: how often.
    """

    loss: Callable[[Tensor], Tensor]
    at: tuple[float, ...] = (0.0,)
    copies: int = 1


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of loss with its truth.

    Attributes:
        case: makes the case anew. regular: False for those built so that chains miss the stated posterior.
        effort: settings of `validate.ValidationSettings` that are given and not chosen.
    """

    name: str
    case: Callable[[], Case]
    regular: bool = True
    effort: dict[str, Any] = field(default_factory=dict)


def expected_llc(
    loss: Callable[[Tensor], Tensor], at: Sequence[float], n_beta: float, gamma: float, points: int | None = None
) -> float:
    """nβ E[L(w) − L(w*)] under p ∝ exp(−nβ L − γ/2 ‖w−w*‖²), by the trapezoidal rule on two grids.

    The first grid covers the localizing prior, the second the box where the first one sees any weight.
    """
    anchor, dim = torch.tensor(at, dtype=torch.float64), len(at)
    count = points or POINTS[dim]
    low = anchor - REACH / math.sqrt(gamma)
    high = anchor + REACH / math.sqrt(gamma)
    for _ in range(3):
        axes = [torch.linspace(float(low[k]), float(high[k]), count, dtype=torch.float64) for k in range(dim)]
        grid = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)
        rise = n_beta * (loss(grid) - loss(anchor))
        density = -rise - gamma / 2 * (grid - anchor).square().sum(-1)
        weight = torch.exp(density - density.max())
        inside = (weight > NEGLIGIBLE).nonzero()
        for k in range(dim):
            first, last = int(inside[:, k].min()), int(inside[:, k].max())
            low[k], high[k] = axes[k][max(first - 1, 0)], axes[k][min(last + 1, len(axes[k]) - 1)]
    return float((rise * weight).sum() / weight.sum())


def _case(name: str, objective: FunctionObjective, truth: float, n_beta: float, gamma: float, batch: int = 1) -> Case:
    return Case(name=name, params={}, objective=objective, truth=truth, n_beta=n_beta, gamma=gamma, batch_size=batch)


def of_blocks(
    name: str,
    blocks: Sequence[Block],
    n_beta: float,
    gamma: float,
    *,
    noise: float = 0.0,
    regular: bool = True,
) -> Kind:
    """The sum of the blocks.

    Args:
        noise: standard deviation of the items' slopes: item i has loss L(w) + c_i·(w − w*) with slopes that sum to 0.
    """

    def make() -> Case:
        truth = sum(block.copies * expected_llc(block.loss, block.at, n_beta, gamma) for block in blocks)
        at = torch.cat([torch.tensor(block.at * block.copies, dtype=torch.float64) for block in blocks])
        w, n = at.clone(), ITEMS if noise else 1
        slopes = _slopes(noise, len(at))
        sizes = [len(block.at) * block.copies for block in blocks]

        def losses_of(indices: Tensor) -> Tensor:
            parts = [
                block.loss(part.reshape(block.copies, len(block.at))).sum()
                for block, part in zip(blocks, w.split(sizes), strict=True)
            ]
            total = torch.stack(parts).sum()
            return total + slopes[indices] @ (w - at) if noise else total.expand(len(indices))

        return _case(name, FunctionObjective([w], n, losses_of), truth, n_beta, gamma, BATCH if noise else 1)

    return Kind(name=name, case=make, regular=regular)


def quadratic(
    name: str, curvatures: Sequence[float], n_beta: float, gamma: float, *, noise: float = 0.0, **effort: Any
) -> Kind:
    """½ Σ h w² with λ̂ = ½ Σ nβh/(nβh+γ), each w being normal of variance 1/(nβh+γ); `noise` as in `of_blocks`."""

    def make() -> Case:
        scale = torch.tensor(curvatures, dtype=torch.float64)
        truth = float((n_beta * scale / (n_beta * scale + gamma)).sum() / 2)
        w = torch.zeros_like(scale)
        slopes = _slopes(noise, len(w))
        if not noise:
            plain = FunctionObjective([w], 1, lambda i: (scale * w * w).sum().div(2).expand(len(i)))
            return _case(name, plain, truth, n_beta, gamma)
        objective = FunctionObjective([w], ITEMS, lambda i: (scale * w * w).sum().div(2) + slopes[i] @ w)
        return _case(name, objective, truth, n_beta, gamma, BATCH)

    return Kind(name=name, case=make, effort=effort)


def _slopes(noise: float, count: int) -> Tensor:
    """Slopes of ITEMS items, of that standard deviation, that sum to 0."""
    slopes = normal(ITEMS, count, seed=5)
    return noise * (slopes - slopes.mean(dim=0))


def of_samples(
    name: str,
    loss: Callable[[Tensor, Tensor, Tensor], Tensor],
    inputs: Tensor,
    labels: Tensor,
    start: Sequence[float],
    n_beta: float,
    gamma: float,
    batch: int,
    *,
    fit: bool = True,
) -> Kind:
    """Two weights on real samples, at the minimum that Newton's method finds from `start`, or at `start`.

    Args:
        loss: maps weights (…, d), inputs (n, …) and labels (n,) to nats of shape (…, n).
    """

    def make() -> Case:
        def mean(w: Tensor) -> Tensor:
            return loss(w, inputs, labels).mean(-1)

        slope: Callable[[Tensor], Tensor] = torch.func.jacrev(mean)
        curvature: Callable[[Tensor], Tensor] = torch.func.hessian(mean)
        at = torch.tensor(start, dtype=torch.float64)
        for _ in range(50 if fit else 0):
            at = at - torch.linalg.solve(curvature(at), slope(at))

        def by_rows(grid: Tensor) -> Tensor:
            if grid.dim() == 1:
                return mean(grid)
            return torch.stack([mean(row) for row in grid])

        with torch.no_grad():
            truth = expected_llc(by_rows, at.tolist(), n_beta, gamma, OF_SAMPLES)
        w = at.clone()
        objective = FunctionObjective([w], len(labels), lambda i: loss(w, inputs[i], labels[i]))
        return _case(name, objective, truth, n_beta, gamma, batch)

    return Kind(name=name, case=make)


def regression(
    name: str, inputs: Tensor, noise: Tensor, n_beta: float, gamma: float, batch: int, *, regular: bool = True
) -> Kind:
    """Least squares at its minimum; λ̂ = ½ Σ nβh/(nβh+γ) over the eigenvalues h of the inputs' second moments."""

    def make() -> Case:
        w = torch.linalg.lstsq(inputs, noise[:, None]).solution[:, 0].contiguous()
        stiff = n_beta * torch.linalg.eigvalsh(inputs.T @ inputs / len(inputs))
        truth = float((stiff / (stiff + gamma)).sum() / 2)
        objective = FunctionObjective([w], len(inputs), lambda i: (noise[i] - inputs[i] @ w).square().div(2))
        return _case(name, objective, truth, n_beta, gamma, batch)

    return Kind(name=name, case=make, regular=regular)


def normal(*shape: int, seed: int = 1) -> Tensor:
    """Standard normal numbers, float64."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def uniform(*shape: int, seed: int = 2) -> Tensor:
    """Numbers between 0 and 1, float64."""
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
