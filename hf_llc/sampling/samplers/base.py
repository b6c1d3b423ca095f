"""What every sampler is given: the law to approximate, and the chain whose weights it moves."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from torch import Tensor

from hf_llc.sampling.randomness import Randomness
from hf_llc.sampling.shards import WHOLE, Shards


class Posterior(NamedTuple):
    """p(w) ∝ exp(−nβ L_n(w) − γ/2 ‖w−w*‖²) and a step size (Lau et al. 2023).

    Attributes:
        n_beta: nβ. gamma: γ, in 1/weight². lr: ε, in weight².
        momentum: c, the share of momentum that a step keeps, for samplers that have one.
        burn_in: steps during which a sampler may still adapt itself; later ones all follow one law.
    """

    n_beta: float
    gamma: float
    lr: float
    momentum: float = 0.0
    burn_in: int = 0


class ChainState(NamedTuple):
    """One chain.

    Attributes:
        parameters: w, moved in place. anchors: w*.
        evaluate: losses and gradient of a minibatch at the weights as they are, for samplers that need a second look.
        shards: how the weights lie over processes, for samplers that sum over all of them.
    """

    parameters: Sequence[Tensor]
    anchors: Sequence[Tensor]
    law: Posterior
    randomness: Randomness
    evaluate: Callable[[Tensor], tuple[Tensor, list[Tensor]]]
    shards: Shards = WHOLE


class GradientSample(NamedTuple):
    """What was seen at w before a step: the minibatch, its losses in nats, and the estimate of ∇L_n(w)."""

    batch: Tensor
    losses: Tensor
    gradients: Sequence[Tensor]
