"""Requests, responses and errors as the server passes them around."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from urllib.parse import parse_qs, unquote

from tests.hub_server.blob import Blob

RANGE = re.compile(r"bytes=(\d*)-(\d*)")


@dataclass(frozen=True)
class Request:
    """One request; `target` is the path with its query exactly as it was sent, header names are in lower case."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes

    @cached_property
    def segments(self) -> tuple[str, ...]:
        """The parts of the path; cut before decoding, because a revision may hold an encoded slash."""
        return tuple(unquote(part) for part in self.target.partition("?")[0].split("/") if part)

    @cached_property
    def query(self) -> dict[str, list[str]]:
        """The decoded query, several values a key."""
        return parse_qs(self.target.partition("?")[2], keep_blank_values=True)

    def option(self, name: str, default: str = "") -> str:
        """The last value of a query key."""
        return self.query.get(name, [default])[-1]

    @property
    def token(self) -> str | None:
        """The bearer token, None if the request carries none."""
        scheme, _, token = self.headers.get("authorization", "").partition(" ")
        return token if scheme.lower() == "bearer" and token else None

    def json(self) -> Any:
        """The decoded body; an empty one counts as an empty object."""
        try:
            return json.loads(self.body or b"{}")
        except ValueError as error:
            raise HubError(400, f"Invalid JSON: {error}") from error


@dataclass(frozen=True)
class Slice:
    """The bytes of a blob from `start` to `stop`."""

    blob: Blob
    start: int
    stop: int


@dataclass
class Response:
    """One response; a `Slice` is read from its blob only while it is sent."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | Slice = b""

    @property
    def length(self) -> int:
        """The size of the body in bytes."""
        return len(self.body) if isinstance(self.body, bytes) else self.body.stop - self.body.start


class HubError(Exception):
    """A refusal, with the status, the message and the error code from which a client picks its exception."""

    def __init__(
        self, status: int, message: str, code: str | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.headers = dict(headers or {})

    def response(self) -> Response:
        """The response that says so in headers and body."""
        headers = {**self.headers, "X-Error-Message": self.message.replace("\n", " ")}
        if self.code is not None:
            headers["X-Error-Code"] = self.code
        return json_response({"error": self.message}, self.status, headers)


def json_response(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A response with a JSON body; dates, which the metadata of a card may hold, become text."""
    body = json.dumps(value, default=str).encode()
    return Response(status, {"Content-Type": "application/json", **(headers or {})}, body)


def ranged(request: Request, blob: Blob, headers: dict[str, str]) -> Response:
    """The blob, or with 206 the part of it that the `Range` header asks for."""
    match = RANGE.fullmatch(request.headers.get("range", ""))
    if match is None or match.groups() == ("", ""):
        return Response(200, headers, Slice(blob, 0, blob.size))
    first, last = match.groups()
    start = int(first) if first else max(0, blob.size - int(last))
    stop = min(int(last) + 1, blob.size) if first and last else blob.size
    if start >= stop:
        raise HubError(416, "Requested range not satisfiable", headers={"Content-Range": f"bytes */{blob.size}"})
    headers = {**headers, "Content-Range": f"bytes {start}-{stop - 1}/{blob.size}"}
    return Response(206, headers, Slice(blob, start, stop))
