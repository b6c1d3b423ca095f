"""Deep linear nets from small orthogonal weights: what moves, what a narrow net can replace, and λ̂ of the checkpoints.

The statement (Yaras et al. 2023, "The law of parsimony in gradient descent for learning deep linear networks"; derived
again here for square layers and white inputs): L = ½‖W_L … W_1 − P‖² with P = U_r Σ V_rᵀ of rank r, gradient descent
from W_l(0) = ε · orthogonal. With Φ = W_L(0) … W_1(0)/ε^L let Q_1 be a basis of span(V_r, Φᵀ U_r), of dimension 2r,
N_1 of its complement, Q_{l+1} = W_l(0) Q_l / ε and N_{l+1} = W_l(0) N_l / ε. Then at every step

    W_l(t) = Q_{l+1} W̃_l(t) Q_lᵀ + ρ(t) N_{l+1} N_lᵀ,    ρ ← ρ − η ρ^(2L−1),    ρ(0) = ε,

where W̃_l(t) is gradient descent of the net of width 2r on Q_{L+1}ᵀ P Q_1 from W̃_l(0) = Q_{l+1}ᵀ W_l(0) Q_l.
"""

import math
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor

from hf_llc.measures.llc.summarise import judged
from hf_llc.measures.llc.validation import exact
from hf_llc.measures.llc.validation.cases import Case
from hf_llc.measures.llc.validation.problems import FunctionObjective, aligned, chain_product
from hf_llc.measures.llc.validation.validate import ValidationSettings, sampled
from tests.experiments.output import axes, run_script

RATE = 0.02
N_BETA, GAMMA = 1e5, 10.0
MARGIN = 6.0
"""Curvature at draws over that of the learned net: factors grow where directions are flat, and the curvature with them,
so that the step that is stable at w* is not."""
FRICTION = 6.0
"""Of the momentum, in units of √γ."""


@dataclass(frozen=True)
class Net:
    """A target of rank len(singular), and where training begins."""

    width: int
    depth: int
    singular: tuple[float, ...]
    scale: float
    seed: int = 0


def orthogonal(width: int, stream: torch.Generator) -> Tensor:
    """A random orthogonal matrix, in float64."""
    factor: Tensor = torch.linalg.qr(torch.randn(width, width, generator=stream, dtype=torch.float64)).Q
    return factor


def target(net: Net) -> tuple[Tensor, Tensor, Tensor]:
    """U_r, the singular values, and V_r."""
    stream = torch.Generator().manual_seed(2 * net.seed + 1)
    rank = len(net.singular)
    left, right = orthogonal(net.width, stream)[:, :rank], orthogonal(net.width, stream)[:, :rank]
    return left, torch.tensor(net.singular, dtype=torch.float64), right


def initial(net: Net) -> list[Tensor]:
    """W_l(0), the layer at the input first."""
    stream = torch.Generator().manual_seed(2 * net.seed)
    return [net.scale * orthogonal(net.width, stream) for _ in range(net.depth)]


def descend(factors: Sequence[Tensor], product: Tensor, rate: float) -> list[Tensor]:
    """One step of gradient descent on ½‖W_L … W_1 − P‖²."""
    below = [torch.eye(factors[0].shape[1], dtype=factors[0].dtype)]
    for factor in factors[:-1]:
        below.append(factor @ below[-1])
    residual = factors[-1] @ below[-1] - product
    moved, above = [], residual
    for factor, inner in zip(reversed(factors), reversed(below), strict=True):
        moved.append(factor - rate * above @ inner.T)
        above = factor.T @ above
    return moved[::-1]


def bases(net: Net, factors: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
    """Q_1 … Q_{L+1}, shape (width, 2r), and N_1 … N_{L+1}, shape (width, width − 2r)."""
    left, _, right = target(net)
    isometry = chain_product([factor / net.scale for factor in factors])
    whole = torch.linalg.qr(torch.cat([right, isometry.T @ left], dim=1), mode="complete").Q
    inside, outside = [whole[:, : 2 * left.shape[1]]], [whole[:, 2 * left.shape[1] :]]
    for factor in factors:
        inside.append(factor @ inside[-1] / net.scale)
        outside.append(factor @ outside[-1] / net.scale)
    return inside, outside


def split(net: Net, steps: int, rate: float = RATE) -> dict[str, float]:
    """How far training is from the statement: the largest entry of each difference after `steps` steps.

    `cross`: of Q_{l+1}ᵀ W_l N_l and N_{l+1}ᵀ W_l Q_l. `complement`: of N_{l+1}ᵀ W_l N_l − ρI. `compressed`: of
    Q_{l+1}ᵀ W_l Q_l − W̃_l. `equal`: the width of the group of width − 2r singular values of W_l at ρ.
    `full_seconds` and `compressed_seconds` are those of the steps alone.
    """
    left, singular, right = target(net)
    product = left * singular @ right.T
    factors = initial(net)
    inside, outside = bases(net, factors)
    small = [inside[i + 1].T @ factors[i] @ inside[i] for i in range(net.depth)]
    small_product = inside[-1].T @ product @ inside[0]
    started = time.perf_counter()
    for _ in range(steps):
        factors = descend(factors, product, rate)
    full_seconds = time.perf_counter() - started
    started, rho = time.perf_counter(), net.scale
    for _ in range(steps):
        small = descend(small, small_product, rate)
        rho -= rate * rho ** (2 * net.depth - 1)
    compressed_seconds = time.perf_counter() - started
    rest = net.width - 2 * len(net.singular)
    cross = complement = compressed = equal = 0.0
    for i, factor in enumerate(factors):
        across = (inside[i + 1].T @ factor @ outside[i], outside[i + 1].T @ factor @ inside[i])
        cross = max(cross, *(float(block.abs().max()) for block in across))
        block = outside[i + 1].T @ factor @ outside[i]
        complement = max(complement, float((block - rho * torch.eye(rest, dtype=block.dtype)).abs().max()))
        compressed = max(compressed, float((inside[i + 1].T @ factor @ inside[i] - small[i]).abs().max()))
        nearest = (torch.linalg.svdvals(factor) - rho).abs().sort().values[:rest]
        equal = max(equal, float(nearest.max()))
    return {
        "cross": cross,
        "complement": complement,
        "compressed": compressed,
        "equal": equal,
        "rho": rho,
        "full_seconds": full_seconds,
        "compressed_seconds": compressed_seconds,
    }


def case_of(name: str, factors: Sequence[Tensor], product: Tensor, truth: float) -> Case:
    """½‖W_L … W_1 − P‖² at these factors, to be sampled at N_BETA and GAMMA."""
    weights = [factor.clone() for factor in factors]

    def losses_of(indices: Tensor) -> Tensor:
        return (chain_product(weights) - product).square().sum().div(2).expand(len(indices))

    return Case(
        name=name,
        params={},
        objective=FunctionObjective(weights, 1, losses_of),
        truth=truth,
        n_beta=N_BETA,
        gamma=GAMMA,
    )


def estimated(case: Case, effort: ValidationSettings) -> dict[str, Any]:
    """λ̂, its standard error and the verdict."""
    llc, stderr, verdict, reason, *_ = judged(*sampled(case, effort))
    row = {"case": case.name, "truth": case.truth, "llc": llc, "stderr": stderr, "verdict": str(verdict)}
    print(row, reason, file=sys.stderr, flush=True)
    return row


def dynamics(net: Net, draws: int, burn_in: int, chains: int = 8) -> ValidationSettings:
    """Underdamped chains (`baoab`) whose step is stable at draws of every checkpoint of the net."""
    curvature = net.depth * max(net.singular) ** (2 * (net.depth - 1) / net.depth)
    lr = 1 / (MARGIN * N_BETA * curvature)
    momentum = math.exp(-FRICTION * math.sqrt(GAMMA * lr))
    return ValidationSettings(sampler="baoab", lr=lr, momentum=momentum, burn_in=burn_in, draws=draws, chains=chains)


def checkpoints(net: Net, steps: Sequence[int], effort: ValidationSettings, rate: float = RATE) -> list[dict[str, Any]]:
    """λ̂ of the checkpoints at `steps`, the k-th where k singular values are learned.

    Each against its own function as target, beside aligned factors of rank k at one nβ and γ (Aoyagi's λ is that of
    γ/nβ → 0); and against the real target, where a plateau is a saddle.
    """
    left, singular, right = target(net)
    product = left * singular @ right.T
    factors, rows, step = initial(net), [], 0
    widths = [net.width] * (net.depth + 1)
    for k, stop in enumerate(steps):
        while step < stop:
            factors, step = descend(factors, product, rate), step + 1
        own = chain_product(factors)
        truth = exact.deep_linear_llc(widths, k)
        diagonal = [aligned(net.width, net.width, k, torch.float64) for _ in range(net.depth)]
        for name, weights, aim in (
            ("own", factors, own),
            ("aligned", diagonal, chain_product(diagonal)),
            ("real", factors, product),
        ):
            # On the way down from a saddle the curvature is larger than at w*, and few steps show that there is a way.
            finer = replace(effort, lr=(effort.lr or 0.0) / 16, draws=effort.draws // 10) if name == "real" else effort
            row = estimated(case_of(f"{name} target, rank {k}", weights, aim, truth), finer)
            loss = float((own - product).square().sum() / 2)
            rows.append({**row, "kind": name, "rank": k, "step": stop, "loss": loss})
    return rows


NETS = (
    Net(20, 3, (3.0, 2.0, 1.0), 0.03),
    Net(20, 3, (3.0, 2.0, 1.0), 0.3),
    Net(30, 4, (1.5, 0.8), 0.1),
    Net(12, 2, (1.5, 0.8), 1e-3),
)
PLATEAUS, STEPS = Net(10, 3, (3.0, 1.0), 0.02), (20, 1080, 8000)
WIDE = Net(1000, 3, (3.0, 2.0, 1.0), 0.03)


def experiment() -> dict[str, Any]:
    """The split of four small nets after 4,000 steps and of one of width 1,000 after 50, and λ̂ at the plateaus."""
    splits = [{"net": repr(net), **split(net, 4000)} for net in NETS]
    splits.append({"net": repr(WIDE), **split(WIDE, 50)})
    for row in splits:
        print(row, file=sys.stderr, flush=True)
    return {"splits": splits, "checkpoints": checkpoints(PLATEAUS, STEPS, dynamics(PLATEAUS, 5000, 3500))}


def picture(numbers: dict[str, Any]) -> Figure:
    """λ̂ of the checkpoints by rank, beside aligned factors and the exact coefficients."""
    figure, (axis,) = axes()
    rows = numbers["checkpoints"]
    for kind, label, marker in (
        ("own", "checkpoint, its own function as target", "o"),
        ("aligned", "aligned factors", "s"),
    ):
        part = [row for row in rows if row["kind"] == kind and row["llc"] is not None]
        shift = 0.04 if kind == "own" else -0.04
        axis.errorbar(
            [row["rank"] + shift for row in part],
            [row["llc"] for row in part],
            yerr=[2 * row["stderr"] for row in part],
            fmt=marker,
            label=f"{label} (nβ = {N_BETA:g}, γ = {GAMMA:g})",
        )
    exact_rows = [row for row in rows if row["kind"] == "aligned"]
    axis.plot(
        [row["rank"] for row in exact_rows], [row["truth"] for row in exact_rows], "k_", markersize=18, label="exact λ"
    )
    axis.set(xlabel="singular values learned", ylabel="λ̂ ± 2 standard errors", title="Plateaus of a deep linear net")
    axis.set_xticks([row["rank"] for row in exact_rows])
    axis.legend(loc="lower right", fontsize="small")
    return figure


if __name__ == "__main__":
    run_script("parsimony", experiment, picture)
