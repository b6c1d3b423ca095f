"""The noise of minibatch gradients, and how much of λ̂ it would make."""

import torch
from torch import Tensor

from hf_llc.sampling import seeds
from hf_llc.sampling.gradients import Gradient
from hf_llc.sampling.objective import Objective
from hf_llc.sampling.shards import Shards, sum_of_squares

PAIRS = 2


def gradient_noise(
    objective: Objective, gradient: Gradient, batch_size: int, seed: int, pairs: int = PAIRS, size: int | None = None
) -> float:
    """tr Cov(g_B) of one minibatch's gradient at the weights as they are, in (nats per weight)².

    Half the mean squared difference of two disjoint batches' gradients; 0 if the items do not suffice for two
    minibatches.

    Args:
        pairs: of batches. size: items of such a batch, of whose gradients the variance is `batch_size` / size times
            that of a minibatch's; None takes whole minibatches.
    """
    size = batch_size if size is None else size
    if objective.n < 2 * batch_size or not pairs:
        return 0.0
    total = 0.0
    for pair in range(pairs):
        order = torch.randperm(objective.n, generator=seeds.generator(seed, "gradient noise", pair))
        first, second = order[:size], order[size : 2 * size]
        total += _squared_difference(gradient, first, second, objective.shards) / 2
    return total / pairs * size / batch_size


def _squared_difference(gradient: Gradient, one: Tensor, other: Tensor, shards: Shards) -> float:
    """Only the gradient of `one` is copied: the other is looked at before anything takes its place."""
    first = [slope.clone() for slope in gradient(one)[1]]
    return sum_of_squares((a - b for a, b in zip(first, gradient(other)[1], strict=True)), shards)


def predicted_heating(lr: float, n_beta: float, noise: float, momentum: float) -> float:
    """What gradient noise adds to λ̂, no unit, to first order: ε (nβ)² tr Cov(g_B) / 8 · (1+c)/(1−c).

    On L = ½ h w² with nβh ≫ γ, noise of variance s in g widens w by ε (nβ)² s / (4 nβh) times what momentum c gathers,
    and λ̂ = ½ nβh E[w²] follows; the factor is exact for `sgld-lm` and `baoab` at small ε.
    """
    return lr * n_beta**2 * noise / 8 * (1 + momentum) / (1 - momentum)
