"""Packed tokens kept on disk, so that every process and every later run reads the same ones (safetensors)."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from hf_llc.errors import ResourceError
from hf_llc.settings.files import write_atomically

Tell = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class StoredTokens:
    """(n, context_length) int32 tokens, their fingerprint, and what was noted with them."""

    tokens: Tensor
    fingerprint: str
    notes: dict[str, str]


def path_of(folder: Path, inputs: Mapping[str, object]) -> Path:
    """The file for tokens made from `inputs`, which must name everything that can change them."""
    text = json.dumps(inputs, sort_keys=True)
    return folder / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.safetensors"


def write(path: Path, stored: StoredTokens) -> None:
    """Puts the tokens on disk. Writers of the same tokens do not disturb each other.

    Raises:
        ResourceError: the disk is full or may not be written.
    """
    content = save({"tokens": stored.tokens}, metadata={**stored.notes, "fingerprint": stored.fingerprint})
    try:
        write_atomically(path, content)
    except OSError as error:
        raise ResourceError(
            f"The tokens cannot be kept at {path} ({error.strerror}); free some space, or set HF_HOME to another disk."
        ) from error


def read(path: Path, fingerprint_of: Callable[[Tensor], str], tell: Tell) -> StoredTokens | None:
    """The tokens; None if they are not there, or not those that were written, and then `tell` says so."""
    try:
        with safe_open(path, framework="pt") as file:
            notes = dict(file.metadata() or {})
            tokens = file.get_tensor("tokens")
    except FileNotFoundError:
        return None
    except (SafetensorError, OSError, ValueError) as error:
        tell(f"{path} is damaged ({type(error).__name__}); the text is tokenized again.")
        return None
    fingerprint = notes.pop("fingerprint", "")
    if fingerprint_of(tokens) != fingerprint:
        tell(f"{path} does not match its fingerprint; the text is tokenized again.")
        return None
    return StoredTokens(tokens=tokens, fingerprint=fingerprint, notes=notes)
