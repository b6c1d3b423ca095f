"""How many directions a matrix has: stable and effective rank, and both of a matrix of random numbers."""

import math

import torch
from torch import Tensor

ANGLES = 2000
"""Points of the integral over the Marchenko–Pastur law."""


def singular_values(matrix: Tensor) -> Tensor:
    """Singular values of a matrix in float32 or float64, on the CPU."""
    values: Tensor = torch.linalg.svdvals(matrix.detach().cpu() if matrix.device.type == "mps" else matrix.detach())
    return values.cpu()


def stable_rank(values: Tensor) -> float:
    """‖W‖_F² / ‖W‖₂² of singular values; 0 of a matrix of zeros."""
    top = float(values.max()) ** 2
    return float(values.double().square().sum()) / top if top > 0 else 0.0


def effective_rank(values: Tensor) -> float:
    """exp H(σ/Σσ) of singular values (Roy & Vetterli 2007); 0 of a matrix of zeros.

    Of the activations of many inputs it is RankMe (Garrido et al. 2023).
    """
    total = float(values.double().sum())
    if total <= 0:
        return 0.0
    shares = values.double() / total
    return math.exp(float(-torch.special.xlogy(shares, shares).sum()))


def random_stable_rank(rows: int, columns: int) -> float:
    """The stable rank of a large matrix of independent Gaussian numbers: mn / (√m + √n)²."""
    return rows * columns / (math.sqrt(rows) + math.sqrt(columns)) ** 2


def random_effective_rank(rows: int, columns: int) -> float:
    """The effective rank of a large matrix of independent Gaussian numbers, by the law of Marchenko and Pastur (1967).

    Eigenvalues of W Wᵀ / m are x = 1 + c + 2√c cos θ with c = n/m ≤ 1, with density 2 sin²θ / (π x) in θ.
    """
    few, many = sorted((rows, columns))
    ratio = few / many
    theta = (torch.arange(ANGLES, dtype=torch.float64) + 0.5) * math.pi / ANGLES
    x = (1 + ratio + 2 * math.sqrt(ratio) * theta.cos()).clamp_min(1e-12)
    density = theta.sin().square() / x
    density /= density.sum()
    values = x.sqrt()
    mean = float((density * values).sum())
    entropy = math.log(few * mean) - float((density * torch.special.xlogy(values, values)).sum()) / mean
    return min(float(few), math.exp(entropy))
