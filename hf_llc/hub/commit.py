"""One commit on the Hub: whole, once, and never over the changes of others (huggingface_hub)."""

import math
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from huggingface_hub import (
    CommitInfo,
    CommitOperationAdd,
    HfApi,
)
from huggingface_hub.errors import RevisionNotFoundError

from hf_llc.errors import one_line
from hf_llc.hub.account import MOVED, written
from hf_llc.hub.answers import AnswerError, commit_of, understood
from hf_llc.hub.errors import (
    FAILURES,
    MAX_TOTAL_WAIT,
    MAX_TRIES,
    Tell,
    asked_wait,
    endpoint,
    status_of,
    wait_before_retry,
    what_happened,
)
from hf_llc.hub.publication import Target
from hf_llc.hub.repository import OURS, Base, entries_of, is_content, read


@dataclass(frozen=True, kw_only=True)
class Landed:
    """Where the files are now: the commit, the number of the pull request if any, and the paths that changed."""

    commit: str
    pull_request: int | None
    changed: tuple[str, ...]


Make = Callable[[bytes | None], Mapping[str, bytes]]
"""From the present card, or None, to the files to be written."""


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
        CardError: from `make`. HfLlcError: see `account.written`; nothing was written then.
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
                done = understood(lambda: _commit(target, base, wanted, title, description, tell))  # noqa: B023
                understood(lambda: _require_landed(target, done.oid, wanted))  # noqa: B023
            except FAILURES as error:
                failure = error
                waited += _wait(error, attempt, waited, tell)
            else:
                number = done.pr_num if base.pull_request is None else base.pull_request
                return Landed(commit=done.oid, pull_request=number, changed=tuple(changed))
    raise AssertionError("unreachable: the last try returns or raises")


def _require_landed(target: Target, commit: str, files: Mapping[str, bytes]) -> None:
    """Raise AnswerError if a commit that was confirmed does not hold these files."""
    try:
        entries = entries_of(target, commit_of(commit), list(files))
    except RevisionNotFoundError as error:
        raise AnswerError("the commit that it confirms is not there") from error
    for path, content in files.items():
        if path not in entries or not is_content(entries[path], content):
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
        tell("The repository has a new commit; reading it again.")
        return 0.0
    backoff = wait_before_retry(error, attempt)
    if backoff is None:
        raise error
    asked = asked_wait(error)
    wait = backoff if asked is None else asked
    if waited + wait > MAX_TOTAL_WAIT:
        tell(f"{what_happened(error)}; it asks to wait {math.ceil(wait / 60)} minutes. Try again then.")
        raise error
    tell(f"{what_happened(error)}; looking again in {math.ceil(wait)} s (try {attempt} of {MAX_TRIES}).")
    time.sleep(wait)
    return wait
