"""The key-value store of a launch, reachable at the address that was named for it (torch).

At no other one, where this machine can tell which address that is; see `listen`.
"""

import errno
import socket
from datetime import timedelta
from ipaddress import ip_address
from typing import TYPE_CHECKING, cast

from hf_llc.errors import LaunchError

if TYPE_CHECKING:
    from torch.distributed.distributed_c10d import Store

LOOPBACK = "127.0.0.1"
ANYWHERE = {socket.AF_INET: "0.0.0.0", socket.AF_INET6: "::"}
WAITING = 64
"""Connections that may wait to be accepted."""


def keep_store(host: str, port: int, patience: timedelta) -> tuple["Store", int]:
    """A store that this process keeps for the others, and its port.

    Args:
        port: 0 takes a free one.

    Raises:
        LaunchError: there is no such host, or the port is in use.
    """
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

    listener = listen(host, port)
    port = listener.getsockname()[1]
    store = TCPStore(
        host,
        port,
        is_master=True,
        timeout=patience,
        wait_for_workers=False,
        multi_tenant=True,
        master_listen_fd=listener.detach(),
    )
    return cast("Store", store), port


def reach_store(host: str, port: int, patience: timedelta) -> "Store":
    """The store that another process keeps there.

    Raises:
        DistError: none does within that time.
    """
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

    return cast("Store", TCPStore(host, port, is_master=False, timeout=patience))


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens at this host's address.

    Where that cannot be told from here, at all addresses of this machine: the name has several addresses, is that of
    loopback here only, as in many a /etc/hosts, or belongs to something that passes connections on.

    Raises:
        LaunchError: there is no such host, or the port is in use.
    """
    try:
        addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise LaunchError(
            f"The first process cannot be reached at {host!r} (MASTER_ADDR): {error.strerror}."
        ) from error
    family, address = addresses[0][0], str(addresses[0][4][0])
    if not _is_certain(host, {str(each[4][0]) for each in addresses}):
        return _bound(family, ANYWHERE[family], port)
    try:
        return _bound(family, address, port)
    except OSError as error:
        if error.errno != errno.EADDRNOTAVAIL:
            raise
    return _bound(family, ANYWHERE[family], port)


def _is_certain(host: str, addresses: set[str]) -> bool:
    """True if others see that one address behind the name too."""
    if host == "localhost":
        return True
    try:
        ip_address(host)
    except ValueError:
        return len(addresses) == 1 and not ip_address(next(iter(addresses)).partition("%")[0]).is_loopback
    return True


def _bound(family: socket.AddressFamily, address: str, port: int) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address, port))
        listener.listen(WAITING)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise LaunchError(
                f"Port {port} of {address} is in use; give every process another one with "
                "--main-process-port or MASTER_PORT."
            ) from error
        raise
    return listener
