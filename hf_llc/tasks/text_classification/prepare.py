"""From a user's words to texts as padded token ids with their classes, on this disk and pinned."""

import re
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any

import torch
import transformers
from torch import Tensor
from transformers import AutoModelForSequenceClassification, PretrainedConfig

from hf_llc.checkpoints.identity import dataset_revision
from hf_llc.checkpoints.loading.config import Kind, read_config, refuse_other_kinds
from hf_llc.checkpoints.loading.errors import quiet
from hf_llc.checkpoints.loading.load import facts
from hf_llc.checkpoints.source import Corpus, ModelSource
from hf_llc.errors import UnusableError
from hf_llc.hub.errors import endpoint
from hf_llc.hub.reference import Reference, parse_dataset
from hf_llc.settings.data import DataSettings
from hf_llc.tasks import item_file
from hf_llc.tasks.text.context import context_length
from hf_llc.tasks.text.tokenizer import load_tokenizer
from hf_llc.tasks.text_classification.labels import class_names, class_numbers, refuse_other_problems

KIND = Kind(
    auto=AutoModelForSequenceClassification,
    name="text classification model",
    heads=re.compile(r"ForSequenceClassification$"),
)
VERSION = 1
"""Of how texts become items; items that were made under another one are not the same."""
MIN_TEXTS = 2
IDS, TYPES, LENGTHS, LABELS = "input_ids", "token_type_ids", "lengths", "labels"
"""Names of the tensors: (n, longest) the first two, (n,) the others."""


def find_texts(
    data: DataSettings, source: ModelSource, *, tokenizer: ModelSource | None, tell: Callable[[str], None]
) -> Corpus:
    """The first `max_sequences` texts, tokenized as the model's tokenizer does for a user of transformers.

    Raises:
        HfLlcError: see `base.Task.find_items`.
    """
    config = read_config(source)
    refuse_other_kinds(source, config, KIND)
    refuse_other_problems(config, source.id)
    encoder = load_tokenizer(tokenizer or source)
    longest = context_length(data.context_length, facts(source), config, encoder.built, source.id)
    reference = parse_dataset(data.dataset, data.revision, endpoint())
    revision = dataset_revision(reference, tell)
    inputs = {
        "task": "text-classification",
        "version": VERSION,
        "transformers": transformers.__version__,
        "dataset": reference.id if reference.path is None else reference.path.name,
        "revision": revision,
        "config": data.config,
        "split": data.split,
        "columns": [data.text_column, data.label_column],
        "tokenizer": encoder.identity_of_calls,
        "context_length": longest,
        "max_sequences": data.max_sequences,
        "classes": sorted(class_names(config).items()),
        "padding": _padding(config),
    }
    path = item_file.path_of(inputs)
    items = item_file.read(path, tell)
    if items is None:
        items = _made(data, reference, revision, encoder.built, longest, config, source.id, tell)
        item_file.write(path, items)
    for remark in items.remarks:
        tell(remark)
    return Corpus(
        id=reference.id,
        revision=revision,
        config=data.config,
        split=data.split,
        text_column=items.notes["text_column"],
        fingerprint=items.fingerprint,
        n=len(items.tensors[LABELS]),
        context_length=items.tensors[IDS].shape[1],
        path=path,
        remarks=tuple(items.remarks),
    )


def _made(
    data: DataSettings,
    reference: Reference,
    revision: str,
    tokenizer: Any,
    longest: int,
    config: PretrainedConfig,
    model: str,
    tell: Callable[[str], None],
) -> item_file.Items:
    # Only now: what reads tables takes a second to import, and items that are kept need none of it.
    from hf_llc.tasks.text import corpus as corpora
    from hf_llc.tasks.text_classification.table import TABLE

    if reference.path is not None:
        table = corpora.read_local(data, reference.path, TABLE)
    else:
        table = corpora.read_hub(data, reference.id, revision, tell, TABLE)
    texts, labels, missing = [], [], 0
    for example in table.examples(reference.id):
        if example is None:
            missing += 1
            continue
        texts.append(example[0])
        labels.append(example[1])
        if data.max_sequences and len(texts) >= data.max_sequences:
            break
    if len(texts) < MIN_TEXTS:
        raise UnusableError(
            f"{reference.id} gives {len(texts)} texts with a label, and at least {MIN_TEXTS} are needed."
        )
    numbers, remarks = class_numbers(labels, table.names, config, model, reference.id)
    if missing:
        columns = " or ".join([*table.text_columns, table.label_column])
        remarks.append(f"{missing} rows without {columns} are left out.")
    if len(set(numbers)) == 1:
        remarks.append(
            f"All {len(numbers)} texts are of one class, {class_names(config)[numbers[0]]}: the data may be sorted by "
            "class. Shuffle it, or raise `max_sequences`."
        )
    ids, types, cut = _encoded(tokenizer, texts, longest)
    if cut:
        remarks.append(f"{cut} of {len(texts)} texts are cut to {longest} tokens.")
    lengths = torch.tensor([len(each) for each in ids], dtype=torch.int32)
    if not lengths.all():
        raise UnusableError(f"A text of {reference.id} is empty and gives no token; remove it.")
    tensors = {
        IDS: _padded(ids, padding_id(_padding(config), ids)),
        LENGTHS: lengths,
        LABELS: torch.tensor(numbers, dtype=torch.int32),
    }
    if any(any(each) for each in types):
        tensors[TYPES] = _padded(types, 0)
    notes = {"text_column": ", ".join(table.text_columns)}
    return item_file.Items(tensors=tensors, remarks=[*table.notes, *remarks], notes=notes)


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
