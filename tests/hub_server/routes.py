"""From a request to its answer: which route it takes, and about which repository."""

from collections.abc import Callable
from urllib.parse import quote

from tests.hub_server import discussions, jobs, lifecycle, listing, reading, writing
from tests.hub_server.call import Call, page_of
from tests.hub_server.repository import Kind, Repository
from tests.hub_server.state import Hub, User, missing, require_read
from tests.hub_server.wire import HubError, Request, Response, json_response

PLURALS: dict[str, Kind] = {"models": "model", "datasets": "dataset", "spaces": "space"}
LFS_BATCH = ("info", "lfs", "objects", "batch")

REPO_ROUTES: dict[tuple[str, str], Callable[[Call], Response]] = {
    ("GET", ""): reading.info,
    ("GET", "revision"): reading.info,
    ("GET", "auth-check"): reading.auth_check,
    ("GET", "refs"): listing.refs,
    ("GET", "commits"): listing.commits,
    ("GET", "tree"): listing.tree,
    ("POST", "paths-info"): listing.paths_info,
    ("POST", "preupload"): writing.preupload,
    ("POST", "commit"): writing.commit,
    ("GET", "discussions"): discussions.discussions,
    ("POST", "discussions"): discussions.discussions,
    ("POST", "branch"): lifecycle.branch,
    ("DELETE", "branch"): lifecycle.branch,
    ("POST", "tag"): lifecycle.tag,
    ("DELETE", "tag"): lifecycle.tag,
    ("PUT", "settings"): lifecycle.settings,
    ("POST", "super-squash"): lifecycle.super_squash,
}
NEEDS_REVISION = ("revision", "tree", "paths-info", "preupload", "commit", "branch", "tag", "super-squash")

HUB_ROUTES: dict[tuple[str, str], Callable[[Hub, Request], Response]] = {
    ("GET", "api/whoami-v2"): lifecycle.whoami,
    ("POST", "api/repos/create"): lifecycle.create_repo,
    ("DELETE", "api/repos/delete"): lifecycle.delete_repo,
    ("POST", "api/repos/move"): lifecycle.move_repo,
    ("POST", "api/validate-yaml"): writing.validate_yaml,
}


def answer(hub: Hub, request: Request) -> Response:
    """The answer to any request; a refusal is an answer too."""
    try:
        with hub.lock:
            return dispatch(hub, request)
    except HubError as error:
        return error.response()


def dispatch(hub: Hub, request: Request) -> Response:
    """The answer to a request, or a `HubError`."""
    segments = request.segments
    route = HUB_ROUTES.get((request.method, "/".join(segments)))
    route = route or jobs.route(request)
    if route is not None:
        return route(hub, request)
    if segments == ("api", "agent-harnesses"):
        return json_response({"standardEnvVars": [], "harnesses": {}})
    if segments[:1] == ("_storage",) and request.method in ("PUT", "POST"):
        return writing.storage(hub, request)
    if segments[:1] == ("api",) and len(segments) > 1 and segments[1] in PLURALS:
        if segments[2:] == ():
            return catalogue(hub, request, PLURALS[segments[1]])
        return about_repo(hub, request, PLURALS[segments[1]], segments[2:])
    return about_file(hub, request, segments)


def about_repo(hub: Hub, request: Request, kind: Kind, parts: tuple[str, ...]) -> Response:
    """The answer of the API about one repository."""
    call = locate(hub, request, kind, parts)
    if isinstance(call, Response):
        return call
    word = call.rest[0] if call.rest else ""
    route = REPO_ROUTES.get((request.method, word))
    if route is None or (word in NEEDS_REVISION and len(call.rest) < 2):
        raise HubError(404, "Sorry, we can't find the page you are looking for.")
    return route(call)


def about_file(hub: Hub, request: Request, segments: tuple[str, ...]) -> Response:
    """The content of a file, or where to upload large ones."""
    kind = PLURALS.get(segments[0], "model") if segments else "model"
    parts = segments if kind == "model" else segments[1:]
    if parts[-4:] == LFS_BATCH and request.method == "POST" and parts[-5:-4] and parts[-5].endswith(".git"):
        call = locate(hub, request, kind, (*parts[:-5], parts[-5].removesuffix(".git")))
        return call if isinstance(call, Response) else writing.lfs_batch(call)
    if "resolve" in parts[1:3] and request.method in ("GET", "HEAD"):
        call = locate(hub, request, kind, parts)
        if isinstance(call, Response):
            return call
        if call.rest[:1] == ("resolve",) and len(call.rest) > 2:
            return reading.resolve(call)
    raise HubError(404, "Sorry, we can't find the page you are looking for.")


def locate(hub: Hub, request: Request, kind: Kind, parts: tuple[str, ...]) -> Call | Response:
    """The repository a path starts with; a redirect if it has another name now."""
    user = hub.user(request)
    for length in (2, 1):
        asked = "/".join(parts[:length])
        repo = hub.find(kind, asked) if len(parts) >= length else None
        if repo is not None:
            require_read(repo, user)
            if asked != repo.name:
                return moved(request, repo, asked)
            return Call(hub, request, repo, user, parts[length:])
    raise missing(user)


def moved(request: Request, repo: Repository, asked: str) -> Response:
    """A redirect to the present name, the rest of the address unchanged."""
    location = request.target.replace(asked, quote(repo.name), 1)
    return Response(307, {"Location": location, "Content-Type": "text/plain"}, f"Redirecting to {location}".encode())


def catalogue(hub: Hub, request: Request, kind: Kind) -> Response:
    """The repositories of a kind that the user may know of, by author and a part of the name, a page of them."""
    user: User | None = hub.user(request)
    results = []
    for (repo_kind, _), repo in sorted(hub.repositories.items()):
        if repo_kind != kind or request.option("author") not in ("", repo.owner):
            continue
        if request.option("search").lower() not in repo.name.lower():
            continue
        try:
            require_read(repo, user)
        except HubError:
            continue
        item = {"_id": repo.name, "id": repo.name, "private": repo.private, "tags": []}
        results.append(item | ({"sha": repo.at().sha} if "sha" in request.query.get("expand", []) else {}))
    return page_of(hub, request, results)
