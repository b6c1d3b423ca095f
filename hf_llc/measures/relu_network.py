"""Networks with ReLU as functions of their input: activation regions, ranks and sizes of derivatives."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from hf_llc.measures.base import NotApplicableError

WIDEST = 1024
"""Neurons of the last hidden layer, outputs, and coordinates of an input, at most, of which derivatives are taken."""
TOLERANCE = 1e-5
"""Of the largest singular value of a Jacobian, below which one counts as zero."""
RELUS = {functional.relu, torch.relu, torch.relu_, torch.Tensor.relu, torch.Tensor.relu_}

Preactivations = Callable[[Tensor], tuple[Tensor, ...]]
"""Points (m, …) -> the pre-activations of each layer of ReLUs, (m, neurons)."""


def crossings_per_length(dimension: int) -> float:
    """c_d, the mean of |cos| of the angle between a random direction and a fixed one in d dimensions."""
    return math.exp(math.lgamma(dimension / 2) - math.lgamma((dimension + 1) / 2)) / math.sqrt(math.pi)


def region_density(signs: Callable[[Tensor], Tensor], points: Tensor, step: float, stream: torch.Generator) -> Tensor:
    """LC at each point, (m,), from one random direction each.

    Args:
        signs: of all neurons at points (m, …), (m, neurons).
    """
    direction = torch.randn(points.shape, generator=stream, dtype=points.dtype).to(points.device)
    lengths = direction.reshape(len(points), -1).norm(dim=1).view(-1, *[1] * (points.dim() - 1))
    changed = signs(points) != signs(points + step * direction / lengths)
    return changed.double().sum(dim=1) / (step * crossings_per_length(points[0].numel()))


def smoothed_density(
    preactivations: Preactivations, points: Tensor, sigma: float, stream: torch.Generator, probes: int
) -> Tensor:
    """Σ_i ‖∇z_i‖ ρ_σ(z_i) at each point, (m,), without bias: √(π/2) times the mean of Σ_i |v·∇z_i| ρ_σ(z_i) over v.

    Args:
        probes: how many v ~ N(0, I) at each point.
    """
    total = torch.zeros(len(points), dtype=torch.float64, device=points.device)
    for _ in range(probes):
        direction = torch.randn(points.shape, generator=stream, dtype=points.dtype).to(points.device)
        values, slopes = _derivatives(preactivations, points, direction)
        for z, slope in zip(values, slopes, strict=True):
            total += (slope.double().abs() * normal_density(z, sigma)).sum(dim=1)
    return math.sqrt(math.pi / 2) * total / probes


def gradient_sizes(preactivations: Preactivations, points: Tensor) -> tuple[Tensor, ...]:
    """‖∇z_i‖ of each layer's pre-activations at each point, (m, neurons), from one derivative for each coordinate."""
    squares: list[Tensor] = []
    for coordinate in range(points[0].numel()):
        direction = torch.zeros_like(points)
        direction.view(len(points), -1)[:, coordinate] = 1
        _, slopes = _derivatives(preactivations, points, direction)
        added = [slope.double().square() for slope in slopes]
        squares = [sum_ + each for sum_, each in zip(squares, added, strict=True)] if squares else added
    return tuple(each.sqrt() for each in squares)


def numerical_ranks(spectra: Tensor) -> Tensor:
    """How many singular values of each row are above TOLERANCE of its largest, (m,)."""
    ranks: Tensor = (spectra > TOLERANCE * spectra[:, :1]).sum(dim=1).double()
    return ranks


def _derivatives(
    preactivations: Preactivations, points: Tensor, direction: Tensor
) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """The pre-activations, and their derivatives along the direction."""
    values, slopes = torch.autograd.functional.jvp(preactivations, points, direction)
    return tuple(each.detach() for each in values), slopes


def normal_density(z: Tensor, sigma: float) -> Tensor:
    """ρ_σ(z), the density of N(0, σ²), in float64."""
    return (-(z.double() / sigma).square() / 2).exp() / (sigma * math.sqrt(2 * math.pi))


def variation_bound(network: "ReluNetwork", points: Tensor, slopes: Sequence[Tensor]) -> float | None:
    """The bound of the total variation by local complexity, see `local_complexity`; None where it is not known to hold.

    Args:
        slopes: ‖∂f/∂h_i‖ of each layer's activations h at these points.
    """
    if not network.is_chain or points[0].numel() > WIDEST:
        return None
    with torch.no_grad():
        layers = network.preactivations(points)
    largest = max(float(z.abs().max()) for z in layers)
    slope = max(float((each * (z > 0)).max()) for each, z in zip(slopes, layers, strict=True))
    if not largest > 0:
        return None
    sizes = gradient_sizes(network.preactivations, points)
    densities = [(size * normal_density(z, largest)).sum(dim=1) for size, z in zip(sizes, layers, strict=True)]
    complexity = float(sum(densities[1:], densities[0]).mean())
    return slope * math.sqrt(2 * math.pi * math.e) * largest * complexity / len(layers)


class ReluCalls(TorchFunctionMode):
    """While the block runs, what goes into each ReLU and what comes out, whether it is a module or a function.

    Args:
        count: items; what has another number of rows, such as a weight, does not depend on the input.
        length: positions of an item, each of which may be a row.
    """

    def __init__(self, count: int, length: int = 1) -> None:
        super().__init__()
        self._count, self._rows = count, {count, count * length}
        self.inputs: list[Tensor] = []
        self.outputs: list[Tensor] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """The function's own result."""
        named = kwargs or {}
        if func not in RELUS:
            return func(*args, **named)
        values: Tensor = args[0] if args else named["input"]
        if values.dim() == 0 or len(values) not in self._rows:
            return func(*args, **named)
        # A ReLU in place writes over what it is given.
        self.inputs.append(values.reshape(self._count, -1).clone())
        self.outputs.append(func(*args, **named))
        return self.outputs[-1]


class ReluNetwork:
    """A model as a function of its first input of numbers, and the pre-activations of its ReLUs.

    Args:
        call: the model at other points. points: inputs, a row an item.
    """

    def __init__(self, model: nn.Module, call: Callable[[Tensor], Any], points: Tensor) -> None:
        self._model, self._call, self.points = model, call, points
        with torch.no_grad():
            if not self.preactivations(points):
                raise NotApplicableError("the model calls no ReLU")

    @classmethod
    def called_by(cls, model: nn.Module, run: Callable[[], Any]) -> "ReluNetwork":
        """The network at the inputs with which `run` calls the model first.

        Raises:
            NotApplicableError: `run` does not call the model itself, or not with numbers, or it has no ReLU.
        """
        calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
        handle = model.register_forward_pre_hook(
            lambda module, inputs, named: calls.append((inputs, named)), with_kwargs=True
        )
        try:
            run()
        finally:
            handle.remove()
        if not calls:
            raise NotApplicableError(
                "its inputs are not known, since the loss does not call the module itself; let `losses` call it, as "
                "in net(x)"
            )
        inputs, named = calls[0]
        place = next((i for i, each in enumerate(inputs) if _is_numbers(each)), None)
        name = next((key for key, each in named.items() if _is_numbers(each)), None)
        if place is not None:
            before, after = inputs[:place], inputs[place + 1 :]
            return cls(model, lambda points: model(*before, points, *after, **named), inputs[place])
        if name is not None:
            return cls(model, lambda points: model(*inputs, **{**named, name: points}), named[name])
        raise NotApplicableError("the model has no input of numbers, whose space ReLUs could divide")

    def preactivations(self, points: Tensor) -> tuple[Tensor, ...]:
        """Of each layer of ReLUs, (m, neurons)."""
        with ReluCalls(len(points)) as calls:
            self._call(points)
        return tuple(calls.inputs)

    def signs(self, points: Tensor) -> Tensor:
        """Which pre-activations are above 0, (m, neurons)."""
        with torch.no_grad():
            return torch.cat([each > 0 for each in self.preactivations(points)], dim=1)

    def local_spectra(self, points: Tensor) -> Tensor | None:
        """Singular values of the Jacobian of the last ReLU's outputs, (m, values); None where it has more than WIDEST
        neurons."""
        at = points.detach().clone().requires_grad_()
        with torch.enable_grad():
            hidden = self.preactivations(at)[-1].relu()
            if hidden.shape[1] > WIDEST:
                return None
            rows = [torch.autograd.grad(unit.sum(), at, retain_graph=True)[0] for unit in hidden.unbind(1)]
        values: Tensor = torch.linalg.svdvals(torch.stack(rows, dim=1).view(*hidden.shape, -1).cpu())
        return values

    def output_slopes(self, points: Tensor) -> tuple[Tensor, list[Tensor]] | None:
        """‖∂f/∂x‖_F of the outputs f, (m,), and ‖∂f/∂h_i‖ of each layer's activations h, (m, neurons).

        None where the model puts out no tensor with a row an item, or one of more than WIDEST numbers.
        """
        at = points.detach().clone().requires_grad_()
        with torch.enable_grad():
            with ReluCalls(len(points)) as calls:
                output = _tensor_of(self._call(at), len(points))
            if output is None or output[0].numel() > WIDEST:
                return None
            sources = [at, *calls.outputs]
            squares = [torch.zeros(each.shape, dtype=torch.float64, device=each.device) for each in sources]
            for unit in output.reshape(len(points), -1).unbind(1):
                slopes = torch.autograd.grad(unit.sum(), sources, retain_graph=True, allow_unused=True)
                for square, slope in zip(squares, slopes, strict=True):
                    square += 0 if slope is None else slope.detach().double().square()
        whole, *hidden = (square.reshape(len(points), -1) for square in squares)
        return whole.sum(dim=1).sqrt(), [square.sqrt() for square in hidden]

    @property
    def is_chain(self) -> bool:
        """Whether the output sees of the input what each layer of ReLUs lets through, as in a Sequential of torch's own
        layers, and no more."""
        return all(
            isinstance(each, nn.Sequential) or (_is_of_torch(each) and not list(each.children()))
            for each in self._model.modules()
        )


def _is_of_torch(module: nn.Module) -> bool:
    return type(module).__module__.startswith("torch.nn.")


def _is_numbers(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point() and value.dim() > 0


def _tensor_of(output: Any, count: int) -> Tensor | None:
    """The first tensor of numbers with a row an item in what a model has put out."""
    if isinstance(output, Tensor):
        candidates = [output]
    elif isinstance(output, Mapping):
        candidates = list(output.values())
    else:
        candidates = list(output) if isinstance(output, tuple | list) else []
    return next((each for each in candidates if _is_numbers(each) and len(each) == count and each.requires_grad), None)
