"""The weights in pieces for torch's list operations: many small tensors together, large ones in blocks on a CPU.

What is done to a piece happens in the processor's cache, and takes one call however many tensors it has. Elementwise
results are, bit for bit, those of whole tensors.
"""

from collections.abc import Iterator, Sequence

from torch import Tensor

BLOCK = 2**15
"""Elements of a block: 128 KiB in float32. A multiple of 16, as which normal numbers are made on a CPU: drawn block by
block they are, bit for bit, those drawn at once."""
GROUP, GROUP_OFF_CPU = 2 * BLOCK, 2**24
"""Elements of tensors taken together, which bounds what is made beside them."""


def tensor_groups(*lists: Sequence[Tensor]) -> Iterator[tuple[list[Tensor], ...]]:
    """Neighbouring tensors, the same ones of each list: one, or as many as have GROUP elements together."""
    first, tensors = 0, lists[0]
    limit = GROUP if tensors and tensors[0].device.type == "cpu" else GROUP_OFF_CPU
    while first < len(tensors):
        after, elements = first + 1, tensors[first].numel()
        while after < len(tensors) and (elements := elements + tensors[after].numel()) <= limit:
            after += 1
        yield tuple(list(each[first:after]) for each in lists)
        first = after


def tensor_blocks(*tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Equal parts of tensors of one shape: on a CPU views of BLOCK elements, the last one of up to twice that."""
    count = tensors[0].numel() // BLOCK
    if count < 2 or not all(tensor.device.type == "cpu" and tensor.is_contiguous() for tensor in tensors):
        yield tensors
        return
    sizes = [BLOCK] * (count - 1)
    sizes.append(tensors[0].numel() - sum(sizes))
    yield from zip(*(tensor.view(-1).split(sizes) for tensor in tensors), strict=True)


def tensor_chunks(*lists: Sequence[Tensor]) -> Iterator[tuple[list[Tensor], ...]]:
    """Groups of tensors, and large ones block by block, each as a list: the same parts of each list."""
    for group in tensor_groups(*lists):
        if len(group[0]) > 1:
            yield group
        else:
            for parts in tensor_blocks(*(tensors[0] for tensors in group)):
                yield tuple([part] for part in parts)
