"""The routes that read: the description of a repository, and its files."""

import hashlib
import json
import re
import struct
from collections.abc import Iterator
from typing import Any

from tests.hub_server import card
from tests.hub_server.blob import Blob
from tests.hub_server.call import Call, entry_missing
from tests.hub_server.repository import Commit
from tests.hub_server.state import require_files, require_read, require_write
from tests.hub_server.wire import Response, json_response, ranged

ALWAYS_SENT = ("_id", "id")
WEIGHTS = re.compile(r"model(-\d+-of-\d+)?\.safetensors")


def info(call: Call) -> Response:
    """The description of a repository at a revision."""
    repo, request = call.repo, call.request
    commit = call.commit(call.rest[1] if call.rest else "main")
    metadata = card_data(commit)
    answer: dict[str, Any] = {
        "_id": hashlib.sha1(repo.repo_id.encode()).hexdigest()[:24],
        "id": repo.name,
        "author": repo.owner,
        "sha": commit.sha,
        "createdAt": repo.history(commit.sha)[-1].date,
        "lastModified": commit.date,
        "private": repo.private,
        "gated": repo.gated,
        "disabled": repo.disabled,
        "downloads": 0,
        "likes": 0,
        "tags": list(metadata.get("tags") or []),
        "cardData": metadata,
        "siblings": [sibling(path, blob, "blobs" in request.query) for path, blob in sorted(commit.files.items())],
        "usedStorage": sum(blob.size for blob in commit.files.values()),
    }
    if repo.kind == "model":
        answer |= model_info(commit, metadata) | {"modelId": repo.name}
    wanted = request.query.get("expand", []) + request.query.get("expand[]", [])
    if wanted:
        answer = {key: value for key, value in answer.items() if key in (*ALWAYS_SENT, *wanted)}
    return json_response(answer, headers={"X-Repo-Commit": commit.sha})


def card_data(commit: Commit) -> dict[str, Any]:
    """The metadata of the card, empty where there is none or it cannot be read."""
    readme = commit.files.get("README.md")
    try:
        return (card.metadata(readme.read().decode()) if readme else None) or {}
    except ValueError:
        return {}


def sibling(path: str, blob: Blob, with_blobs: bool) -> dict[str, Any]:
    """One file as the description of a repository lists it."""
    item: dict[str, Any] = {"rfilename": path}
    if with_blobs:
        item |= {"size": blob.size, "blobId": blob.oid}
        if blob.lfs:
            item["lfs"] = {"sha256": blob.sha256, "size": blob.size, "pointerSize": len(blob.pointer)}
    return item


def model_info(commit: Commit, metadata: dict[str, Any]) -> dict[str, Any]:
    """What is said of models only."""
    answer: dict[str, Any] = {key: metadata.get(key) for key in ("library_name", "pipeline_tag")}
    if "model-index" in metadata:
        answer["model-index"] = metadata["model-index"]
    if "config.json" in commit.files:
        config = json.loads(commit.files["config.json"].read())
        answer["config"] = {key: config[key] for key in ("architectures", "model_type") if key in config}
    parameters: dict[str, int] = {}
    for blob in (blob for path, blob in commit.files.items() if WEIGHTS.fullmatch(path)):
        for dtype, count in tensor_counts(blob):
            parameters[dtype] = parameters.get(dtype, 0) + count
    if parameters:
        answer["safetensors"] = {"parameters": parameters, "total": sum(parameters.values())}
    return answer


def tensor_counts(blob: Blob) -> Iterator[tuple[str, int]]:
    """The dtype and the number of entries of each tensor in a safetensors file; nothing if it is not one."""
    size = struct.unpack("<Q", blob.read(0, 8))[0] if blob.size >= 8 else blob.size
    if 8 + size > blob.size:
        return
    for name, tensor in json.loads(blob.read(8, 8 + size)).items():
        if name != "__metadata__":
            count = 1
            for extent in tensor["shape"]:
                count *= extent
            yield tensor["dtype"], count


def auth_check(call: Call) -> Response:
    """Nothing, if the user may read the files; with `/write`, if they may change them."""
    require_files(call.repo, call.user)
    if call.rest[1:] == ("write",):
        require_write(call.repo, call.user)
    return json_response({})


def resolve(call: Call) -> Response:
    """The content of a file."""
    require_read(call.repo, call.user)
    require_files(call.repo, call.user)
    commit, path = call.commit(call.rest[1]), "/".join(call.rest[2:])
    blob = commit.files.get(path)
    if blob is None:
        raise entry_missing(path, commit)
    headers = {
        "X-Repo-Commit": commit.sha,
        "ETag": f'"{blob.etag}"',
        "Accept-Ranges": "bytes",
        "Content-Type": "application/octet-stream" if blob.lfs else "text/plain; charset=utf-8",
        "Content-Disposition": f'inline; filename="{call.rest[-1]}";',
    }
    if blob.lfs:
        headers |= {"X-Linked-Etag": f'"{blob.sha256}"', "X-Linked-Size": str(blob.size)}
    return ranged(call.request, blob, headers)
