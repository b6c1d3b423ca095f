"""What a layout of attention heads is, and what layouts share: heads as rows and columns of projections."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from torch import nn
from transformers.pytorch_utils import Conv1D

from hf_llc.components.component import Region

HEAD_SIZES = ("head_dim", "attention_head_size", "head_size", "dim_per_head")
HEAD_COUNTS = ("num_heads", "num_attention_heads", "n_heads", "n_head", "num_heads_per_layer")


@dataclass(frozen=True, kw_only=True)
class Heads:
    """The heads of an attention module, all of them in order.

    Heads that share keys and values are neighbours: head i has those of group i // (heads / groups).

    Attributes:
        own: of each head its rows of the query projection, with their bias, and its columns of the output projection.
        shared: of each group its rows of the key and value projections, with their biases.
        outer: name of the innermost module that has all of these; "" is the layer itself.
    """

    own: Sequence[Sequence[Region]]
    shared: Sequence[Sequence[Region]]
    outer: str


class Layout(Protocol):
    """A way to lay heads out."""

    def heads(self, layer: nn.Module, name: str) -> Heads | None:
        """The heads of the module of that name in a layer, parameters named from the layer; None if it is no attention
        of this layout, or has other sizes than such an attention has.
        """
        ...


class Projection:
    """A linear map in a layer, `nn.Linear` or the `Conv1D` of transformers, whose weight is the transpose of that."""

    def __init__(self, name: str, module: nn.Linear | Conv1D) -> None:
        self._name, self._module = name, module
        self._row_dim = 0 if isinstance(module, nn.Linear) else 1

    @property
    def outputs(self) -> int:
        return int(self._module.weight.shape[self._row_dim])

    @property
    def inputs(self) -> int:
        return int(self._module.weight.shape[1 - self._row_dim])

    def rows(self, start: int, stop: int) -> list[Region]:
        """What makes the outputs from `start` to `stop`: of the weight, and of the bias."""
        regions = [Region(f"{self._name}.weight", self._row_dim, start, stop)]
        return regions if self._module.bias is None else [*regions, Region(f"{self._name}.bias", 0, start, stop)]

    def columns(self, start: int, stop: int) -> list[Region]:
        """What the inputs from `start` to `stop` are multiplied by."""
        return [Region(f"{self._name}.weight", 1 - self._row_dim, start, stop)]


def projection(layer: nn.Module, *path: str) -> Projection | None:
    """The linear map at that place in a layer; None if there is none."""
    name = ".".join(part for part in path if part)
    try:
        module = layer.get_submodule(name)
    except AttributeError:
        return None
    return Projection(name, module) if isinstance(module, nn.Linear | Conv1D) else None


def head_size(attention: nn.Module, inner: int) -> int | None:
    """The size of a head where the heads together have `inner` dimensions; None if it is not known or does not fit."""
    size = _first(attention, HEAD_SIZES)
    if size is None:
        count = _first(attention, HEAD_COUNTS)
        size = inner // count if count is not None and inner % count == 0 else None
    return size if size is not None and inner % size == 0 else None


def _first(attention: nn.Module, names: Sequence[str]) -> int | None:
    holders: list[Any] = [attention, getattr(attention, "config", None)]
    values = (getattr(holder, name, None) for holder in holders for name in names)
    return next((value for value in values if isinstance(value, int) and value > 0), None)


def class_names(module: nn.Module) -> set[str]:
    """Names of a module's class and of those that it derives from."""
    return {kind.__name__ for kind in type(module).__mro__}


def parent_of(name: str) -> str:
    """The name of the module that holds the one of this name."""
    return name.rpartition(".")[0]
