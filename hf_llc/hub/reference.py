"""What a user typed for a model or a dataset, taken apart: a place on the Hub or a path on this disk."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Literal
from urllib.parse import unquote, urlsplit

from hf_llc.errors import NotFoundError, SettingsError
from hf_llc.settings.model import ModelSettings

HUB_HOSTS = ("huggingface.co", "hf.co", "www.huggingface.co")
DATA_SUFFIXES = (".txt", ".jsonl", ".json", ".ndjson", ".csv", ".tsv", ".parquet", ".gz", ".zst")

_ID = re.compile(r"[A-Za-z0-9_][\w.-]*(/[A-Za-z0-9_][\w.-]*)?", re.ASCII)
_OTHER_TYPES = {"models", "datasets", "spaces", "kernels", "buckets"}
_VIEWS = {"tree", "blob", "resolve", "raw", "commit"}
_STEP = re.compile(
    r"(?<![a-z])(?:(?:global_?)?step|checkpoint|ckpt|iter)[-_]?(\d+)([km]?)(?![a-z0-9]|\.\d)", re.IGNORECASE
)
_SHA = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, kw_only=True)
class Reference:
    """One place.

    Attributes:
        kind: `hub` or `local`.
        id: `org/name` (or `name`) on the Hub; the path as the user wrote it if local.
        revision: branch, tag or commit; None means the default branch, and always so if local.
        file: a file inside the repository or the local folder, if the user pointed at one.
        path: the local folder or file; None on the Hub.
    """

    kind: Literal["hub", "local"]
    id: str
    revision: str | None = None
    file: str | None = None
    path: Path | None = None


def is_commit(revision: str | None) -> bool:
    """True for a full commit SHA, which names one commit for ever."""
    return revision is not None and _SHA.fullmatch(revision) is not None


def is_id(text: str) -> bool:
    """True for what the Hub takes as the id of a repository: `org/name`, or `name` alone."""
    return bool(_ID.fullmatch(text)) and not ("--" in text or ".." in text or text.endswith((".git", "-", ".")))


def is_remote(text: str) -> bool:
    """True for a URI or a web address, which no path on this disk looks like."""
    return "://" in text


def is_foreign(text: str) -> bool:
    """True for a URI that is neither the Hub's nor a web address: `s3://bucket/run`."""
    return is_remote(text) and text.partition("://")[0] not in {"hf", "http", "https"}


def parse_model(text: str, revision: str | None = None, endpoint: str = "https://huggingface.co") -> Reference:
    """Where a model is; `file` is the `.gguf` file if one was pointed at.

    Raises:
        NotFoundError: it looks like a path, and nothing is there.
        SettingsError: not a spelling of a model, or the two revisions differ.
    """
    reference = _parse(text, revision, endpoint, "model", (".gguf",))
    if reference.path is not None and reference.path.is_file():
        if reference.path.suffix != ".gguf":
            raise SettingsError(f"{text} is a file; name the folder that holds config.json, or a .gguf file.")
        return Reference(kind="local", id=text, file=reference.path.name, path=reference.path.parent)
    if reference.file is not None and not (reference.file.endswith(".gguf") and "/" not in reference.file):
        raise SettingsError(
            f"{text} points inside {reference.id}; only a whole repository or a .gguf file at its top can be read. Get "
            f"that part with `hf download {reference.id} --include '{reference.file}/*' --local-dir X` and name X."
        )
    return reference


def gguf_file_of(reference: Reference, settings: ModelSettings) -> str | None:
    """The .gguf file that a model's address or its settings name; None if neither does.

    Raises:
        SettingsError: they name different ones.
    """
    if None not in {reference.file, settings.gguf_file} and reference.file != settings.gguf_file:
        raise SettingsError(f"{settings.model} and `gguf_file` {settings.gguf_file} name different files; give one.")
    return settings.gguf_file or reference.file


def parse_datasets(
    texts: Sequence[str], revision: str | None = None, endpoint: str = "https://huggingface.co"
) -> list[Reference]:
    """Where datasets are, in their order.

    Raises:
        NotFoundError, SettingsError: see `parse_dataset`; or there are several, and one revision for all.
    """
    if len(texts) > 1 and revision is not None:
        raise SettingsError(
            f"--dataset-revision is {revision}, but there are {len(texts)} datasets; write org/name@revision for each."
        )
    return [parse_dataset(text, revision, endpoint) for text in texts]


def parse_dataset(
    text: str | Sequence[str], revision: str | None = None, endpoint: str = "https://huggingface.co"
) -> Reference:
    """Where a dataset is: a Hub dataset, or a local file or folder.

    Raises:
        NotFoundError: it looks like a path, and nothing is there.
        SettingsError: not a spelling of a dataset, or several of them, or the two revisions differ.
    """
    if not isinstance(text, str):
        raise SettingsError(f"dataset must be a single one for this task, got {len(text)}: {', '.join(text)}.")
    reference = _parse(text, revision, endpoint, "dataset", (*DATA_SUFFIXES, ".safetensors"))
    if reference.file is not None:
        raise SettingsError(
            f"{text} points inside {reference.id}; name the dataset itself, and a part of it with `config`."
        )
    return reference


STEP_DIGITS = 12
"""Of a step of training, at most."""


def training_step(name: str) -> int | None:
    """The training step in a revision or folder name, `step512` or `stage1-step1000-tokens5B`; None if there is none.

    Where a series numbers its checkpoints instead (`ckpt_007`), that number.
    """
    matches = _STEP.findall(name)
    if not matches:
        return None
    digits, unit = matches[-1]
    if len(digits) > STEP_DIGITS:
        return None  # a hash or a time in digits, and more than a table can hold
    return int(digits) * {"": 1, "k": 1_000, "m": 1_000_000}[unit.lower()]


def _parse(text: str, revision: str | None, endpoint: str, type_: str, suffixes: tuple[str, ...]) -> Reference:
    text = text.strip()
    if not text:
        raise SettingsError(f"The {type_} has no name; give an id such as org/name, or a local path.")
    if (remote := _remote_parts(text, endpoint)) is not None:
        return _from_remote(text, remote, revision, type_)
    path = _expanded(text)
    if _exists(path):
        option = "--dataset-revision" if type_ == "dataset" else "--revision"
        if revision is not None:
            raise SettingsError(f"{text} is local and has no revisions; leave out {option}.")
        return Reference(kind="local", id=text, path=path)
    id_, _, at = text.partition("@")
    if text.startswith((".", "/", "~")) or id_.count("/") > 1 or id_.endswith(suffixes):
        raise NotFoundError(f"No file or folder {text}{_neighbours(path)}")
    return _hub(text, id_, at or None, None, revision, type_)


def _expanded(text: str) -> Path:
    """The path that is meant; as it is written if there is no such user behind a ~."""
    try:
        return Path(text).expanduser()
    except RuntimeError:
        return Path(text)


def _exists(path: Path) -> bool:
    """True if something is there; no name that is too long for the system, or holds a zero byte, is there."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def _neighbours(path: Path) -> str:
    """What is in the nearest existing parent folder, as the end of a sentence."""
    missing = path
    while not _exists(missing.parent):
        missing = missing.parent
    names = sorted(entry.name for entry in missing.parent.iterdir()) if missing.parent.is_dir() else []
    where = "." if str(missing.parent) == "." else str(missing.parent)
    close = get_close_matches(missing.name, names, n=3, cutoff=0.5)
    return f" in {where}; did you mean {' or '.join(close)}?" if close else f": {where} has no {missing.name}."


def _remote_parts(text: str, endpoint: str) -> list[str] | None:
    """The path segments behind `hf://` or a Hub address, still percent-encoded; None if `text` is neither."""
    if text.startswith("hf://"):
        return [part for part in text.removeprefix("hf://").split("/") if part]
    own = urlsplit(endpoint)
    bases = [(host, "") for host in HUB_HOSTS] + [(own.netloc.rpartition("@")[2], own.path.rstrip("/"))]
    # A path on this disk may hold what no address may, such as a bracket.
    if "://" in text or text.partition("/")[0] in {host for host, _ in bases}:
        try:
            url = urlsplit(text if "://" in text else f"https://{text}")
        except ValueError as error:
            raise SettingsError(f"{text} is not a valid address ({error}); give an id such as org/name.") from error
        for host, prefix in bases:
            if url.netloc == host and (url.path + "/").startswith(prefix + "/"):
                return [part for part in url.path[len(prefix) :].split("/") if part]
    if "://" in text:
        raise SettingsError(f"{text} is not on the Hub ({own.netloc.rpartition('@')[2]}); give an id such as org/name.")
    return None


def _from_remote(text: str, parts: list[str], revision: str | None, type_: str) -> Reference:
    # On the Hub's pages a dataset stands under /datasets; hf:// without a type is taken as whatever was asked for.
    named = type_ if text.startswith("hf://") else "model"
    if parts and parts[0] in _OTHER_TYPES:
        named, parts = parts[0].removesuffix("s"), parts[1:]
    if named != type_:
        raise SettingsError(f"{text} is a {named}, where a {type_} is needed.")
    if not parts:
        raise SettingsError(f"{text} names no {type_}; give hf://org/name.")
    short = "@" in parts[0] or len(parts) == 1 or parts[1] in _VIEWS
    id_parts, rest = (parts[:1], parts[1:]) if short else (parts[:2], parts[2:])
    id_, _, at = "/".join(id_parts).partition("@")
    if at:
        rest = [at, *rest]
    elif rest and rest[0] in _VIEWS and not text.startswith("hf://"):
        rest = rest[1:]
    elif rest:
        return _hub(text, id_, None, unquote("/".join(rest)), revision, type_)
    at_revision, file = _split_revision(rest)
    return _hub(text, id_, at_revision, file, revision, type_)


def _split_revision(parts: list[str]) -> tuple[str | None, str | None]:
    """`refs/pr/1/file` and `name/file` into revision and file; only refs have slashes that are not encoded."""
    length = 3 if parts[:1] == ["refs"] else 1
    revision, file = unquote("/".join(parts[:length])), unquote("/".join(parts[length:]))
    return revision or None, file or None


def _hub(text: str, id_: str, at: str | None, file: str | None, revision: str | None, type_: str) -> Reference:
    if at is not None and revision is not None and at != revision:
        option = "--dataset-revision" if type_ == "dataset" else "--revision"
        raise SettingsError(f"{text} has revision {at}, but {option} is {revision}; give one of them.")
    if not is_id(id_):
        raise SettingsError(f"{text!r} is neither a Hub id such as org/name nor a path on this disk.")
    return Reference(kind="hub", id=id_, revision=revision or at, file=file)
