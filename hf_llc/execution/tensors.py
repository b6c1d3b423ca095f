"""Lists of tensors on disk (safetensors) with a checksum of their values: as they were written, or absent."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from hf_llc.settings.files import write_atomically

_CHECKSUM = "checksum"


def write_tensors(path: Path, tensors: Sequence[Tensor]) -> None:
    """Puts the tensors at `path`, in order."""
    named = {f"{index:06d}": tensor.detach().cpu().contiguous() for index, tensor in enumerate(tensors)}
    write_atomically(path, save({**named, _CHECKSUM: _checksum(list(named.values()))}))


def read_tensors(path: Path) -> list[Tensor] | None:
    """The tensors of `write_tensors`, on the CPU; None if the file is not there or not as it was written."""
    try:
        named = load(path.read_bytes())
    except (FileNotFoundError, SafetensorError):
        return None
    checksum = named.pop(_CHECKSUM, None)
    tensors = [named[name] for name in sorted(named)]
    return tensors if checksum is not None and torch.equal(checksum, _checksum(tensors)) else None


def _checksum(tensors: Sequence[Tensor]) -> Tensor:
    """SHA-256 of types, shapes and contents, as 32 bytes."""
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(f"{tensor.dtype} {tuple(tensor.shape)} ".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return torch.tensor(list(digest.digest()), dtype=torch.uint8)
