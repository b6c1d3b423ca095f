"""Repositories of an organisation, commits of a branch, and files of a commit, kept on this disk (huggingface_hub)."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi
from huggingface_hub.errors import RevisionNotFoundError

from hf_llc.errors import NotFoundError, did_you_mean
from hf_llc.hub import client
from hf_llc.hub.answers import commit_of, text_of
from hf_llc.hub.errors import Kind, Tell, ask, explained
from hf_llc.settings.files import write_atomically


def listing(repo_id: str, sha: str, tell: Tell, kind: Kind = "model") -> client.Listing:
    """The files of a commit, by one request or from when it was last seen.

    Raises:
        NotFoundError, AccessError, OfflineError, SourceError: see `errors.explained`.
    """
    name = f"{'' if kind == 'model' else f'{kind}s--'}{repo_id.replace('/', '--')}"
    path = client.home() / "listings" / name / f"{sha}.json"
    if (known := _read(path)) is not None:
        return client.Listing(files=known, whole=True)
    fresh = client.files(repo_id, sha, tell, kind)
    if fresh.whole and fresh.files:  # an empty answer is believed once, and asked for again
        _keep(path, [asdict(file) for file in fresh.files], tell)
    return fresh


def files_of_commit(repo_id: str, sha: str, tell: Tell) -> list[client.RemoteFile]:
    """The files of a model's commit, as `listing` has them."""
    return listing(repo_id, sha, tell).files


def repositories(owner: str, tell: Tell) -> dict[str, str | None]:
    """Id to default commit, where the Hub says it, of every model of an organisation that this token may see.

    One request for each thousand; offline, what was last seen.

    Raises:
        NotFoundError, AccessError, OfflineError, SourceError: see `errors.explained`.
    """
    path = client.home() / "listings" / f"{owner}.json"
    if client.offline() and (known := _read_table(path)) is not None:
        return known

    def listed() -> dict[str, str | None]:
        pages = HfApi().list_models(author=owner, expand=["sha"])
        return {text_of(model.id, "id of a model"): model.sha and commit_of(model.sha) for model in pages}

    with explained(owner, "model"):
        models = ask(listed, tell)
    _keep(path, models, tell)
    return models


def commits(repo_id: str, branch: str, tell: Tell) -> dict[str, str]:
    """SHA to title of every commit of a model's branch, oldest first.

    Raises:
        NotFoundError, AccessError, OfflineError, SourceError: see `errors.explained`.
    """

    def listed() -> dict[str, str]:
        newest_first = HfApi().list_repo_commits(repo_id, revision=branch)
        return {commit_of(commit.commit_id): str(commit.title) for commit in reversed(newest_first)}

    with explained(repo_id, "model"):
        try:
            titles = ask(listed, tell)
        except RevisionNotFoundError as error:
            near = did_you_mean(branch, list(client.revisions(repo_id, "model", tell)))
            raise NotFoundError(f"The model {repo_id} has no branch {branch}{near}") from error
    return titles


def _read(path: Path) -> list[client.RemoteFile] | None:
    """None if it was never seen, or the file is damaged or of an older version: it is only a memory."""
    try:
        return [client.RemoteFile(sha256=file.pop("sha256"), **file) for file in json.loads(path.read_bytes())]
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def _read_table(path: Path) -> dict[str, str | None] | None:
    try:
        return dict(json.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError):
        return None


def _keep(path: Path, listing: Any, tell: Tell) -> None:
    try:
        write_atomically(path, json.dumps(listing).encode())
    except OSError as error:
        tell(f"{path.parent} cannot be written ({error.strerror}); these listings will not be known offline.")
