"""Faults to inject: what goes wrong, with which requests, and how often."""

import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal
from urllib.parse import unquote

from tests.hub_server.wire import HubError, Request, Response

Kind = Literal[
    "retry-after",  # 429 with a Retry-After header
    "rate-limit",  # 429 with RateLimit and RateLimit-Policy headers
    "error",  # an error status, and nothing is done
    "lost-response",  # the request is carried out, the answer is an error status
    "lost-reset",  # the request is carried out, then the connection is reset
    "reset",  # the connection is reset, and nothing is done
    "reset-body",  # the connection is reset half way through the body
    "truncate",  # the connection is closed half way through the body
    "slow",  # the body arrives at `rate` bytes per second
    "latency",  # the answer arrives `seconds` late
    "change",  # the request is carried out, the answer is what `change` makes of the true one
]
Change = Callable[[Response], Response]
BODY_KINDS = ("reset-body", "truncate", "slow")


@dataclass
class Fault:
    """One fault; `hits` counts the requests that met it."""

    match: str | re.Pattern[str]
    kind: Kind
    method: str | None
    times: int | None
    skip: int
    status: int
    seconds: float
    rate: float
    change: Change | None = None
    hits: int = 0

    def applies(self, request: Request) -> bool:
        """Whether the method and the path fit; a text also fits the decoded path."""
        if self.method is not None and self.method != request.method:
            return False
        if self.kind in BODY_KINDS and request.method == "HEAD":
            return False
        if isinstance(self.match, str):
            return self.match in request.target or self.match in unquote(request.target)
        return self.match.search(request.target) is not None

    @property
    def before(self) -> bool:
        """Whether the request is refused before anything is done."""
        return self.kind in ("retry-after", "rate-limit", "error")

    def refusal(self) -> Response:
        """The answer the client gets in place of the true one."""
        if self.kind not in ("retry-after", "rate-limit"):
            return HubError(self.status, "Internal Error").response()
        wait = str(int(self.seconds))
        headers = {"Retry-After": wait}
        if self.kind == "rate-limit":
            headers = {
                "RateLimit": f'"api";r=0;t={wait}',
                "RateLimit-Policy": '"fixed window";"api";q=1000;w=300',
            }
        return HubError(429, "We had to rate limit your IP. Retry later.", headers=headers).response()


class Faults:
    """The faults of a server, in the order in which they were added; safe to use from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._faults: list[Fault] = []

    def add(
        self,
        match: str | re.Pattern[str],
        kind: Kind,
        *,
        method: str | None = None,
        times: int | None = 1,
        skip: int = 0,
        status: int = 500,
        seconds: float = 0,
        rate: float = 1024,
        change: Change | None = None,
    ) -> Fault:
        """A fault that meets the next `times` matching requests (all if None) after the first `skip` of them.

        `match` is a part of the path with its query, or a compiled pattern to search there. `seconds` is the wait
        announced by a 429 or the delay of `latency`; `rate` is in bytes per second.
        """
        fault = Fault(match, kind, method, times, skip, status, seconds, rate, change)
        with self._lock:
            self._faults.append(fault)
        return fault

    def take(self, request: Request) -> Fault | None:
        """The fault that this request meets; using it up counts."""
        with self._lock:
            for fault in self._faults:
                if (fault.times is not None and fault.hits >= fault.times) or not fault.applies(request):
                    continue
                if fault.skip > 0:
                    fault.skip -= 1
                    continue
                fault.hits += 1
                return fault
        return None

    def clear(self) -> None:
        """Forget every fault."""
        with self._lock:
            self._faults.clear()
