"""Everything the server knows: its users, its repositories and the uploaded large files."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from tests.hub_server.blob import Blob
from tests.hub_server.repository import Content, Kind, Repository
from tests.hub_server.wire import HubError, Request

PREFIX: dict[Kind, str] = {"model": "", "dataset": "datasets/", "space": "spaces/"}
BAD_TOKEN = "Invalid credentials in Authorization header"


@dataclass(frozen=True)
class User:
    """The owner of a token, what the token allows, and the organizations whose repositories are theirs too."""

    name: str
    role: Literal["read", "write"] = "write"
    orgs: tuple[str, ...] = ()


class Hub:
    """Users, repositories and large files.

    `lfs_uploads` makes preupload ask for LFS where the suffix calls for it, `page_size` is the length of a page of a
    listing. `jobs` holds what was asked of every job that was started, which takes
    `jobs_credit`. Three tokens are known at first: `hf_test` may write to `alice/…` and `org/…`, `hf_read` belongs to
    alice as well but is read-only, `hf_other` belongs to bob, who owns only `bob/…`.
    """

    def __init__(self) -> None:
        self.url = ""
        self.lock = threading.RLock()
        self.users = {
            "hf_test": User("alice", "write", ("org",)),
            "hf_read": User("alice", "read", ("org",)),
            "hf_other": User("bob", "write"),
        }
        self.repositories: dict[tuple[Kind, str], Repository] = {}
        self.storage: dict[str, Blob] = {}
        self.lfs_uploads = False
        self.page_size = 1000
        self.jobs: list[dict[str, Any]] = []
        self.jobs_credit = True

    def add_model(self, repo_id: str, files: Mapping[str, Content] | None = None) -> Repository:
        """A new model repository; `files` make its second commit on main."""
        return self.add("model", repo_id, files)

    def add_dataset(self, repo_id: str, files: Mapping[str, Content] | None = None) -> Repository:
        """A new dataset repository; `files` make its second commit on main."""
        return self.add("dataset", repo_id, files)

    def add(self, kind: Kind, repo_id: str, files: Mapping[str, Content] | None = None) -> Repository:
        """A new repository of any kind."""
        repo = Repository(kind, repo_id, self.lock)
        if files:
            repo.commit(files)
        with self.lock:
            self.repositories[kind, repo_id] = repo
        return repo

    def find(self, kind: Kind, repo_id: str) -> Repository | None:
        """The repository that has, or had before a renaming, this id."""
        with self.lock:
            repo = self.repositories.get((kind, repo_id))
            if repo is None:
                moved = (other for other in self.repositories.values() if other.renamed_to == repo_id)
                repo = next((other for other in moved if other.kind == kind), None)
            return repo

    def user(self, request: Request) -> User | None:
        """Who asks: None without a token, 401 with a token that nobody has."""
        if request.token is None:
            return None
        if request.token not in self.users:
            raise HubError(401, BAD_TOKEN)
        return self.users[request.token]

    def page_url(self, repo: Repository, *parts: str) -> str:
        """The address of a page about a repository."""
        return "/".join([self.url, PREFIX[repo.kind] + repo.name, *parts])


def owns(user: User | None, repo: Repository) -> bool:
    """Whether the repository lies in a namespace of the user, or they were made a writer of it."""
    return user is not None and (user.name in repo.writers or repo.owner in (user.name, *user.orgs))


def missing(user: User | None) -> HubError:
    """The answer for a repository that does not exist or may not be known to exist."""
    if user is None:
        return HubError(401, "Invalid username or password.", "RepoNotFound")
    return HubError(404, "Repository not found", "RepoNotFound")


def require_read(repo: Repository, user: User | None) -> None:
    """Refuse who may not know of the repository, and everybody where it is disabled."""
    if repo.private and not (owns(user, repo) or (user is not None and user.name in repo.readers)):
        raise missing(user)
    if repo.disabled:
        raise HubError(403, "Access to this resource is disabled.")


def require_files(repo: Repository, user: User | None) -> None:
    """Refuse who may not read the files of a gated repository."""
    if not repo.gated or owns(user, repo) or (user is not None and user.name in repo.granted):
        return
    start = f"Access to {repo.kind} {repo.name} is restricted"
    if user is None:
        text = f"{start}. You must have access to it and be authenticated to access it. Please log in."
        raise HubError(401, text, "GatedRepo")
    raise HubError(403, f"{start} and you are not in the authorized list. Ask for access.", "GatedRepo")


def require_login(user: User | None) -> User:
    """The user, who has to have a token that may write."""
    if user is None:
        raise HubError(401, "Invalid username or password.")
    if user.role != "write":
        raise HubError(403, "Forbidden: this token has no write permission")
    return user


def require_write(repo: Repository, user: User | None) -> User:
    """The user, who has to have a token that may write to this repository."""
    user = require_login(user)
    if not owns(user, repo):
        raise HubError(403, "Forbidden: pass `create_pr=1` as a query parameter to create a Pull Request")
    return user
