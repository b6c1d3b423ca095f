"""Images with classes, row after row, from the Hub or from this disk (datasets)."""

import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from datasets.arrow_dataset import Dataset
from datasets.data_files import DataFilesList
from datasets.features import ClassLabel, Image, Value
from datasets.load import load_dataset, load_from_disk
from huggingface_hub import get_token

from hf_llc.errors import NotFoundError, UnusableError, did_you_mean
from hf_llc.hub.client import check_access
from hf_llc.hub.errors import Tell, explained, patiently
from hf_llc.settings.data import DataSettings
from hf_llc.tasks.text.corpus import by_name, choose_split, explained_files
from hf_llc.tasks.text.data_files import builder_of, refuse_hops

PATTERN = set("*?[")
"""Characters of a path that `datasets` takes for patterns."""
LABELS = ("label", "labels", "class", "fine_label", "target")
"""Usual names of columns of classes, the first that is there is taken."""


@dataclass(frozen=True, kw_only=True)
class Labelled:
    """The rows of a split, its images not decoded yet.

    Attributes:
        name: of the data, for messages. image, label: columns. classes: names of the classes, by number; None where
            the column holds numbers or strings alone.
        local: whether it is on this disk, where rows can be read twice.
    """

    name: str
    rows: Any
    image: str
    label: str
    classes: list[str] | None
    local: bool

    def labels(self) -> list[Any]:
        """The class of every row as the column has it."""
        with self.read():
            return [row[self.label] for row in self.rows.select_columns([self.label])]

    def chosen(self, most: int, total: int) -> Iterator[tuple[Any, Any]]:
        """Image, not decoded, and class of at most so many rows, all for 0: of `total` on this disk a random choice,
        the same each time, since folders are in the order of their classes; on the Hub the first ones."""
        taken: set[int] | None = None
        rows = iter(self.rows.select_columns([self.image, self.label]))
        if most and self.local and total > most:
            numbers = torch.Generator().manual_seed(0)
            taken = set(torch.randperm(total, generator=numbers)[:most].tolist())
        elif most:
            rows = itertools.islice(rows, most)
        for position in itertools.count():
            with self.read():
                row = next(rows, None)
            if row is None:
                return
            if taken is None or position in taken:
                yield row[self.image], row[self.label]

    @contextmanager
    def read(self) -> Iterator[None]:
        """Turns what `datasets` raises inside into our errors."""
        with ExitStack() as stack:
            if not self.local:
                stack.enter_context(explained(self.name, "dataset"))
            stack.enter_context(explained_files(self.name, local=self.local, what="images"))
            yield


def open_rows(data: DataSettings, path: Path | None, name: str, revision: str, tell: Tell) -> Labelled:
    """The rows of a file, a folder or a Hub dataset.

    Args:
        path: on this disk; None for the Hub. name: its id there, or the path as the user wrote it. revision: a commit.

    Raises:
        NotFoundError: no such config, split or column; the message names those there are.
        UnusableError: there is no column of images or of classes, or `datasets` cannot read the files.
        SourceError: the dataset cannot be read.
    """
    if path is None:
        check_access(name, "dataset", tell)
        with explained(name, "dataset"), explained_files(name, what="images"):
            builder = patiently(lambda: builder_of(name, data.config, name, revision), tell)
            rows = choose_split(by_name(builder.as_streaming_dataset()), data.split, name)
            return _labelled(data, rows, name, local=False)
    with explained_files(name, local=True, what="images"):
        return _labelled(data, _local_rows(data, path, name), name, local=True)


def _local_rows(data: DataSettings, path: Path, name: str) -> Any:
    refuse_hops([str(path.resolve())])
    if path.is_file():
        if path.suffix.lower() != ".parquet":
            raise UnusableError(f"{name} holds no images; name a .parquet file, a folder of images or a Hub dataset.")
        files: Any = {"train": DataFilesList([str(path.resolve())], [()])}
        splits: dict[str, Any] = {"train": load_dataset("parquet", data_files=files, split="train", streaming=True)}
    elif (path / "dataset_dict.json").is_file() or (path / "state.json").is_file():
        saved = load_from_disk(str(path))
        splits = {data.split: saved} if isinstance(saved, Dataset) else by_name(saved)
    else:
        if PATTERN & set(str(path.resolve())):
            raise UnusableError(f"{name} has one of * ? [ in its path, which `datasets` takes for patterns; rename it.")
        splits = by_name(builder_of(str(path.resolve()), data.config, name).as_streaming_dataset())
    return choose_split(splits, data.split, name)


def _labelled(data: DataSettings, rows: Any, name: str, *, local: bool) -> Labelled:
    if rows.features is None:
        rows = rows._resolve_features()
    features = dict(rows.features)
    image = _image_column(features, data.text_column, name)
    label = _label_column(features, data.label_column, name)
    if isinstance(features[image], Image):
        rows = rows.cast_column(image, Image(decode=False))
    feature = features[label]
    names = list(feature.names) if isinstance(feature, ClassLabel) else None
    return Labelled(name=name, rows=rows, image=image, label=label, classes=names, local=local)


def _holds_images(feature: Any) -> bool:
    """True for images of `datasets`, and for what plain pyarrow writes: bytes, alone or with a path."""
    if isinstance(feature, dict):
        return "bytes" in feature and set(feature) <= {"bytes", "path"}
    return isinstance(feature, Image) or (isinstance(feature, Value) and feature.dtype in {"binary", "large_binary"})


def _holds_classes(feature: Any) -> bool:
    is_value = isinstance(feature, Value) and feature.dtype.startswith(("int", "uint", "string", "large_string"))
    return isinstance(feature, ClassLabel) or is_value


def _image_column(features: dict[str, Any], asked: str | None, name: str) -> str:
    columns = [column for column, feature in features.items() if _holds_images(feature)]
    return _column(features, columns, asked, name, "images", "text_column", ("image", "img"))


def _label_column(features: dict[str, Any], asked: str | None, name: str) -> str:
    columns = [column for column, feature in features.items() if _holds_classes(feature)]
    named = [column for column in columns if isinstance(features[column], ClassLabel)]
    if asked is None and len(named) == 1:
        return named[0]
    return _column(features, columns, asked, name, "classes", "label_column", LABELS)


def _column(
    features: dict[str, Any],
    columns: list[str],
    asked: str | None,
    name: str,
    what: str,
    setting: str,
    usual: tuple[str, ...],
) -> str:
    """The column that was asked for, else the first of the usual ones, else the only one.

    Raises:
        NotFoundError: it is not there, or several may be meant. UnusableError: it holds something else, or none does.
    """
    if asked is not None and asked not in features:
        raise NotFoundError(
            f"{name} has no column {asked}{did_you_mean(asked, list(features))} Choose with `{setting}`."
        )
    if asked is not None and asked not in columns:
        raise UnusableError(f"Column {asked} of {name} does not hold {what}; its columns are {', '.join(features)}.")
    if not columns:
        raise UnusableError(f"{name} has no column of {what}; its columns are {', '.join(features) or 'none'}.")
    chosen = asked or next((column for column in usual if column in columns), None)
    if chosen is None and len(columns) > 1:
        raise NotFoundError(f"{name} has several columns of {what}: {', '.join(columns)}. Choose with `{setting}`.")
    return chosen or columns[0]


def decoder(name: str, mode: str) -> Callable[[Any], Any]:
    """From a cell of an image column to an image in that mode of PIL, turned as its EXIF data says.

    Args:
        name: of the dataset on the Hub, whose files may be for some users only.
    """
    image, tokens = Image(mode=mode), {name: get_token()}

    def decode(cell: Any) -> Any:
        if cell is None:
            raise UnusableError(f"{name} has rows without an image; remove them.")
        value = {"bytes": cell, "path": None} if isinstance(cell, bytes) else cell
        return image.decode_example(value, token_per_repo_id=tokens)

    return decode
