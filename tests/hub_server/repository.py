"""A repository in memory: commits, and the branches, tags and pull request refs that point to them."""

import hashlib
import json
import re
import threading
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from tests.hub_server.blob import LFS_SUFFIXES, Blob

Kind = Literal["model", "dataset", "space"]
Content = bytes | str | Path | Blob
EPOCH = datetime(2024, 1, 1)
SHORT_SHA = re.compile(r"[0-9a-f]{7,40}")
GIT_ATTRIBUTES = "".join(f"*{suffix} filter=lfs diff=lfs merge=lfs -text\n" for suffix in LFS_SUFFIXES)


def timestamp(number: int) -> str:
    """The date of the `number`-th event: one minute apart, so that every run gives the same hashes."""
    return (EPOCH + timedelta(minutes=number)).isoformat(timespec="milliseconds") + "Z"


@dataclass(frozen=True)
class Commit:
    """The whole content of a repository at one point of its history."""

    sha: str
    parents: tuple[str, ...]
    files: Mapping[str, Blob]
    title: str
    description: str
    author: str
    number: int

    @property
    def date(self) -> str:
        """When the commit was made, ISO 8601 with a `Z`."""
        return timestamp(self.number)


@dataclass
class Discussion:
    """A discussion or a pull request; `base` is the commit a pull request starts from."""

    num: int
    title: str
    author: str
    created: str
    is_pull_request: bool
    status: str = "open"
    base: str | None = None
    merge_commit: str | None = None
    events: list[dict[str, Any]] = field(default_factory=list)


class Repository:
    """A repository of the Hub, open to everybody unless `private`, `gated` or `disabled` is set.

    Setting `renamed_to` moves it: the old name answers with a redirect, the new one with the content.
    """

    def __init__(self, kind: Kind, repo_id: str, lock: AbstractContextManager[Any] | None = None) -> None:
        self.kind: Kind = kind
        self.repo_id = repo_id
        self.private = False
        self.gated: Literal[False, "auto", "manual"] = False
        self.disabled = False
        self.renamed_to: str | None = None
        self.owner = repo_id.split("/")[0] if "/" in repo_id else ""
        self.readers: set[str] = set()
        self.writers: set[str] = set()
        self.granted: set[str] = set()
        self.branches: dict[str, str] = {}
        self.tags: dict[str, str] = {}
        self.pulls: dict[int, str] = {}
        self.commits: dict[str, Commit] = {}
        self.discussions: dict[int, Discussion] = {}
        self._lock = threading.RLock() if lock is None else lock
        first = self.record({".gitattributes": Blob.of(GIT_ATTRIBUTES, ".gitattributes")}, (), "initial commit")
        self.branches["main"] = first.sha

    @property
    def name(self) -> str:
        """The id under which the content is found now."""
        return self.renamed_to or self.repo_id

    def record(
        self,
        files: Mapping[str, Blob],
        parents: tuple[str, ...],
        title: str,
        description: str = "",
        author: str | None = None,
    ) -> Commit:
        """A new commit with exactly these files; no ref points to it yet."""
        with self._lock:
            number, author = len(self.commits), author or self.owner or "hub"
            tree = sorted((path, blob.oid) for path, blob in files.items())
            parts = [parents, tree, title, description, author, number]
            sha = hashlib.sha1(json.dumps(parts).encode()).hexdigest()
            self.commits[sha] = Commit(sha, parents, dict(files), title, description, author, number)
            return self.commits[sha]

    def commit(
        self,
        files: Mapping[str, Content],
        revision: str = "main",
        message: str = "Update files",
        *,
        delete: Iterable[str] = (),
        author: str | None = None,
    ) -> str:
        """The sha of a new commit on a branch or `refs/pr/N`.

        Files that are not named stay as they are. A branch that does not exist yet starts empty, as the branches of
        a checkpoint series do; `branch` makes one that starts from another revision.
        """
        with self._lock:
            head = self.ref(revision)
            tree = dict(self.commits[head].files) if head else {}
            for path in delete:
                del tree[path]
            tree.update({path: Blob.of(content, path) for path, content in files.items()})
            commit = self.record(tree, (head,) if head else (), message, author=author)
            self.move(revision, commit.sha)
            return commit.sha

    def commit_folder(self, path: Path | str, revision: str = "main", message: str = "Upload folder") -> str:
        """The sha of a new commit that adds every file under a folder."""
        root = Path(path)
        files = {file.relative_to(root).as_posix(): file for file in sorted(root.rglob("*")) if file.is_file()}
        return self.commit(files, revision, message)

    def delete(self, *paths: str, revision: str = "main", message: str = "Delete files") -> str:
        """The sha of a new commit without the given files."""
        return self.commit({}, revision, message, delete=paths)

    def branch(self, name: str, start: str | None = None) -> str:
        """The sha a new (or moved) branch points to: that of `start`, else of main."""
        return self._point(self.branches, name, start or "main")

    def tag(self, name: str, rev: str = "main") -> str:
        """The sha a new (or moved) tag points to."""
        return self._point(self.tags, name, rev)

    def _point(self, refs: dict[str, str], name: str, rev: str) -> str:
        with self._lock:
            refs[name] = self.at(rev).sha
            return refs[name]

    def ref(self, revision: str) -> str | None:
        """The sha of a branch or of `refs/pr/N`: the refs one can commit to."""
        if revision.startswith("refs/pr/"):
            number = revision.removeprefix("refs/pr/")
            return self.pulls.get(int(number)) if number.isdigit() else None
        return self.branches.get(revision.removeprefix("refs/heads/"))

    def move(self, revision: str, sha: str) -> None:
        """Make a branch or `refs/pr/N` point to `sha`."""
        if revision.startswith("refs/pr/"):
            self.pulls[int(revision.removeprefix("refs/pr/"))] = sha
        else:
            self.branches[revision.removeprefix("refs/heads/")] = sha

    def resolve(self, revision: str) -> Commit | None:
        """The commit behind a branch, tag, pull request ref, full or short sha; None if there is none."""
        with self._lock:
            sha = self.ref(revision) or self.tags.get(revision.removeprefix("refs/tags/"))
            if sha is None and SHORT_SHA.fullmatch(revision):
                results = [full for full in self.commits if full.startswith(revision)]
                sha = results[0] if len(results) == 1 else None
            return None if sha is None else self.commits[sha]

    def at(self, revision: str = "main") -> Commit:
        """The commit behind a revision that has to exist."""
        commit = self.resolve(revision)
        if commit is None:
            raise KeyError(f"{self.repo_id} has no revision {revision}")
        return commit

    def history(self, revision: str = "main") -> list[Commit]:
        """Every commit that can be reached from a revision, newest first."""
        with self._lock:
            seen: dict[str, Commit] = {}
            queue = [self.at(revision).sha]
            while queue:
                commit = self.commits[queue.pop()]
                if commit.sha not in seen:
                    seen[commit.sha] = commit
                    queue.extend(commit.parents)
            return sorted(seen.values(), key=lambda commit: commit.number, reverse=True)
