"""Fixtures of the server's own tests."""

from tests.hub_server.fixtures import hub, hub_server

__all__ = ["hub", "hub_server"]
