"""From paired loss differences to the local learning coefficient."""

import math


def llc(n_beta: float, mean_delta: float) -> float:
    """λ̂ = nβ ( E[L_n(w)] − L_n(w*) ) (Lau et al. 2023), no unit.

    Args:
        n_beta: nβ.
        mean_delta: the mean over draws of L(w_t) − L(w*), each on the draw's own batch, in nats per token.
    """
    return n_beta * mean_delta


def free_distance(dimension: int, gamma: float, lr: float, steps: float) -> float:
    """√( d (1 − e^(−εγt)) / γ ): how far t steps of the localiser alone carry d weights, in weight units.

    The law of the Ornstein–Uhlenbeck process dw = −γ/2 (w−w*) dt + dB at time εt, started at w*; √(dεt) at γ = 0.
    Chains that start at draws of the localiser have it at t = ∞ from the first step.
    """
    spread = lr * steps if gamma == 0 else -math.expm1(-lr * gamma * steps) / gamma
    return math.sqrt(dimension * spread)
