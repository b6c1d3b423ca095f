"""The pre-tokenizer that a GGUF file names, where transformers builds another one (transformers, tokenizers)."""

from pathlib import Path
from typing import Any

from tokenizers import pre_tokenizers

_KEY = "tokenizer.ggml.pre"
_PLAIN = {None, "", "default", "gpt-2", "mpt", "olmo", "jais", "trillion", "granite-docling", "phi-2"}
"""Names of GPT-2's own pre-tokenizer, which transformers builds for every name that it does not know."""

_SINGLE_DIGITS = {"smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b"}
"""Names of GPT-2's pre-tokenizer with every digit apart (`llama_vocab::impl::load` of llama.cpp, llama-vocab.cpp)."""


def repair_pre_tokenizer(path: Path, tokenizer: Any) -> str | None:
    """Give the tokenizer the pre-tokenizer that the GGUF file names, as far as it is known how it works.

    Args:
        path: the GGUF file. tokenizer: what transformers built of it; changed in place.

    Returns:
        What the user must know, if the file names one that neither transformers nor this module knows.
    """
    try:
        from transformers.integrations.gguf.gguf_tokenizer_mapping import GGUF_PRE_TOKENIZER_SPLITS
        from transformers.integrations.gguf.reader import read_gguf_metadata
    except ImportError:  # an older transformers
        return None
    metadata, _ = read_gguf_metadata(str(path))
    name = metadata.get(_KEY)
    if metadata.get("tokenizer.ggml.model") != "gpt2" or name in _PLAIN or name in GGUF_PRE_TOKENIZER_SPLITS:
        return None
    if name in _SINGLE_DIGITS:
        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Digits(individual_digits=True),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
            ]
        )
        return None
    return (
        f"The GGUF file splits text by rules ({name!a}) that transformers does not have; its tokens may not be the "
        f"model's. Put the model's tokenizer.json into {path.parent} to be sure."
    )
