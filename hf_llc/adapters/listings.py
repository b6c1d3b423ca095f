"""Commits of a branch, and their file listings, kept on this disk: a commit never changes."""

import json
from dataclasses import asdict
from pathlib import Path

from huggingface_hub import HfApi
from huggingface_hub.errors import RevisionNotFoundError

from hf_llc.adapters import hub
from hf_llc.adapters.hub_errors import Tell, explained, patiently
from hf_llc.adapters.store import write_atomically
from hf_llc.errors import NotFoundError
from hf_llc.references import nearest


def files_of_commit(repo_id: str, sha: str, tell: Tell) -> list[hub.RemoteFile]:
    """The files of a model's commit, by a request or from when it was last seen.

    Raises:
        NotFoundError, AccessError, OfflineError, SourceError: see `hub_errors.explained`.
    """
    path = hub.home() / "listings" / repo_id.replace("/", "--") / f"{sha}.json"
    if (known := _read(path)) is not None:
        return known
    listing = hub.files(repo_id, sha, tell)
    if listing.whole:
        try:
            write_atomically(path, json.dumps([asdict(file) for file in listing.files]).encode())
        except OSError as error:
            tell(f"{path.parent} cannot be written ({error.strerror}); these listings will not be known offline.")
    return listing.files


def commits(repo_id: str, branch: str, tell: Tell) -> dict[str, str]:
    """SHA to title of every commit of a model's branch, oldest first.

    Raises:
        NotFoundError, AccessError, OfflineError, SourceError: see `hub_errors.explained`.
    """
    with explained(repo_id, "model"):
        try:
            found = patiently(lambda: HfApi().list_repo_commits(repo_id, revision=branch), tell)
        except RevisionNotFoundError as error:
            near = nearest(branch, list(hub.revisions(repo_id, "model", tell)))
            raise NotFoundError(f"The model {repo_id} has no branch {branch}{near}") from error
    return {commit.commit_id: commit.title for commit in reversed(found)}


def _read(path: Path) -> list[hub.RemoteFile] | None:
    """None if it was never seen or the file is damaged: it is only a memory."""
    try:
        return [hub.RemoteFile(**file) for file in json.loads(path.read_bytes())]
    except (OSError, ValueError, TypeError):
        return None
