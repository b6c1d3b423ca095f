"""Documents of token ids packed into the rows whose mean next-token loss is L_n."""

import hashlib
import sys
from array import array
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

PACKING = 2
"""Version of the packing; tokens that were packed under another one are not the same tokens."""


def pack(documents: Iterable[Sequence[int]], eos_id: int, context_length: int, max_sequences: int) -> Tensor:
    """(n, context_length) int32 token ids: every document followed by one EOS, all in a row, cut; the tail is dropped.

    Stops reading `documents` as soon as `max_sequences` rows are full; 0 means all. Empty documents leave no EOS.
    """
    stream = array("i")
    wanted = max_sequences * context_length
    for ids in documents:
        if len(ids) == 0:
            continue
        stream.extend(ids)
        stream.append(eos_id)
        if wanted and len(stream) >= wanted:
            break
    n = len(stream) // context_length
    if max_sequences:
        n = min(n, max_sequences)
    return torch.tensor(stream[: n * context_length], dtype=torch.int32).reshape(n, context_length)


def fingerprint(tokens: Tensor) -> str:
    """`sha256:<64 hex>` of a (n, context_length) array: its shape, then its values as little-endian int32."""
    values = array("i", tokens.to(torch.int32).contiguous().numpy().tobytes())
    if sys.byteorder == "big":
        values.byteswap()
    digest = hashlib.sha256(f"{tuple(tokens.shape)}".encode())
    digest.update(values.tobytes())
    return f"sha256:{digest.hexdigest()}"
