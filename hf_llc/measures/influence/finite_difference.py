"""A check of influences by what they say: the loss that is sampled is changed a little, and the others answer."""

from typing import NamedTuple

import torch
from torch import Tensor

from hf_llc.results.matrix import FAR
from hf_llc.sampling.averages import Averages
from hf_llc.sampling.loss_draws import LossDraws


class Response(NamedTuple):
    """dE[ℓ_k]/dδ of every item under the loss L + δ ℓ_j, and its standard error, in nats."""

    value: Tensor
    stderr: Tensor


def response(above: LossDraws, below: LossDraws, delta: float) -> Response:
    """The central difference (E₊[ℓ_k] − E₋[ℓ_k]) / 2δ from draws at common random numbers.

    Its expectation is −nβ Cov(ℓ_j, ℓ_k) up to terms in δ². The error is that of the differences draw by draw, in which
    what both have in common cancels.

    Args:
        above, below: draws under L + δ ℓ_j and L − δ ℓ_j, of the same items and at the same random numbers.

    Raises:
        ValueError: they differ in shape, or draws have unequal weights: those would follow from the covariance.
    """
    if above.rises.shape != below.rises.shape:
        raise ValueError(
            f"both must have the same draws and items, got {tuple(above.rises.shape)} and {tuple(below.rises.shape)}"
        )
    averages = Averages(above)
    if any(draws.log_weights is not None and bool(draws.log_weights.any()) for draws in (above, below)):
        raise ValueError("draws must be of the changed posteriors themselves, not weighted draws of another")
    slopes = (above.rises.double() - below.rises.double()) / (2 * delta)
    return Response(averages.mean(slopes), averages.stderr(averages.influence(slopes)))


class Agreement(NamedTuple):
    """How many entries are known to differ from 0, how many of these have the sign of the response, and the mean square
    of all differences in units of their joint standard errors, about 1 where they agree."""

    significant: int
    same_sign: int
    mean_square: float


def agreement(predicted: Tensor, stderr: Tensor, measured: Response) -> Agreement:
    """Compares −nβ Cov(ℓ_j, ℓ_k) and its standard errors with the responses of the same items."""
    known = predicted.abs() > FAR * stderr
    same = known & (torch.sign(predicted) == torch.sign(measured.value))
    apart = (predicted - measured.value) / torch.hypot(stderr, measured.stderr)
    return Agreement(int(known.sum()), int(same.sum()), float(apart.square().mean()))
