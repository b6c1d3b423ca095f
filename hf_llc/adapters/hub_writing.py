"""One commit on the Hub that is never half there, never twice, and never over somebody else's (huggingface_hub)."""

import hashlib
import math
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from huggingface_hub import (
    CommitInfo,
    CommitOperationAdd,
    HfApi,
    get_hf_file_metadata,
    get_session,
    hf_hub_url,
    hf_raise_for_status,
)
from huggingface_hub.errors import RemoteEntryNotFoundError, RevisionNotFoundError
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]  # documented there, not in __all__

from hf_llc.adapters.card_text import one_line
from hf_llc.adapters.hub import REQUEST_TIMEOUT
from hf_llc.adapters.hub_account import MOVED, written
from hf_llc.adapters.hub_answers import AnswerError, bounded, commit_of, files_of, understood
from hf_llc.adapters.hub_errors import (
    FAILURES,
    MAX_TOTAL_WAIT,
    MAX_TRIES,
    T,
    Tell,
    ask,
    asked_wait,
    endpoint,
    status_of,
    wait_before_retry,
    what_happened,
)
from hf_llc.errors import SourceError
from hf_llc.publication import Target

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
        """Whether the file is there with this very content."""
        entry = self.entries.get(path)
        return entry is not None and _is(entry, content)


@dataclass(frozen=True, kw_only=True)
class Landed:
    """Where the files are now: the commit, the number of the pull request if any, and the paths that changed."""

    commit: str
    pull_request: int | None
    changed: tuple[str, ...]


Make = Callable[[bytes | None], Mapping[str, bytes]]
"""The card that is there, or None, to the files that shall be there."""


def read(target: Target, author: str, paths: Sequence[str], tell: Tell) -> Base:
    """The head of the branch, or of an open pull request of ours where one is to be made, with its card.

    That there is no card is believed only if the listing of files and the address of the file both say so: a card that
    an empty answer hides would be written over.

    Raises:
        SourceError: the two disagree. HfLlcError: see `hub_account.written`.
    """
    with written(target):
        number = open_pull_request(target, author, paths, tell) if target.create_pr else None
        revision = None if number is None else f"refs/pr/{number}"

        def newest() -> str:
            info = HfApi().repo_info(target.repo_id, repo_type=target.kind, revision=revision, timeout=REQUEST_TIMEOUT)
            if info.sha is None:
                raise SourceError(f"The {target.kind} {target.repo_id} names no commit; it may be empty.")
            return commit_of(info.sha)

        head = _persistently(newest, tell)
        entries = _persistently(lambda: _entries(target, head, [CARD, *paths]), tell)
        if CARD in entries:
            card = content_of(target, head, entries[CARD], tell)
        else:
            _persistently(lambda: _require_absent(target, head, CARD), tell)
            card = None
    return Base(head=head, pull_request=number, entries=entries, card=card)


def _entries(target: Target, commit: str, paths: Sequence[str]) -> dict[str, RepoFile]:
    """Those of the files that a commit has, by path."""
    found = HfApi().get_paths_info(target.repo_id, list(paths), revision=commit, repo_type=target.kind)
    return {entry.path: entry for entry in files_of(found)}


def _require_absent(target: Target, commit: str, path: str) -> None:
    """Raise SourceError if a file that no listing of the commit has can be downloaded all the same."""
    url = hf_hub_url(target.repo_id, path, repo_type=target.kind, revision=commit)
    try:
        get_hf_file_metadata(url, timeout=REQUEST_TIMEOUT)
    except RemoteEntryNotFoundError:
        return
    raise SourceError(
        f"{endpoint()} does not list a {path} in the {target.kind} {target.repo_id}, and yet sends one; nothing was "
        "written. Try again later."
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
        if not _is(entry, content):
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
            said = [getattr(event, "content", "") or "" for event in details.events]
            return any(OURS in text for text in said) or any(f"b/{path}" in (details.diff or "") for path in paths)

        if _persistently(is_ours, tell):
            return number
    return None


def push(
    target: Target, paths: Sequence[str], make: Make, *, author: str, title: str, description: str, tell: Tell
) -> Landed:
    """One commit with the files that `make` gives for the card that is there at that moment.

    A commit of somebody else in between is read, and the files made anew; rate limits and failures of the server are
    waited out; a commit whose answer was lost is noticed, and one that was confirmed is looked at. After MAX_TRIES it
    gives up.

    Args:
        paths: of the files that `make` gives, without the card.

    Raises:
        CardError: from `make`. HfLlcError: see `hub_account.written`; nothing was written then.
    """
    failure: BaseException | None = None
    changed: list[str] = []
    waited = 0.0
    for attempt in range(1, MAX_TRIES + 2):
        base = read(target, author, paths, tell)
        files = make(base.card)
        missing = [path for path, content in files.items() if not base.has(path, content)]
        if not missing:
            return Landed(commit=base.head, pull_request=base.pull_request, changed=tuple(changed))
        changed = missing
        with written(target):
            if failure is not None and attempt > MAX_TRIES:
                raise failure
            wanted = {path: files[path] for path in missing}
            try:
                with bounded():
                    done = understood(lambda: _commit(target, base, wanted, title, description, tell))  # noqa: B023
                    understood(lambda: _require_landed(target, done.oid, wanted))  # noqa: B023
            except FAILURES as error:
                failure = error
                waited += _wait(error, attempt, waited, tell)
            else:
                number = done.pr_num if base.pull_request is None else base.pull_request
                return Landed(commit=done.oid, pull_request=number, changed=tuple(changed))
    raise AssertionError("unreachable: the last try returns or raises")


def _persistently(call: Callable[[], T], tell: Tell) -> T:
    """As `ask`, without giving up sooner where no answer comes at all: there is something to lose."""
    return ask(call, tell, connections=MAX_TRIES)


def _require_landed(target: Target, commit: str, files: Mapping[str, bytes]) -> None:
    """Raise AnswerError if a commit that was confirmed does not hold these files."""
    try:
        entries = _entries(target, commit_of(commit), list(files))
    except RevisionNotFoundError as error:
        raise AnswerError("the commit that it confirms is not there") from error
    for path, content in files.items():
        if path not in entries or not _is(entries[path], content):
            raise AnswerError(f"the commit that it confirms does not hold {path}")


def _commit(
    target: Target, base: Base, files: Mapping[str, bytes], title: str, description: str, tell: Tell
) -> CommitInfo:
    with warnings.catch_warnings(record=True) as remarks:
        warnings.simplefilter("always")
        done = HfApi().create_commit(
            target.repo_id,
            [CommitOperationAdd(path, content) for path, content in files.items()],
            commit_message=title,
            commit_description=f"{description}\n\n{OURS}" if target.create_pr else description,
            repo_type=target.kind,
            revision=None if base.pull_request is None else f"refs/pr/{base.pull_request}",
            create_pr=target.create_pr and base.pull_request is None,
            parent_commit=base.head,
        )
    for remark in remarks:
        # The first line is huggingface_hub's own, and each of the others begins with a dash.
        for text in str(remark.message).splitlines()[1:]:
            tell(f"{endpoint()} on the card: {one_line(text.removeprefix('- '))[:200]}")
    return done


def _wait(error: BaseException, attempt: int, waited: float, tell: Tell) -> float:
    """Seconds waited before the next try.

    Raises: the error, if trying again is no use or the Hub asks for more patience than there is.
    """
    if status_of(error) == MOVED:
        tell("The repository has got another commit meanwhile; it is read again.")
        return 0.0
    backoff = wait_before_retry(error, attempt)
    if backoff is None:
        raise error
    told = asked_wait(error)
    wait = backoff if told is None else told
    if waited + wait > MAX_TOTAL_WAIT:
        tell(f"{what_happened(error)}; it asks for {math.ceil(wait / 60)} minutes of patience.")
        raise error
    tell(f"{what_happened(error)}; looking again in {math.ceil(wait)} s (try {attempt} of {MAX_TRIES}).")
    time.sleep(wait)
    return wait


def _is(entry: RepoFile, content: bytes) -> bool:
    """Whether the content is that of the entry, by its size and hash."""
    if entry.size != len(content):
        return False
    if entry.lfs is not None:
        return entry.lfs.sha256 == hashlib.sha256(content).hexdigest()
    return entry.blob_id == hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
