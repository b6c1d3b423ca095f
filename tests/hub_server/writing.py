"""The routes that change files: validation, preupload, LFS upload and commit."""

import base64
import binascii
import json
from typing import Any

from tests.hub_server import card
from tests.hub_server.blob import LFS_SUFFIXES, Blob
from tests.hub_server.call import Call, entry_missing
from tests.hub_server.discussions import open_pull_request, pull_request_of
from tests.hub_server.repository import Commit
from tests.hub_server.state import Hub, User, require_login, require_write
from tests.hub_server.wire import HubError, Request, Response, json_response

STALE = "The branch was updated since you opened this page. Please refresh and try again."


def validate_yaml(hub: Hub, request: Request) -> Response:
    """The errors and warnings about a card, 400 if there are errors."""
    errors, warnings = card.complaints(request.json()["content"])
    answer = {"errors": [{"message": text} for text in errors], "warnings": [{"message": text} for text in warnings]}
    return json_response(answer, 400 if errors else 200)


def require_push(call: Call, revision: str, create_pr: bool) -> User:
    """The user, who has to be allowed to commit there: anybody who can log in may propose."""
    if create_pr:
        return require_login(call.user)
    pull_request = pull_request_of(call.repo, revision)
    if pull_request is not None and call.user is not None and pull_request.author == call.user.name:
        return require_login(call.user)
    return require_write(call.repo, call.user)


def preupload(call: Call) -> Response:
    """How each file is to be sent, and the name of the content that is there now."""
    revision = call.rest[1]
    require_push(call, revision, call.request.option("create_pr") == "1")
    commit = call.commit(revision)
    files = []
    for file in call.request.json()["files"]:
        lfs = call.hub.lfs_uploads and file["path"].endswith(LFS_SUFFIXES)
        item = {"path": file["path"], "uploadMode": "lfs" if lfs else "regular", "shouldIgnore": False}
        present = commit.files.get(file["path"])
        if present is not None:
            item["oid"] = present.sha256 if lfs else present.git_sha1
        files.append(item)
    return json_response({"files": files})


def lfs_batch(call: Call) -> Response:
    """Where to send each large file; no address for one that is there already."""
    require_login(call.user)
    known, answer = stored(call), []
    for item in call.request.json()["objects"]:
        reply: dict[str, Any] = {"oid": item["oid"], "size": item["size"]}
        if item["oid"] not in known:
            href = f"{call.hub.url}/_storage/{item['oid']}"
            reply["actions"] = {"upload": {"href": href}, "verify": {"href": f"{href}/verify"}}
        answer.append(reply)
    return json_response({"transfer": "basic", "objects": answer})


def stored(call: Call) -> dict[str, Blob]:
    """Every large file by its name: uploaded ones and those in the history of the repository."""
    result = dict(call.hub.storage)
    for commit in call.repo.commits.values():
        result |= {blob.sha256: blob for blob in commit.files.values() if blob.lfs}
    return result


def storage(hub: Hub, request: Request) -> Response:
    """The receipt of an uploaded large file, or of the check that it arrived."""
    oid = request.segments[1]
    if request.method == "PUT":
        blob = Blob(request.body, lfs=True)
        if blob.sha256 != oid:
            raise HubError(400, "The content does not have the announced hash")
        hub.storage[oid] = blob
        return Response(200, {"ETag": f'"{oid}"'})
    expected = request.json()
    if oid not in hub.storage or (expected["oid"], expected["size"]) != (oid, hub.storage[oid].size):
        raise HubError(404, "The upload is not there or has another size")
    return json_response({})


def commit(call: Call) -> Response:
    """The new commit, on the branch or in a new pull request."""
    repo, revision = call.repo, call.rest[1]
    create_pr = call.request.option("create_pr") == "1"
    user = require_push(call, revision, create_pr)
    header, operations = read_operations(call.request)
    if create_pr:
        base = call.commit(header.get("parentCommit") or revision)
    else:
        head = repo.ref(revision)
        if head is None:
            raise HubError(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        if not head.startswith(header.get("parentCommit") or ""):
            raise HubError(412, STALE)
        base = repo.commits[head]
    files = apply(call, base, operations)
    title, description = header["summary"], header.get("description") or ""
    new = repo.record(files, (base.sha,), title, description, user.name)
    page = call.hub.page_url(repo, "commit", new.sha)
    answer = {"success": True, "commitOid": new.sha, "commitUrl": page, "hookOutput": ""}
    if create_pr:
        number = open_pull_request(repo, title, description, user, base.sha, new.sha).num
        answer["pullRequestUrl"] = call.hub.page_url(repo, "discussions", str(number))
    else:
        repo.move(revision, new.sha)
    return json_response(answer)


def read_operations(request: Request) -> tuple[dict[str, Any], list[tuple[str, dict[str, Any]]]]:
    """The header of a commit and its operations, from one JSON object a line."""
    try:
        lines = [json.loads(line) for line in request.body.splitlines() if line.strip()]
        operations = [(line["key"], line["value"]) for line in lines]
    except (ValueError, KeyError, TypeError) as error:
        raise HubError(400, f"Invalid commit payload: {error}") from error
    if not operations or operations[0][0] != "header" or not operations[0][1].get("summary"):
        raise HubError(400, "The first line has to be a header with a summary")
    return operations[0][1], operations[1:]


def apply(call: Call, base: Commit, operations: list[tuple[str, dict[str, Any]]]) -> dict[str, Blob]:
    """The files of a commit after the operations."""
    files = dict(base.files)
    for key, value in operations:
        path = checked_path(value["path"])
        if key == "file":
            files[path] = Blob.of(decode(value["content"]), path)
        elif key == "lfsFile":
            known = stored(call)
            if value["oid"] not in known:
                raise HubError(400, f"LFS file {value['oid']} of {path} was not uploaded")
            files[path] = known[value["oid"]]
        elif key == "deletedFile":
            if files.pop(path, None) is None:
                raise entry_missing(path, base)
        elif key == "deletedFolder":
            inside = [name for name in files if name.startswith(path.rstrip("/") + "/")]
            if not inside:
                raise entry_missing(path, base)
            for name in inside:
                del files[name]
        else:
            raise HubError(400, f"Unknown operation: {key}")
    check_tree(files)
    return files


def decode(content: str) -> bytes:
    """The bytes of a base64 text."""
    try:
        return base64.b64decode(content, validate=True)
    except binascii.Error as error:
        raise HubError(400, f"Invalid base64: {error}") from error


def checked_path(path: str) -> str:
    """The path itself, if it stays inside the repository."""
    if not path or path.startswith("/") or any(part in ("..", ".", ".git") for part in path.rstrip("/").split("/")):
        raise HubError(400, f"Invalid path: {path!r}")
    return path


def check_tree(files: dict[str, Blob]) -> None:
    """Refuse a name that is a file and a folder at once, and a card with invalid metadata."""
    folders = {path.rsplit("/", depth)[0] for path in files for depth in range(1, path.count("/") + 1)}
    clash = folders & files.keys()
    if clash:
        raise HubError(400, f"{min(clash)} is a file and a folder")
    if "README.md" in files:
        errors, _ = card.complaints(files["README.md"].read().decode(errors="replace"))
        if errors:
            raise HubError(400, "; ".join(errors))
