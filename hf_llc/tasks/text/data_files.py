"""Files of text on this disk: which ones a path means, of what format they are, and their bytes (datasets, gzip)."""

import gzip
import importlib
import os
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from datasets.inspect import get_dataset_config_names
from datasets.load import load_dataset_builder

from hf_llc.errors import NotFoundError, SettingsError, UnusableError, did_you_mean
from hf_llc.hub.reference import DATA_SUFFIXES

FORMATS = {
    ".txt": "text",
    ".jsonl": "json",
    ".ndjson": "json",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
}
_PACKED = {".gz", ".zst"}
_ENDINGS = [*(kind + packing for kind in FORMATS for packing in sorted(_PACKED)), *FORMATS]
_ABOUT = {"license.txt", "licence.txt", "readme.txt"}
_NO_DATA = {
    "config.json",
    "dataset_info.json",
    "dataset_infos.json",
    "dataset_dict.json",
    "state.json",
    *_ABOUT,
}
"""Names, in lower case, of files that hold no text of a data set, and of plain text files about one."""

_SPLIT_NAMES = re.compile(r"(?<![a-z])(train|training|test|testing|valid|validation|val|dev|eval)(?![a-z])")


@dataclass(frozen=True, kw_only=True)
class DataFiles:
    """The files of each split, all of one format.

    Attributes:
        format: `text`, `json`, `csv`, or another module of `datasets`.
        options: of the format's reader.
        left_out: names of data files that are in none of the splits.
        about: names of plain text files that are left out since they are a license or a readme.
        unsplit: names of plain text files that look like those of several splits, and are read as one.
    """

    format: str
    splits: Mapping[str, Sequence[Path]]
    options: Mapping[str, Any]
    left_out: Sequence[str] = ()
    about: Sequence[str] = ()
    unsplit: Sequence[str] = ()


def data_files(path: Path, config: str | None) -> DataFiles:
    """What a file is, or the splits of a folder: by the card's configs, else by names, as `datasets` finds them.

    A folder of nothing but plain text files is one split of all of them, in order of their names.

    Raises:
        SettingsError: a file of no format that can be read, or a config of a single file.
        UnusableError: an empty file.
        OSError, ValueError and others: those of `datasets`, if it finds no files or no such config.
    """
    if path.is_file():
        return _of_file(path, config)
    candidates = files_in(path)
    if all(format_of(file) == "text" for file in candidates):
        names = [file.relative_to(path).as_posix() for file in candidates]
        about = about_data(names)
        names = [name for name in names if name not in about]
        unsplit = names if _named_like_splits(names) else []
        splits = {"train": [path / name for name in names]}
        return DataFiles(format="text", splits=splits, options={}, about=about, unsplit=unsplit)
    with _link_farm(path) as (farm, originals), _named(str(farm), str(path)):
        builder = builder_of(str(farm), config, str(path))
        format_, options = format_of_builder(builder)
        splits = {
            str(name): [originals[Path(file)] for file in files]
            for name, files in (builder.config.data_files or {}).items()
        }
        several = len(builder.builder_configs) > 1
    used = [file.relative_to(path).as_posix() for files in splits.values() for file in files]
    others = [] if several else unused((file.relative_to(path).as_posix() for file in candidates), used)
    about = about_data(used) if format_ == "text" else []
    splits = {
        split: [file for file in files if file.relative_to(path).as_posix() not in about]
        for split, files in splits.items()
    }
    return DataFiles(format=format_, splits=splits, options=options, left_out=others, about=about)


def _of_file(path: Path, config: str | None) -> DataFiles:
    if config is not None:
        raise SettingsError(f"{path} is a single file and has no configs; leave out `config`.")
    if (format_ := format_of(path)) is None:
        raise SettingsError(f"{path} is none of the formats that can be read: {', '.join(DATA_SUFFIXES)}.")
    if path.stat().st_size == 0:
        raise UnusableError(f"{path} is empty; give another file, or more text.")
    options = {"sep": "\t"} if _suffix(path) == ".tsv" else {}
    return DataFiles(format=format_, splits={"train": [path]}, options=options)


def builder_of(place: str, config: str | None, name: str, revision: str | None = None) -> Any:
    """What `datasets` would read a folder or a repository with.

    Args:
        place: the folder, or the repository's id. name: of it, for messages.

    Raises:
        NotFoundError: it has several configs and none was named, or not the one that was.
        OSError, ValueError and others: those of `datasets`.
    """
    try:
        return load_dataset_builder(place, config, revision=revision)
    except ValueError as error:
        configs = get_dataset_config_names(place, revision=revision)
        if config is None and len(configs) > 1:
            raise NotFoundError(
                f"{name} has several configs{did_you_mean('', configs, 6)} Choose with `config`."
            ) from error
        if config is not None and config not in configs:
            near = did_you_mean(config, configs)
            raise NotFoundError(f"{name} has no config {config}{near} Choose with `config`.") from error
        raise


def refuse_hops(places: Iterable[str]) -> None:
    """Raise if one of these paths or addresses holds `::`, at which `datasets` would take it apart.

    Raises:
        UnusableError: naming it.
    """
    for place in places:
        if "::" in place:
            raise UnusableError(f"{place} has `::` in its name, which `datasets` takes for two files; rename it.")


def files_in(folder: Path) -> list[Path]:
    """The data files of a folder by name, those of its subfolders too, without hidden ones."""
    return [file for file in _visible(folder) if file.suffix.lower() in DATA_SUFFIXES]


def format_of(path: Path) -> str | None:
    """The format that a file's name says; None for a name that says none."""
    return FORMATS.get(_suffix(path))


def unused(names: Iterable[str], used: Iterable[str]) -> list[str]:
    """Those of the files that hold data, by their names alone, and are not among the used ones."""
    others = sorted({*names} - {*used})
    return [name for name in others if format_of(Path(name)) is not None and Path(name).name.lower() not in _NO_DATA]


def about_data(names: Iterable[str]) -> list[str]:
    """The licenses and readmes among the plain text files of a data set; none if there is no other file."""
    names = list(names)
    about = [name for name in names if _unpacked(Path(name).name.lower()) in _ABOUT]
    return about if len(about) < len(names) else []


def _unpacked(name: str) -> str:
    return name.removesuffix(".gz").removesuffix(".zst")


def _named_like_splits(names: Iterable[str]) -> bool:
    """True if the names of these files, or of their folders, tell another split than train."""
    splits = {match.group(1) for name in names for match in _SPLIT_NAMES.finditer(name.lower())}
    return bool(splits - {"train", "training"})


def format_of_builder(builder: Any) -> tuple[str, Mapping[str, Any]]:
    """The name of the `datasets` module that reads these files, and the options that a card set for it.

    Where a card wants JSON or plain text to be read in a way of its own, the name is another: `datasets` reads them.
    """
    name, config = type(builder).__module__.rpartition(".")[2], builder.config
    if name == "csv":
        return name, config.pd_read_csv_kwargs
    if name == "json" and (config.field is not None or config.encoding.lower() not in {"utf-8", "utf8"}):
        return "json by its card", {"field": config.field, "encoding": config.encoding}
    if name == "text" and config.sample_by != "line":
        return "text by its card", {"sample_by": config.sample_by, "encoding": config.encoding}
    if name == "text":
        return name, {"encoding": config.encoding}
    return name, {}


@contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """The bytes of a file, unpacked if its name ends in .gz or .zst.

    Raises:
        UnusableError: it is packed with zstd, and there is no package to unpack it. OSError: it cannot be read.
    """
    if path.suffix.lower() == ".gz":
        with gzip.open(path) as file:
            yield cast(IO[bytes], file)
    elif path.suffix.lower() == ".zst":
        try:
            zstandard: Any = importlib.import_module("zstandard")
        except ImportError as error:
            raise UnusableError(f"{path} is compressed with zstd; install zstandard, or unpack it first.") from error
        with path.open("rb") as packed, zstandard.ZstdDecompressor().stream_reader(packed) as file:
            yield file
    else:
        with path.open("rb") as file:
            yield file


def _visible(folder: Path) -> list[Path]:
    files = (file for file in folder.rglob("*") if file.is_file())
    return sorted(file for file in files if not any(part.startswith(".") for part in file.relative_to(folder).parts))


def _suffix(file: Path) -> str:
    """`.jsonl` of `a.jsonl` and of `a.jsonl.gz`."""
    packed = file.suffix.lower() in _PACKED
    return (Path(file.stem).suffix if packed else file.suffix).lower()


@contextmanager
def _link_farm(folder: Path) -> Iterator[tuple[Path, Mapping[Path, Path]]]:
    """A folder of links to another's files, at a path without `*`, `?` and `[`, which `datasets` takes for patterns.

    `datasets` knows endings and splits in lower case only; so the links of files with an ending in capitals have names
    in lower case, unless a card may name the files.

    Yields:
        The folder, and the file of each link.
    """
    verbatim = (folder / "README.md").is_file() and b"data_files" in (folder / "README.md").read_bytes()
    with tempfile.TemporaryDirectory(prefix="hf-llc-") as place:
        farm = Path(place).resolve()
        originals: dict[Path, Path] = {}
        for file in _visible(folder):
            link = farm / file.relative_to(folder)
            lower = link.with_name(_lower_name(link.name))
            if not verbatim and not (folder / lower.relative_to(farm)).exists() and lower not in originals:
                link = lower
            link.parent.mkdir(parents=True, exist_ok=True)
            os.symlink(file.resolve(), link)
            originals[link] = file
        yield farm, originals


def _lower_name(name: str) -> str:
    """`test.jsonl.gz` of `TEST.JSONL.GZ`, but `Test.jsonl` of itself, which `datasets` can read."""
    ending = next((part for part in _ENDINGS if name.lower().endswith(part)), "")
    return name if name.endswith(ending) else name.lower()


@contextmanager
def _named(place: str, name: str) -> Iterator[None]:
    """Raise an UnusableError with the folder's own name for an error that names the folder of links."""
    try:
        yield
    except Exception as error:
        if place not in str(error):
            raise
        text = " ".join(str(error).replace(place, name).split())
        raise UnusableError(f"{name} cannot be read as text: {text[:200]} ({type(error).__name__})") from error
