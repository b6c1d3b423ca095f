"""λ̂ of a posterior that is nearly its localizing prior, from moments of the loss under the prior.

With the prior π = N(w*, I/γ) and U = nβ (L_n(w) − L_n(w*)) the posterior is p ∝ π e^(−U). Minus the derivative of
log E_π[e^(−sU)] at s = 1 is the cumulant series

    λ̂ = E_p[U] = κ₁ − κ₂ + ½ κ₃ − …,   κ_j the cumulants of U under π

At antithetic pairs w± = w* ± ξ/√γ the even and the odd part of U are e = (U(w+) + U(w−))/2 and
o = (U(w+) − U(w−))/2, so that κ₁ = E[e], to which the slope of the loss adds nothing, and κ₂ = Var e + E[o²]. By
integration by parts under a Gaussian, Var e = E‖∇e‖²/(2γ) for the quadratic and E[o²] = E‖∇o‖²/γ for the linear part of
the loss, which are the leading ones; from gradients both take far fewer draws than from losses.

For L − L(w*) = g·Δ + ½ ΔᵀHΔ, with x = nβh/γ for the curvatures h and g their directions' slopes,

    κ₁ = ½ Σ x,   Var e = ½ Σ x²,   E[o²] = Σ s   with   s = (nβ)² g²/γ
    λ̂ = ½ Σ x/(1+x) − Σ s (1 + x/2)/(1+x)²

κ₁, Var e, E[o²] and the bend Σ s x = (nβ)³ g·Hg/γ² leave λ̂ an interval. 1/(1+x) and c(x) = (1 + x/2)/(1+x)² are convex.
So by Jensen's inequality, with the weights ½x, the first sum is at least κ₁²/(κ₁ + Var e), and at most
κ₁ − Var e/(1+X), X the largest x, which all weight at 0 and X gives. In the same way, with the weights s and their mean
x̄ = Σ s x / Σ s, the second one lies between E[o²] c(x̄) and E[o²] (1 − x̄ (1 − c(X))/X). X² ≤ Σ x² = 2 Var e.
"""

import math
from typing import NamedTuple


class Interval(NamedTuple):
    """What moments leave of λ̂: the middle of an interval, its half-width, and the part of that which a bend narrows."""

    middle: float
    open: float
    open_slope: float


class Moments(NamedTuple):
    """κ₁, Var e, E[o²] and Σ s x of the module; the last is None where it was not measured."""

    prior_mean: float
    narrowing: float
    slope: float
    bend: float | None = None


def posterior_mean(moments: Moments, largest: float = math.inf) -> Interval:
    """The interval that the moments leave λ̂ where the loss is quadratic (see the module).

    Where the loss does not rise on average, κ₁ ≤ 0, or Var e exceeds κ₁, some curvatures are below 0 or far above γ/nβ;
    the first sum then ends at second order, with twice Var e on either side. What is below 0 of Var e and E[o²] is
    noise.

    Args:
        largest: X, or a number above it.
    """
    prior_mean, narrowing, slope = moments.prior_mean, max(moments.narrowing, 0.0), max(moments.slope, 0.0)
    largest = min(largest, math.sqrt(2 * narrowing))
    if prior_mean > narrowing:
        # No weighted mean of x is above the largest.
        largest = max(largest, narrowing / prior_mean)
        least, most = prior_mean**2 / (prior_mean + narrowing), prior_mean - narrowing / (1 + largest)
    else:
        least, most = prior_mean - 3 * narrowing, prior_mean + narrowing
    ends = [slope * share for share in _shares(moments.bend, slope, largest)]
    open_slope = abs(ends[1] - ends[0]) / 2
    return Interval((least + most - sum(ends)) / 2, (most - least) / 2 + open_slope, open_slope)


def _shares(bend: float | None, slope: float, largest: float) -> tuple[float, float]:
    """The least and the most that Σ s c(x) may be, as a share of Σ s."""
    if bend is None or slope == 0 or largest == 0:
        return _slope_factor(largest), 1.0
    middle = bend / slope
    if middle <= 0:
        # Along directions in which the loss bends down: to first order, and once more for what that leaves.
        return 1 - 1.5 * middle, 1 - 3 * middle
    middle = min(middle, largest)
    return _slope_factor(middle), 1 - (1 - _slope_factor(largest)) * middle / largest


def _slope_factor(x: float) -> float:
    """c(x) = (1 + x/2)/(1 + x)²."""
    return (1 + x / 2) / (1 + x) ** 2
