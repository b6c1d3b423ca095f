"""From a user's words to images on this disk as pixel values with classes, pinned."""

import json
import math
import re
from collections.abc import Iterable
from itertools import islice
from typing import Any

import torch
from PIL.Image import new as new_image
from torch import Tensor
from transformers import AutoModelForImageClassification

from hf_llc.checkpoints.identity import dataset_revision
from hf_llc.checkpoints.loading.config import Kind, read_config, refuse_other_kinds
from hf_llc.checkpoints.source import Corpus, ModelSource
from hf_llc.errors import SettingsError, UnusableError
from hf_llc.hub import client
from hf_llc.hub.errors import Tell, endpoint
from hf_llc.hub.reference import parse_dataset
from hf_llc.settings.data import DEFAULT_DATASET, DataSettings
from hf_llc.tasks import item_cache
from hf_llc.tasks.base import Example
from hf_llc.tasks.image_classification.processor import PIXELS, load_processor
from hf_llc.tasks.item_cache import StoredItems
from hf_llc.tasks.labels import ModelClasses, classes_of, numbers_by_name, refuse_numbers
from hf_llc.tasks.text import token_cache

IMAGE_CLASSIFIER = Kind(
    auto=AutoModelForImageClassification,
    name="model for image classification",
    heads=re.compile("ForImageClassification"),
)
FORMAT = 1
"""Changes whenever other tensors are made from the same inputs."""
LABELS = "labels"
MODES = {1: "L", 3: "RGB"}
"""Of PIL, by the channels that a model takes: processors convert none."""
MOST_AT_ONCE = 64
"""Images that are decoded at a time."""
MIN_IMAGES = 3
SIDE = 224
"""Pixels of the images that a forecast gives to the image processor, which mostly makes all of one size."""


def find_images(data: DataSettings, source: ModelSource, tell: Tell) -> Corpus:
    """The images as pixel values of the model's processor, with the model's classes; made once for the same inputs.

    Raises:
        UnusableError: the model is no classifier of one class an image, or the images or classes do not fit it.
        SourceError, ResourceError: the data cannot be read or kept.
    """
    config = read_config(source)
    refuse_other_kinds(source, config, IMAGE_CLASSIFIER)
    problem = getattr(config, "problem_type", None)
    if problem not in {None, "single_label_classification"}:
        raise UnusableError(
            f"{source.id}: problem_type is {problem} in its config.json; only single_label_classification, one class "
            "an image, is supported."
        )
    if data.dataset == DEFAULT_DATASET:
        raise SettingsError(
            f"dataset must name images for {source.id}, got {data.dataset}, the default text; name a folder of images, "
            "a .parquet file or a Hub dataset."
        )
    classes, mode = classes_of(config, source.id), _mode(source, config)
    reference = parse_dataset(data.dataset, data.revision, endpoint())
    processor = load_processor(source, tell)
    revision = dataset_revision(reference, tell)
    inputs = item_cache.inputs_of_table(
        data,
        reference,
        revision,
        format=FORMAT,
        processor=processor.identity,
        mode=mode,
        classes=list(classes.names),
    )
    path = token_cache.path_of(client.home() / "images", inputs)
    stored = item_cache.read(path, tell)
    if stored is None:
        # Only now: `datasets` takes a second to import.
        from hf_llc.tasks.image_classification.rows import decoder, open_rows

        labelled = open_rows(data, reference.path, reference.id, revision, tell)
        stored = _items_of(labelled, decoder(reference.id, mode), processor, classes, data.max_sequences)
        stored = item_cache.write(path, stored)
    return item_cache.corpus_of(
        stored,
        path,
        data,
        id=reference.id,
        revision=revision,
        column=stored.notes["image"],
        label_column=stored.notes.get("label", data.label_column),
        context_length=1,
        tell=tell,
        loss_of_guessing=math.log(len(classes.names)) if stored.notes["by"] == "number" else None,
    )


def example(source: ModelSource, tell: Tell) -> Example:
    """Images of noise; see `base.Forecastable`."""
    config = read_config(source)
    refuse_other_kinds(source, config, IMAGE_CLASSIFIER)
    classes_of(config, source.id)
    shape = load_processor(source, tell)([new_image(_mode(source, config), (SIDE, SIDE))]).shape[1:]

    def items(count: int) -> dict[str, Tensor]:
        pixels = torch.randn(count, *shape, generator=torch.Generator().manual_seed(0))
        return {PIXELS: pixels, LABELS: torch.zeros(count, dtype=torch.int64)}

    return Example(kind=IMAGE_CLASSIFIER, context_length=1, items=items)


def _mode(source: ModelSource, config: Any) -> str:
    channels = getattr(config, "num_channels", 3)
    if channels not in MODES:
        raise UnusableError(f"{source.id}: num_channels in its config.json must be 1 or 3, got {channels}.")
    return MODES[channels]


def _items_of(labelled: Any, decode: Any, processor: Any, classes: ModelClasses, most: int) -> StoredItems:
    """The tensors of the rows.

    Raises:
        UnusableError: the classes are not the model's, or there are fewer than MIN_IMAGES images.
    """
    every = labelled.labels() if labelled.local else []
    chosen = labelled.chosen(most, len(every))
    pixels: list[Tensor] = []
    values: list[Any] = []
    while batch := list(islice(chosen, MOST_AT_ONCE)):
        with labelled.read():
            images = [decode(cell) for cell, _ in batch]
        pixels.append(processor(images))
        values += [value for _, value in batch]
    if len(values) < MIN_IMAGES:
        raise UnusableError(f"{labelled.name} gives {len(values)} images, and at least {MIN_IMAGES} are needed.")
    if sizes := {part.shape[1:] for part in pixels} - {pixels[0].shape[1:]}:
        raise UnusableError(
            f"The image processor of {classes.model} gives images of several sizes, {tuple(pixels[0].shape[1:])} and "
            f"{tuple(min(sizes))}; set do_resize and size in its preprocessor_config.json."
        )
    numbers, by_names = _numbers(labelled, every or values, values, classes)
    remarks = [] if by_names else [f"Classes are matched by number, since {_who_has_none(labelled, classes)}."]
    present = len(set(numbers))
    if not labelled.local and most and len(numbers) == most and present < len(classes.names):
        remarks.append(
            f"The first {most} images are of {present} of {len(classes.names)} classes; if the split is sorted by "
            "class, raise `max_sequences`, or download it and name the folder, of which images are taken at random."
        )
    # Settings are measured on the first items, which must not be those of one class.
    order = torch.randperm(len(numbers), generator=torch.Generator().manual_seed(0))
    items = {PIXELS: torch.cat(pixels)[order], LABELS: torch.tensor(numbers, dtype=torch.int64)[order]}
    notes = {
        "image": labelled.image,
        "label": labelled.label,
        "remarks": json.dumps(remarks),
        "by": "name" if by_names else "number",
    }
    return StoredItems(items=items, fingerprint="", notes=notes)


def _numbers(labelled: Any, every: Iterable[Any], values: list[Any], classes: ModelClasses) -> tuple[list[int], bool]:
    """The model's class of each value, and whether names decided on it."""
    if any(value is None for value in values):
        raise UnusableError(f"Column {labelled.label} of {labelled.name} has rows without a class; remove them.")
    by_names = False
    if labelled.classes is not None:
        refuse_numbers([value for value in values if value < 0], classes, labelled.name)
        of_data, by_names = numbers_by_name(labelled.classes, classes, labelled.name)
        values = [of_data[value] for value in values]
    elif isinstance(values[0], str):
        names = sorted({str(value) for value in every})
        if not classes.are_named and not all(name.isdecimal() for name in names):
            raise UnusableError(
                f"Column {labelled.label} of {labelled.name} holds names, but {classes.model} has only "
                f"{classes.names[0]}, …; set id2label and label2id in its config.json."
            )
        of_data, by_names = numbers_by_name(names, classes, labelled.name)
        number_of = dict(zip(names, of_data, strict=True))
        values = [number_of[value] for value in values]
    refuse_numbers(values, classes, labelled.name)
    return values, by_names


def _who_has_none(labelled: Any, classes: ModelClasses) -> str:
    return f"{labelled.name if classes.are_named else classes.model} has no names for them"
