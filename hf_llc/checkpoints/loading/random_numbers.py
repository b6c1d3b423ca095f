"""Random numbers that a model's code may draw while it is built (torch, numpy, Python's own)."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy
import torch

NUMBERS = (numpy.ndarray, numpy.floating, float, complex)
"""What code may draw at random beside tensors; not whole numbers, by which some code counts its layers."""


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """torch on the CPU, numpy and Python draw from this seed inside the block, and go on as before after it."""
    of_python, of_numpy = random.getstate(), numpy.random.get_state()
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # and not those of GPUs, as torch.manual_seed does
        numpy.random.seed(seed)
        random.seed(seed)
        try:
            yield
        finally:
            random.setstate(of_python)
            numpy.random.set_state(of_numpy)


def same_numbers(one: Any, other: Any) -> bool:
    """True for equal arrays or numbers of the same type and shape, NaN equal to NaN."""
    first, second = numpy.asarray(one), numpy.asarray(other)
    if first.dtype != second.dtype or first.shape != second.shape:
        return False
    if first.dtype.hasobject:  # which may have any idea of equality
        return True
    return numpy.array_equal(first, second, equal_nan=first.dtype.kind in "fc")
