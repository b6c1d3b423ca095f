"""From a user's words to packed tokens of which a fixed part is masked, on this disk and pinned."""

import json
import re
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForMaskedLM

from hf_llc.checkpoints.identity import dataset_revision
from hf_llc.checkpoints.loading.config import Kind, read_config, refuse_other_kinds
from hf_llc.checkpoints.loading.load import facts
from hf_llc.checkpoints.source import Corpus, ModelSource
from hf_llc.errors import SettingsError, UnusableError
from hf_llc.hub import client
from hf_llc.hub.errors import Tell, endpoint
from hf_llc.hub.reference import Reference, parse_dataset
from hf_llc.settings.data import DataSettings
from hf_llc.tasks import item_cache
from hf_llc.tasks.base import Example
from hf_llc.tasks.item_cache import StoredItems
from hf_llc.tasks.text import token_cache
from hf_llc.tasks.text.context import context_length
from hf_llc.tasks.text.encoding import token_ids
from hf_llc.tasks.text.tokenizer import TextTokenizer, load_tokenizer
from hf_llc.tasks.text_generation.packing import PACKING, pack
from hf_llc.tasks.text_generation.prepare import open_documents
from hf_llc.tasks.text_generation.sequences import MIN_SEQUENCES

MASKED = Kind(
    auto=AutoModelForMaskedLM,
    name="masked language model",
    heads=re.compile(r"For(MaskedLM|PreTraining)$"),
    # Those of next-sentence prediction, which BERT was trained for too.
    unused=re.compile(r"(^|\.)(pooler|seq_relationship)\."),
)
VERSION = 1
"""Of how tokens are masked; sequences that were masked under another one are not the same."""
MASK_SHARE = 0.15
"""Of the tokens of a sequence that are masked (Devlin et al. 2019), here all of them by the mask token."""
MASK_SEED = 0
IDS, LABELS = "input_ids", "labels"
"""Names of the tensors, both (n, context): what the model reads, and the masked tokens, IGNORED elsewhere."""
IGNORED = -100


def find_sequences(data: DataSettings, source: ModelSource, *, tokenizer: ModelSource | None, tell: Tell) -> Corpus:
    """The text as packed tokens of the model's tokenizer between its special tokens, a fixed part of them masked.

    Raises:
        HfLlcError: see `base.Task.find_items`.
    """
    config = read_config(source)
    refuse_other_kinds(source, config, MASKED)
    reference = parse_dataset(data.dataset, data.revision, endpoint())
    if reference.path is not None and reference.path.suffix.lower() == ".safetensors":
        raise SettingsError(f"{reference.path.name} holds token ids, which are for text-generation only; give text.")
    encoder = load_tokenizer(tokenizer or source)
    special = _special_tokens(encoder, source.id)
    longest = context_length(data.context_length, facts(source), config, encoder.built, source.id)
    revision = dataset_revision(reference, tell)
    inputs = {
        "task": "fill-mask",
        "version": [VERSION, PACKING, MASK_SHARE, MASK_SEED],
        "dataset": reference.id if reference.path is None else reference.path.name,
        "revision": revision,
        "config": data.config,
        "split": data.split,
        "text_column": data.text_column,
        "tokenizer": encoder.identity_of_calls,
        "context_length": longest,
        "max_sequences": data.max_sequences,
    }
    path = token_cache.path_of(client.home() / "items", inputs)
    stored = item_cache.read(path, tell)
    if stored is None:
        items = _items_of(data, reference, revision, encoder, special, longest, tell)
        stored = item_cache.write(path, items)
    return item_cache.corpus_of(
        stored,
        path,
        data,
        id=reference.id,
        revision=revision,
        column=stored.notes["text_column"],
        context_length=longest,
        tell=tell,
    )


def example(data: DataSettings, source: ModelSource) -> Example:
    """Sequences of random tokens, masked; see `base.Forecastable`."""
    config = read_config(source)
    refuse_other_kinds(source, config, MASKED)
    longest = context_length(data.context_length, facts(source), config, load_tokenizer(source).built, source.id)
    vocabulary = facts(source).vocabulary_size or 2

    def items(count: int) -> dict[str, Tensor]:
        ids = torch.randint(vocabulary, (count, longest), generator=torch.Generator().manual_seed(0))
        return masked(ids.to(torch.int32), set(), 0)

    return Example(kind=MASKED, context_length=longest, items=items)


def _items_of(
    data: DataSettings,
    reference: Reference,
    revision: str,
    encoder: TextTokenizer,
    special: dict[str, Any],
    longest: int,
    tell: Tell,
) -> StoredItems:
    documents = open_documents(reference, data, revision, tell)
    body = longest - (1 if special["first"] is None else 2)
    if body < 1:
        raise SettingsError(f"context_length must leave room between special tokens, got {longest}.")
    texts = token_ids(encoder, documents.texts, enough=data.max_sequences * body)
    packed = pack(texts, special["last"], body, data.max_sequences)
    remarks = [*documents.remarks(), *encoder.remarks]
    if len(packed) < MIN_SEQUENCES:
        raise UnusableError(
            f"{reference.id} fills {len(packed)} sequences of {longest} tokens, and at least {MIN_SEQUENCES} are "
            "needed; lower `context_length`, raise `max_sequences`, or give more text."
            + "".join(f" {remark}" for remark in remarks)
        )
    first = [] if special["first"] is None else [_column(len(packed), special["first"])]
    whole = torch.cat([*first, packed, _column(len(packed), special["last"])], dim=1)
    remarks.append(
        f"{MASK_SHARE:.0%} of the tokens of each sequence, always the same ones, are replaced by the mask token; the "
        "loss is that of these."
    )
    items = masked(whole, {int(id_) for id_ in encoder.built.all_special_ids}, special["mask"])
    notes = {"text_column": documents.text_column, "remarks": json.dumps(remarks)}
    return StoredItems(items=items, fingerprint="", notes=notes)


def masked(tokens: Tensor, special: set[int], mask: int) -> dict[str, Tensor]:
    """The tokens with MASK_SHARE of each row replaced by `mask`, at least one, and what they were.

    Args:
        tokens: (n, context) int32. special: ids that are never masked.

    Raises:
        UnusableError: a row has special tokens only.
    """
    scores = torch.rand(tokens.shape, generator=torch.Generator().manual_seed(MASK_SEED), dtype=torch.float64)
    ordinary = ~torch.isin(tokens, torch.tensor(sorted(special), dtype=tokens.dtype))
    counts = ordinary.sum(dim=1)
    if not counts.all():
        raise UnusableError("A sequence holds special tokens only, so that none can be masked; raise `context_length`.")
    chosen = (counts * MASK_SHARE).round().clamp(min=1)
    ranks = scores.masked_fill(~ordinary, 2.0).argsort(dim=1).argsort(dim=1)
    hidden = ranks < chosen[:, None]
    return {
        IDS: tokens.masked_fill(hidden, mask).to(torch.int32),
        LABELS: tokens.masked_fill(~hidden, IGNORED).to(torch.int32),
    }


def _special_tokens(encoder: TextTokenizer, name: str) -> dict[str, Any]:
    """The ids before and after a sequence, the latter between documents too, and of the mask.

    Raises:
        UnusableError: the tokenizer has no mask token, or none that ends a text.
    """
    built = encoder.built
    first = built.cls_token_id if built.cls_token_id is not None else built.bos_token_id
    last = built.sep_token_id if built.sep_token_id is not None else built.eos_token_id
    if built.mask_token_id is None:
        raise UnusableError(f"{name} has no mask token; set mask_token in its tokenizer_config.json.")
    if last is None:
        raise UnusableError(
            f"{name} has no token that ends a text; set sep_token or eos_token in its tokenizer_config.json."
        )
    return {"first": first, "last": last, "mask": built.mask_token_id}


def _column(count: int, id_: int) -> Tensor:
    return torch.full((count, 1), id_, dtype=torch.int32)
