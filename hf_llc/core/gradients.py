"""How a minibatch estimates the gradient of L_n: the plain mean, or that with a control variate at w*."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from hf_llc.core.objective import Objective, clear_gradients, copy_of, gradients, restore
from hf_llc.errors import SettingsError

GRADIENTS = ("minibatch", "control-variate")

Gradient = Callable[[Tensor], tuple[Tensor, list[Tensor]]]
"""From a batch of indices: its losses at w, shape (m,), and an estimate of ∇L_n(w), a tensor per parameter."""


class Minibatch:
    """∇L_B(w): unbiased, with the noise of the batch."""

    def __init__(self, objective: Objective) -> None:
        self._objective = objective

    def __call__(self, batch: Tensor) -> tuple[Tensor, list[Tensor]]:
        losses = self._objective.losses_and_gradient(batch)
        return losses, gradients(self._objective.parameters)


class ControlVariate:
    """∇L_B(w) − ∇L_B(w*) + ∇L_n(w*): unbiased, and without noise at w* (Baker et al. 2019).

    Costs a second gradient a step, and the memory of two more copies of the weights beside it.

    Args:
        anchors: w*. anchor_gradient: ∇L_n(w*), nats per weight; see `full_gradient`.
    """

    def __init__(self, objective: Objective, anchors: Sequence[Tensor], anchor_gradient: Sequence[Tensor]) -> None:
        self._objective = objective
        self._anchors = anchors
        self._anchor_gradient = anchor_gradient

    def __call__(self, batch: Tensor) -> tuple[Tensor, list[Tensor]]:
        parameters = self._objective.parameters
        losses = self._objective.losses_and_gradient(batch)
        here, position = gradients(parameters), copy_of(parameters)
        restore(parameters, self._anchors)
        self._objective.losses_and_gradient(batch)
        for estimate, there, whole in zip(here, gradients(parameters), self._anchor_gradient, strict=True):
            estimate.sub_(there).add_(whole)
        restore(parameters, position)
        return losses, here


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
    """The estimator of that name.

    Raises:
        ValueError: a control variate without the gradient at w*.
    """
    if name == "minibatch":
        return Minibatch(objective)
    if anchor_gradient is None:
        raise ValueError("a control variate needs the full gradient at w*")
    return ControlVariate(objective, anchors, anchor_gradient)


def check_gradient(name: str) -> None:
    """Nothing, if there is a gradient estimator of that name.

    Raises:
        SettingsError: there is none.
    """
    if name not in {"auto", *GRADIENTS}:
        raise SettingsError(f"--gradient is {name!r}; choose one of auto, {', '.join(GRADIENTS)}.")
