"""Files of a commit brought here whole, to the Hub's cache or to a folder of our own (huggingface_hub)."""

import hashlib
import re
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from huggingface_hub import hf_hub_download
from huggingface_hub.utils.tqdm import tqdm

from hf_llc.errors import ResourceError, SourceError
from hf_llc.hub import client
from hf_llc.hub.answers import understood
from hf_llc.hub.client import RemoteFile
from hf_llc.hub.digests import git_hash
from hf_llc.hub.errors import Kind, Tell, explained, is_disk_full, patiently
from hf_llc.hub.parallel import at_once

FILES_AT_ONCE = 8
_GIT_HASH = re.compile("[0-9a-f]{40}")


class GivenUpError(Exception):
    """The download was cancelled."""


def present(repo_id: str, sha: str, wanted: Sequence[RemoteFile], kind: Kind = "model") -> Path | None:
    """The snapshot folder if all `wanted` files are in the Hub's cache, whole; makes no request."""
    folder = client.snapshot(repo_id, sha, kind)
    return folder if folder is not None and not not_whole(folder, wanted) else None


def download(
    repo_id: str,
    sha: str,
    wanted: Sequence[RemoteFile],
    tell: Tell,
    kind: Kind = "model",
    *,
    into: Path | None = None,
    given_up: threading.Event | None = None,
) -> Path:
    """The folder with all `wanted` files, whole: sizes, and hashes of what is brought, are compared with the Hub's.

    Makes no request if they are there already, by their sizes.

    Args:
        into: a folder of our own to use instead of the Hub's cache.
        given_up: once set, by another thread, the download ends soon with GivenUpError; then no bar is drawn either.

    Raises:
        NotFoundError, AccessError, OfflineError, SourceError, ResourceError: see `errors.explained`.
    """
    stop = given_up or threading.Event()
    bar = _bar(stop, silent=given_up is not None)

    def fetch(names: Sequence[str], force: bool) -> Path:
        def bring(name: str) -> str:
            return understood(
                lambda: hf_hub_download(
                    repo_id,
                    name,
                    repo_type=kind,
                    revision=sha,
                    local_dir=into,
                    force_download=force,
                    tqdm_class=bar,
                )
            )

        brought = at_once(bring, names, FILES_AT_ONCE, stop)
        return Path(brought[0]).parents[names[0].count("/")]

    def sleep(seconds: float) -> None:
        if given_up is None:
            time.sleep(seconds)
        elif given_up.wait(seconds):
            raise GivenUpError

    with explained(repo_id, kind), _own_disk(into):
        present_folder = present(repo_id, sha, wanted, kind) if into is None else into
        brought = (
            wanted if present_folder is None else [f for f in wanted if f.path in not_whole(present_folder, wanted)]
        )
        if present_folder is not None and not brought:
            return present_folder
        folder = patiently(lambda: fetch([file.path for file in wanted], False), tell, sleep=sleep)
        if wrong := [*not_whole(folder, wanted), *_altered(folder, brought)]:
            tell(f"{', '.join(wrong)} of {repo_id} is incomplete in the cache; downloading it again.")
            folder = patiently(lambda: fetch(wrong, True), tell, sleep=sleep)
    if short := not_whole(folder, wanted):
        raise SourceError(
            f"{', '.join(short)} of {repo_id} arrived shorter or longer than the Hub says; try again later."
        )
    if altered := _altered(folder, [file for file in brought if file.path in wrong]):
        for path in altered:
            (folder / path).resolve().unlink(missing_ok=True)
            (folder / path).unlink(missing_ok=True)
        raise SourceError(
            f"{', '.join(altered)} of {repo_id} arrived with another content than the Hub lists, and was removed; try "
            "again later."
        )
    return folder


def not_whole(folder: Path, wanted: Sequence[RemoteFile]) -> list[str]:
    """The files that are not in the folder, or not as long as they should be."""
    return [f.path for f in wanted if not (folder / f.path).is_file() or (folder / f.path).stat().st_size != f.size]


def _altered(folder: Path, brought: Sequence[RemoteFile]) -> list[str]:
    """The files, as long as they should be, whose content has not the hash that the Hub lists."""
    return [f.path for f in brought if not not_whole(folder, [f]) and not _has_listed_hash(folder / f.path, f)]


def _has_listed_hash(path: Path, file: RemoteFile) -> bool:
    with path.open("rb") as content:
        if file.sha256 is not None:
            return hashlib.file_digest(content, "sha256").hexdigest() == file.sha256
        # A server that is not built upon git may name contents in a way of its own.
        return _GIT_HASH.fullmatch(file.oid) is None or git_hash(content, file.size) == file.oid


@contextmanager
def _own_disk(into: Path | None) -> Iterator[None]:
    """Names the disk that is full, where it is not that of the Hub's cache."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        if into is not None and is_disk_full(error):
            raise ResourceError(f"The disk of {into} is full; free some space, or lower `max_disk`.") from error
        raise


def _bar(stop: threading.Event, *, silent: bool) -> type[Any]:
    """A progress bar that is updated with every chunk and can cancel the download."""

    plain: Any = tqdm

    class Bar(plain):  # type: ignore[misc]
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **{**options, **({"disable": True} if silent else {})})

        def update(self, n: float | None = 1) -> None:
            if stop.is_set():
                raise GivenUpError
            super().update(n)

    return Bar
