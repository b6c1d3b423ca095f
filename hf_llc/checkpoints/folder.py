"""A model's folder on this disk: the files in it, those that are loaded, and the tensors they hold (safetensors)."""

import os
import pickle
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import is_zipfile

import torch
from safetensors import SafetensorError, safe_open

from hf_llc.checkpoints.files import ModelFiles, choose
from hf_llc.errors import UnusableError, listed

SHARD_DEPTH = 4
"""Levels of folders in which the shards that an index names are looked for."""
_UNREADABLE = (OSError, RuntimeError, ValueError, EOFError, LookupError, TypeError, AttributeError, ArithmeticError)
_FLOATS = {"F64", "F32", "F16", "BF16", "float64", "float32", "float16", "bfloat16"}


@dataclass(frozen=True, kw_only=True)
class Stored:
    """A tensor as a file of weights announces it: `dtype` in the words of the format, `file` the name of the file."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    file: str

    @property
    def is_float(self) -> bool:
        """True for types of 16 bits or more that weights are computed with; not for 8 bits, which need a scale."""
        return self.dtype in _FLOATS

    @property
    def size(self) -> int:
        """The number of its elements."""
        return int(torch.Size(self.shape).numel())


def names_in(folder: Path, depth: int = 2) -> list[str]:
    """Files of a folder and of those inside it, that many levels, by their paths from it."""
    names = []
    for directory, folders, files in os.walk(folder):
        relative = Path(directory).relative_to(folder)
        names += [(relative / name).as_posix() for name in files]
        if len(relative.parts) >= depth - 1:
            folders.clear()
    return names


def chosen_in(folder: Path, *, gguf_file: str | None = None, trust_remote_code: bool = False) -> ModelFiles:
    """What is read of a folder on this disk, see `files.choose`.

    Raises:
        NotFoundError, UnusableError: see `files.choose`.
        OSError: the shard index cannot be read.
    """
    names = names_in(folder)
    if any(name.endswith(".index.json") for name in names):
        names += names_in(folder, SHARD_DEPTH)
    return choose(
        names,
        gguf_file=gguf_file,
        trust_remote_code=trust_remote_code,
        read=lambda name: (folder / name).read_bytes(),
    )


def stored_tensors(folder: Path, weights: Sequence[str]) -> list[Stored]:
    """What the files of weights hold, by their headers; of a GGUF file nothing.

    Raises:
        UnusableError: naming the file that is missing, damaged or cut short.
    """
    tensors: list[Stored] = []
    for name in weights:
        path = folder / name
        if not path.is_file():
            raise UnusableError(f"{path}, a part of the weights, is missing; download the model again.")
        if name.endswith(".safetensors"):
            tensors += _of_safetensors(path, name)
        elif name.endswith(".bin"):
            tensors += _of_pickle(path, name)
    return tensors


def read_tensor(folder: Path, tensor: Stored) -> torch.Tensor:
    """The values of one tensor of a file whose header has been read."""
    path = folder / tensor.file
    if tensor.file.endswith(".safetensors"):
        with safe_open(path, framework="pt") as file:
            values: torch.Tensor = file.get_tensor(tensor.name)
    else:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=is_zipfile(path))
        values = next(value for key, value in content.items() if str(key) == tensor.name)
    return values


def _of_safetensors(path: Path, name: str) -> list[Stored]:
    try:
        # The library bounds the length of the header, and compares the end of the file with what the header says.
        with safe_open(path, framework="pt") as file:
            slices = {key: file.get_slice(key) for key in file.keys()}  # noqa: SIM118
            return [
                Stored(name=key, dtype=each.get_dtype(), shape=tuple(each.get_shape()), file=name)
                for key, each in slices.items()
            ]
    except (SafetensorError, ValueError, OverflowError) as error:
        raise UnusableError(
            f"{path} is damaged (cut short, or not safetensors); delete it and download the model again."
        ) from error


def _of_pickle(path: Path, name: str) -> list[Stored]:
    try:
        content = _load_on_meta(path)
    except pickle.UnpicklingError as error:
        raise UnusableError(
            f"{path} is damaged, or holds Python objects beside tensors, which may run code and are never "
            "loaded; load it yourself if you trust it, and save the weights alone as safetensors "
            "(`save_pretrained`)."
        ) from error
    except _UNREADABLE as error:
        raise UnusableError(
            f"{path} is damaged (cut short, or not written by torch); download the model again."
        ) from error
    if not isinstance(content, Mapping):
        raise UnusableError(f"{path} holds a {type(content).__name__} instead of tensors by name; save a state_dict.")
    others = [str(key) for key, value in content.items() if not isinstance(value, torch.Tensor)]
    if others:
        raise UnusableError(
            f"{path} holds {listed(others)} beside or around its tensors; save the state_dict of the model alone."
        )
    return [
        Stored(name=str(key), dtype=str(value.dtype).removeprefix("torch."), shape=tuple(value.shape), file=name)
        for key, value in content.items()
    ]


def _load_on_meta(path: Path) -> Any:
    """The pickled content without the numbers of its tensors."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what torch means to change in later versions
        # Files of torch before 1.6 are no zip archives, which cannot be mapped into memory.
        return torch.load(path, map_location="meta", weights_only=True, mmap=is_zipfile(path))
