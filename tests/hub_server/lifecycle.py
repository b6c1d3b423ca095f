"""The routes that create, move and delete repositories, branches and tags."""

from typing import Any

from tests.hub_server.call import Call
from tests.hub_server.repository import Kind, Repository
from tests.hub_server.state import Hub, User, missing, owns, require_login, require_write
from tests.hub_server.wire import HubError, Request, Response, json_response

KINDS: dict[str, Kind] = {"model": "model", "dataset": "dataset", "space": "space"}


def whoami(hub: Hub, request: Request) -> Response:
    """The owner of the token."""
    user = hub.user(request)
    if user is None:
        raise HubError(401, "Invalid username or password.")
    token = {"displayName": "test", "role": user.role}
    answer = {
        "type": "user",
        "id": user.name,
        "name": user.name,
        "fullname": user.name.title(),
        "isPro": False,
        "orgs": [{"type": "org", "name": name, "fullname": name} for name in user.orgs],
        "auth": {"type": "access_token", "accessToken": token},
    }
    return json_response(answer)


def named(body: dict[str, Any], user: User) -> tuple[Kind, str]:
    """The kind and the id of the repository a body speaks of."""
    kind = KINDS.get(body.get("type") or "model")
    if kind is None or not body.get("name"):
        raise HubError(400, "Invalid repository type or name")
    return kind, f"{body.get('organization') or user.name}/{body['name']}"


def create_repo(hub: Hub, request: Request) -> Response:
    """The address of a new repository; 409 with the same address if it exists."""
    user, body = require_login(hub.user(request)), request.json()
    kind, repo_id = named(body, user)
    namespace = repo_id.split("/")[0]
    if namespace not in (user.name, *user.orgs):
        raise HubError(403, f'You don\'t have the rights to create a {kind} under the namespace "{namespace}"')
    existing = hub.find(kind, repo_id)
    repo = existing or hub.add(kind, repo_id)
    answer = {"url": hub.page_url(repo), "name": repo.name, "id": repo.name}
    if existing is not None:
        text = f"You already created this {kind} repo"
        return json_response(answer | {"error": text}, 409, {"X-Error-Message": text})
    repo.private = body.get("visibility") == "private" or body.get("private") is True
    return json_response(answer)


def owned(hub: Hub, kind: Kind, repo_id: str, user: User) -> Repository:
    """The repository, which has to exist and to be the user's."""
    repo = hub.find(kind, repo_id)
    if repo is None or (repo.private and not owns(user, repo)):
        raise missing(user)
    require_write(repo, user)
    return repo


def delete_repo(hub: Hub, request: Request) -> Response:
    """Nothing; the repository is gone."""
    user = require_login(hub.user(request))
    kind, repo_id = named(request.json(), user)
    repo = owned(hub, kind, repo_id, user)
    del hub.repositories[kind, repo.repo_id]
    return json_response({})


def move_repo(hub: Hub, request: Request) -> Response:
    """Nothing; the repository has another id, and the old one leads there."""
    user, body = require_login(hub.user(request)), request.json()
    kind = KINDS[body.get("type") or "model"]
    repo = owned(hub, kind, body["fromRepo"], user)
    if hub.find(kind, body["toRepo"]) is not None:
        raise HubError(409, "This repository exists already")
    repo.renamed_to = body["toRepo"]
    return json_response({})


def settings(call: Call) -> Response:
    """Nothing; the named settings have the given values."""
    require_write(call.repo, call.user)
    body = call.request.json()
    if "gated" in body:
        call.repo.gated = body["gated"]
    if "visibility" in body:
        call.repo.private = body["visibility"] == "private"
    return json_response({})


def branch(call: Call) -> Response:
    """Nothing; the branch exists, or with DELETE is gone."""
    require_write(call.repo, call.user)
    name = call.rest[1]
    if call.request.method == "DELETE":
        return remove(call.repo.branches, name, protected="main")
    if name in call.repo.branches:
        raise HubError(409, f"Reference already exists: refs/heads/{name}")
    call.repo.branches[name] = call.commit(call.request.json().get("startingPoint") or "main").sha
    return json_response({})


def tag(call: Call) -> Response:
    """Nothing; the tag exists, or with DELETE is gone."""
    require_write(call.repo, call.user)
    if call.request.method == "DELETE":
        return remove(call.repo.tags, call.rest[1])
    name = call.request.json()["tag"]
    if name in call.repo.tags:
        raise HubError(409, f"Tag reference exists already: refs/tags/{name}")
    call.repo.tags[name] = call.commit(call.rest[1]).sha
    return json_response({})


def remove(refs: dict[str, str], name: str, protected: str | None = None) -> Response:
    """Nothing; the ref is gone."""
    if name == protected:
        raise HubError(403, f"Forbidden: {name} is protected")
    if refs.pop(name, None) is None:
        raise HubError(404, f"Invalid rev id: {name}", "RevisionNotFound")
    return json_response({})


def super_squash(call: Call) -> Response:
    """Nothing; the branch has one commit."""
    user, repo, name = require_write(call.repo, call.user), call.repo, call.rest[1]
    if repo.ref(name) is None:
        raise HubError(404, f"Invalid rev id: {name}", "RevisionNotFound")
    title = call.request.json().get("message") or f"Super-squash branch '{name}'"
    repo.move(name, repo.record(repo.at(name).files, (), title, author=user.name).sha)
    return json_response({})
