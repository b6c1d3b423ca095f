"""Text, one document after the other, from the Hub or from this disk (datasets)."""

import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, TypeVar

from datasets import config
from datasets.arrow_dataset import Dataset
from datasets.data_files import DataFilesList
from datasets.download.download_config import DownloadConfig
from datasets.download.streaming_download_manager import StreamingDownloadManager
from datasets.exceptions import DatasetsError
from datasets.load import load_dataset, load_from_disk
from datasets.utils.file_utils import xopen

from hf_llc.errors import NotFoundError, ResourceError, SettingsError, UnusableError, did_you_mean, listed
from hf_llc.hub.client import check_access
from hf_llc.hub.errors import Tell, explained, patiently
from hf_llc.hub.listings import listing
from hf_llc.hub.reference import DATA_SUFFIXES
from hf_llc.settings.data import DataSettings
from hf_llc.tasks.text.data_files import (
    about_data,
    builder_of,
    data_files,
    files_in,
    format_of_builder,
    opened,
    refuse_hops,
    unused,
)
from hf_llc.tasks.text.documents import TEXTS, Documents, File, Reader

T = TypeVar("T")

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


def open_hub(data: DataSettings, repo_id: str, sha: str, tell: Tell) -> Documents:
    """The documents of a Hub dataset, a plain text file being one: see `read_hub`."""
    return read_hub(data, repo_id, sha, tell, TEXTS)


def open_local(data: DataSettings, path: Path) -> Documents:
    """The documents of files on this disk, a plain text file being one: see `read_local`."""
    return read_local(data, path, TEXTS)


def read_hub(data: DataSettings, repo_id: str, sha: str, tell: Tell, reader: Reader[T]) -> T:
    """What a reader makes of a Hub dataset at one commit, such as its documents, fetched as they are read.

    Raises:
        NotFoundError: no such config, split or column; the message names those there are.
        UnusableError: the column holds no strings, or `datasets` cannot read the files.
        OfflineError, SourceError: see `errors.explained`.
    """
    check_access(repo_id, "dataset", tell)  # `datasets` does not say why it cannot read one

    @contextmanager
    def guard() -> Iterator[None]:
        with explained(repo_id, "dataset"), explained_files(repo_id):
            yield

    with guard():
        builder = patiently(lambda: builder_of(repo_id, data.config, repo_id, sha), tell)
        format_, options = format_of_builder(builder)
        notes: list[str] = []
        if len(builder.builder_configs) <= 1:  # a card with several says itself which files are what
            names = [file.path for file in listing(repo_id, sha, tell, "dataset").files]
            visible = [name for name in names if not any(part.startswith(".") for part in name.split("/"))]
            used = [_inside(url) for urls in (builder.config.data_files or {}).values() for url in urls]
            notes = _left_out(unused(visible, used), format_)
        if format_ not in {"json", "csv", "text"}:
            rows = choose_split(by_name(builder.as_streaming_dataset()), data.split, repo_id)
            return reader.of_dataset(data, rows, repo_id, guard, notes)
        urls = choose_split(by_name(builder.config.data_files), data.split, repo_id)
        if format_ == "text":
            about = about_data(map(_inside, urls))
            urls = [url for url in urls if _inside(url) not in about]
            notes += _about(about)
        refuse_hops(urls)
        settings = DownloadConfig(token=builder.token, storage_options=builder.storage_options)
        manager = StreamingDownloadManager(base_path=builder.base_path, download_config=settings)
        unpack: Any = manager.download_and_extract
        unpacked = manager.iter_files(unpack(list(urls)))

        def at(url: str) -> File:
            return f"{repo_id}/{_inside(url)}", lambda: xopen(url, "rb", download_config=settings)

        return reader.of_files(data, format_, map(at, unpacked), options, repo_id, guard, notes)


def read_local(data: DataSettings, path: Path, reader: Reader[T]) -> T:
    """What a reader makes of a file, a folder of files, or a folder that `save_to_disk` wrote.

    Raises:
        NotFoundError: no such split or column; the message names those there are.
        UnusableError: the column holds no strings, or the files cannot be read.
    """
    name = str(path)

    def guard() -> AbstractContextManager[None]:
        return explained_files(name, local=True)

    with guard():
        if (path / "dataset_dict.json").is_file() or (path / "state.json").is_file():
            refuse_hops([name])
            saved = load_from_disk(name)
            splits = {data.split: saved} if isinstance(saved, Dataset) else by_name(saved)
            return reader.of_dataset(data, choose_split(splits, data.split, name), name, guard)
        if path.is_dir() and not files_in(path):
            raise NotFoundError(f"{path} holds no data files ({', '.join(DATA_SUFFIXES)}).")
        files = data_files(path, data.config)
        chosen = choose_split(files.splits, data.split, name)
        notes = [
            *_left_out(files.left_out, files.format),
            *_about(files.about),
            *_unsplit(files.unsplit),
        ]
        if files.format in {"json", "csv", "text"}:
            pairs = ((str(file), lambda file=file: opened(file)) for file in chosen if file.stat().st_size)
            return reader.of_files(data, files.format, pairs, files.options, name, guard, notes)
        module = files.format.partition(" ")[0]
        refuse_hops(str(file.resolve()) for file in chosen)
        # A list of this class is taken as it is; other lists are taken for patterns.
        exact = DataFilesList([str(file.resolve()) for file in chosen], [()] * len(chosen))
        rows = load_dataset(module, data_files={"train": exact}, split="train", streaming=True, **files.options)
        return reader.of_dataset(data, rows, name, guard, notes)


def _inside(url: str) -> str:
    """The path inside the repository of a file's address at a commit."""
    return re.sub(r"^.*@[0-9a-f]{40}/", "", url)


def _left_out(names: Sequence[str], format_: str) -> list[str]:
    if not names:
        return []
    return [
        f"Data files that are not read: {listed(names)}; they are not {format_}, or their names put them in no split."
    ]


def _unsplit(names: Sequence[str]) -> list[str]:
    if not names:
        return []
    return [
        f"The {len(names)} plain text files of the folder are one split, whatever their names ({listed(names)}); "
        "name one file to read it alone."
    ]


def _about(names: Sequence[str]) -> list[str]:
    return [f"Data files that are not read: {listed(names)}; by name a license or a readme."] if names else []


def by_name(splits: Mapping[Any, Any]) -> dict[str, Any]:
    """The splits by their names as strings."""
    return {str(name): rows for name, rows in splits.items()}


def choose_split(splits: Mapping[str, Any], wanted: str, name: str) -> Any:
    """The split of that name.

    Raises:
        SettingsError: it is an expression. NotFoundError: there is none; names those there are.
    """
    if wanted in splits:
        return splits[wanted]
    if "[" in wanted or "+" in wanted:
        raise SettingsError(f"split must be one name, got the expression {wanted}; use `max_sequences` to take a part.")
    raise NotFoundError(f"{name} has no split {wanted}{did_you_mean(wanted, sorted(splits))} Choose with `split`.")


@contextmanager
def explained_files(name: str, *, local: bool = False, what: str = "text") -> Iterator[None]:
    """Turns what `datasets` raises for files that it cannot read into an UnusableError.

    An OSError is an answer of the Hub, and left to others, unless the files are `local`. They should hold `what`.
    """
    try:
        yield
    except _PARSING_FAILURES as error:
        if isinstance(error, OSError) and not local:
            raise
        cache = str(config.HF_DATASETS_CACHE)
        if isinstance(error, OSError) and str(error.filename or "").startswith(cache):
            raise ResourceError(
                f"The cache at {cache} cannot be used ({error.strerror}); set HF_HOME to another folder."
            ) from error
        text = " ".join(str(error).split())
        if "Dataset scripts are no longer supported" in text:
            raise UnusableError(
                f"{name} needs a script, which `datasets` no longer runs; choose a dataset of plain files."
            ) from error
        if "zstd" in text.lower() or "zstandard" in text.lower():
            raise UnusableError(f"{name} is compressed with zstd; install zstandard, or unpack it first.") from error
        raise UnusableError(f"{name} cannot be read as {what}: {text[:200]} ({type(error).__name__})") from error
    except Exception as error:
        if type(error).__module__.partition(".")[0] != "yaml":  # which `datasets` reads the head of a card with
            raise
        raise UnusableError(
            f"The YAML front matter of the README.md of {name} cannot be read; correct or remove it."
        ) from error
