"""Files of packed token ids: one integer tensor of the shape (n, context length), used as it is (safetensors)."""

from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from hf_llc.errors import SettingsError, SourceError

SUFFIX = ".safetensors"
NAMES = ("tokens", "input_ids")
"""Names of the tensor, where the file holds several."""
LARGEST_ID = 2**31 - 1


def read_token_file(path: Path, context_length: int | None, max_sequences: int) -> Tensor:
    """The ids as an int32 tensor (n, context length).

    Args:
        context_length: what was asked for; None takes the file's. max_sequences: the first so many; 0 takes all.

    Raises:
        SourceError: the file cannot be read. SettingsError: it holds no such tensor, or one of another context length.
    """
    try:
        with safe_open(path, framework="pt") as file:
            names = list(file.keys())
            name = next((each for each in NAMES if each in names), names[0] if len(names) == 1 else None)
            if name is None:
                raise SettingsError(f"{path} holds {len(names)} tensors; name the one of token ids {NAMES[0]}.")
            tokens = file.get_tensor(name)
    except (SafetensorError, OSError, ValueError) as error:
        raise SourceError(f"{path} cannot be read as safetensors ({type(error).__name__}).") from error
    if tokens.dim() != 2 or tokens.dtype.is_floating_point or tokens.dtype.is_complex or tokens.dtype == torch.bool:
        raise SettingsError(
            f"{path} must hold whole numbers of the shape (n, context length), got {tokens.dtype} of the shape "
            f"{tuple(tokens.shape)}."
        )
    if context_length not in {None, tokens.shape[1]}:
        raise SettingsError(
            f"context_length is {context_length}, but the sequences of {path} have {tokens.shape[1]} tokens; leave it "
            "out, or pack the ids anew."
        )
    if tokens.shape[1] < 2:
        raise SettingsError(f"{path} must hold sequences of 2 tokens or more, got {tokens.shape[1]}.")
    if tokens.numel() and not 0 <= int(tokens.min()) <= int(tokens.max()) <= LARGEST_ID:
        raise SettingsError(
            f"{path} must hold ids from 0 to {LARGEST_ID}, got {int(tokens.min())} to {int(tokens.max())}."
        )
    kept = tokens[:max_sequences] if max_sequences else tokens
    ids: Tensor = kept.to(torch.int32).contiguous()
    return ids
