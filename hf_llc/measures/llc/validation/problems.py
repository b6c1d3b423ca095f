"""Objectives whose learning coefficient is known: what the samplers are held to."""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from hf_llc.sampling import seeds
from hf_llc.sampling.objective import clear_gradients
from hf_llc.sampling.shards import WHOLE, Shards

LORA_SCALE = 2.0
"""lora_alpha / r of the LoRA; it changes the scale of the loss and not λ."""


class FunctionObjective:
    """L_n from a function of indices: `losses_of(indices)` gives ℓ_i(w), shape (len(indices),), in nats.

    Args:
        parameters: the tensors that move. n: items in the empirical loss.
    """

    def __init__(self, parameters: Sequence[Tensor], n: int, losses_of: Callable[[Tensor], Tensor]) -> None:
        self._parameters = [parameter.requires_grad_(True) for parameter in parameters]
        self._n = n
        self._losses_of = losses_of

    @property
    def n(self) -> int:
        return self._n

    @property
    def parameters(self) -> Sequence[Tensor]:
        return self._parameters

    @property
    def shards(self) -> Shards:
        return WHOLE

    def losses(self, indices: Tensor) -> Tensor:
        with torch.no_grad():
            return self._losses_of(indices)

    def losses_and_gradient(self, indices: Tensor) -> Tensor:
        clear_gradients(self._parameters)
        with torch.enable_grad():
            losses = self._losses_of(indices)
            losses.mean().backward()
        return losses.detach()


def quadratic(curvatures: Sequence[float], dtype: torch.dtype = torch.float64) -> FunctionObjective:
    """L = ½ Σ h_i w_i² at its minimum 0: one item, one weight per curvature."""
    scale = torch.tensor(curvatures, dtype=dtype)
    w = torch.zeros(len(curvatures), dtype=dtype)
    return FunctionObjective([w], 1, lambda indices: (scale * w * w).sum().div(2).expand(len(indices)))


def sloped_quadratic(curvatures: Sequence[float], slope: float) -> FunctionObjective:
    """L = ½ Σ h_i w_i² + b Σ w_i at 0, where b gives the gradient the length `slope`: w* is no minimum of it."""
    scale, tilt = torch.tensor(curvatures, dtype=torch.float64), slope / math.sqrt(len(curvatures))
    w = torch.zeros(len(curvatures), dtype=torch.float64)
    return FunctionObjective([w], 1, lambda indices: (scale * w * w / 2 + tilt * w).sum().expand(len(indices)))


def deep_linear(
    widths: Sequence[int],
    rank: int,
    dtype: torch.dtype = torch.float32,
    *,
    rescaling: float = 1.0,
    device: str = "cpu",
) -> FunctionObjective:
    """A deep linear net on white inputs without label noise, at aligned factors of the given rank.

    L = ½ ‖W_L … W_1 − P‖² in Frobenius norm, P = diag(1, …, 1, 0, …) of that rank; every factor is diag(1, …, 1, 0, …)
    too, so that all partial products have rank r and Aoyagi's λ is the local one (see `exact.deep_linear_llc`). The
    first factor is multiplied by `rescaling` and the last divided by it, which changes neither the function nor λ.
    """
    factors = [aligned(rows, columns, rank, dtype).to(device) for columns, rows in pairwise(widths)]
    factors[0].mul_(rescaling)
    factors[-1].div_(rescaling)
    product = aligned(widths[-1], widths[0], rank, dtype).to(device)

    def losses_of(indices: Tensor) -> Tensor:
        return (chain_product(factors) - product).square().sum().div(2).expand(len(indices))

    return FunctionObjective(factors, 1, losses_of)


def aligned(rows: int, columns: int, rank: int, dtype: torch.dtype) -> Tensor:
    """diag(1, …, 1, 0, …) with `rank` ones, shape (rows, columns)."""
    factor = torch.zeros(rows, columns, dtype=dtype)
    factor[range(rank), range(rank)] = 1
    return factor


def chain_product(factors: Sequence[Tensor]) -> Tensor:
    """W_L … W_1 for factors listed from the input on."""
    product = factors[0]
    for factor in factors[1:]:
        product = factor @ product
    return product


def linear_regression(samples: int, dimension: int, seed: int) -> tuple[FunctionObjective, list[float]]:
    """Least squares with unit label noise at its minimum, and the curvatures of its loss ½ (y_i − x_i·w)²."""
    stream = seeds.generator(seed, "regression")
    inputs = torch.randn(samples, dimension, generator=stream, dtype=torch.float64)
    labels = torch.randn(samples, generator=stream, dtype=torch.float64)
    w = torch.linalg.lstsq(inputs, labels[:, None]).solution[:, 0].contiguous()
    curvatures: list[float] = torch.linalg.eigvalsh(inputs.T @ inputs / samples).tolist()
    return FunctionObjective(
        [w], samples, lambda indices: (labels[indices] - inputs[indices] @ w).square().div(2)
    ), curvatures


def separable(power: int, count: int, dtype: torch.dtype = torch.float64) -> FunctionObjective:
    """L = Σ w_i^power at 0."""
    w = torch.zeros(count, dtype=dtype)
    return FunctionObjective([w], 1, lambda indices: w.pow(power).sum().expand(len(indices)))


def normal_crossing(dtype: torch.dtype = torch.float64) -> FunctionObjective:
    """L = w₁² w₂² at 0."""
    w = torch.zeros(2, dtype=dtype)
    return FunctionObjective([w], 1, lambda indices: w.prod().square().expand(len(indices)))


def zero_product(size: int, second: int, first: int, dtype: torch.dtype = torch.float32) -> FunctionObjective:
    """L = ½ ‖BA‖² of square factors at BA = 0, with B of rank `second` and A of rank `first`, singular values 1."""
    b, a = aligned(size, size, second, dtype), torch.zeros(size, size, dtype=dtype)
    # A maps into what B does not see.
    rows = range(size - first, size)
    a[rows, rows] = 1
    return FunctionObjective([b, a], 1, lambda indices: (b @ a).square().sum().div(2).expand(len(indices)))


def lora(size: int, rank: int, learned: int) -> FunctionObjective:
    """A frozen square linear layer W₀ with a LoRA on it: L = ½ ‖W₀ + s B A − W‖², as of white inputs without noise.

    Args:
        rank: of the LoRA. learned: rank of W − W₀. At 0 w* is where a LoRA begins, B = 0 and A at random; else B and A
            are aligned factors with s B A = W − W₀.
    """
    stream = seeds.generator(0, "lora")
    frozen = torch.randn(size, size, generator=stream) / math.sqrt(size)
    a, b = aligned(rank, size, learned, torch.float32), aligned(size, rank, learned, torch.float32) / LORA_SCALE
    if learned == 0:
        # As `reset_lora_parameters` of peft draws it (kaiming_uniform_ with a = √5).
        a = (2 * torch.rand(rank, size, generator=stream) - 1) / math.sqrt(size)
    target = frozen + LORA_SCALE * b @ a

    def losses_of(indices: Tensor) -> Tensor:
        return (frozen + LORA_SCALE * b @ a - target).square().sum().div(2).expand(len(indices))

    return FunctionObjective([b, a], 1, losses_of)


def sampled_deep_linear(widths: Sequence[int], rank: int, samples: int, seed: int = 0) -> FunctionObjective:
    """A deep linear net on `samples` inputs with unit label noise, ℓ_i = ½ ‖y_i − W x_i‖², at aligned factors.

    Of the two orders of multiplication the cheaper one is taken: the factors with each other, or with the inputs.

    Raises:
        ValueError: fewer samples than inputs, see `sampled_data`.
    """
    inputs, labels = sampled_data(widths, rank, samples, seed)
    factors = [aligned(rows, columns, rank, torch.float32) for columns, rows in pairwise(widths)]
    weights = sum(factor.numel() for factor in factors)
    product_cost = sum(widths[0] * a * b for a, b in pairwise(widths[1:]))

    def losses_of(indices: Tensor) -> Tensor:
        images = inputs[indices]
        if len(indices) * weights < product_cost + len(indices) * widths[0] * widths[-1]:
            for factor in factors:
                images = images @ factor.T
        else:
            images = images @ chain_product(factors).T
        errors: Tensor = labels[indices] - images
        return errors.square().sum(dim=1).div(2)

    return FunctionObjective(factors, samples, losses_of)


def sampled_data(widths: Sequence[int], rank: int, samples: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Inputs (samples, first width) and labels (samples, last width) of a true net of that rank, float32.

    Inputs are made exactly white and the noise orthogonal to them, so that the true net is also the empirical minimum
    and L_n − L_n(w*) = ½ ‖W − P‖² as in the population.

    Raises:
        ValueError: fewer samples than inputs, which cannot be white.
    """
    if samples <= widths[0]:
        raise ValueError(f"{samples} samples cannot be white in {widths[0]} dimensions")
    stream = seeds.generator(seed, "deep linear")
    drawn = torch.randn(samples, widths[0], generator=stream, dtype=torch.float64)
    inputs = torch.linalg.qr(drawn).Q * samples**0.5
    noise = torch.randn(samples, widths[-1], generator=stream, dtype=torch.float64)
    noise -= inputs @ (inputs.T @ noise) / samples
    labels = inputs @ aligned(widths[-1], widths[0], rank, torch.float64).T + noise
    return inputs.float(), labels.float()
