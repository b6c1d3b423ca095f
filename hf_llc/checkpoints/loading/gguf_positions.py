"""Rotary positions that a GGUF file scales, where transformers builds plain ones (transformers)."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy
import torch
import transformers
from torch import Tensor
from transformers.integrations.gguf.reader import GgufHeader, read_gguf_metadata

from hf_llc.checkpoints.source import ModelSource
from hf_llc.errors import UnusableError

_DIVISORS = "rope_freqs.weight"
"""By which llama.cpp divides every rotary frequency (`ggml_rope_ext`, ggml.h): how Llama 3.1 and later scale them."""
_FLOAT32 = 0  # of the types of ggml


def scale_positions(source: ModelSource, path: Path, model: Any) -> None:
    """Divide the model's rotary frequencies as the GGUF file says, which transformers does not read for most models.

    Raises:
        UnusableError: the file scales positions in another way than transformers builds them.
    """
    metadata, _ = read_gguf_metadata(str(path))
    if set(_kinds(getattr(model.config.get_text_config(), "rope_parameters", None))) - {"default"}:
        return
    header = GgufHeader.from_file(str(path))
    scaling = _scaling(metadata, header.architecture, [each.name for each in header.tensors])
    divisors = next((each for each in header.tensors if each.name == _DIVISORS), None)
    if scaling is None and divisors is not None:
        if divisors.ggml_type != _FLOAT32:
            scaling = f"{_DIVISORS} of another type than float32"
        else:
            start, count = header.data_start + divisors.offset, divisors.nbytes // 4
            values = torch.from_numpy(numpy.fromfile(path, dtype="<f4", count=count, offset=start))
            if (values == 1).all() or _divide(model, values):
                return
            scaling = f"{_DIVISORS} of {count} numbers"
    if scaling is not None:
        raise UnusableError(
            f"{source.id}: its GGUF file scales rotary positions ({scaling}), which transformers "
            f"{transformers.__version__} does not read; name the model in full precision."
        )


def _kinds(parameters: Any) -> Iterator[str]:
    """Every `rope_type` in what a config says of rotary positions, for some models one for each type of layer."""
    if isinstance(parameters, Mapping):
        if "rope_type" in parameters:
            yield str(parameters["rope_type"])
        for inner in parameters.values():
            yield from _kinds(inner)


def _scaling(metadata: Mapping[str, Any], architecture: str, tensors: list[str]) -> str | None:
    """How the metadata says that positions are scaled; None if they are not."""
    key = f"{architecture}.rope"
    kind = metadata.get(f"{key}.scaling.type")
    factor = metadata.get(f"{key}.scaling.factor", metadata.get(f"{key}.scale_linear", 1.0))
    if kind != "none" and factor not in {0.0, 1.0}:
        return f"{kind or 'linear'}, factor {factor:g}"
    return next((name for name in tensors if name.startswith("rope_factors_")), None)


def _divide(model: Any, divisors: Tensor) -> bool:
    """Divide every table of rotary frequencies of that size; False if there is none."""
    tables = [
        buffer
        for name, buffer in model.named_buffers()
        if name.rpartition(".")[2] == "inv_freq" and buffer.shape == divisors.shape
    ]
    for table in tables:
        table.div_(divisors.to(table.device))
    return bool(tables)
