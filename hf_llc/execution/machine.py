"""The machine underneath: cores, free memory, network, library versions (psutil, importlib)."""

import os
import socket

import psutil

from hf_llc.errors import LaunchError


def cores() -> int:
    """Processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def default_threads(chains: int) -> int:
    """CPU threads for one chain when all of them run side by side; the same however many processes there are."""
    available = cores()
    return max(1, available // min(chains, available))


def free_memory() -> int:
    """Bytes of main memory available without swapping."""
    return int(psutil.virtual_memory().available)


def parent_is_alive(parent: int) -> bool:
    """False once the process that started this one has gone."""
    return os.getppid() == parent


def is_running(process: int) -> bool:
    """Whether there is a process of that id on this machine."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def launched() -> bool:
    """True if a launcher (accelerate, torchrun) started this process as one of several.

    Raises:
        LaunchError: it said how many in no number.
    """
    world = os.environ.get("WORLD_SIZE") or "1"
    if not world.isdecimal():
        raise LaunchError(f"WORLD_SIZE must be a whole number, got {world!r}; unset it to run one process.")
    return int(world) > 1


def identity() -> str:
    """What tells this machine from others of a launch.

    A launcher may start two groups of processes on one machine; they then count as two, which does no harm.
    """
    return "/".join([*(os.environ.get(name, "") for name in ("GROUP_RANK", "SLURM_NODEID")), socket.gethostname()])


def interface_to(host: str) -> str | None:
    """The network interface from which that host is reached; None if it cannot be determined."""
    try:
        kind, _, _, _, address = socket.getaddrinfo(host, 9, type=socket.SOCK_DGRAM)[0]
        with socket.socket(kind, socket.SOCK_DGRAM) as probe:
            probe.connect(address)  # a datagram socket sends nothing by that
            own = probe.getsockname()[0]
    except OSError:
        return None
    names = (name for name, all_of_it in psutil.net_if_addrs().items() if own in {each.address for each in all_of_it})
    return next(names, None)
