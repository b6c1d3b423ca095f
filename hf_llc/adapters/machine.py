"""The machine underneath: cores, free memory, library versions (psutil, importlib)."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version

import psutil

REPORTED = ("hf-llc", "torch", "transformers", "datasets", "accelerate", "huggingface_hub", "arviz", "numpy")


def cores() -> int:
    """Processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def free_memory() -> int:
    """Bytes of main memory that can be had without swapping."""
    return int(psutil.virtual_memory().available)


def parent_is_alive(parent: int) -> bool:
    """False once the process that started this one has gone."""
    return os.getppid() == parent


def launched() -> bool:
    """True if a launcher (accelerate, torchrun) started this process as one of several."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def versions() -> dict[str, str]:
    """Versions of Python and of every library that the number depends on."""
    found = {"python": platform.python_version()}
    for name in REPORTED:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found
