"""How a minibatch estimates the gradient of L_n: the plain mean, or that with a control variate at w*."""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from hf_llc.bounds import shown
from hf_llc.core.asking import Answer, Ask, Asks, answered
from hf_llc.core.objective import Objective, clear_gradients, copy_of, gradients, restore
from hf_llc.errors import SettingsError

GRADIENTS = ("minibatch", "control-variate")

Gradient = Callable[[Tensor], tuple[Tensor, list[Tensor]]]
"""From a batch of indices: its losses at w, shape (m,), and an estimate of ∇L_n(w), a tensor per parameter."""


Estimator = Callable[[Tensor], Asks[Answer]]
"""The same as a loop that asks for what it needs."""


def minibatch(batch: Tensor) -> Asks[Answer]:
    """∇L_B(w): unbiased, with the noise of the batch."""
    return (yield Ask(batch, gradient=True))


class ControlVariate:
    """∇L_B(w) − ∇L_B(w*) + ∇L_n(w*): unbiased, and without noise at w* (Baker et al. 2019).

    Costs a second gradient a step, and the memory of two more copies of the weights beside it.

    Args:
        parameters: w, at w* while the second gradient is asked for. anchors: w*.
        anchor_gradient: ∇L_n(w*), nats per weight; see `full_gradient`.
    """

    def __init__(
        self, parameters: Sequence[Tensor], anchors: Sequence[Tensor], anchor_gradient: Sequence[Tensor]
    ) -> None:
        self._parameters, self._anchors = parameters, anchors
        self._anchor_gradient = anchor_gradient

    def __call__(self, batch: Tensor) -> Asks[Answer]:
        here = yield Ask(batch, gradient=True)
        position = copy_of(self._parameters)
        restore(self._parameters, self._anchors)
        there = yield Ask(batch, gradient=True)
        for estimate, slope, whole in zip(here.gradients, there.gradients, self._anchor_gradient, strict=True):
            estimate.sub_(slope).add_(whole)
        restore(self._parameters, position)
        return here


def full_gradient(objective: Objective, batch_size: int) -> list[Tensor]:
    """∇L_n at the weights the objective holds, in nats per weight, summed batch by batch."""
    total: list[Tensor] | None = None
    for batch in torch.arange(objective.n).split(batch_size):
        objective.losses_and_gradient(batch)
        parts = [gradient * (len(batch) / objective.n) for gradient in gradients(objective.parameters)]
        total = parts if total is None else [t.add_(p) for t, p in zip(total, parts, strict=True)]
    clear_gradients(objective.parameters)
    return total or []


def estimator_of(
    name: str, parameters: Sequence[Tensor], anchors: Sequence[Tensor], anchor_gradient: Sequence[Tensor] | None
) -> Estimator:
    """The estimator of that name at these weights.

    Raises:
        ValueError: a control variate without the gradient at w*.
    """
    if name == "minibatch":
        return minibatch
    if anchor_gradient is None:
        raise ValueError("a control variate needs the full gradient at w*")
    return ControlVariate(parameters, anchors, anchor_gradient)


def gradient_of(
    name: str, objective: Objective, anchors: Sequence[Tensor], anchor_gradient: Sequence[Tensor] | None
) -> Gradient:
    """The estimator of that name, answered by the objective.

    Raises:
        ValueError: a control variate without the gradient at w*.
    """
    return partial(_estimated, estimator_of(name, objective.parameters, anchors, anchor_gradient), objective)


def differences(objective: Objective, anchors: Sequence[Tensor]) -> Gradient:
    """∇L_B(w) − ∇L_B(w*): as noisy as a control variate's estimate, without the full gradient that this takes."""
    nothing = [torch.zeros((), dtype=anchor.dtype, device=anchor.device) for anchor in anchors]
    return gradient_of("control-variate", objective, anchors, nothing)


def as_noisy(name: str, objective: Objective) -> Gradient:
    """An estimator that is as noisy as that of this name around the weights as they are, and takes no full gradient."""
    if name == "control-variate":
        return differences(objective, copy_of(objective.parameters))
    return gradient_of("minibatch", objective, [], None)


def _estimated(estimator: Estimator, objective: Objective, batch: Tensor) -> Answer:
    return answered(estimator(batch), objective)


def check_gradient(name: str) -> None:
    """Nothing, if there is a gradient estimator of that name.

    Raises:
        SettingsError: there is none.
    """
    if name not in {"auto", *GRADIENTS}:
        raise SettingsError(f"--gradient is {shown(name)}; choose one of auto, {', '.join(GRADIENTS)}.")
