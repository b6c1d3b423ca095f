"""Where the processes of a launch find each other, by what a launcher put into the environment (torch)."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

from hf_llc.errors import LaunchError
from hf_llc.execution.distributed.listening import keep_store, reach_store
from hf_llc.execution.distributed.secret import shared_secret

if TYPE_CHECKING:
    from torch.distributed.distributed_c10d import Store

    from hf_llc.execution.distributed.signed import SignedStore

NEEDED = ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
AGENT = "TORCHELASTIC_USE_AGENT_STORE"
"""Says that the launcher keeps the store, and not the first process."""
NUMBERS = ("RANK", "LOCAL_RANK", "MASTER_PORT")
GATHERING = timedelta(minutes=15)
"""How long processes that have come wait for the others: machines of one job do not start at the same second."""


def place() -> tuple[int, int]:
    """This process's rank and the number of processes, as the launcher said.

    Raises:
        LaunchError: what it said is not enough to find the others, or contradicts itself.
    """
    world, variables = int(os.environ["WORLD_SIZE"]), {name: os.environ.get(name, "") for name in NEEDED}
    if missing := [name for name, value in variables.items() if not value]:
        listed = " and ".join(", ".join(missing).rsplit(", ", 1))
        raise LaunchError(
            f"WORLD_SIZE is {world}, but {listed} {'is' if len(missing) == 1 else 'are'} not set, so the "
            "processes cannot find each other. Start with `num_processes`, `accelerate launch` or "
            "`torchrun`, or unset WORLD_SIZE to run one process."
        )
    for name in NUMBERS:
        if not variables[name].isdecimal():
            raise LaunchError(
                f"{name} must be a whole number, got {variables[name]!r}; the launcher or the job script sets it."
            )
    rank = int(variables["RANK"])
    if rank >= world:
        raise LaunchError(f"RANK must be 0 to {world - 1} with WORLD_SIZE {world}, got {rank}.")
    return rank, world


def gather(rank: int, world: int, patience: timedelta = GATHERING) -> "tuple[Store, SignedStore]":
    """The store that all processes of the launch share, once all have come, for torch and signed for ourselves.

    Raises:
        LaunchError: some have not come, or do not have the secret of the launch.
    """
    from hf_llc.execution.distributed.signed import meet

    secret, host, port = shared_secret(), os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    with absent(f"{host}:{port}", world, patience):
        if rank == 0 and os.environ.get(AGENT) != str(True):
            store, _ = keep_store(host, port, patience)
        else:
            store = reach_store(host, port, patience)
        return store, meet(store, rank, world, secret, patience)


@contextmanager
def absent(address: str, world: int, patience: timedelta) -> Iterator[None]:
    """While the block runs, that others do not come is a LaunchError in one sentence."""
    from torch.distributed import DistError

    try:
        yield
    except (DistError, ConnectionError) as error:
        reason = " ".join(str(error).split())
        raise LaunchError(
            f"Not all of the {world} processes have reached {address} (MASTER_ADDR, MASTER_PORT) within "
            f"{patience.total_seconds() / 60:.0f} min. Start the same command on every machine, with the "
            f"first one's address and a free port that the others can reach. ({reason[:120]})"
        ) from error
