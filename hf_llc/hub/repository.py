"""What a repository on the Hub holds before it is written to, its card above all (huggingface_hub)."""

import hashlib
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from huggingface_hub import HfApi, get_hf_file_metadata, get_session, hf_hub_url, hf_raise_for_status
from huggingface_hub.errors import RemoteEntryNotFoundError
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]  # documented there, not in __all__

from hf_llc.errors import SourceError
from hf_llc.hub.account import written
from hf_llc.hub.answers import AnswerError, commit_of, files_of, text_of
from hf_llc.hub.client import REQUEST_TIMEOUT
from hf_llc.hub.digests import git_hash
from hf_llc.hub.errors import MAX_TRIES, T, Tell, ask, endpoint
from hf_llc.hub.publication import Target

CARD = "README.md"
OURS = "<!-- hf-llc:publish -->"
"""Stands unseen in the description of a pull request, by which it is found again."""


@dataclass(frozen=True, kw_only=True)
class Base:
    """What a commit is put upon.

    Attributes:
        head: its commit. pull_request: the number of the one it belongs to, None on the main branch.
        entries: the files asked for that are there. card: the content of README.md, None if there is none.
    """

    head: str
    pull_request: int | None
    entries: Mapping[str, RepoFile]
    card: bytes | None

    def has(self, path: str, content: bytes) -> bool:
        """True if the file exists with exactly this content."""
        entry = self.entries.get(path)
        return entry is not None and is_content(entry, content)


def read(target: Target, author: str, paths: Sequence[str], tell: Tell) -> Base:
    """The head of the branch, or of an open pull request of ours where one is to be made, with its card.

    That there is no card is believed only if the listing of files and the address of the file both say so: a card that
    an empty answer hides would be written over.

    Raises:
        SourceError: the two disagree. HfLlcError: see `account.written`.
    """
    with written(target):
        number = open_pull_request(target, author, paths, tell) if target.create_pr else None
        revision = None if number is None else f"refs/pr/{number}"

        def newest() -> str:
            info = HfApi().repo_info(target.repo_id, repo_type=target.kind, revision=revision, timeout=REQUEST_TIMEOUT)
            if info.sha is None:
                raise SourceError(f"The {target.kind} {target.repo_id} gives no commit; it may be empty.")
            return commit_of(info.sha)

        head = _persistently(newest, tell)
        entries = _persistently(lambda: entries_of(target, head, [CARD, *paths]), tell)
        if CARD in entries:
            card = content_of(target, head, entries[CARD], tell)
        else:
            _persistently(lambda: _require_absent(target, head, CARD), tell)
            card = None
    return Base(head=head, pull_request=number, entries=entries, card=card)


def entries_of(target: Target, commit: str, paths: Sequence[str]) -> dict[str, RepoFile]:
    """Those of the files that a commit has, by path."""
    listed = HfApi().get_paths_info(target.repo_id, list(paths), revision=commit, repo_type=target.kind)
    return {entry.path: entry for entry in files_of(listed)}


def described(target: Target, commit: str, tell: Tell) -> set[str]:
    """The paths of all files of a commit, as the description of the repository has them.

    Raises:
        HfLlcError: see `account.written`.
    """

    def siblings() -> set[str]:
        info = HfApi().repo_info(target.repo_id, repo_type=target.kind, revision=commit, timeout=REQUEST_TIMEOUT)
        return {text_of(file.rfilename, "path of a file") for file in getattr(info, "siblings", None) or []}

    with written(target):
        return _persistently(siblings, tell)


def _require_absent(target: Target, commit: str, path: str) -> None:
    """Raise SourceError if a file that no listing of the commit has can be downloaded all the same."""
    url = hf_hub_url(target.repo_id, path, repo_type=target.kind, revision=commit)
    try:
        get_hf_file_metadata(url, timeout=REQUEST_TIMEOUT)
    except RemoteEntryNotFoundError:
        return
    raise SourceError(
        f"{endpoint()} does not list a {path} in the {target.kind} {target.repo_id}, but sends one; "
        "nothing was written. Try again later."
    )


def content_of(target: Target, commit: str, entry: RepoFile, tell: Tell) -> bytes:
    """The whole content of a file of a commit.

    Raises: what huggingface_hub raises; AnswerError if what arrives is not what the Hub lists.
    """

    def fetch() -> bytes:
        url = hf_hub_url(target.repo_id, entry.path, repo_type=target.kind, revision=commit)
        response = get_session().get(url, headers=build_hf_headers(), timeout=REQUEST_TIMEOUT)
        hf_raise_for_status(response)
        content = bytes(response.content)
        if not is_content(entry, content):
            raise AnswerError(f"what it sends as {entry.path} is not the file that it lists")
        return content

    return _persistently(fetch, tell)


def open_pull_request(target: Target, author: str, paths: Sequence[str], tell: Tell) -> int | None:
    """The number of an open pull request of the author's that changes one of these files, None if there is none."""
    api = HfApi()
    listed = _persistently(
        lambda: list(
            api.get_repo_discussions(
                target.repo_id,
                author=author,
                discussion_type="pull_request",
                discussion_status="open",
                repo_type=target.kind,
            )
        ),
        tell,
    )
    for each in listed:
        number = each.num

        def is_ours(number: int = number) -> bool:
            details = api.get_discussion_details(target.repo_id, number, repo_type=target.kind)
            texts = [getattr(event, "content", "") or "" for event in details.events]
            return any(OURS in text for text in texts) or any(f"b/{path}" in (details.diff or "") for path in paths)

        if _persistently(is_ours, tell):
            return number
    return None


def _persistently(call: Callable[[], T], tell: Tell) -> T:
    """Call like `ask`, with all retries even if no answer comes at all, since giving up would lose the commit."""
    return ask(call, tell, connections=MAX_TRIES)


def is_content(entry: RepoFile, content: bytes) -> bool:
    """Whether the content is that of the entry, by its size and hash."""
    if entry.size != len(content):
        return False
    if entry.lfs is not None:
        return entry.lfs.sha256 == hashlib.sha256(content).hexdigest()
    return entry.blob_id == git_hash(io.BytesIO(content), len(content))
