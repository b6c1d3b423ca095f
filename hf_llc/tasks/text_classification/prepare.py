"""From a user's words to texts as padded token ids with their classes, on this disk and pinned."""

import json
import math
import re
from collections.abc import Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformers import AutoModelForSequenceClassification, PretrainedConfig

from hf_llc.checkpoints.identity import dataset_revision
from hf_llc.checkpoints.loading.config import Kind, read_config, refuse_other_kinds
from hf_llc.checkpoints.loading.errors import quiet
from hf_llc.checkpoints.loading.load import facts
from hf_llc.checkpoints.source import Corpus, ModelSource
from hf_llc.errors import UnusableError, counted
from hf_llc.hub import client
from hf_llc.hub.errors import Tell, endpoint
from hf_llc.hub.reference import Reference, parse_dataset
from hf_llc.settings.data import DataSettings
from hf_llc.tasks import item_cache
from hf_llc.tasks.base import Example
from hf_llc.tasks.item_cache import StoredItems
from hf_llc.tasks.labels import ModelClasses
from hf_llc.tasks.text import token_cache
from hf_llc.tasks.text.context import context_length
from hf_llc.tasks.text.tokenizer import load_tokenizer
from hf_llc.tasks.text_classification.labels import class_numbers, model_classes

if TYPE_CHECKING:
    from hf_llc.tasks.text_classification.table import Table

TEXT_CLASSIFIER = Kind(
    auto=AutoModelForSequenceClassification, name="text classifier", heads=re.compile(r"ForSequenceClassification$")
)
FORMAT = 1
"""Changes whenever other tensors are made from the same inputs."""
MIN_TEXTS = 2
IDS, TYPES, LENGTHS, LABELS = "input_ids", "token_type_ids", "lengths", "labels"
"""Names of the tensors: (n, longest) the first two, (n,) the others."""


def find_texts(data: DataSettings, source: ModelSource, *, tokenizer: ModelSource | None, tell: Tell) -> Corpus:
    """Texts tokenized as the model's tokenizer does for a user of transformers, with the model's classes.

    Raises:
        HfLlcError: see `base.Task.find_items`.
    """
    config = read_config(source)
    refuse_other_kinds(source, config, TEXT_CLASSIFIER)
    classes = model_classes(config, source.id)
    encoder = load_tokenizer(tokenizer or source)
    longest = context_length(data.context_length, facts(source), config, encoder.built, source.id)
    reference = parse_dataset(data.dataset, data.revision, endpoint())
    revision = dataset_revision(reference, tell)
    inputs = item_cache.inputs_of_table(
        data,
        reference,
        revision,
        task="text-classification",
        format=FORMAT,
        tokenizer=encoder.identity_of_calls,
        padding=_padding(config),
        context_length=longest,
        classes=list(classes.names),
    )
    path = token_cache.path_of(client.home() / "items", inputs)
    stored = item_cache.read(path, tell)
    if stored is None:
        table = _open(data, reference, revision, tell)
        stored = _items_of(data, reference, table, encoder.built, longest, classes, _padding(config))
        stored = item_cache.write(path, stored)
    return item_cache.corpus_of(
        stored,
        path,
        data,
        id=reference.id,
        revision=revision,
        column=stored.notes["text_column"],
        label_column=stored.notes.get("label_column", data.label_column),
        context_length=stored.items[IDS].shape[1],
        tell=tell,
        loss_of_guessing=math.log(len(classes.names)) if stored.notes["by"] == "number" else None,
    )


def example(data: DataSettings, source: ModelSource) -> Example:
    """Texts of random tokens, as long as texts may be; see `base.Forecastable`."""
    config = read_config(source)
    refuse_other_kinds(source, config, TEXT_CLASSIFIER)
    model_classes(config, source.id)
    longest = context_length(data.context_length, facts(source), config, load_tokenizer(source).built, source.id)
    vocabulary = facts(source).vocabulary_size or 2

    def items(count: int) -> dict[str, Tensor]:
        ids = torch.randint(vocabulary, (count, longest), generator=torch.Generator().manual_seed(0))
        return {
            IDS: ids.to(torch.int32),
            LENGTHS: torch.full((count,), longest, dtype=torch.int32),
            LABELS: torch.zeros(count, dtype=torch.int64),
        }

    return Example(kind=TEXT_CLASSIFIER, context_length=longest, items=items)


def _open(data: DataSettings, reference: Reference, revision: str, tell: Tell) -> "Table":
    # Only now: what reads tables takes a second to import, and items that are kept need none of it.
    from hf_llc.tasks.text import corpus as corpora
    from hf_llc.tasks.text_classification.table import TABLE

    if reference.path is not None:
        return corpora.read_local(data, reference.path, TABLE)
    return corpora.read_hub(data, reference.id, revision, tell, TABLE)


def _items_of(
    data: DataSettings,
    reference: Reference,
    table: "Table",
    tokenizer: Any,
    longest: int,
    classes: ModelClasses,
    padding: int | None,
) -> StoredItems:
    """The tensors of the rows.

    Raises:
        UnusableError: the classes are not the model's, or there are fewer than MIN_TEXTS texts.
    """
    most, name, is_local = data.max_sequences, reference.id, reference.path is not None
    examples = []
    missing = 0
    for example in table.examples(name):
        if example is None:
            missing += 1
            continue
        examples.append(example)
        if most and len(examples) >= most and not is_local:
            break
    if len(examples) < MIN_TEXTS:
        raise UnusableError(f"{name} gives {len(examples)} texts with a label, and at least {MIN_TEXTS} are needed.")
    # Settings are measured on the first items, and a file may be sorted by class.
    order = torch.randperm(len(examples), generator=torch.Generator().manual_seed(0)).tolist()
    chosen = [examples[index] for index in (order[:most] if most else order)]
    numbers, without_names = class_numbers([label for _, label in chosen], table.names, classes, name)
    remarks = list(table.notes)
    if len(chosen) < len(examples):
        remarks.append(f"{len(chosen)} of {len(examples)} texts are taken, at random.")
    if without_names is not None:
        remarks.append(f"Classes are matched by number, since {without_names} has no names for them.")
    if missing:
        columns = " or ".join([*table.text_columns, table.label_column])
        remarks.append(f"Left out: {counted(missing, 'row')} without {columns}.")
    present = len(set(numbers))
    if not is_local and present < len(classes.names):
        remarks.append(
            f"The first {len(chosen)} texts are of {present} of {len(classes.names)} classes; if the split is sorted "
            "by class, raise `max_sequences`, or download it and name the file, of which texts are taken at random."
        )
    ids, types, cut = _encoded(tokenizer, [texts for texts, _ in chosen], longest)
    if cut:
        remarks.append(f"{cut} of {len(chosen)} texts are cut to {longest} tokens.")
    if not all(ids):
        raise UnusableError(f"A text of {name} is empty and gives no token; remove it.")
    items = {
        IDS: _padded(ids, padding_id(padding, ids)),
        LENGTHS: torch.tensor([len(each) for each in ids], dtype=torch.int32),
        LABELS: torch.tensor(numbers, dtype=torch.int64),
    }
    if any(any(each) for each in types):
        items[TYPES] = _padded(types, 0)
    notes = {
        "text_column": ", ".join(table.text_columns),
        "label_column": table.label_column,
        "by": "name" if without_names is None else "number",
        "remarks": json.dumps(remarks),
    }
    return StoredItems(items=items, fingerprint="", notes=notes)


def _encoded(
    tokenizer: Any, texts: Sequence[tuple[str, ...]], longest: int
) -> tuple[list[list[int]], list[list[int]], int]:
    """Token ids and types of each text with special tokens, and how many of them were cut."""
    ids: list[list[int]] = []
    types: list[list[int]] = []
    cut = 0
    rest = iter(texts)
    while part := list(islice(rest, 1000)):
        columns = [list(column) for column in zip(*part, strict=True)]
        with quiet():
            encoded = tokenizer(*columns, truncation=True, max_length=longest + 1, return_attention_mask=False)
            over = [index for index, each in enumerate(encoded[IDS]) if len(each) > longest]
            shorter = tokenizer(
                *columns, truncation=True, max_length=longest, return_attention_mask=False
            ) if over else encoded  # fmt: skip
        cut += len(over)
        ids += shorter[IDS]
        types += shorter.get(TYPES, [])
    return ids, types, cut


def _padding(config: PretrainedConfig) -> int | None:
    padding = config.get_text_config().pad_token_id
    return padding if isinstance(padding, int) and padding >= 0 else None


def padding_id(of_model: int | None, ids: Sequence[Sequence[int]]) -> int:
    """What fills the rows: the model's own id, else the first one that no text ends with.

    Models that score the last token find it as the last one that is not padding.
    """
    if of_model is not None:
        return of_model
    ends = {int(each[-1]) for each in ids}
    return next(id_ for id_ in range(len(ends) + 1) if id_ not in ends)


def _padded(rows: Sequence[Sequence[int]], value: int) -> Tensor:
    width = max(map(len, rows))
    return torch.tensor([[*row, *[value] * (width - len(row))] for row in rows], dtype=torch.int32)
