"""Rows that a Trainer's dataset has tokenized, as packed token ids."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from hf_llc.errors import SettingsError
from hf_llc.tasks.text_generation.packing import pack

COLUMN = "input_ids"


def are_tokenized(rows: Any) -> bool:
    """True if the first of these rows is a mapping with token ids."""
    if isinstance(rows, Tensor | Iterator) or (not isinstance(rows, Iterable) and not hasattr(rows, "__getitem__")):
        return False
    first = next(iter(rows), None)
    return isinstance(first, Mapping) and COLUMN in first


def packed(rows: Iterable[Mapping[str, Any]], eos_id: int | None, longest: int, limit: int) -> Tensor:
    """(n, context length) int32 token ids of tokenized rows, without their padding.

    Rows of one length are the sequences. Rows of several lengths are joined, each followed by one EOS, and cut into
    sequences as long as the longest of them.

    Args:
        rows: with `input_ids`, and an `attention_mask` where they are padded. eos_id: None if there is none.
        longest: tokens at which sequences are cut. limit: the most sequences; 0 takes all.

    Raises:
        SettingsError: there are no tokens, or rows of several lengths and no EOS.
    """
    # Short rows fill fewer sequences than there are rows.
    documents = [_unpadded(row) for row in (islice(rows, 4 * limit) if limit else rows)]
    lengths = {len(ids) for ids in documents}
    if not lengths or max(lengths) < 2:
        raise SettingsError("The Trainer's dataset has no tokens: give the callback texts or token ids as data.")
    length = min(longest, max(lengths))
    if lengths == {length}:
        return torch.tensor(documents[: limit or None], dtype=torch.int32)
    if eos_id is None:
        raise SettingsError(
            f"The rows of the Trainer's dataset have {min(lengths)} to {max(lengths)} tokens, and there is no EOS "
            "token to join them with: give the callback texts or token ids of shape (n, context length) as data."
        )
    return pack(documents, eos_id, length, limit)


def _unpadded(row: Mapping[str, Any]) -> list[int]:
    ids = torch.as_tensor(row[COLUMN]).flatten()
    mask = row.get("attention_mask")
    kept: list[int] = (ids if mask is None else ids[torch.as_tensor(mask).flatten().bool()]).tolist()
    return kept
