"""Discussions and pull requests: list, open, comment, close, merge."""

import difflib
from typing import Any

from tests.hub_server.blob import Blob
from tests.hub_server.call import Call
from tests.hub_server.repository import Commit, Discussion, Repository, timestamp
from tests.hub_server.state import User, owns, require_login, require_write
from tests.hub_server.wire import HubError, Response, json_response

PAGE_SIZE = 10
TEXT_BYTES = 2**20


def discussions(call: Call) -> Response:
    """Every discussion route: the parts of the path after `discussions` say which."""
    rest, posted = call.rest[1:], call.request.method == "POST"
    if not rest:
        return create(call) if posted else listing(call)
    if not rest[0].isdigit() or int(rest[0]) not in call.repo.discussions:
        raise HubError(404, "Discussion not found")
    discussion = call.repo.discussions[int(rest[0])]
    if not posted:
        return json_response(details(call.repo, discussion))
    actions = {"comment": comment, "status": change_status, "title": change_title, "merge": merge}
    if len(rest) != 2 or rest[1] not in actions:
        raise HubError(404, "Sorry, we can't find the page you are looking for.")
    return actions[rest[1]](call, discussion)


def summary(repo: Repository, discussion: Discussion) -> dict[str, Any]:
    """What a list says of a discussion."""
    return {
        "num": discussion.num,
        "title": discussion.title,
        "author": {"name": discussion.author},
        "createdAt": discussion.created,
        "status": discussion.status,
        "isPullRequest": discussion.is_pull_request,
        "repo": {"name": repo.name, "type": repo.kind},
    }


def listing(call: Call) -> Response:
    """One page of the discussions that pass the filters, newest first."""
    kind, status, author = (call.request.option(name) for name in ("type", "status", "author"))
    states = {"open": ("open", "draft"), "closed": ("closed", "merged")}.get(status)
    results = [
        discussion
        for discussion in reversed(call.repo.discussions.values())
        if kind in ("", "all", "pull_request" if discussion.is_pull_request else "discussion")
        and (states is None or discussion.status in states)
        and author in ("", discussion.author)
    ]
    start = PAGE_SIZE * int(call.request.option("p") or 0)
    page = [summary(call.repo, discussion) for discussion in results[start : start + PAGE_SIZE]]
    return json_response({"discussions": page, "count": len(results), "start": start})


def details(repo: Repository, discussion: Discussion) -> dict[str, Any]:
    """A discussion with its events, and for a pull request what it changes."""
    answer = summary(repo, discussion) | {"events": discussion.events}
    if discussion.is_pull_request:
        answer["changes"] = {"base": "refs/heads/main"}
        if discussion.merge_commit is not None:
            answer["changes"]["mergeCommitId"] = discussion.merge_commit
        is_open = discussion.status in ("open", "draft")
        answer["filesWithConflicts"] = conflicts(repo, discussion) if is_open else []
        answer["diff"] = unified_diff(*ends(repo, discussion))
    return answer


def add_event(discussion: Discussion, kind: str, user: User, data: dict[str, Any]) -> dict[str, Any]:
    """A new event at the end of the discussion."""
    number = len(discussion.events)
    event = {
        "id": f"{discussion.num:012x}{number:012x}",
        "type": kind,
        "createdAt": timestamp(number),
        "author": {"name": user.name},
        "data": data,
    }
    discussion.events.append(event)
    return event


def said(discussion: Discussion, user: User, text: str) -> dict[str, Any]:
    """A new comment."""
    data = {"edited": False, "hidden": False, "latest": {"raw": text, "html": text}, "numEdits": 0}
    return add_event(discussion, "comment", user, data)


def open_discussion(repo: Repository, title: str, text: str, user: User, base: str | None = None) -> Discussion:
    """A new discussion, or a pull request if there is a `base` commit."""
    num = len(repo.discussions) + 1
    discussion = Discussion(num, title, user.name, timestamp(num), base is not None, base=base)
    repo.discussions[num] = discussion
    said(discussion, user, text)
    return discussion


def open_pull_request(repo: Repository, title: str, text: str, user: User, base: str, head: str) -> Discussion:
    """A new pull request from `base` to `head`."""
    discussion = open_discussion(repo, title, text, user, base)
    repo.pulls[discussion.num] = head
    if head != base:
        add_event(discussion, "commit", user, {"subject": repo.commits[head].title, "oid": head})
    return discussion


def pull_request_of(repo: Repository, revision: str) -> Discussion | None:
    """The pull request to which `refs/pr/N` belongs."""
    number = revision.removeprefix("refs/pr/")
    return repo.discussions.get(int(number)) if number != revision and number.isdigit() else None


def create(call: Call) -> Response:
    """The number of a new discussion; a pull request starts as a draft without changes."""
    user, body = require_login(call.user), call.request.json()
    text = body.get("description") or ""
    if body.get("pullRequest"):
        base = call.commit("main").sha
        discussion = open_pull_request(call.repo, body["title"], text, user, base, base)
        discussion.status = "draft"
    else:
        discussion = open_discussion(call.repo, body["title"], text, user)
    page = call.hub.page_url(call.repo, "discussions", str(discussion.num))
    return json_response({"num": discussion.num, "url": page, "pullRequest": discussion.is_pull_request})


def comment(call: Call, discussion: Discussion) -> Response:
    """The new comment."""
    user = require_login(call.user)
    return json_response({"newMessage": said(discussion, user, call.request.json()["comment"])})


def require_author(call: Call, discussion: Discussion) -> User:
    """The user, who has to have opened the discussion or to own the repository."""
    user = require_login(call.user)
    if user.name != discussion.author and not owns(user, call.repo):
        raise HubError(403, "Forbidden: only the author or a maintainer may do this")
    return user


def change_status(call: Call, discussion: Discussion) -> Response:
    """The event that opens or closes."""
    user, body = require_author(call, discussion), call.request.json()
    if discussion.status == "merged" or body["status"] not in ("open", "closed"):
        raise HubError(400, f"Cannot change the status from {discussion.status} to {body['status']}")
    discussion.status = body["status"]
    if body.get("comment"):
        said(discussion, user, body["comment"])
    return json_response({"newStatus": add_event(discussion, "status-change", user, {"status": body["status"]})})


def change_title(call: Call, discussion: Discussion) -> Response:
    """The event that renames."""
    user, title = require_author(call, discussion), call.request.json()["title"]
    data = {"from": discussion.title, "to": title}
    discussion.title = title
    return json_response({"newTitle": add_event(discussion, "title-change", user, data)})


def merge(call: Call, discussion: Discussion) -> Response:
    """Nothing; main has the changes of the pull request afterwards, 409 if it conflicts with them."""
    user, repo = require_write(call.repo, call.user), call.repo
    if not discussion.is_pull_request or discussion.status not in ("open", "draft"):
        raise HubError(400, f"Cannot merge: this is {discussion.status}")
    clash = conflicts(repo, discussion)
    if clash:
        raise HubError(409, f"Cannot merge: conflicts in {', '.join(clash)}")
    main, (_, head) = repo.at("main"), ends(repo, discussion)
    files = dict(main.files)
    for path, blob in changes(*ends(repo, discussion)).items():
        if blob is None:
            files.pop(path, None)
        else:
            files[path] = blob
    title = f"{discussion.title} (#{discussion.num})"
    merged = repo.record(files, (main.sha, head.sha), title, author=user.name)
    repo.move("main", merged.sha)
    discussion.status, discussion.merge_commit = "merged", merged.sha
    text = call.request.json().get("comment")
    if text:
        said(discussion, user, text)
    add_event(discussion, "status-change", user, {"status": "merged"})
    return json_response({})


def ends(repo: Repository, discussion: Discussion) -> tuple[Commit, Commit]:
    """The commit a pull request starts from and its last one."""
    return repo.commits[discussion.base or ""], repo.commits[repo.pulls[discussion.num]]


def changes(old: Commit, new: Commit) -> dict[str, Blob | None]:
    """The files that differ, as they are in `new`; None for a deleted one."""
    paths = sorted(old.files.keys() | new.files.keys())
    return {path: new.files.get(path) for path in paths if oid(old, path) != oid(new, path)}


def oid(commit: Commit, path: str) -> str | None:
    """The id of a file, None where there is none."""
    blob = commit.files.get(path)
    return None if blob is None else blob.oid


def conflicts(repo: Repository, discussion: Discussion) -> list[str]:
    """The files that the pull request and main changed in different ways since they parted."""
    base, head = ends(repo, discussion)
    main = repo.at("main")
    both = changes(base, head).keys() & changes(base, main).keys()
    return sorted(path for path in both if oid(head, path) != oid(main, path))


def unified_diff(old: Commit, new: Commit) -> str:
    """The changes of the text files, and the names of the others."""
    pieces = []
    for path in changes(old, new):
        blobs = old.files.get(path), new.files.get(path)
        pieces.append(f"diff --git a/{path} b/{path}\n")
        if any(blob is not None and (blob.lfs or blob.size > TEXT_BYTES) for blob in blobs):
            pieces.append("Binary files differ\n")
            continue
        before, after = (blob.read().decode(errors="replace").splitlines(True) if blob else [] for blob in blobs)
        pieces += difflib.unified_diff(before, after, f"a/{path}", f"b/{path}")
    return "".join(pieces)
