"""Weights that the files of a checkpoint hold more than once: equal copies do no harm (transformers)."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import WeightConverter, WeightRenaming, dot_natural_key, rename_source_key

from hf_llc.checkpoints.folder import Stored, read_tensor
from hf_llc.checkpoints.source import ModelSource
from hf_llc.errors import UnusableError


def refuse_duplicates(source: ModelSource, folder: Path, stored: Sequence[Stored], built: Any) -> None:
    """Raise UnusableError if two tensors of the files are the same weight of the model with different values.

    Args:
        folder: of the files. built: the model without its weights.
    """
    first: dict[tuple[str, str], Stored] = {}
    for tensor, weight in _weights(stored, built):
        other = first.setdefault(weight, tensor)
        if other is not tensor and not _equal(folder, other, tensor):
            raise UnusableError(
                f"{source.id} holds {weight[0]} twice with different values: {other.name} in {other.file} and "
                f"{tensor.name} in {tensor.file}; remove the one that was not trained from the weights."
            )


def _weights(stored: Sequence[Stored], built: Any) -> list[tuple[Stored, tuple[str, str]]]:
    """The tensors that transformers loads, each with the weight that it is, and the part of that weight."""
    conversions = get_model_conversion_mapping(built)
    renamings = [each for each in conversions if isinstance(each, WeightRenaming)]
    converters = [each for each in conversions if isinstance(each, WeightConverter)]
    prefix, expected = built.base_model_prefix, built.state_dict()
    weights = []
    # Some renamings depend on names that came before, in this order.
    for tensor in sorted(stored, key=lambda each: dot_natural_key(each.name)):
        name, pattern = rename_source_key(tensor.name, renamings, converters, prefix, expected)
        if name not in expected and tensor.name in expected:
            name, pattern = tensor.name, None
        if name in expected:
            # A converter makes one weight of several tensors, such as those of all experts.
            part = "" if pattern is None else re.sub(rf"^({re.escape(prefix)}\.)+", "", tensor.name)
            weights.append((tensor, (name, part)))
    return weights


def _equal(folder: Path, one: Stored, other: Stored) -> bool:
    if one.shape != other.shape:
        return False
    first, second = read_tensor(folder, one), read_tensor(folder, other)
    common = torch.promote_types(first.dtype, second.dtype)
    first, second = first.to(common), second.to(common)
    return bool(((first == second) | ((first != first) & (second != second))).all())
