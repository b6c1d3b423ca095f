"""The three numbers that define the law which samplers approximate."""

from typing import NamedTuple


class Law(NamedTuple):
    """p(w) ∝ exp(−nβ L_n(w) − γ/2 ‖w−w*‖²) and a step size (Lau et al. 2023).

    Attributes:
        n_beta: nβ. gamma: γ, in 1/weight². lr: ε, in weight².
        momentum: c, the share of momentum that a step keeps, for samplers that have one.
    """

    n_beta: float
    gamma: float
    lr: float
    momentum: float = 0.0
