"""Processes that hold one model together, each on a device of its own (torch.distributed)."""

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, distributed
from torch.distributed import DistError
from torch.distributed.distributed_c10d import Store

from hf_llc.errors import KINDS, HfLlcError, LaunchError, RankError
from hf_llc.execution import machine
from hf_llc.execution.distributed.exchange import decode, encode
from hf_llc.execution.distributed.message_store import MachineStore
from hf_llc.execution.distributed.signed import Signer

T = TypeVar("T")

AGREEING = timedelta(seconds=60)
"""How long a process that cannot use a checkpoint waits to hear that the others of its group cannot either."""
LOOK = 1.0
"""Seconds between looks whether a process's work is still wanted."""
YIELDING = 2.0
"""Seconds by which a process leaves it to the first one to end with the error that both have."""
PARTING = 10.0
"""Seconds that the launcher is given to see which process of a group ended first, and to end the others."""


class ModelShardGroup:
    """One process's end of a group, whose first process decides what is done and alone reads and writes the run.

    The process group of torch is that of the group alone: what transformers spreads over devices it spreads over all of
    it.

    Args:
        store: of the group alone. signer: of the launch. kind: of its devices. patience: how long processes wait for
            the first one.
    """

    def __init__(self, store: Store, signer: Signer, rank: int, count: int, kind: str, patience: timedelta) -> None:
        backend = "nccl" if kind == "cuda" else "gloo"
        distributed.init_process_group(backend, store=store, rank=rank, world_size=count, timeout=patience)
        self.rank, self.count = rank, count
        self._store, self._signer, self._failures, self._spoken = store, signer, 0, 0
        self._left = threading.Event()
        # What is agreed on is small and may take long to come: that is nothing to keep a GPU busy with.
        self._talk: Any = distributed.new_group(backend="gloo", timeout=patience)

    @property
    def leads(self) -> bool:
        """True in the first process."""
        return self.rank == 0

    def lead(self, act: Callable[[], T]) -> T:
        """What `act` returns in the first process, in all of them.

        Raises: what `act` raised; in the others without its message, since it is told once.
        """
        if not self.leads:
            value, kind, code = decode(self._said(b""))
            if kind is not None:
                time.sleep(YIELDING)
                raise _untold(kind, code)
            return cast(T, value)
        try:
            result = act()
        except HfLlcError as error:
            self._said(encode((None, type(error).__name__, error.exit_code)))
            raise
        self._said(encode((result, None, None)))
        return result

    def _said(self, content: bytes) -> bytes:
        """What the first process gives here, in all of them."""
        self._spoken += 1
        name = f"lead/{self._spoken}"
        message = self._signer.seal(name, content) if self.leads else b""
        size = torch.tensor([len(message)], device="cpu")
        distributed.broadcast(size, src=0, group=self._talk)
        buffer = torch.zeros(int(size), dtype=torch.uint8, device="cpu")
        if self.leads:
            buffer.copy_(torch.frombuffer(bytearray(message), dtype=torch.uint8))
        distributed.broadcast(buffer, src=0, group=self._talk)
        return self._signer.open(name, buffer.numpy().tobytes())

    def all_failed(self) -> bool:
        """True once every process of the group has come here; False if one does not, which is at work on what failed
        here and would wait for ever."""
        self._failures += 1
        names = [f"failed/{self._failures}/{rank}" for rank in range(self.count)]
        own = names[self.rank]
        self._store.set(own, self._signer.seal(own, b""))  # type: ignore[arg-type]
        try:
            self._store.wait(names, AGREEING)
        except RuntimeError:
            return False
        for name in names:
            self._signer.open(name, self._store.get(name))
        return True

    def total(self, value: Tensor) -> Tensor:
        """The sum over the group."""
        summed = value.detach().clone()
        distributed.all_reduce(summed)
        return summed

    def joined(self, value: Tensor) -> Tensor:
        """What each process has, one after the other; all have as much."""
        parts = [torch.empty_like(value) for _ in range(self.count)]
        distributed.all_gather(parts, value.detach().contiguous())
        return torch.cat(parts)

    def extent(self, shared: Tensor) -> tuple[tuple[int, ...], int, int]:
        """The shape of a tensor that FSDP spreads over the group, the first of its elements that is here, and how many
        are: torch cuts the first dimension as `torch.chunk` does."""
        shape = tuple(shared.shape)
        rows, row = -(-shape[0] // self.count), torch.Size(shape[1:]).numel()
        return shape, min(self.rank * rows, shape[0]) * row, local(shared).numel()

    def watch(self, link: MachineStore) -> None:
        """Ends this process PARTING seconds after its work is no longer wanted, unless it has ended by itself.

        A GPU that waits for a process which is gone does so for ever, and with it everything that could look. The first
        process of the group writes why to stderr, unless another process tells it.
        """
        reason_to_end = _reason_to_end(link)

        def look() -> None:
            while not self._left.wait(LOOK):
                reason = reason_to_end()
                if reason is not None:
                    if not self._left.wait(PARTING):
                        if reason and self.leads:
                            sys.stderr.write(f"Error: {reason}\n")
                            sys.stderr.flush()
                        os._exit(1)
                    return

        threading.Thread(target=look, daemon=True).start()

    def leave(self) -> None:
        """From now on this process ends by itself."""
        self._left.set()

    @contextmanager
    def together(self) -> Iterator[None]:
        """While the block runs, that another process of the group has gone is a LaunchError.

        It has ended with an error or was killed, and the launcher says so, unless there is none that ends this one.
        """
        try:
            yield
        except RuntimeError as error:
            if not lost(error):
                raise
            time.sleep(PARTING)
            raise LaunchError(
                "A process that holds a part of this model has ended; its own message, if it left one, "
                "says why. Finished work is kept: run the same command to resume."
            ) from error


def check_devices(kind: str, machines: int) -> None:
    """Raise LaunchError if groups of processes cannot hold a model on devices of this kind."""
    if machines > 1:
        raise LaunchError(
            "`devices_per_chain` works on one machine; with several machines, give each a part of the "
            "scan with `shard`."
        )
    if kind == "cpu" and torch.cuda.is_available():
        raise LaunchError(
            "`devices_per_chain` with `device=cpu`: transformers would use this machine's GPUs. Hide them "
            "with CUDA_VISIBLE_DEVICES= (empty), or leave out `device`."
        )


def _reason_to_end(link: MachineStore) -> Callable[[], str | None]:
    """None while no process of the launch has failed, and whoever started this one is there; else why this one ends, ""
    where another one tells."""
    parent = os.getppid()

    def look() -> str | None:
        try:
            link.check()
        except RankError:
            return ""
        except HfLlcError as error:
            return " ".join(str(error).split())
        return None if machine.parent_is_alive(parent) else ""

    return look


def _untold(name: str, exit_code: int) -> HfLlcError:
    """An error of the kind of that name that leaves the telling to another process."""
    kind = KINDS.get(name, HfLlcError)
    error = kind.__new__(kind, "")
    error.exit_code = exit_code
    return error


def local(tensor: Tensor) -> Tensor:
    """What is here of a tensor that the group shares; in the same memory."""
    shared: Any = tensor.detach()
    shard: Tensor = shared.to_local()
    return shard


def lost(error: RuntimeError) -> bool:
    """True if it says that another process no longer answers."""
    return isinstance(error, DistError) or "gloo" in str(error)
