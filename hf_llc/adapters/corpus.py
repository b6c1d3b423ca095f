"""Text, one document after the other, from the Hub or from this disk (datasets)."""

import gzip
import itertools
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets import config
from datasets.arrow_dataset import Dataset
from datasets.exceptions import DatasetsError
from datasets.inspect import get_dataset_config_names
from datasets.load import load_dataset, load_from_disk

from hf_llc.adapters.hub import check_access
from hf_llc.adapters.hub_errors import Tell, explained, patiently
from hf_llc.errors import NotFoundError, ResourceError, SettingsError, UnusableError
from hf_llc.references import DATA_SUFFIXES, nearest
from hf_llc.settings import DataSettings

_STRINGS = {"string", "large_string", "string_view"}
_FORMATS = {".jsonl": "json", ".json": "json", ".csv": "csv", ".parquet": "parquet"}
_PACKED = {".gz", ".zst"}
_PARSING_FAILURES = (
    OSError,
    ValueError,  # pyarrow's, json's, and those of `datasets` itself
    KeyError,
    TypeError,
    RuntimeError,
    ImportError,
    EOFError,
    zlib.error,
    DatasetsError,
)


@dataclass(frozen=True, kw_only=True)
class Documents:
    """Text, document after document.

    Attributes:
        text_column: the column that the documents are from.
        texts: the documents in order, to be read once.
        remarks: sentences that a reader of the numbers must know about the documents read so far.
    """

    text_column: str
    texts: Iterator[str]
    remarks: Callable[[], list[str]] = list


def open_hub(data: DataSettings, repo_id: str, sha: str, tell: Tell) -> Documents:
    """The documents of a Hub dataset at one commit, fetched as they are read.

    Raises:
        NotFoundError: no such config, split or column; the message names those there are.
        UnusableError: the column holds no strings, or `datasets` cannot read the files.
        OfflineError, SourceError: see `hub_errors.explained`.
    """
    check_access(repo_id, "dataset", tell)  # `datasets` does not say why it cannot read one
    with explained(repo_id, "dataset"), _explained(repo_id):
        splits = patiently(lambda: _load_hub(data, repo_id, sha), tell)
        rows = _choose_split(splits, data.split, repo_id)
        column, values = _choose_column(rows, data.text_column, repo_id)
    return Documents(text_column=column, texts=_read(values, repo_id, column, hub=True))


def open_local(data: DataSettings, path: Path) -> Documents:
    """The documents of a file, a folder of files, or a folder that `save_to_disk` wrote; a text file is one document.

    Raises:
        NotFoundError: no such split or column; the message names those there are.
        UnusableError: the column holds no strings, or the files cannot be read.
    """
    name = str(path)
    if texts := text_files(path):
        _choose_split({"train": None}, data.split, name)
        if data.text_column not in {None, "text"}:
            raise NotFoundError(f"{name} is plain text and has no columns; leave out --text-column.")
        return Documents(text_column="text", texts=(text for file in texts if (text := _read_text(file))))
    with _explained(name, local=True):
        rows = _choose_split(_load_local(data, path), data.split, name)
        column, values = _choose_column(rows, data.text_column, name)
    return Documents(text_column=column, texts=_read(values, name, column, hub=False))


def text_files(path: Path) -> list[Path]:
    """The plain text files at `path`, by name, if it is one or a folder with no other data files."""
    found = [path] if path.is_file() else _data_files(path)
    return found if all(_suffix(file) == ".txt" for file in found) else []


def _data_files(folder: Path) -> list[Path]:
    files = (file for file in folder.rglob("*") if file.is_file() and file.suffix in DATA_SUFFIXES)
    return sorted(file for file in files if not any(part.startswith(".") for part in file.relative_to(folder).parts))


def _suffix(file: Path) -> str:
    """`.jsonl` of `a.jsonl` and of `a.jsonl.gz`."""
    return Path(file.stem).suffix if file.suffix in _PACKED else file.suffix


def _read_text(file: Path) -> str:
    if file.suffix == ".zst":
        raise UnusableError(f"{file} is packed with zstd; unpack it first.")
    try:
        content = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UnusableError(f"{file} is not UTF-8 text (byte {error.start}); convert it first.") from error
    except (OSError, EOFError, zlib.error) as error:
        raise UnusableError(f"{file} cannot be read ({type(error).__name__}); it may be damaged.") from error


def _load_hub(data: DataSettings, repo_id: str, sha: str) -> Mapping[str, Any]:
    try:
        return _by_name(load_dataset(repo_id, data.config, revision=sha, streaming=True))
    except ValueError as error:
        configs = get_dataset_config_names(repo_id, revision=sha)
        if data.config is None and len(configs) > 1:
            raise NotFoundError(
                f"{repo_id} has several configs{nearest('', configs, 6)} Choose with --dataset-config."
            ) from error
        if data.config is not None and data.config not in configs:
            near = nearest(data.config, configs)
            raise NotFoundError(f"{repo_id} has no config {data.config}{near} Choose with --dataset-config.") from error
        raise


def _load_local(data: DataSettings, path: Path) -> Mapping[str, Any]:
    if data.config is not None and path.is_file():
        raise SettingsError(f"{path} is a single file and has no configs; leave out --dataset-config.")
    if path.is_file():
        if (format_ := _FORMATS.get(_suffix(path))) is None:
            raise SettingsError(f"{path} is none of the formats that can be read: {', '.join(DATA_SUFFIXES)}.")
        if path.stat().st_size == 0:
            raise UnusableError(f"{path} is empty.")
        return {"train": load_dataset(format_, data_files=str(path), split="train", streaming=True)}
    if (path / "dataset_dict.json").is_file() or (path / "state.json").is_file():
        saved = load_from_disk(str(path))
        return {data.split: saved} if isinstance(saved, Dataset) else _by_name(saved)
    if not _data_files(path):
        raise NotFoundError(f"{path} holds no data files ({', '.join(DATA_SUFFIXES)}).")
    return _by_name(load_dataset(str(path), data.config, streaming=True))


def _by_name(splits: Mapping[Any, Any]) -> dict[str, Any]:
    return {str(name): rows for name, rows in splits.items()}


def _choose_split(splits: Mapping[str, Any], wanted: str, name: str) -> Any:
    if wanted in splits:
        return splits[wanted]
    if "[" in wanted or "+" in wanted:
        raise SettingsError(f"--split {wanted} is an expression; give one name and use --max-sequences to take a part.")
    raise NotFoundError(f"{name} has no split {wanted}{nearest(wanted, sorted(splits))} Choose with --split.")


def _choose_column(rows: Any, wanted: str | None, name: str) -> tuple[str, Iterable[Any]]:
    """The text column's name and its values."""
    features = rows.features
    if features is None:  # JSON lines say what they hold only when they are read
        iterator = iter(rows)
        first = next(iterator, None)
        if first is None:
            raise UnusableError(f"{name} has no rows.")
        rows = itertools.chain([first], iterator)
        strings = {key: isinstance(value, str) or (key == wanted and value is None) for key, value in first.items()}
    else:
        strings = {key: getattr(feature, "dtype", "") in _STRINGS for key, feature in features.items()}
    column = _name_column(strings, wanted, name)
    if features is not None:
        rows = rows.select_columns([column])
    return column, (row.get(column) for row in rows)


def _name_column(strings: Mapping[str, bool], wanted: str | None, name: str) -> str:
    of_text = [key for key, is_text in strings.items() if is_text]
    if wanted is not None and wanted not in strings:
        raise NotFoundError(f"{name} has no column {wanted}{nearest(wanted, list(strings))} Choose with --text-column.")
    if wanted is None:
        wanted = "text" if "text" in strings else of_text[0] if len(of_text) == 1 else None
    if wanted is None and of_text:
        raise NotFoundError(
            f"{name} has no column text, and several of strings{nearest('', of_text, 6)} Choose with --text-column."
        )
    if wanted is None:
        raise UnusableError(f"{name} has no column of strings; its columns are {', '.join(strings)}.")
    if not strings[wanted]:
        others = f"; columns of strings: {', '.join(of_text)}. Choose with --text-column." if of_text else "."
        raise UnusableError(f"Column {wanted} of {name} does not hold strings{others}")
    return wanted


def _read(values: Iterable[Any], name: str, column: str, *, hub: bool) -> Iterator[str]:
    """The non-empty strings among the values. A missing value is an empty document, and so no document."""
    iterator = iter(values)
    end = object()
    while True:
        with explained(name, "dataset") if hub else nullcontext(), _explained(name, local=not hub):
            value = next(iterator, end)
        if value is end:
            return
        if value is not None and not isinstance(value, str):
            raise UnusableError(f"Column {column} of {name} holds a {type(value).__name__} among its strings.")
        if value:
            yield value


@contextmanager
def _explained(name: str, *, local: bool = False) -> Iterator[None]:
    """Turns what `datasets` raises for files that it cannot read into an UnusableError.

    An OSError is an answer of the Hub, and left to others, unless the files are `local`.
    """
    try:
        yield
    except _PARSING_FAILURES as error:
        if isinstance(error, OSError) and not local:
            raise
        cache = str(config.HF_DATASETS_CACHE)
        if isinstance(error, OSError) and str(error.filename or "").startswith(cache):
            raise ResourceError(
                f"The cache at {cache} cannot be used ({error.strerror}); set HF_HOME to a folder of yours."
            ) from error
        text = " ".join(str(error).split())
        if "Dataset scripts are no longer supported" in text:
            raise UnusableError(
                f"{name} is made by a script, which `datasets` no longer runs; name one of plain files."
            ) from error
        if "zstd" in text.lower() or "zstandard" in text.lower():
            raise UnusableError(f"{name} is packed with zstd; install zstandard, or unpack it first.") from error
        raise UnusableError(f"{name} cannot be read as text: {text[:200]} ({type(error).__name__})") from error
    except Exception as error:
        if type(error).__module__.partition(".")[0] != "yaml":  # which `datasets` reads the head of a card with
            raise
        raise UnusableError(f"The YAML head of the README.md of {name} cannot be read; mend or remove it.") from error
