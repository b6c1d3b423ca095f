"""Tensors of a GGUF file that transformers drops without a word (transformers)."""

import re
from pathlib import Path
from typing import Any

import transformers
from transformers import modeling_gguf_pytorch_utils
from transformers.integrations.gguf.reader import read_gguf_metadata
from transformers.integrations.gguf.utils import is_gguf_arch_supported

from hf_llc.checkpoints.source import ModelSource
from hf_llc.errors import UnusableError, listed

_GGUF: Any = modeling_gguf_pytorch_utils
_POSITIONS = re.compile(r"rope_freqs\.weight|rope_factors_(long|short)\.weight|blk\.\d+\.attn_rot_embd\.weight")
"""Tables of positions: those that scale them are read or refused elsewhere, the others are computed from the config."""
_EXPERTS = "_exps.weight"


def refuse_dropped(source: ModelSource, path: Path, model: Any) -> None:
    """Raise UnusableError if the file holds tensors that the model did not take.

    Args:
        path: the GGUF file. model: what transformers loaded of it.
    """
    metadata, names = read_gguf_metadata(str(path))
    architecture = metadata["general.architecture"]
    if is_gguf_arch_supported(architecture):
        return  # there transformers tells which tensors were left
    processor = _GGUF.TENSOR_PROCESSORS.get(architecture, _GGUF.TensorProcessor)(config={})
    mapped_names = _GGUF.get_gguf_hf_weights_map(model, processor).keys()
    # transformers names the experts of all but a few models without `.weight`.
    experts = {name for name in names if name.endswith(_EXPERTS) and name.removesuffix(".weight") in mapped_names}
    dropped = sorted(name for name in {*names} - mapped_names - experts if not _POSITIONS.fullmatch(name))
    if dropped:
        raise UnusableError(
            f"{source.id}: its GGUF file holds tensors that the {type(model).__name__} of transformers "
            f"{transformers.__version__} does not take: {listed(dropped)}; without them it is another "
            "model. Name the model in full precision."
        )
