"""Items of a task kept on disk, so that every process and every later run reads the same ones (safetensors)."""

import hashlib
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from hf_llc.checkpoints.source import Corpus
from hf_llc.errors import ResourceError
from hf_llc.hub import client
from hf_llc.settings.files import write_atomically


@dataclass(frozen=True, kw_only=True)
class Items:
    """Tensors by name, a row an item.

    Attributes:
        remarks: sentences that a reader of the numbers must know about them. notes: other facts, by name.
    """

    tensors: Mapping[str, Tensor]
    remarks: Sequence[str] = ()
    notes: Mapping[str, str] = field(default_factory=dict)

    @property
    def fingerprint(self) -> str:
        """`sha256:<64 hex>` of names, types, shapes and little-endian values."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.tensors.items()):
            values = tensor.contiguous().numpy()
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\0".encode())
            digest.update((values.byteswap() if sys.byteorder == "big" else values).tobytes())
        return f"sha256:{digest.hexdigest()}"


def path_of(inputs: Mapping[str, object]) -> Path:
    """The file for items made from `inputs`, which must name everything that can change them."""
    text = json.dumps(inputs, sort_keys=True)
    return client.home() / "items" / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.safetensors"


def write(path: Path, items: Items) -> None:
    """Put the items on disk. Writers of the same items do not disturb each other.

    Raises:
        ResourceError: the disk is full or may not be written.
    """
    metadata = {**items.notes, "remarks": json.dumps(list(items.remarks)), "fingerprint": items.fingerprint}
    try:
        write_atomically(path, save(dict(items.tensors), metadata=metadata))
    except OSError as error:
        raise ResourceError(
            f"The items cannot be kept at {path} ({error.strerror}); free some space, or set HF_HOME to another disk."
        ) from error


def read(path: Path, tell: Callable[[str], None]) -> Items | None:
    """The items; None if they are not there, or not those that were written, and then `tell` says so."""
    try:
        with safe_open(path, framework="pt") as file:
            notes = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        remarks = json.loads(notes.pop("remarks", "[]"))
    except FileNotFoundError:
        return None
    except (SafetensorError, OSError, ValueError) as error:
        tell(f"{path} is damaged ({type(error).__name__}); the items are made again.")
        return None
    fingerprint = notes.pop("fingerprint", "")
    items = Items(tensors=tensors, remarks=remarks, notes=notes)
    if items.fingerprint != fingerprint:
        tell(f"{path} does not match its fingerprint; the items are made again.")
        return None
    return items


def load(corpus: Corpus) -> Mapping[str, Tensor]:
    """The tensors of a corpus, checked against its fingerprint.

    Raises:
        ResourceError: the file is gone or no longer the same.
    """
    items = read(corpus.path, lambda message: None)
    if items is None or items.fingerprint != corpus.fingerprint:
        raise ResourceError(f"The items at {corpus.path} have disappeared or changed; run the same command again.")
    return items.tensors
