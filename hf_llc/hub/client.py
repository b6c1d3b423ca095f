"""Repositories on the Hub and in its cache: names to commits, files of a commit (huggingface_hub)."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from huggingface_hub import HfApi, constants, get_cached_repo_tree, snapshot_download, try_to_load_from_cache
from huggingface_hub.errors import CachedRepoTreeNotFoundError, LocalEntryNotFoundError, RevisionNotFoundError
from huggingface_hub.hf_api import RepoFile

from hf_llc.errors import NotFoundError, SourceError, did_you_mean
from hf_llc.hub.answers import AnswerError, commit_of, files_of, revision_of
from hf_llc.hub.errors import (
    FAILURES,
    MAX_CONNECTIONS,
    Kind,
    Tell,
    ask,
    endpoint,
    explained,
    page,
    translate,
    unreachable,
)
from hf_llc.hub.reference import is_commit
from hf_llc.settings.files import write_atomically

REQUEST_TIMEOUT = 10.0  # seconds; the client itself would wait for ever


@dataclass(frozen=True, kw_only=True)
class RemoteFile:
    """A file of one commit; size in bytes.

    Attributes:
        oid: equal for two files if and only if their contents are: of a regular file, git's hash of its content.
        sha256: of the content of a file in large storage; None for a regular file, or where it is not known.
    """

    path: str
    size: int
    oid: str
    sha256: str | None = None


@dataclass(frozen=True, kw_only=True)
class Listing:
    """Files of one commit: all of them if `whole`, otherwise those that happen to be in the cache."""

    files: list[RemoteFile]
    whole: bool


def home() -> Path:
    """Where hf-llc keeps what can be made again: `$HF_HOME/hf-llc`."""
    return Path(constants.HF_HOME) / "hf-llc"


def offline() -> bool:
    """True if the user forbids requests (HF_HUB_OFFLINE)."""
    return bool(constants.HF_HUB_OFFLINE)


def resolve(repo_id: str, revision: str | None, kind: Kind, tell: Tell) -> str:
    """The commit SHA behind a branch, tag, short SHA or None (the default branch), by one request.

    Without a network, or offline: what it was when last seen on this machine, and `tell` says so unless it is a commit.

    Raises:
        NotFoundError, AccessError, OfflineError, SourceError: see `errors.explained`.
    """
    name = revision or "main"
    table = _table_path(repo_id, kind)
    known = _read_table(table).get(name) or _cached_commit(repo_id, name, kind)
    if known is not None and (is_commit(name) or offline()):
        return known

    def head() -> str:
        info = HfApi().repo_info(repo_id, revision=revision, repo_type=kind, timeout=REQUEST_TIMEOUT)
        if info.sha is None:
            raise SourceError(f"{page(repo_id, kind)} gives no commit for {name}; it may be empty.")
        return commit_of(info.sha)

    with explained(repo_id, kind):
        try:
            # With an answer at hand there is no point in keeping the user waiting for a dead network.
            sha = ask(head, tell, connections=1 if known else MAX_CONNECTIONS)
        except RevisionNotFoundError as error:
            raise _no_such_revision(repo_id, name, kind, tell) from error
        except FAILURES as error:
            if known is None or not unreachable(error):
                raise
            tell(f"{translate(error, repo_id, kind)} Using {name} of {repo_id} as last seen: {known[:12]}.")
            return known
    _remember(table, {name: sha, sha: sha}, tell)
    return sha


def revisions(repo_id: str, kind: Kind = "model", tell: Tell = lambda _: None) -> dict[str, str]:
    """Name to commit SHA of all branches, then of all tags, by one request; offline, of those seen on this machine.

    Raises:
        NotFoundError, AccessError, OfflineError, SourceError: see `errors.explained`.
    """
    table = _table_path(repo_id, kind)
    known = {name: sha for name, sha in _read_table(table).items() if not is_commit(name)}
    if offline() and known:
        return known

    def listed() -> tuple[dict[str, str], dict[str, str]]:
        refs = HfApi().list_repo_refs(repo_id, repo_type=kind)
        branches, tags = (
            {revision_of(ref.name): commit_of(ref.target_commit) for ref in each} for each in (refs.branches, refs.tags)
        )
        return branches, tags

    with explained(repo_id, kind):
        branches, tags = ask(listed, tell)
    _remember(table, tags | branches, tell)
    return {**branches, **{name: sha for name, sha in tags.items() if name not in branches}}


def files(repo_id: str, sha: str, tell: Tell, kind: Kind = "model") -> Listing:
    """The files of a commit; without a network, those that are in the cache.

    Raises:
        NotFoundError, AccessError, OfflineError, SourceError: see `errors.explained`.
    """
    try:
        entries = files_of(get_cached_repo_tree(repo_id, revision=sha, repo_type=kind))
    except (CachedRepoTreeNotFoundError, AnswerError):
        with explained(repo_id, kind):
            try:
                # The client itself tries a request again, but not one whose answer it does not understand.
                entries = ask(lambda: _tree(repo_id, sha, kind), tell, connections=2)
            except RevisionNotFoundError as error:
                raise _no_such_revision(repo_id, sha, kind, tell) from error
            except FAILURES as error:
                if not unreachable(error) or not (present := _cached_files(repo_id, sha, kind)):
                    raise
                return Listing(files=present, whole=False)
    listed = [
        RemoteFile(path=entry.path, size=entry.size, oid=entry.blob_id, sha256=entry.lfs.sha256 if entry.lfs else None)
        for entry in entries
    ]
    return Listing(files=listed, whole=True)


def check_access(repo_id: str, kind: Kind, tell: Tell) -> None:
    """Raise if the files of a repository may not be read; one request.

    Raises:
        NotFoundError, AccessError, OfflineError, SourceError: see `errors.explained`.
    """
    with explained(repo_id, kind):
        ask(lambda: HfApi().auth_check(repo_id, repo_type=kind), tell)


def bytes_to_download(repo_id: str, sha: str, wanted: list[RemoteFile], kind: Kind = "model") -> int:
    """Bytes of those of the `wanted` files that are not in the cache."""
    cached = {f.path: try_to_load_from_cache(repo_id, f.path, revision=sha, repo_type=kind) for f in wanted}
    return sum(file.size for file in wanted if not isinstance(cached[file.path], str))


def _tree(repo_id: str, sha: str, kind: Kind) -> list[RepoFile]:
    files = files_of(HfApi().list_repo_tree(repo_id, recursive=True, revision=sha, repo_type=kind))
    if not files:  # which is rare enough to be asked for in another way
        info = HfApi().repo_info(repo_id, revision=sha, repo_type=kind, timeout=REQUEST_TIMEOUT)
        if described := getattr(info, "siblings", None):
            raise AnswerError(f"it lists no file of {repo_id}, and describes {len(described)}")
    return files


def _no_such_revision(repo_id: str, name: str, kind: Kind, tell: Tell) -> NotFoundError:
    option = "--dataset-revision" if kind == "dataset" else "--revision"
    try:
        near = did_you_mean(name, list(revisions(repo_id, kind, tell)))
    except SourceError:
        near = "."
    return NotFoundError(f"The {kind} {repo_id} has no revision {name}{near} Choose with {option}.")


def snapshot(repo_id: str, revision: str, kind: Kind) -> Path | None:
    """The folder of a revision in the Hub's cache, None if there is none; it may lack files."""
    try:
        folder = snapshot_download(repo_id, repo_type=kind, revision=revision, local_files_only=True, allow_patterns=[])
    except LocalEntryNotFoundError:
        return None
    return Path(folder)


def _cached_commit(repo_id: str, revision: str, kind: Kind) -> str | None:
    """The commit of a revision that any tool has put in the Hub's cache."""
    with explained(repo_id, kind):
        folder = snapshot(repo_id, revision, kind)
    return folder.name if folder is not None else None


def _cached_files(repo_id: str, sha: str, kind: Kind) -> list[RemoteFile]:
    """What another tool left in the cache, which keeps no listing of the commit. A blob is named after its content."""
    folder = snapshot(repo_id, sha, kind)
    if folder is None:
        return []
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return [
        RemoteFile(path=path.relative_to(folder).as_posix(), size=path.stat().st_size, oid=path.resolve().name)
        for path in paths
    ]


def _table_path(repo_id: str, kind: Kind) -> Path:
    host = re.sub(r"[^\w.-]", "_", urlsplit(endpoint()).netloc)
    return home() / "refs" / host / f"{kind}s--{repo_id.replace('/', '--')}.json"


def _read_table(path: Path) -> dict[str, str]:
    """Names to commits as last seen; empty if never, or if the file is damaged: it is only a memory."""
    try:
        table = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    if not isinstance(table, dict):
        return {}
    return {name: sha for name, sha in table.items() if isinstance(sha, str) and is_commit(sha)}


def _remember(path: Path, commits: dict[str, str], tell: Tell) -> None:
    table = {**_read_table(path), **commits}
    try:
        write_atomically(path, json.dumps(table, indent=0, sort_keys=True).encode())
    except OSError as error:
        tell(f"{path} cannot be written ({error.strerror}); these revisions will not be known offline.")
