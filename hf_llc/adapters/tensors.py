"""Lists of tensors on disk (safetensors), whole or absent."""

from collections.abc import Sequence
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from hf_llc.adapters.store import write_atomically


def write_tensors(path: Path, tensors: Sequence[Tensor]) -> None:
    """Puts the tensors at `path`, in order."""
    named = {f"{index:06d}": tensor.detach().cpu().contiguous() for index, tensor in enumerate(tensors)}
    write_atomically(path, save(named))


def read_tensors(path: Path) -> list[Tensor] | None:
    """The tensors that `write_tensors` put there, on the CPU; None if the file is not there or not whole."""
    try:
        named = load(path.read_bytes())
    except (FileNotFoundError, SafetensorError):
        return None
    return [named[name] for name in sorted(named)]
