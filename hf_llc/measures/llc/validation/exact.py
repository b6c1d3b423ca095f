"""Learning coefficients and finite-temperature values that are known in closed form."""

import math
from collections.abc import Sequence
from itertools import combinations

import torch


def quadratic_llc(curvatures: Sequence[float], n_beta: float, gamma: float) -> float:
    """λ̂ that a perfect sampler returns on L = ½ Σ h_i w_i²: ½ Σ nβh_i / (nβh_i + γ).

    E[w_i²] = 1/(nβh_i + γ) under the localized posterior, a Gaussian; tends to half the number of curved directions
    as γ/nβ → 0.
    """
    return sum(n_beta * h / (n_beta * h + gamma) for h in curvatures) / 2


def sloped_quadratic_llc(curvatures: Sequence[float], slope: float, n_beta: float, gamma: float) -> float:
    """λ̂ of the localized posterior on ½ Σ h_i w_i² + b Σ w_i, b² d = slope².

    Each w_i is normal around −nβb/A_i with variance 1/A_i, A_i = nβh_i + γ.
    """
    tilt, total = slope / math.sqrt(len(curvatures)), 0.0
    for h in curvatures:
        stiffness = n_beta * h + gamma
        mean = -n_beta * tilt / stiffness
        total += n_beta * (h * (1 / stiffness + mean**2) / 2 + tilt * mean)
    return total


def euler_quadratic_llc(curvatures: Sequence[float], n_beta: float, gamma: float, lr: float) -> float:
    """λ̂ of the Euler step of size ε on the same loss, exact gradient: ½ Σ nβh_i / (A_i (1 − εA_i/4)), A = nβh + γ.

    The stationary variance v of w ← (1 − εA/2) w + √ε ξ solves v = (1 − εA/2)² v + ε.
    """
    stiffness = [n_beta * h + gamma for h in curvatures]
    return sum(n_beta * h / (a * (1 - lr * a / 4)) for h, a in zip(curvatures, stiffness, strict=True)) / 2


def separable_power_llc(half_powers: Sequence[int]) -> float:
    """λ of L = Σ w_i^(2k_i) at 0: Σ 1/(2k_i) (Watanabe 2009 applied to one variable at a time)."""
    return sum(1 / (2 * k) for k in half_powers)


def normal_crossing_llc(half_powers: Sequence[int], jacobian_powers: Sequence[int] | None = None) -> float:
    """λ of L = Π w_i^(2k_i) with prior Π |w_i|^(h_i) at 0: min over i of (h_i + 1) / (2k_i) (Watanabe 2009)."""
    jacobian = jacobian_powers or [0] * len(half_powers)
    return min((h + 1) / (2 * k) for h, k in zip(jacobian, half_powers, strict=True) if k > 0)


def power_llc(power: int, n_beta: float, gamma: float) -> float:
    """λ̂ that a perfect sampler returns on L = w^power in one dimension at finite nβ and γ, by quadrature.

    nβ ∫ L e^(−nβL−γw²/2) dw / ∫ e^(−nβL−γw²/2) dw; 1/power as γ/nβ^(2/power) → 0.
    """
    reach = 8 * min(gamma**-0.5 if gamma > 0 else math.inf, n_beta ** (-1 / power))
    w = torch.linspace(-reach, reach, 200_001, dtype=torch.float64)
    energy = n_beta * w.pow(power)
    weight = torch.exp(-energy - gamma / 2 * w.square())
    return float((energy * weight).sum() / weight.sum())


def crossing_llc(n_beta: float, gamma: float) -> float:
    """λ̂ that a perfect sampler returns on L = w₁² w₂² at finite nβ and γ > 0.

    Given w₁, w₂ is a Gaussian of variance 1/(2nβw₁²+γ); what is left is one integral over w₁, by quadrature.
    """
    reach = 8 * gamma**-0.5
    w = torch.linspace(-reach, reach, 200_001, dtype=torch.float64)
    stiffness = 2 * n_beta * w.square() + gamma
    weight = torch.exp(-gamma / 2 * w.square()) * stiffness.rsqrt()
    return float((n_beta * w.square() / stiffness * weight).sum() / weight.sum())


def zero_product_llc(size: int, second: int, first: int) -> float:
    """Local λ of ½ ‖BA‖² at BA = 0 for square factors, B of rank b = `second` and A of rank a = `first`.

    The linearised constraint δB A + B δA = 0 has size·(a+b) − ab independent equations, each worth ½; what they leave
    is a zero product of the directions that neither factor spans, of widths (size−a, size−a−b, size−b) (Aoyagi 2024 at
    rank 0).
    """
    regular = (size * (first + second) - first * second) / 2
    inner = size - first - second
    rest = deep_linear_llc((size - first, inner, size - second), 0) if inner > 0 else 0.0
    return regular + rest


def deep_linear_llc(widths: Sequence[int], rank: int) -> float:
    """λ of a deep linear net whose true product has the given rank (Aoyagi 2024).

    With M_s = H_s − r, Σ the layers that the theorem selects, ℓ = |Σ| − 1, S = Σ_{s∈Σ} M_s, M = ⌈S/ℓ⌉ and
    a = S − (M−1)ℓ:

        λ = (r(H_1 + H_{L+1}) − r²)/2 + a(ℓ−a)/(4ℓ) − ℓ(ℓ−1)/4 (S/ℓ)² + ½ Σ_{i<j∈Σ} M_i M_j

    It is the local value at points whose partial products all have rank r; elsewhere it is a lower bound.

    Args:
        widths: H_1 … H_{L+1}, input and output included. rank: r, at most the smallest width.
    """
    free = [width - rank for width in widths]
    chosen = _selected(free)
    layers = len(chosen) - 1
    total = sum(chosen)
    ceiling = math.ceil(total / layers)
    remainder = total - (ceiling - 1) * layers
    regular = (rank * (widths[0] + widths[-1]) - rank**2) / 2
    pairs = sum(x * y for x, y in combinations(chosen, 2)) / 2
    return (
        regular
        + remainder * (layers - remainder) / (4 * layers)
        - layers * (layers - 1) / 4 * (total / layers) ** 2
        + pairs
    )


def lora_llc(inputs: int, outputs: int, rank: int, learned: int) -> float:
    """Local λ of a LoRA on a frozen linear layer, L = ½ ‖W₀ + s B A − W‖², W − W₀ of rank `learned`.

    That is reduced-rank regression (Aoyagi & Watanabe 2005). Where it begins, at B = 0 with A of full rank and nothing
    to learn, B A = 0 says B = 0 and no more: the loss is quadratic in the outputs · rank entries of B, each worth ½.
    """
    if learned == 0:
        return outputs * rank / 2
    return deep_linear_llc((inputs, rank, outputs), learned)


def _selected(free: Sequence[int]) -> list[int]:
    """The M_s of Σ: the smallest ones, as many as satisfy max_Σ M < min_rest M, S ≥ ℓ max_Σ M, S < ℓ min_rest M."""
    ordered = sorted(free)
    for count in range(2, len(ordered) + 1):
        inside, outside = ordered[:count], ordered[count:]
        layers, total = count - 1, sum(ordered[:count])
        enough = total >= layers * inside[-1]
        if enough and (not outside or (inside[-1] < outside[0] and total < layers * outside[0])):
            return inside
    raise ValueError(f"no layers of {list(free)} satisfy Aoyagi's conditions")
