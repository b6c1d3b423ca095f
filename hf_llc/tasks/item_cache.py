"""Items as tensors by name, kept on disk, so that every process and every run reads the same ones (safetensors)."""

import hashlib
import json
import os
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from hf_llc.checkpoints.source import Corpus
from hf_llc.errors import ResourceError
from hf_llc.hub.reference import Reference
from hf_llc.settings.data import DataSettings

Tell = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class StoredItems:
    """Tensors of items by name, a row an item, their fingerprint, and what was noted with them."""

    items: Mapping[str, Tensor]
    fingerprint: str
    notes: Mapping[str, str]


def inputs_of_table(data: DataSettings, reference: Reference, revision: str, **others: Any) -> dict[str, Any]:
    """What items of a table are made from: the table, which of its rows and columns, and what else the task names."""
    return {
        "dataset": reference.id if reference.path is None else reference.path.name,
        "revision": revision,
        "config": data.config,
        "split": data.split,
        "columns": [data.text_column, data.label_column],
        "max_sequences": data.max_sequences,
        **others,
    }


def fingerprint(items: Mapping[str, Tensor]) -> str:
    """`sha256:<64 hex>` of names, types, shapes and numbers."""
    digest = hashlib.sha256()
    for name, tensor in sorted(items.items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\0".encode())
        numbers: Any = tensor.contiguous().numpy()
        digest.update(numbers.data.cast("B"))
    return f"sha256:{digest.hexdigest()}"


def write(path: Path, stored: StoredItems) -> StoredItems:
    """Puts the tensors on disk, and says with which fingerprint; writers of the same file do not disturb each other.

    Raises:
        ResourceError: the disk is full or may not be written.
    """
    mark = fingerprint(stored.items)
    temporary = path.parent / f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(dict(stored.items), temporary, metadata={**stored.notes, "fingerprint": mark})
        os.replace(temporary, path)
    except (OSError, SafetensorError) as error:
        raise ResourceError(
            f"The items cannot be kept at {path} ({getattr(error, 'strerror', None) or error}); free some space, or "
            "set HF_HOME to another disk."
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
    return StoredItems(items=stored.items, fingerprint=mark, notes=stored.notes)


def read(path: Path, tell: Tell) -> StoredItems | None:
    """The tensors; None if they are not there, or not those that were written, and then `tell` says so."""
    try:
        with safe_open(path, framework="pt") as file:
            notes = dict(file.metadata() or {})
            items = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError:
        return None
    except (SafetensorError, OSError, ValueError) as error:
        tell(f"{path} is damaged ({type(error).__name__}); the items are made again.")
        return None
    if fingerprint(items) != notes.get("fingerprint"):
        tell(f"{path} does not match its fingerprint; the items are made again.")
        return None
    return StoredItems(items=items, fingerprint=notes["fingerprint"], notes=notes)


def load(corpus: Corpus) -> Mapping[str, Tensor]:
    """The tensors of a corpus, checked against its fingerprint.

    Raises:
        ResourceError: the file is gone or no longer the same.
    """
    stored = read(corpus.path, lambda message: None)
    if stored is None or stored.fingerprint != corpus.fingerprint:
        raise ResourceError(f"The items at {corpus.path} have disappeared or changed; run the same command again.")
    return stored.items


def corpus_of(
    stored: StoredItems,
    path: Path,
    data: DataSettings,
    *,
    id: str,
    revision: str,
    column: str,
    context_length: int,
    tell: Tell,
    label_column: str | None = None,
    loss_of_guessing: float | None = None,
) -> Corpus:
    """What a run has to know of these items, whose remarks are told.

    Args:
        stored: with the note `remarks`, a JSON list. path: its file. id, revision, column, label_column: where the
            items are from.
        loss_of_guessing: see `Corpus`.
    """
    remarks = tuple(json.loads(stored.notes["remarks"]))
    for remark in remarks:
        tell(remark)
    return Corpus(
        id=id,
        revision=revision,
        config=data.config,
        split=data.split,
        text_column=column,
        fingerprint=stored.fingerprint,
        n=len(next(iter(stored.items.values()))),
        context_length=context_length,
        path=path,
        remarks=remarks,
        label_column=label_column,
        loss_of_guessing=loss_of_guessing,
    )
