"""Networks with ReLU as functions of their input: activation regions and the rank of the last hidden layer."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from hf_llc.measures.base import NotApplicableError

WIDEST = 1024
"""Neurons of the last hidden layer, at most, whose Jacobian is computed."""
TOLERANCE = 1e-5
"""Of the largest singular value of a Jacobian, below which one counts as zero."""


def crossings_per_length(dimension: int) -> float:
    """c_d, the mean of |cos| of the angle between a random direction and a fixed one in d dimensions."""
    return math.exp(math.lgamma(dimension / 2) - math.lgamma((dimension + 1) / 2)) / math.sqrt(math.pi)


def region_density(signs: Callable[[Tensor], Tensor], points: Tensor, step: float, stream: torch.Generator) -> Tensor:
    """LC at each point, (m,), from one random direction each.

    Args:
        signs: of all neurons at points (m, …), (m, neurons).
    """
    direction = torch.randn(points.shape, generator=stream, dtype=points.dtype).to(points.device)
    lengths = direction.flatten(1).norm(dim=1).view(-1, *[1] * (points.dim() - 1))
    changed = signs(points) != signs(points + step * direction / lengths)
    return changed.double().sum(dim=1) / (step * crossings_per_length(points[0].numel()))


class ReluNetwork:
    """A model as a function of its first input of numbers, and the pre-activations of its ReLUs.

    Args:
        call: the model at other points. points: inputs, a row an item.
    """

    def __init__(self, model: nn.Module, call: Callable[[Tensor], Any], points: Tensor) -> None:
        self._relus = [module for module in model.modules() if isinstance(module, nn.ReLU)]
        self._call, self.points = call, points
        if not self._relus:
            raise NotApplicableError("the model has no ReLU and is no language model")

    @classmethod
    def called_by(cls, model: nn.Module, run: Callable[[], Any]) -> "ReluNetwork":
        """The network at the inputs with which `run` calls the model."""
        calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
        handle = model.register_forward_pre_hook(
            lambda module, inputs, named: calls.append((inputs, named)), with_kwargs=True
        )
        try:
            run()
        finally:
            handle.remove()
        inputs, named = calls[0]
        place = next((i for i, each in enumerate(inputs) if _is_numbers(each)), None)
        name = next((key for key, each in named.items() if _is_numbers(each)), None)
        if place is not None:
            before, after = inputs[:place], inputs[place + 1 :]
            return cls(model, lambda points: model(*before, points, *after, **named), inputs[place])
        if name is not None:
            return cls(model, lambda points: model(*inputs, **{**named, name: points}), named[name])
        raise NotApplicableError("the model has no ReLU behind an input of numbers")

    def signs(self, points: Tensor) -> Tensor:
        """Which pre-activations are above 0, (m, neurons)."""
        with torch.no_grad():
            return torch.cat([each > 0 for each in self._preactivations(points)], dim=1)

    def local_rank(self, points: Tensor) -> float | None:
        """Mean rank of the Jacobian of the last ReLU's outputs; None where it has more than WIDEST neurons."""
        at = points.detach().clone().requires_grad_()
        with torch.enable_grad():
            hidden = self._preactivations(at)[-1].relu()
            if hidden.shape[1] > WIDEST:
                return None
            rows = [torch.autograd.grad(unit.sum(), at, retain_graph=True)[0].flatten(1) for unit in hidden.unbind(1)]
        jacobians = torch.stack(rows, dim=1)
        values = torch.linalg.svdvals(jacobians.cpu())
        return float((values > TOLERANCE * values[:, :1]).sum(dim=1).double().mean())

    def _preactivations(self, points: Tensor) -> list[Tensor]:
        seen: list[Tensor] = []
        handles = [
            # A ReLU in place would write over what it is given.
            module.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].flatten(1).clone()))
            for module in self._relus
        ]
        try:
            self._call(points)
        finally:
            for handle in handles:
                handle.remove()
        return seen


def _is_numbers(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point() and value.dim() > 1
