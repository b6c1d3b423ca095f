"""Files of token ids: an integer tensor of the shape (n, context length), used as it is, and labels (safetensors)."""

from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from hf_llc.errors import SettingsError, SourceError

SUFFIX = ".safetensors"
NAMES = ("tokens", "input_ids")
"""Names of the tensor, where the file holds several."""
LARGEST_ID = 2**31 - 1
LABELS, MASK = "labels", "attention_mask"
"""Names of tensors beside it: the ids of the tokens that count, IGNORED elsewhere, and where there are tokens."""
IGNORED = -100


def read_token_file(path: Path, context_length: int | None, max_sequences: int) -> tuple[Tensor, Tensor | None]:
    """The ids as an int32 tensor (n, context length), and the labels of the same shape, if the file has any.

    Args:
        context_length: what was asked for; None takes the file's. max_sequences: the first so many; 0 takes all.

    Raises:
        SourceError: the file cannot be read. SettingsError: it holds no such tensor, or one of another context length,
            or labels or a mask that do not fit.
    """
    try:
        with safe_open(path, framework="pt") as file:
            names = list(file.keys())
            name = next((each for each in NAMES if each in names), names[0] if len(names) == 1 else None)
            if name is None:
                raise SettingsError(f"{path} holds {len(names)} tensors; name the one of token ids {NAMES[0]}.")
            tokens = file.get_tensor(name)
            labels = file.get_tensor(LABELS) if LABELS in names else None
            mask = file.get_tensor(MASK) if MASK in names else None
    except (SafetensorError, OSError, ValueError) as error:
        raise SourceError(f"{path} cannot be read as safetensors ({type(error).__name__}).") from error
    _refuse_other_tensor(tokens, str(path))
    if context_length not in {None, tokens.shape[1]}:
        raise SettingsError(
            f"context_length is {context_length}, but the sequences of {path} have {tokens.shape[1]} tokens; leave it "
            "out, or pack the ids anew."
        )
    if tokens.shape[1] < 2:
        raise SettingsError(f"{path} must hold sequences of 2 tokens or more, got {tokens.shape[1]}.")
    _refuse_other_ids(tokens, str(path))
    if labels is not None:
        labels = checked_labels(tokens, labels, mask, str(path))
    kept = slice(max_sequences or None)
    ids: Tensor = tokens[kept].to(torch.int32).contiguous()
    return ids, None if labels is None else labels[kept].to(torch.int32).contiguous()


def checked_labels(tokens: Tensor, labels: Tensor, mask: Tensor | None, name: str) -> Tensor:
    """The labels.

    Args:
        tokens: (n, length). mask: 1 where there is a token and 0 where there is padding. name: for messages.

    Raises:
        SettingsError: labels are of another shape, or no ids and not IGNORED, or padding is not behind the tokens or
            counts.
    """
    _refuse_other_tensor(labels, f"{LABELS} of {name}")
    if labels.shape != tokens.shape:
        raise SettingsError(
            f"{LABELS} of {name} must have the shape of the ids, {tuple(tokens.shape)}, got {tuple(labels.shape)}."
        )
    _refuse_other_ids(labels.masked_fill(labels == IGNORED, 0), f"{LABELS} of {name}")
    if mask is not None:
        if mask.shape != tokens.shape or bool((mask[:, 1:] > mask[:, :-1]).any()):
            raise SettingsError(
                f"{MASK} of {name} must be 1 at the tokens of a row and 0 behind them: pad on the right."
            )
        if bool(((mask == 0) & (labels != IGNORED)).any()):
            raise SettingsError(f"{LABELS} of {name} must be {IGNORED} where {MASK} is 0.")
    return labels


def _refuse_other_tensor(tensor: Tensor, name: str) -> None:
    whole = not (tensor.dtype.is_floating_point or tensor.dtype.is_complex or tensor.dtype == torch.bool)
    if tensor.dim() != 2 or not whole:
        raise SettingsError(
            f"{name} must hold whole numbers of the shape (n, context length), got {tensor.dtype} of the shape "
            f"{tuple(tensor.shape)}."
        )


def _refuse_other_ids(ids: Tensor, name: str) -> None:
    if ids.numel() and not 0 <= int(ids.min()) <= int(ids.max()) <= LARGEST_ID:
        raise SettingsError(f"{name} must hold ids from 0 to {LARGEST_ID}, got {int(ids.min())} to {int(ids.max())}.")
