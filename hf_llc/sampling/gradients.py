"""How a minibatch estimates the gradient of L_n: the plain mean, or that with a control variate at w*."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from hf_llc.errors import SettingsError
from hf_llc.sampling.objective import Objective, clear_gradients, copy_of, gradients, restore
from hf_llc.settings.bounds import shown

GRADIENTS = ("minibatch", "control-variate")


class BatchGradient(NamedTuple):
    """ℓ_i(w) of a batch in nats, shape (m,), and an estimate of ∇L_n(w), a tensor per parameter."""

    losses: Tensor
    gradients: list[Tensor]


Gradient = Callable[[Tensor], BatchGradient]
"""From a batch of item indices, (m,) int64, to its losses and gradient at the weights as they are."""


def minibatch(objective: Objective, batch: Tensor) -> BatchGradient:
    """∇L_B(w): unbiased, with the noise of the batch."""
    losses = objective.losses_and_gradient(batch)
    return BatchGradient(losses, gradients(objective.parameters))


class ControlVariate:
    """∇L_B(w) − ∇L_B(w*) + ∇L_n(w*): unbiased, and without noise at w* (Baker et al. 2019).

    Costs a second gradient a step, and the memory of two more copies of the weights beside it.

    Args:
        objective: its parameters w are at w* while the second gradient is computed. anchors: w*.
        anchor_gradient: ∇L_n(w*), nats per weight; see `full_gradient`.
    """

    def __init__(self, objective: Objective, anchors: Sequence[Tensor], anchor_gradient: Sequence[Tensor]) -> None:
        self._objective, self._anchors, self._anchor_gradient = objective, anchors, anchor_gradient

    def __call__(self, batch: Tensor) -> BatchGradient:
        parameters = self._objective.parameters
        at_w = minibatch(self._objective, batch)
        position = copy_of(parameters)
        restore(parameters, self._anchors)
        at_anchor = minibatch(self._objective, batch)
        for estimate, slope, whole in zip(at_w.gradients, at_anchor.gradients, self._anchor_gradient, strict=True):
            estimate.sub_(slope).add_(whole)
        restore(parameters, position)
        return at_w


def full_gradient(objective: Objective, batch_size: int) -> list[Tensor]:
    """∇L_n at the weights the objective holds, in nats per weight, summed batch by batch."""
    total: list[Tensor] | None = None
    for batch in torch.arange(objective.n).split(batch_size):
        objective.losses_and_gradient(batch)
        parts = [gradient * (len(batch) / objective.n) for gradient in gradients(objective.parameters)]
        total = parts if total is None else [t.add_(p) for t, p in zip(total, parts, strict=True)]
    clear_gradients(objective.parameters)
    return total or []


def gradient_of(
    name: str, objective: Objective, anchors: Sequence[Tensor], anchor_gradient: Sequence[Tensor] | None
) -> Gradient:
    """The gradient estimator of that name.

    Raises:
        ValueError: a control variate without the gradient at w*.
    """
    if name == "minibatch":
        return partial(minibatch, objective)
    if anchor_gradient is None:
        raise ValueError("a control variate needs the full gradient at w*")
    return ControlVariate(objective, anchors, anchor_gradient)


def differences(objective: Objective, anchors: Sequence[Tensor]) -> Gradient:
    """∇L_B(w) − ∇L_B(w*): as noisy as a control variate's estimate, without the full gradient that this takes."""
    nothing = [torch.zeros((), dtype=anchor.dtype, device=anchor.device) for anchor in anchors]
    return gradient_of("control-variate", objective, anchors, nothing)


def as_noisy(name: str, objective: Objective) -> Gradient:
    """An estimator that is as noisy as that of this name around the weights as they are, and takes no full gradient."""
    if name == "control-variate":
        return differences(objective, copy_of(objective.parameters))
    return gradient_of("minibatch", objective, [], None)


def check_gradient(name: str) -> None:
    """Raise SettingsError if there is no gradient estimator of that name."""
    if name not in {"auto", *GRADIENTS}:
        raise SettingsError(f"gradient must be one of auto, {', '.join(GRADIENTS)}, got {shown(name)}")
