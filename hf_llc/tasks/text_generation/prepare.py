"""From a user's words to a checkpoint on this disk and packed tokens on this disk, both pinned."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from hf_llc.checkpoints.identity import dataset_revision, readable
from hf_llc.checkpoints.loading.config import CAUSAL
from hf_llc.checkpoints.loading.load import Facts, facts
from hf_llc.checkpoints.source import Corpus, ModelSource
from hf_llc.errors import ResourceError, SettingsError, UnusableError
from hf_llc.hub import client
from hf_llc.hub.digests import local_identity
from hf_llc.hub.errors import endpoint
from hf_llc.hub.reference import Reference, parse_dataset
from hf_llc.settings.data import MAX_DEFAULT_CONTEXT, DataSettings
from hf_llc.tasks.text import token_cache, token_file
from hf_llc.tasks.text.encoding import token_ids
from hf_llc.tasks.text.tokenizer import load_tokenizer
from hf_llc.tasks.text_generation.packing import PACKING, fingerprint, pack

if TYPE_CHECKING:
    from hf_llc.tasks.text.documents import Documents

Tell = Callable[[str], None]
MIN_SEQUENCES = 2


def _silent(message: str) -> None:
    """Ignore the message."""


def find_corpus(
    data: DataSettings, source: ModelSource, *, tokenizer: ModelSource | None = None, tell: Tell = _silent
) -> Corpus:
    """The text as packed tokens of the model's tokenizer, on this disk; made once for the same inputs.

    Args:
        tokenizer: where the tokenizer is, if not with the model itself.

    Raises:
        SettingsError: a context length above the model's.
        SourceError, UnusableError, ResourceError: the text cannot be read or used, or gives fewer than 2 sequences.
    """
    # First the config: transformers reads it for the tokenizer too, and what is wrong with it is no fault of that.
    known = facts(source, CAUSAL)
    reference = parse_dataset(data.dataset, data.revision, endpoint())
    if reference.path is not None and _is_ready(reference):
        return _ready_tokens(reference.path, data, known, source.id, tell)
    encoder = load_tokenizer(tokenizer or source)
    context_length = _context_length(data.context_length, known.context_limit, source.id)
    eos_id = known.eos_token_id if encoder.eos_token_id is None else encoder.eos_token_id
    if eos_id is None:
        raise UnusableError(f"{source.id} names no end-of-text token; set eos_token in its tokenizer_config.json.")
    revision = dataset_revision(reference, tell)
    inputs = {
        "packing": PACKING,
        "dataset": reference.id if reference.path is None else reference.path.name,
        "revision": revision,
        "config": data.config,
        "split": data.split,
        "text_column": data.text_column,
        "tokenizer": encoder.identity,
        "eos": eos_id,
        "context_length": context_length,
        "max_sequences": data.max_sequences,
    }
    path = token_cache.path_of(client.home() / "tokens", inputs)
    stored = token_cache.read(path, fingerprint, tell)
    if stored is None:
        documents = open_documents(reference, data, revision, tell)
        counter = _Counter(token_ids(encoder, documents.texts, enough=data.max_sequences * context_length))
        tokens = pack(counter, eos_id, context_length, data.max_sequences)
        remarks = [*documents.remarks(), *encoder.remarks]
        _refuse_too_few(reference.id, tokens, counter.tokens, context_length, remarks)
        notes = {"text_column": documents.text_column, "remarks": json.dumps(remarks)}
        stored = token_cache.StoredTokens(tokens=tokens, fingerprint=fingerprint(tokens), notes=notes)
        token_cache.write(path, stored)
    refuse_unknown(stored.tokens, known.vocabulary_size)
    remarks = json.loads(stored.notes.get("remarks", "[]"))
    for remark in remarks:
        tell(remark)
    return Corpus(
        id=reference.id,
        revision=revision,
        config=data.config,
        split=data.split,
        text_column=stored.notes["text_column"],
        fingerprint=stored.fingerprint,
        n=len(stored.tokens),
        context_length=context_length,
        path=path,
        remarks=tuple(remarks),
    )


def needs_tokenizer(data: DataSettings) -> bool:
    """False for a file of token ids."""
    reference = parse_dataset(data.dataset, data.revision, endpoint())
    return not _is_ready(reference)


def _is_ready(reference: Reference) -> bool:
    return reference.path is not None and reference.path.suffix.lower() == token_file.SUFFIX


def _ready_tokens(path: Path, data: DataSettings, known: Facts, model: str, tell: Tell) -> Corpus:
    """The sequences of a file of token ids; the model's tokenizer has no part in them."""
    with readable(path):
        revision = local_identity(path)
    tokens = token_file.read_token_file(path, data.context_length, data.max_sequences)
    n, context_length = tokens.shape
    _context_length(context_length, known.context_limit, model)
    if n < MIN_SEQUENCES:
        raise UnusableError(f"{path.name} holds {n} sequences, and at least {MIN_SEQUENCES} are needed.")
    refuse_unknown(tokens, known.vocabulary_size)
    stored = token_cache.StoredTokens(tokens=tokens, fingerprint=fingerprint(tokens), notes={})
    inputs = {"token ids": revision, "max_sequences": data.max_sequences}
    kept = token_cache.path_of(client.home() / "tokens", inputs)
    if token_cache.read(kept, fingerprint, tell) is None:
        token_cache.write(kept, stored)
    return Corpus(
        id=path.name,
        revision=revision,
        config=None,
        split=data.split,
        text_column=token_file.NAMES[0],
        fingerprint=stored.fingerprint,
        n=n,
        context_length=context_length,
        path=kept,
    )


def load_tokens(corpus: Corpus) -> Tensor:
    """The corpus as an int32 tensor (n, context_length), checked against its fingerprint.

    Raises:
        ResourceError: the file is gone or no longer the same.
    """
    stored = token_cache.read(corpus.path, fingerprint, _silent)
    if stored is None or stored.fingerprint != corpus.fingerprint:
        raise ResourceError(f"The tokens at {corpus.path} have disappeared or changed; run the same command again.")
    return stored.tokens


class _Counter:
    """Token lists passed on and counted, an end-of-text token added to each that is not empty."""

    def __init__(self, documents: Iterator[list[int]]) -> None:
        self._documents = documents
        self.tokens = 0

    def __iter__(self) -> Iterator[list[int]]:
        for ids in self._documents:
            self.tokens += len(ids) + bool(ids)
            yield ids


def _context_length(asked: int | None, limit: int | None, name: str) -> int:
    if asked is None:
        return MAX_DEFAULT_CONTEXT if limit is None else min(MAX_DEFAULT_CONTEXT, limit)
    if limit is not None and asked > limit:
        raise SettingsError(f"context_length must be ≤ {limit}, the positions of {name}, got {asked}.")
    return asked


def open_documents(reference: Reference, data: DataSettings, revision: str, tell: Tell) -> "Documents":
    """The documents of a dataset on the Hub or on this disk.

    Raises:
        HfLlcError: they cannot be read.
    """
    # Only now: what reads text takes a second to import, and tokens that are kept need none of it.
    from hf_llc.tasks.text import corpus as corpora

    if reference.path is not None:
        return corpora.open_local(data, reference.path)
    return corpora.open_hub(data, reference.id, revision, tell)


def _refuse_too_few(name: str, tokens: Tensor, count: int, context_length: int, remarks: list[str]) -> None:
    if len(tokens) < MIN_SEQUENCES:
        raise UnusableError(
            f"{name} gives {count} tokens, which fill {len(tokens)} sequences of {context_length}, and at "
            f"least {MIN_SEQUENCES} are needed; lower `context_length`, raise `max_sequences`, or give "
            "more text." + "".join(f" {remark}" for remark in remarks)
        )


def refuse_unknown(tokens: Tensor, vocabulary: int | None) -> None:
    """Raise UnusableError if an id is not in the model's vocabulary: tokens may be another model's."""
    lowest, highest = (int(each) for each in tokens.aminmax())
    if vocabulary is not None and not 0 <= lowest <= highest < vocabulary:
        unknown = highest if lowest >= 0 else lowest
        raise UnusableError(
            f"The tokenizer gives token {unknown}, but the model has {vocabulary}; they do not belong together."
        )
