"""Two hosts on one machine: network namespaces with a cable between them, where the system permits that."""

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple


class Host(NamedTuple):
    """A command begins with `enter` to run on it; the others reach it at `address`."""

    enter: Sequence[str]
    address: str


class NotPermittedError(Exception):
    """The system makes no network namespaces for us; the message is its own."""


@contextmanager
def two_hosts() -> Iterator[list[Host]]:
    """Two hosts that see each other and nothing else, for as long as the block runs.

    Raises:
        NotPermittedError: there can be none here.
    """
    if shutil.which("ip") is None:
        raise NotPermittedError("there is no `ip` (iproute2)")
    names = [f"llc-{os.getpid()}-{end}" for end in "ab"]
    hosts = [Host(("ip", "netns", "exec", name), f"10.213.7.{number}") for number, name in enumerate(names, 1)]
    try:
        for name in names:
            _ip("netns", "add", name)
        _ip("-n", names[0], "link", "add", "cable0", "type", "veth", "peer", "name", "cable1", "netns", names[1])
        for number, (name, host) in enumerate(zip(names, hosts, strict=True)):
            _ip("-n", name, "addr", "add", f"{host.address}/24", "dev", f"cable{number}")
            for device in ("lo", f"cable{number}"):
                _ip("-n", name, "link", "set", device, "up")
        yield hosts
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)


def _ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise NotPermittedError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")
