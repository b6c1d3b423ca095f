"""Answers that no Hub gives: each mutation makes a wrong answer of a true one."""

import json
import random
from collections.abc import Callable, Iterator
from typing import Any

from tests.hub_server.wire import Response, Slice

Mutation = Callable[[Response, random.Random], Response]

LOGIN_PAGE = b"<!DOCTYPE html><html><head><title>Sign in to the network</title></head><body>\xe2\x80\xa6</body></html>"
OUTSIDE = ("../../outside.txt", "/tmp/outside.txt", "a/../../../outside.txt", "..\\outside.txt", "a//b", "", "\0")
WRONG_VALUES: tuple[Any, ...] = (None, [], {}, 5, -1, 1e999, "", True, [[]], {"a": 1}, "\x1b]0;owned\x07\nforged=line")


def body_of(response: Response) -> bytes:
    """The whole body of a response."""
    body = response.body
    return body.blob.read(body.start, body.stop) if isinstance(body, Slice) else body


def _with_body(response: Response, body: bytes, kind: str | None = None, status: int | None = None) -> Response:
    headers = {**response.headers, **({"Content-Type": kind} if kind else {})}
    return Response(status or response.status, headers, body)


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every container in a JSON value with each of its keys or indices."""
    keys = value.keys() if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield value, key
        yield from _places(value[key])


def _json_changed(change: Callable[[Any, Any, random.Random], None]) -> Mutation:
    """A mutation of one place in a JSON answer; another answer is emptied."""

    def mutate(response: Response, chance: random.Random) -> Response:
        try:
            value = json.loads(body_of(response))
        except ValueError:
            return _with_body(response, b"")
        if places := list(_places(value)):
            change(*chance.choice(places), chance)
        return _with_body(response, json.dumps(value).encode())

    return mutate


def _drop(container: Any, key: Any, chance: random.Random) -> None:
    if isinstance(container, dict):
        del container[key]
    else:
        container[key] = None


def _replace(container: Any, key: Any, chance: random.Random) -> None:
    wrong = [value for value in WRONG_VALUES if type(value) is not type(container[key])]
    container[key] = chance.choice(wrong)


def _outside(container: Any, key: Any, chance: random.Random) -> None:
    """A path that leads out, wherever there is one."""
    for name in ("path", "rfilename", "name"):
        if isinstance(container, dict) and name in container:
            container[name] = chance.choice(OUTSIDE)


def _header(name: str, value: str | None) -> Mutation:
    def mutate(response: Response, chance: random.Random) -> Response:
        headers = {key: each for key, each in response.headers.items() if key.lower() != name.lower()}
        return Response(response.status, headers | ({} if value is None else {name: value}), response.body)

    return mutate


def _status(status: int, **headers: str) -> Mutation:
    more = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda response, chance: Response(status, {**response.headers, **more}, b"")


def _body(body: bytes, kind: str | None = None) -> Mutation:
    return lambda response, chance: _with_body(response, body, kind)


def _half(response: Response, chance: random.Random) -> Response:
    return _with_body(response, body_of(response)[: response.length // 2])


def _flipped(response: Response, chance: random.Random) -> Response:
    body = bytearray(body_of(response))
    if body:
        body[chance.randrange(len(body))] ^= 1 << chance.randrange(8)
    return _with_body(response, bytes(body))


MUTATIONS: dict[str, Mutation] = {
    "an empty body": _body(b""),
    "an empty list": _body(b"[]"),
    "an empty object": _body(b"{}"),
    "null": _body(b"null"),
    "a number": _body(b"7"),
    "a text": _body(b'"a"'),
    "a login page": _body(LOGIN_PAGE, "text/html; charset=utf-8"),
    "half of it": _half,
    "not UTF-8": _body(b'{"name": "\xff\xfe", "sha": "\xc3\x28"}'),
    "nested deeply": _body(b"[" * 100_000 + b"]" * 100_000),
    "objects nested deeply": _body(b'{"a":' * 50_000 + b"1" + b"}" * 50_000),
    "a list in place of an object": lambda response, chance: _with_body(response, b"[" + body_of(response) + b"]"),
    "an object in place of a list": lambda response, chance: _with_body(response, b'{"a":' + body_of(response) + b"}"),
    "a field less": _json_changed(_drop),
    "a field of another type": _json_changed(_replace),
    "a path that leads out": _json_changed(_outside),
    "another content type": _header("Content-Type", "application/octet-stream"),
    "no commit": _header("X-Repo-Commit", None),
    "a commit that leads out": _header("X-Repo-Commit", "../../../../outside"),
    "no etag": _header("ETag", None),
    "an etag that leads out": _header("ETag", '"../../../../../../outside"'),
    "an etag from the root": _header("ETag", '"/tmp/outside/etag"'),
    "a page that is its own next": _header("Link", '<SELF>; rel="next"'),
    "a next page that is no address": _header("Link", '<nowhere>; rel="next"'),
    "a redirect to itself": _status(302, Location="SELF"),
    "a redirect to a file": _status(302, Location="file:///etc/hostname"),
    "a redirect to nowhere": _status(307),
    "204": _status(204),
    "304": _status(304),
    "400": _status(400),
    "401": _status(401),
    "403": _status(403),
    "404": _status(404),
    "404 of an entry": _status(404, X_Error_Code="EntryNotFound"),
    "404 of a repository": _status(404, X_Error_Code="RepoNotFound"),
    "409": _status(409),
    "418": _status(418),
    "451": _status(451),
    "500": _status(500),
    "502 with a page": lambda response, chance: _with_body(response, LOGIN_PAGE, "text/html", 502),
}
CONTENT_MUTATIONS: dict[str, Mutation] = {"one bit": _flipped}
"""Of the content of a file, which has a hash; of a description there is none."""
