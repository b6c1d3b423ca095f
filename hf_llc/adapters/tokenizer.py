"""The tokenizers of checkpoints, and text as their token ids (transformers)."""

import hashlib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import transformers
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from hf_llc.adapters.checkpoint import folder_of, loading_options
from hf_llc.adapters.checkpoint_errors import explained, quiet
from hf_llc.adapters.model_files import has_tokenizer
from hf_llc.errors import UnusableError
from hf_llc.inputs import ModelSource

_BORDER = re.compile(r"\w(?= \w)")
BATCH_CHARACTERS = 1_000_000  # bounds the memory of one call of the tokenizer


def load_tokenizer(source: ModelSource) -> PreTrainedTokenizerBase:
    """The checkpoint's tokenizer; that of the folder above, if its own folder is a subfolder without one.

    Raises:
        UnusableError: it has none that transformers can read.
    """
    with quiet(), explained(source, "its tokenizer; copy the tokenizer files of the model that it was made from"):
        tokenizer = AutoTokenizer.from_pretrained(_tokenizer_folder(source), **loading_options(source))
    # Without files transformers makes one that knows its special tokens only, and so no text at all.
    assert isinstance(tokenizer, PreTrainedTokenizerBase)
    merges = getattr(getattr(tokenizer, "backend_tokenizer", None), "model", None)
    if getattr(merges, "dropout", None):
        # It is for training: with it the same text has other tokens each time.
        merges.dropout = None  # type: ignore[union-attr]
    if not tokenizer.get_vocab().keys() - tokenizer.get_added_vocab().keys():
        raise UnusableError(f"{source.id} has no tokenizer; copy tokenizer.json of the model that it was made from.")
    return tokenizer


def token_ids(tokenizer: PreTrainedTokenizerBase, texts: Iterable[str], enough: int = 0) -> Iterator[list[int]]:
    """The ids of each text, without special tokens and never cut to the model's length; texts are taken in batches.

    Args:
        enough: of one text no more than this many ids are needed, and the rest need not be looked at; 0 means all.
    """
    batch: list[str] = []
    characters = 0
    for text in texts:
        if len(text) > BATCH_CHARACTERS:
            yield from _batch_ids(tokenizer, batch)
            yield _long_ids(tokenizer, text, enough)
            batch, characters = [], 0
            continue
        batch.append(text)
        characters += len(text)
        if characters >= BATCH_CHARACTERS:
            yield from _batch_ids(tokenizer, batch)
            batch, characters = [], 0
    yield from _batch_ids(tokenizer, batch)


def _long_ids(tokenizer: PreTrainedTokenizerBase, text: str, enough: int) -> list[int]:
    """The ids of a text that is too long for the tokenizer's memory at once (about 130 bytes a character).

    It is cut before a blank between two words, where tokenizers of bytes see a border anyway.
    """
    ids: list[int] = []
    start = 0
    while start < len(text) and not (enough and len(ids) >= enough):
        stop = start + BATCH_CHARACTERS
        borders = [match.end() for match in _BORDER.finditer(text, stop - 1000, stop)] if stop < len(text) else []
        stop = borders[-1] if borders else stop
        ids += _batch_ids(tokenizer, [text[start:stop]])[0]
        start = stop
    return ids


def tokenizer_identity(tokenizer: PreTrainedTokenizerBase) -> str:
    """`sha256:<64 hex>` of everything that turns text into ids."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:
        content = backend.to_str()
    else:
        content = f"{type(tokenizer).__name__} {transformers.__version__} {sorted(tokenizer.get_vocab().items())}"
    return f"sha256:{hashlib.sha256(content.encode()).hexdigest()}"


def _batch_ids(tokenizer: PreTrainedTokenizerBase, batch: list[str]) -> list[list[int]]:
    if not batch:
        return []
    try:
        with quiet():
            found = tokenizer(
                batch, add_special_tokens=False, return_attention_mask=False, return_token_type_ids=False, verbose=False
            )
    except Exception as error:
        if type(error) is not Exception:  # which is what the tokenizers library raises, and nobody else
            raise
        raise UnusableError(
            f"The tokenizer cannot read the text ({error}); give it a token for what it does not know, or other text."
        ) from error
    ids: list[list[int]] = found["input_ids"]
    return ids


def _tokenizer_folder(source: ModelSource) -> Path:
    own = folder_of(source)
    if source.subfolder is None or has_tokenizer(entry.name for entry in own.iterdir()):
        return own
    return own.parents[len(Path(source.subfolder).parts) - 1]
