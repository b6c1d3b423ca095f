"""From a user's words to a checkpoint on this disk and sequences of tokens on this disk, both pinned."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from hf_llc.checkpoints.identity import pinned_datasets, readable
from hf_llc.checkpoints.loading.config import CAUSAL
from hf_llc.checkpoints.loading.load import Facts, facts
from hf_llc.checkpoints.source import Corpus, ModelSource
from hf_llc.errors import ResourceError, SettingsError, UnusableError
from hf_llc.hub import client
from hf_llc.hub.digests import local_identity
from hf_llc.hub.errors import endpoint
from hf_llc.hub.reference import Reference, parse_datasets
from hf_llc.settings.data import MAX_DEFAULT_CONTEXT, DataSettings
from hf_llc.tasks import item_cache
from hf_llc.tasks.text import token_cache, token_file
from hf_llc.tasks.text.first_tokens import first_ids
from hf_llc.tasks.text.tokenizer import load_tokenizer
from hf_llc.tasks.text_generation.objective import lengths_of
from hf_llc.tasks.text_generation.packing import fingerprint
from hf_llc.tasks.text_generation.sequences import MIN_SEQUENCES, SequenceMaker, refuse_unknown
from hf_llc.tasks.text_generation.targets import IDS, LABELS

if TYPE_CHECKING:
    from hf_llc.tasks.text.documents import Documents

Tell = Callable[[str], None]
TOKENS = "tokens"
"""Name of the tensor of packed sequences, (n, context_length) int32."""
LABELLED = "labels"
"""What the loss is on where labels came with the token ids."""


def _silent(message: str) -> None:
    """Ignore the message."""


def find_corpus(
    data: DataSettings, source: ModelSource, *, tokenizer: ModelSource | None = None, tell: Tell = _silent
) -> Corpus:
    """The data as tokens of the model's tokenizer, on this disk; made once for the same inputs.

    Text is packed; conversations and completions are sequences by themselves.

    Args:
        tokenizer: where the tokenizer is, if not with the model itself.

    Raises:
        SettingsError: a context length above the model's.
        SourceError, UnusableError, ResourceError: the data cannot be read or used, or gives fewer than 2 sequences.
    """
    # First the config: transformers reads it for the tokenizer too, and what is wrong with it is no fault of that.
    known = facts(source, CAUSAL)
    references = parse_datasets(data.datasets, data.revision, endpoint())
    if (ready := _ready_file(references)) is not None:
        return _ready_tokens(ready, data, known, source.id, tell)
    encoder = load_tokenizer(tokenizer or source)
    sequences = SequenceMaker(
        data=data,
        model=source.id,
        encoder=encoder,
        longest=_context_length(data.context_length, known.context_limit, source.id),
        eos_id=known.eos_token_id if encoder.eos_token_id is None else encoder.eos_token_id,
        first=first_ids(encoder.built, data.bos, source.id),
        vocabulary=known.vocabulary_size,
        datasets=pinned_datasets(data, tell),
        tell=tell,
    )
    return sequences.read() or sequences.make()


def needs_tokenizer(data: DataSettings) -> bool:
    """False for a file of token ids."""
    return _ready_file(parse_datasets(data.datasets, data.revision, endpoint())) is None


def _ready_file(references: Sequence[Reference]) -> Path | None:
    """The file of token ids; None for text.

    Raises:
        SettingsError: it is one of several datasets.
    """
    local = [each.path for each in references if each.path is not None]
    paths = [path for path in local if path.suffix.lower() == token_file.SUFFIX]
    if paths and len(references) > 1:
        raise SettingsError(f"{paths[0].name} holds sequences of token ids and cannot be joined to other datasets.")
    return paths[0] if paths else None


def _ready_tokens(path: Path, data: DataSettings, known: Facts, model: str, tell: Tell) -> Corpus:
    """The sequences of a file of token ids; the model's tokenizer has no part in them."""
    for name, value, fits in (("bos", data.bos, {"auto"}), ("loss_on", data.loss_on, {"auto", "all"})):
        if value not in fits:
            raise SettingsError(f"{name} must be auto for {path.name}, whose ids are used as they are, got {value}.")
    with readable(path):
        revision = local_identity(path)
    tokens, labels = token_file.read_token_file(path, data.context_length, data.max_sequences)
    if labels is not None:
        return _ready_labelled(path, revision, {IDS: tokens, LABELS: labels}, data, known, model, tell)
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


def _ready_labelled(
    path: Path,
    revision: str,
    items: Mapping[str, Tensor],
    data: DataSettings,
    known: Facts,
    model: str,
    tell: Tell,
) -> Corpus:
    """The sequences of a file of token ids and labels, without rows and ends that have no label."""
    if data.loss_on != "auto":
        raise SettingsError(f"loss_on must be auto for {path.name}, whose labels say it, got {data.loss_on}.")
    labels = items[LABELS].clone()
    labels[:, 0] = token_file.IGNORED  # nothing predicts the first token
    lengths = lengths_of(labels)
    rows = lengths > 0
    if int(rows.sum()) < MIN_SEQUENCES:
        raise UnusableError(
            f"{path.name} holds {int(rows.sum())} sequences with a label, and at least {MIN_SEQUENCES} are needed."
        )
    width = int(lengths.max())
    _context_length(width, known.context_limit, model)
    kept = {IDS: items[IDS][rows, :width].contiguous(), LABELS: labels[rows, :width].contiguous()}
    for tensor in (kept[IDS], kept[LABELS].clamp(min=0)):
        refuse_unknown(tensor, known.vocabulary_size)
    counts = (kept[LABELS] != token_file.IGNORED).sum(dim=1).double()
    remarks = [
        f"The loss of a sequence is the mean of its tokens that have a label: {float(counts.mean()):.1f} of "
        f"{float(lengths[rows].double().mean()):.1f} tokens on average."
    ]
    if missing := int((~rows).sum()):
        remarks.append(f"{missing} sequences without a label are left out.")
    stored = item_cache.StoredItems(items=kept, fingerprint="", notes={"remarks": json.dumps(remarks)})
    inputs = {"token ids": revision, "max_sequences": data.max_sequences, "labels": True}
    place = token_cache.path_of(client.home() / "items", inputs)
    corpus = item_cache.corpus_of(
        item_cache.write(place, stored),
        place,
        replace(data, config=None),
        id=path.name,
        revision=revision,
        column=token_file.NAMES[0],
        context_length=width,
        tell=tell,
    )
    return replace(corpus, loss_on=LABELLED)


def load_tokens(corpus: Corpus) -> Tensor:
    """The packed sequences as an int32 tensor (n, context_length), checked against its fingerprint.

    Raises:
        ResourceError: the file is gone or no longer the same.
    """
    stored = token_cache.read(corpus.path, fingerprint, _silent)
    if stored is None or stored.fingerprint != corpus.fingerprint:
        raise ResourceError(f"The tokens at {corpus.path} have disappeared or changed; run the same command again.")
    return stored.tokens


def find_labelled(data: DataSettings, source: ModelSource, tell: Tell) -> Corpus | None:
    """Conversations or completions, if data and tokenizer are on this disk; None for all else.

    Raises:
        HfLlcError: see `find_corpus`.
    """
    references = parse_datasets(data.datasets, data.revision, endpoint())
    paths = [each.path for each in references if each.path is not None]
    if len(paths) < len(references) or _ready_file(references) is not None or not source.is_local:
        return None
    from hf_llc.tasks.text import corpus as corpora
    from hf_llc.tasks.text_generation.examples import EXAMPLES, Examples

    if not isinstance(corpora.read_local(data, paths[0], EXAMPLES), Examples):
        return None
    return find_corpus(data, source, tell=tell)


def load_sequences(corpus: Corpus) -> Mapping[str, Tensor]:
    """Packed sequences as `tokens`, others as IDS and LABELS, checked against their fingerprint.

    Raises:
        ResourceError: see `load_tokens`.
    """
    return {TOKENS: load_tokens(corpus)} if corpus.loss_on is None else item_cache.load(corpus)


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
