"""How the launchers of several machines meet: at a store that is reachable at the named address alone (torch elastic).

torch's own `static` meeting does the same with a store that listens at all addresses; `c10d` unpickles what it finds.
"""

from datetime import timedelta
from typing import Any

from torch.distributed import PrefixStore  # type: ignore[attr-defined]
from torch.distributed.elastic.rendezvous import (
    RendezvousHandler,
    RendezvousInfo,
    RendezvousParameters,
    rendezvous_handler_registry,
)
from torch.distributed.elastic.rendezvous.api import RendezvousStoreInfo

from hf_llc.execution.distributed.listening import keep_store, reach_store

BACKEND = "hf-llc"


class Meeting(RendezvousHandler):
    """Meets once, and never again: finished chains are what a run goes on from."""

    def __init__(self, parameters: RendezvousParameters) -> None:
        config: Any = parameters.config
        self._address, self._port = str(config["address"]), int(config["port"])
        self._patience = timedelta(seconds=float(config["timeout"]))
        self._rank, self._machines = int(config["rank"]), parameters.max_nodes
        self._run = parameters.run_id
        self._store: Any = None

    def get_backend(self) -> str:
        return BACKEND

    @property
    def use_agent_store(self) -> bool:
        """True: the processes of the launch use this store too."""
        return True

    def next_rendezvous(self) -> RendezvousInfo:
        """Where the processes find each other; the first machine keeps the store."""
        if self._store is None and self._rank == 0:
            self._store, self._port = keep_store(self._address, self._port, self._patience)
        elif self._store is None:
            self._store = reach_store(self._address, self._port, self._patience)
        place = RendezvousStoreInfo(self._address, self._port)
        return RendezvousInfo(PrefixStore(self._run, self._store), self._rank, self._machines, place)

    def is_closed(self) -> bool:
        return False

    def set_closed(self) -> None:
        pass

    def num_nodes_waiting(self) -> int:
        return 0

    def get_run_id(self) -> str:
        return str(self._run)

    def shutdown(self) -> bool:
        return True


def register() -> None:
    """Lets launchers of this process meet in this way; more than once is once."""
    rendezvous_handler_registry.register(BACKEND, Meeting)
