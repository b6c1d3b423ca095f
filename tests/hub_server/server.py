"""The Hub over HTTP on the loopback interface; `python -m tests.hub_server.server --help` serves folders by hand."""

import argparse
import socket
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.hub_server.faults import Faults
from tests.hub_server.repository import Kind
from tests.hub_server.state import Hub
from tests.hub_server.transport import Entry, Listener, Pace


class HubServer(Hub):
    """A Hub that answers at `url` while the `with` block lasts.

    `log` holds every request, `faults` what is to go wrong. `latency` is the delay of each answer in seconds;
    `bandwidth` limits all bodies together, in bytes per second, None for no limit.
    """

    def __init__(self, port: int = 0) -> None:
        super().__init__()
        self.port = port
        self.log: list[Entry] = []
        self.faults = Faults()
        self.latency = 0.0
        self.bandwidth: float | None = None
        self.pace = Pace()
        self.crashes: list[Exception] = []
        self._listener: Listener | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Listen, on a free port if none was chosen; started again, on the same port as before."""
        self._listener = Listener(("127.0.0.1", self.port), self)
        self.port = self._listener.server_port
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._listener.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening and close every connection, as when the Hub is down; a bug of the server is raised now."""
        if self._listener is None or self._thread is None:
            return
        self._listener.shutdown()
        self._thread.join()
        self._listener.server_close()
        for connection in list(self._listener.connections):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:  # The client was faster.
                continue
        self._listener = self._thread = None
        if self.crashes:
            raise ExceptionGroup("the test server failed", self.crashes)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def requests(self, match: str = "", method: str | None = None) -> list[Entry]:
        """The logged requests whose path contains `match`."""
        return [entry for entry in list(self.log) if match in entry.path and method in (None, entry.method)]


def serve(server: HubServer, kind: Kind, value: str) -> None:
    """Add the folder that `ORG/NAME[@REV]=FOLDER` speaks of."""
    name, _, folder = value.partition("=")
    repo_id, _, revision = name.partition("@")
    repo = server.find(kind, repo_id) or server.add(kind, repo_id)
    repo.commit_folder(Path(folder), revision or "main")


def main() -> None:
    """Serve the folders named on the command line until interrupted."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.hub_server.server", description="Serve folders as a local Hub."
    )
    parser.add_argument("--model", action="append", default=[], metavar="ORG/NAME[@REV]=FOLDER")
    parser.add_argument("--dataset", action="append", default=[], metavar="ORG/NAME[@REV]=FOLDER")
    parser.add_argument("--port", type=int, default=0)
    arguments = parser.parse_args()
    with HubServer(arguments.port) as server:
        for value in arguments.model:
            serve(server, "model", value)
        for value in arguments.dataset:
            serve(server, "dataset", value)
        sys.stdout.write(f"{server.url}\n")
        sys.stdout.flush()
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            return


if __name__ == "__main__":
    main()
