"""Fixtures for a conftest to import: a running Hub, and one that the clients of this process talk to."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hub_server.environment import use_hub
from tests.hub_server.server import HubServer


@pytest.fixture
def hub_server() -> Iterator[HubServer]:
    """A running Hub without repositories."""
    with HubServer() as server:
        yield server


@pytest.fixture
def hub(hub_server: HubServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> HubServer:
    """The same, with every client of this process pointed at it and at an empty cache, as the owner of `hf_test`."""
    use_hub(monkeypatch, hub_server.url, tmp_path / "hf_home")
    return hub_server
