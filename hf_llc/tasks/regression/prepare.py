"""From a user's words to inputs and targets on this disk, pinned."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from transformers import AutoModel

from hf_llc.checkpoints.identity import dataset_revision
from hf_llc.checkpoints.loading.config import Kind, read_config, refuse_other_kinds
from hf_llc.checkpoints.source import Corpus, ModelSource
from hf_llc.errors import SettingsError, UnusableError
from hf_llc.hub import client
from hf_llc.hub.errors import Tell, endpoint
from hf_llc.hub.reference import Reference, parse_dataset
from hf_llc.settings.data import DEFAULT_DATASET, DataSettings
from hf_llc.tasks import item_cache
from hf_llc.tasks.base import Example
from hf_llc.tasks.item_cache import StoredItems
from hf_llc.tasks.regression.data_file import INPUTS, SUFFIX, TARGETS, read_data_file
from hf_llc.tasks.regression.deep_linear import DeepLinearConfig
from hf_llc.tasks.text import token_cache

if TYPE_CHECKING:
    from hf_llc.tasks.regression.table import Table

REGRESSION_MODEL = Kind(auto=AutoModel, name="deep linear network", heads=re.compile(r"^DeepLinearModel$"))
FORMAT = 1
"""Changes whenever other tensors are made from the same inputs."""
MIN_ITEMS = 2


def find_pairs(data: DataSettings, source: ModelSource, tell: Tell) -> Corpus:
    """Inputs and targets as float32 tensors; made once for the same files and settings.

    Raises:
        UnusableError: the model is of another kind, or the data does not fit it.
        SourceError, ResourceError: the data cannot be read or kept.
    """
    widths = _widths(source)
    if data.dataset == DEFAULT_DATASET:
        raise SettingsError(
            f"dataset must name inputs and targets for {source.id}, got {data.dataset}, the default text; name a .csv, "
            ".jsonl, .parquet or .safetensors file, or a Hub dataset."
        )
    reference = parse_dataset(data.dataset, data.revision, endpoint())
    revision = dataset_revision(reference, tell)
    inputs = item_cache.inputs_of_table(data, reference, revision, task="regression", format=FORMAT)
    path = token_cache.path_of(client.home() / "items", inputs)
    stored = item_cache.read(path, tell)
    if stored is None:
        stored = item_cache.write(path, _items_of(data, reference, revision, tell))
    refuse_widths(source.id, widths, stored.items)
    return item_cache.corpus_of(
        stored,
        path,
        data,
        id=reference.id,
        revision=revision,
        column=stored.notes["inputs"],
        label_column=stored.notes["targets"],
        context_length=1,
        tell=tell,
    )


def _widths(source: ModelSource) -> list[int]:
    config = read_config(source)
    refuse_other_kinds(source, config, REGRESSION_MODEL)
    if not isinstance(config, DeepLinearConfig):
        raise UnusableError(
            f"{source.id} is a {config.model_type} model; the task regression is for deep linear networks alone. From "
            "Python, hf_llc.estimate(module, items, losses=…) takes any model and loss."
        )
    return config.widths


def example(source: ModelSource) -> Example:
    """Numbers at random; see `base.Forecastable`."""
    widths = _widths(source)

    def items(count: int) -> dict[str, Tensor]:
        stream = torch.Generator().manual_seed(0)
        return {
            name: torch.randn(count, width, generator=stream)
            for name, width in ((INPUTS, widths[0]), (TARGETS, widths[-1]))
        }

    return Example(kind=REGRESSION_MODEL, context_length=1, items=items)


def refuse_widths(model: str, widths: Sequence[int], items: Mapping[str, Tensor]) -> None:
    """Raise UnusableError unless items have as many inputs and targets as the model has.

    Args:
        widths: of the model's layers, inputs and outputs included.
    """
    for name, wanted in ((INPUTS, widths[0]), (TARGETS, widths[-1])):
        if (given := items[name].shape[1]) != wanted:
            raise UnusableError(
                f"The data has {given} {name} an item, but {model} has {wanted} (widths "
                f"{', '.join(map(str, widths))}); choose columns with `text_column` and `label_column`."
            )


def _items_of(data: DataSettings, reference: Reference, revision: str, tell: Tell) -> StoredItems:
    """The tensors of the rows.

    Raises:
        UnusableError: a number is not finite, or there are fewer than MIN_ITEMS items.
    """
    most, is_local = data.max_sequences, reference.path is not None
    notes: list[str] = []
    if reference.path is not None and reference.path.suffix.lower() == SUFFIX:
        columns, inputs, targets = read_data_file(reference.path, data.text_column, data.label_column)
    else:
        table = _open(data, reference, revision, tell)
        columns, notes = table.columns, list(table.notes)
        inputs, targets = _tensors(table, reference.id, 0 if is_local else most)
    count = len(inputs)
    if count < MIN_ITEMS:
        raise UnusableError(f"{reference.id} gives {count} items, and at least {MIN_ITEMS} are needed.")
    inputs, targets = (
        _finite(each, names, reference.id) for each, names in zip((inputs, targets), columns, strict=True)
    )
    # Settings are measured on the first items, and a file may be sorted.
    order = torch.randperm(count, generator=torch.Generator().manual_seed(0))
    chosen = order[:most] if most else order
    if len(chosen) < count:
        notes.append(f"{len(chosen)} of {count} items are taken, at random.")
    return StoredItems(
        items={INPUTS: inputs[chosen].contiguous(), TARGETS: targets[chosen].contiguous()},
        fingerprint="",
        notes={"inputs": ",".join(columns.inputs), "targets": ",".join(columns.targets), "remarks": json.dumps(notes)},
    )


def _open(data: DataSettings, reference: Reference, revision: str, tell: Tell) -> "Table":
    # Only now: what reads tables takes a second to import, and items that are kept need none of it.
    from hf_llc.tasks.regression.table import TABLE
    from hf_llc.tasks.text import corpus as corpora

    if reference.path is not None:
        return corpora.read_local(data, reference.path, TABLE)
    return corpora.read_hub(data, reference.id, revision, tell, TABLE)


def _tensors(table: "Table", place: str, most: int) -> tuple[Tensor, Tensor]:
    """Inputs and targets, float64, of all rows, or of the first so many."""
    inputs, targets = [], []
    for of_inputs, of_targets in table.items(place):
        inputs.append(torch.tensor(of_inputs, dtype=torch.float64))
        targets.append(torch.tensor(of_targets, dtype=torch.float64))
        if most and len(inputs) >= most:
            break
    if not inputs:
        raise UnusableError(f"{place} has no rows.")
    return torch.stack(inputs), torch.stack(targets)


def _finite(values: Tensor, columns: Sequence[str], place: str) -> Tensor:
    """The numbers as float32.

    Raises:
        UnusableError: one is NaN, or beyond the range of float32.
    """
    rows = values.to(torch.float32)
    broken = rows.isfinite().logical_not().any(dim=1).nonzero()
    if len(broken):
        row = int(broken[0])
        value = values[row][rows[row].isfinite().logical_not()][0]
        raise UnusableError(
            f"{place} holds {float(value):g} in {', '.join(columns)} (row {row + 1}); remove such rows, of which there "
            f"are {len(broken)}."
        )
    return rows
