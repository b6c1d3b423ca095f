"""Rows that a Trainer's dataset has tokenized, as packed token ids."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from hf_llc.errors import SettingsError
from hf_llc.tasks.text.token_file import IGNORED, LABELS
from hf_llc.tasks.text_generation.packing import pack

COLUMN = "input_ids"
MASKS = ("assistant_masks", "completion_mask")
"""Columns of TRL that are 1 at the tokens that count."""


def are_tokenized(rows: Any) -> bool:
    """True if the first of these rows is a mapping with token ids."""
    if isinstance(rows, Tensor | Iterator) or (not isinstance(rows, Iterable) and not hasattr(rows, "__getitem__")):
        return False
    first = next(iter(rows), None)
    return isinstance(first, Mapping) and COLUMN in first


def labelled(rows: Iterable[Mapping[str, Any]], longest: int, limit: int) -> dict[str, Tensor] | None:
    """Tokenized rows as token ids and labels, padded on the right; None if all tokens of the first row count.

    What does not count is IGNORED in `labels`, or where there are none 0 in one of MASKS.

    Args:
        rows: with `input_ids`, and an `attention_mask` where they are padded. longest: tokens at which rows are cut.
            limit: the most rows; 0 takes all.
    """
    sequences: list[tuple[list[int], list[int]]] = []
    for row in islice(rows, limit or None):
        ids, labels = _unpadded(row), _labels_of(row)
        if labels is None or (not sequences and IGNORED not in labels):
            return None
        sequences.append((ids[:longest], labels[:longest]))
    if not sequences:
        return None
    width = max(len(ids) for ids, _ in sequences)
    return {
        COLUMN: torch.tensor([[*ids, *[0] * (width - len(ids))] for ids, _ in sequences]),
        LABELS: torch.tensor([[*labels, *[IGNORED] * (width - len(labels))] for _, labels in sequences]),
    }


def _labels_of(row: Mapping[str, Any]) -> list[int] | None:
    """The labels of a row without its padding; None if it says nothing of which tokens count."""
    if row.get(LABELS) is not None:
        return _unpadded({**row, COLUMN: row[LABELS]})
    masks = [torch.as_tensor(row[name]).flatten().bool() for name in MASKS if row.get(name) is not None]
    if not masks:
        return None
    counts = torch.stack(masks).all(dim=0)
    ids = torch.as_tensor(row[COLUMN]).flatten()
    return _unpadded({**row, COLUMN: ids.masked_fill(~counts, IGNORED)})


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
