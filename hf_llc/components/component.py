"""What a component is: a name and the regions of tensors that belong to it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Region:
    """Neighbouring rows or columns of a tensor, or all of it.

    Attributes:
        parameter: the tensor's name. dim: the dimension that is cut, None for the whole tensor.
        start, stop: indices along it, as of a slice.
    """

    parameter: str
    dim: int | None = None
    start: int = 0
    stop: int = 0

    def __str__(self) -> str:
        if self.dim is None:
            return self.parameter
        return f"{self.parameter}[{':, ' * self.dim}{self.start}:{self.stop}]"

    def of(self, tensor: Tensor) -> Tensor:
        """The region as a view of its tensor."""
        return tensor if self.dim is None else tensor.narrow(self.dim, self.start, self.stop - self.start)


@dataclass(frozen=True)
class Component:
    """A part of a model.

    Attributes:
        name: such as `l0h1`. kind: the list that it belongs to, such as `heads`. regions: without overlap.
    """

    name: str
    kind: str
    regions: tuple[Region, ...]

    def size(self, tensors: Mapping[str, Tensor]) -> int:
        """Weights, of tensors by name."""
        return sum(region.of(tensors[region.parameter]).numel() for region in self.regions)


def merged(regions: Iterable[Region], tensors: Mapping[str, Tensor]) -> tuple[Region, ...]:
    """The union of regions as few of them without overlap, in the order of the tensors.

    Regions of one tensor all cut it along one dimension.
    """
    of_tensor: dict[str, list[Region]] = {}
    for region in regions:
        of_tensor.setdefault(region.parameter, []).append(region)
    return tuple(each for name in tensors if name in of_tensor for each in _joined(of_tensor[name], tensors[name]))


def _joined(regions: Sequence[Region], tensor: Tensor) -> list[Region]:
    name, dim = regions[0].parameter, regions[0].dim
    if any(region.dim is None for region in regions):
        return [Region(name)]
    if any(region.dim != dim for region in regions):
        raise ValueError(f"regions of {name} cut it along different dimensions")
    assert dim is not None
    joined: list[Region] = []
    for region in sorted(regions, key=lambda each: each.start):
        if joined and region.start <= joined[-1].stop:
            last = joined.pop()
            region = Region(name, dim, last.start, max(last.stop, region.stop))
        joined.append(region)
    whole = joined[0].start == 0 and joined[0].stop == tensor.shape[dim]
    return [Region(name)] if whole else joined
