"""The routes that list: refs, history and folders."""

import hashlib
import json
from typing import Any
from urllib.parse import parse_qs

from tests.hub_server.call import Call, entry_missing
from tests.hub_server.repository import Commit, Repository
from tests.hub_server.wire import Response, json_response


def refs(call: Call) -> Response:
    """Every branch and tag with its commit."""
    repo = call.repo
    answer: dict[str, Any] = {
        "branches": [ref("refs/heads/", name, sha) for name, sha in repo.branches.items()],
        "converts": [],
        "tags": [ref("refs/tags/", name, sha) for name, sha in repo.tags.items()],
    }
    if call.request.option("include_prs") == "1":
        answer["pullRequests"] = [ref("refs/pr/", str(num), sha) for num, sha in repo.pulls.items()]
    return json_response(answer)


def ref(prefix: str, name: str, sha: str) -> dict[str, str]:
    """One ref; the name of a pull request's is the whole ref."""
    whole = prefix + name
    return {"name": whole if prefix == "refs/pr/" else name, "ref": whole, "targetCommit": sha}


def commits(call: Call) -> Response:
    """The history of a revision, newest first."""
    start = call.commit(call.rest[1] if len(call.rest) > 1 else "main")
    return call.page(
        [
            {
                "id": commit.sha,
                "title": commit.title,
                "message": commit.description,
                "authors": [{"user": commit.author}],
                "date": commit.date,
            }
            for commit in call.repo.history(start.sha)
        ]
    )


def tree(call: Call) -> Response:
    """The files and folders below a path."""
    commit = call.commit(call.rest[1])
    folder = "".join(part + "/" for part in call.rest[2:])
    recursive = call.request.option("recursive").lower() == "true"
    expand = call.request.option("expand").lower() == "true"
    if folder and not any(path.startswith(folder) for path in commit.files):
        raise entry_missing(folder.rstrip("/"), commit)
    seen: dict[str, dict[str, Any]] = {}
    for path in commit.files:
        if path.startswith(folder):
            parts = path.removeprefix(folder).split("/")
            for depth in range(1, len(parts) + 1 if recursive else 2):
                name = folder + "/".join(parts[:depth])
                if name not in seen:
                    seen[name] = entry(call.repo, commit, name, expand)
    return call.page([seen[name] for name in sorted(seen)])


def entry(repo: Repository, commit: Commit, path: str, expand: bool) -> dict[str, Any]:
    """One file or folder of a listing."""
    blob = commit.files.get(path)
    if blob is None:
        below = sorted((name, inner.oid) for name, inner in commit.files.items() if name.startswith(path + "/"))
        oid = hashlib.sha1(json.dumps(below).encode()).hexdigest()
        item: dict[str, Any] = {"type": "directory", "path": path, "oid": oid, "size": 0}
    else:
        item = {"type": "file", "path": path, "oid": blob.oid, "size": blob.size}
        if blob.lfs:
            item["lfs"] = {"oid": blob.sha256, "size": blob.size, "pointerSize": len(blob.pointer)}
    if expand:
        last = last_change(repo, commit, path)
        item["lastCommit"] = {"id": last.sha, "title": last.title, "date": last.date}
    return item


def last_change(repo: Repository, commit: Commit, path: str) -> Commit:
    """The commit that gave a file, or the files of a folder, their present content."""
    content = below(commit, path)
    while commit.parents and below(repo.commits[commit.parents[0]], path) == content:
        commit = repo.commits[commit.parents[0]]
    return commit


def below(commit: Commit, path: str) -> dict[str, str]:
    """The oids of a file, or of the files of a folder."""
    return {name: blob.oid for name, blob in commit.files.items() if name == path or name.startswith(path + "/")}


def paths_info(call: Call) -> Response:
    """The named files and folders; names that do not exist are left out."""
    commit = call.commit(call.rest[1])
    form = parse_qs(call.request.body.decode())
    expand = form.get("expand", [""])[-1].lower() == "true"
    paths = [path for path in form.get("paths", []) if below(commit, path)]
    return json_response([entry(call.repo, commit, path, expand) for path in paths])
