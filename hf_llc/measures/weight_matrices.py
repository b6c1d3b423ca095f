"""The weight matrices of a model, each once: of linear layers, convolutions, embeddings and stacks of experts."""

from collections.abc import Iterator
from typing import NamedTuple

from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd


class WeightMatrix(NamedTuple):
    """A parameter with at least two dimensions.

    Attributes:
        outputs: its dimensions along which there is an output channel at each place.
        is_stack: True for several matrices in its last two dimensions, as experts have them.
    """

    name: str
    parameter: Tensor
    outputs: tuple[int, ...]
    is_stack: bool

    def matrices(self) -> Iterator[tuple[str, Tensor]]:
        """Matrices with more than one row and column by name; a convolution is outputs × all else."""
        if self.is_stack:
            each = self.parameter.detach().flatten(0, -3)
            matrices = [(f"{self.name}[{index}]", matrix) for index, matrix in enumerate(each)]
        else:
            matrices = [(self.name, self.parameter.detach().flatten(1))]
        yield from ((name, matrix) for name, matrix in matrices if min(matrix.shape) > 1)


def weight_matrices(model: nn.Module) -> Iterator[WeightMatrix]:
    """Every one in the order of the model's modules, tied ones once."""
    seen: set[int] = set()
    for place, module in model.named_modules():
        for name, parameter in module.named_parameters(recurse=False):
            if parameter.dim() < 2 or id(parameter) in seen:
                continue
            seen.add(id(parameter))
            is_stack = parameter.dim() > 2 and not isinstance(module, _ConvNd)
            outputs: tuple[int, ...] = tuple(range(parameter.dim() - 1)) if is_stack else (0,)
            # GPT-2 keeps its linear layers transposed.
            if type(module).__name__ == "Conv1D":
                outputs = (1,)
            yield WeightMatrix(f"{place}.{name}".lstrip("."), parameter, outputs, is_stack)
