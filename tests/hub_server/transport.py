"""The connection: reads requests, sends answers at a given pace, and breaks them where a fault says so."""

import socket
import struct
import sys
import threading
import time
import uuid
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from tests.hub_server import routes
from tests.hub_server.blob import CHUNK_BYTES, Blob
from tests.hub_server.faults import Fault
from tests.hub_server.wire import Request, Response, Slice

if TYPE_CHECKING:
    from tests.hub_server.server import HubServer

PIECES_PER_SECOND = 20


@dataclass(frozen=True)
class Entry:
    """One line of the log; `status` is None if the connection was reset before an answer."""

    method: str
    path: str
    token: str | None
    status: int | None
    user_agent: str
    headers: dict[str, str]


class Pace:
    """A line of limited width: all that share it wait for each other."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._free = 0.0

    def wait(self, count: int, rate: float) -> None:
        """Return when `count` bytes have had their time at `rate` bytes per second."""
        with self._lock:
            now = time.monotonic()
            self._free = max(now, self._free) + count / rate
            delay = self._free - now
        time.sleep(delay)


class Listener(ThreadingHTTPServer):
    """The listening socket; it knows every open connection, so that closing it closes them all."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], hub: "HubServer") -> None:
        self.hub = hub
        self.connections: set[socket.socket] = set()
        super().__init__(address, Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        self.connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self.connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Keep a bug of the server, to be raised when it closes; a client may go away at any time."""
        error = sys.exception()
        if isinstance(error, Exception) and not isinstance(error, ConnectionError):
            self.hub.crashes.append(error)


class Handler(BaseHTTPRequestHandler):
    """One connection of a client."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Listener

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the server keeps its own log."""

    def exchange(self) -> None:
        """Read one request and answer it."""
        hub = self.server.hub
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request(self.command, self.path, headers, self.read_body())
        fault = hub.faults.take(request)
        time.sleep(hub.latency + (fault.seconds if fault and fault.kind == "latency" else 0))
        if fault and fault.kind == "reset":
            self.record(request, None)
            self.reset()
            return
        response = fault.refusal() if fault and fault.before else routes.answer(hub, request)
        if fault and fault.kind == "lost-reset":
            self.record(request, None)
            self.reset()
            return
        if fault and fault.kind == "lost-response":
            response = fault.refusal()
        if fault and fault.change is not None:
            response = fault.change(response)
        self.record(request, response.status)
        self.send(response, fault)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = exchange  # noqa: N815 (the base class looks for these names)

    def record(self, request: Request, status: int | None) -> None:
        """Add the request to the log, before the client can see the answer."""
        agent = request.headers.get("user-agent", "")
        entry = Entry(request.method, request.target, request.token, status, agent, dict(request.headers))
        self.server.hub.log.append(entry)

    def read_body(self) -> bytes:
        """The body, of a known length or in chunks."""
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = bytearray()
        while size := int(self.rfile.readline().split(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return bytes(body)

    def send(self, response: Response, fault: Fault | None) -> None:
        """Send the answer, or as much of it as the fault lets through."""
        self.send_response_only(response.status)
        for name, value in response.headers.items():
            self.send_header(name, value.encode("utf-8", "replace").decode("latin-1"))
        self.send_header("Content-Length", str(response.length))
        self.send_header("X-Request-Id", f"Root=1-{uuid.uuid4().hex[:8]}")
        self.end_headers()
        if self.command == "HEAD":
            return
        kind = fault.kind if fault else None
        length = response.length // 2 if kind in ("truncate", "reset-body") else response.length
        self.send_body(response, length, fault.rate if fault and kind == "slow" else None)
        if kind == "reset-body":
            self.reset()
        elif kind == "truncate":
            self.close_connection = True

    def send_body(self, response: Response, length: int, slow: float | None) -> None:
        """Send the first `length` bytes of the body, at the pace of the server or at a slower one."""
        hub = self.server.hub
        pace, rate = (Pace(), slow) if slow else (hub.pace, hub.bandwidth)
        size = max(1, min(CHUNK_BYTES, int(rate / PIECES_PER_SECOND))) if rate else CHUNK_BYTES
        body = response.body if isinstance(response.body, Slice) else Slice(Blob(response.body), 0, len(response.body))
        for chunk in body.blob.chunks(body.start, body.start + length, size):
            if rate:
                pace.wait(len(chunk), rate)
            self.wfile.write(chunk)

    def reset(self) -> None:
        """Drop the connection so that the client sees a reset, not an orderly end."""
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.rfile.close()
        self.connection.close()
