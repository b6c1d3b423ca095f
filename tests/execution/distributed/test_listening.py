"""The store of a launch listens at the address that was named."""

import socket
from datetime import timedelta

import psutil
import pytest

from hf_llc.errors import LaunchError
from hf_llc.execution.distributed import listening
from hf_llc.execution.distributed.agent import BACKEND, Meeting, register

SOON = timedelta(seconds=5)


def open_ports() -> set[tuple[str, int]]:
    """Addresses at which this process listens."""
    connections = psutil.Process().net_connections()
    return {(each.laddr.ip, each.laddr.port) for each in connections if each.status == psutil.CONN_LISTEN}


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.0.0.2"])
def test_a_store_is_reached_where_it_was_named_and_nowhere_else(host: str) -> None:
    before = open_ports()
    store, port = listening.keep_store(host, 0, SOON)
    listening.reach_store(host, port, SOON).set("name", "content")
    assert store.get("name") == b"content"
    assert open_ports() - before == {("127.0.0.1" if host == "localhost" else host, port)}


@pytest.mark.parametrize(
    ("addresses", "bound"),
    [
        (["127.0.1.1"], "0.0.0.0"),  # the machine's own name in a Debian /etc/hosts: others have another address
        (["127.0.0.1", "127.0.0.2"], "0.0.0.0"),
        (["203.0.113.7"], "0.0.0.0"),  # passes connections on to this machine
    ],
)
def test_a_name_that_others_see_otherwise_is_not_taken_for_this_machines_address(
    addresses: list[str], bound: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 0)) for address in addresses]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: results)
    with listening.listen("head-node", 0) as listener:
        assert listener.getsockname()[0] == bound


def test_a_port_in_use_is_one_line() -> None:
    with listening.listen("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with pytest.raises(LaunchError, match=rf"^Port {port} of 127\.0\.0\.1 is in use; give .*MASTER_PORT\.$"):
            listening.listen("127.0.0.1", port)


def test_a_host_that_is_not_there_is_one_line() -> None:
    with pytest.raises(LaunchError, match=r"^The first process cannot be reached at 'no such host' \(MASTER_ADDR\): "):
        listening.listen("no such host", 0)


def test_a_launcher_keeps_its_store_at_loopback() -> None:
    from torch.distributed.elastic.rendezvous import RendezvousParameters, rendezvous_handler_registry

    register()
    register()
    given = {"address": "127.0.0.1", "port": "0", "rank": "0", "timeout": "5"}
    parameters = RendezvousParameters(BACKEND, "", "run", 1, 1, **given)
    handler = rendezvous_handler_registry.create_handler(parameters)
    assert isinstance(handler, Meeting)
    before = open_ports()
    place = handler.next_rendezvous()
    assert place.bootstrap_store_info is not None
    assert open_ports() - before == {("127.0.0.1", place.bootstrap_store_info.master_port)}
