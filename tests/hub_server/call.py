"""A request about one repository."""

from typing import Any
from urllib.parse import parse_qs, urlencode

from tests.hub_server.repository import Commit, Repository
from tests.hub_server.state import Hub, User
from tests.hub_server.wire import HubError, Request, Response, json_response


class Call:
    """A request about one repository: who asks, and the parts of the path after the repository's id."""

    def __init__(self, hub: Hub, request: Request, repo: Repository, user: User | None, rest: tuple[str, ...]) -> None:
        self.hub = hub
        self.request = request
        self.repo = repo
        self.user = user
        self.rest = rest

    def commit(self, revision: str) -> Commit:
        """The commit behind a revision, 404 if there is none."""
        commit = self.repo.resolve(revision)
        if commit is None:
            raise HubError(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return commit

    def page(self, items: list[dict[str, Any]]) -> Response:
        """One page of a listing, with a link to the next one."""
        return page_of(self.hub, self.request, items)


def page_of(hub: Hub, request: Request, items: list[dict[str, Any]]) -> Response:
    """One page of a listing, with a link to the next one."""
    size = int(request.option("limit") or hub.page_size)
    start = int(request.option("cursor") or 0)
    headers = {}
    if start + size < len(items):
        path, query = request.target.partition("?")[::2]
        following = urlencode(parse_qs(query) | {"cursor": [str(start + size)]}, doseq=True)
        headers["Link"] = f'<{hub.url}{path}?{following}>; rel="next"'
    return json_response(items[start : start + size], headers=headers)


def entry_missing(path: str, commit: Commit) -> HubError:
    """404 for a path; it names the commit, so that a client can remember the absence."""
    return HubError(404, f"{path} does not exist", "EntryNotFound", {"X-Repo-Commit": commit.sha})
