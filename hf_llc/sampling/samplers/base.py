"""What a sampler is, and what it is given: the posterior to approximate, and the chain whose weights it moves."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from torch import Tensor

from hf_llc.sampling.randomness import Randomness
from hf_llc.sampling.shards import WHOLE, Shards


class Posterior(NamedTuple):
    """p(w) ∝ exp(−nβ L_n(w) − γ/2 ‖w−w*‖²) and a step size (Lau et al. 2023).

    Attributes:
        n_beta: nβ. gamma: γ, in 1/weight². lr: ε, in weight².
        momentum: c, the share of momentum that a step keeps, for samplers that have one.
        burn_in: steps during which a sampler may still adapt itself; later ones all follow one distribution.
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


class Sampler(NamedTuple):
    """A way to move the weights of a chain: `init` makes its state, `step` moves w once and changes the state in place.

    Attributes:
        step_fraction: ε(nβh+γ) that the step size is chosen for where it is not given.
        why: one clause on that choice, for the person who reads it.
        momentum: True if the state has momenta, so that time goes as √ε and not as ε.
        coupled: True if a chain of finer steps with refined noise retraces the coarse one.
        whole: True if it needs the loss of all items at each step.
        neighbours: True if a step takes its own noise and that of the next one, tensor by tensor.
    """

    init: Callable[[ChainState], Any]
    step: Callable[[ChainState, GradientSample, Any, int], None]
    step_fraction: float
    why: str
    momentum: bool = False
    coupled: bool = True
    whole: bool = False
    neighbours: bool = False


EXACT = "this sampler is exact on a quadratic at any stable step"
"""Why the step of such a sampler may be large."""
