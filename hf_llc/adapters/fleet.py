"""Which of how many processes this is, and which device it owns (accelerate).

The number of processes is what the launcher put into WORLD_SIZE. Accelerate can see one process where there are two
(a CPU machine under torchrun), and then everything would be done twice: that is an error here, not a warning.
"""

import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar, cast

import torch

from hf_llc.adapters.machine import launched as launched
from hf_llc.errors import HfLlcError, LaunchError, RankError, SettingsError

T = TypeVar("T")

PATIENCE = timedelta(hours=24)
"""How long ranks wait for the main one, which may be downloading; the usual ten minutes are too short for that."""


def device_kind(asked: str | None) -> str:
    """The kind of device asked for, or the first of `cuda`, `mps` and `cpu` that this machine has.

    Raises:
        SettingsError: this machine has no such device.
    """
    there = ["cuda"] * torch.cuda.is_available() + ["mps"] * torch.backends.mps.is_available() + ["cpu"]
    if asked is not None and asked not in there:
        raise SettingsError(
            f"--device is {asked}, but this machine has {' and '.join(there)}; choose one, or leave it."
        )
    return asked or there[0]


def computes_bfloat16(kind: str) -> bool:
    """True unless this kind of device is a GPU that would have to imitate bfloat16."""
    return kind != "cuda" or torch.cuda.is_bf16_supported(including_emulation=False)


def device_count(kind: str) -> int:
    """Devices of this kind that processes can have to themselves; 1 for mps and cpu."""
    return torch.cuda.device_count() if kind == "cuda" else 1


@dataclass(frozen=True)
class Fleet:
    """This process among `world`; `device` is its own, with an index where there are several."""

    rank: int
    world: int
    device: str

    @property
    def is_main(self) -> bool:
        """True on the one process that prints, plans and collects."""
        return self.rank == 0

    def on_main(self, act: Callable[[], T]) -> T:
        """What `act` returns on the main process, on every process.

        Raises:
            HfLlcError: what `act` raised, on the main process.
            RankError: the same without its message, on the others: it is told once.
        """
        if self.world == 1:
            return act()
        from accelerate.utils.operations import broadcast_object_list

        outcome: list[Any] = [None, None]
        failure: HfLlcError | None = None
        if self.is_main:
            try:
                outcome[0] = act()
            except HfLlcError as error:
                failure, outcome[1] = error, error.exit_code
        broadcast_object_list(outcome)
        if outcome[1] is not None:
            raise failure or RankError("", outcome[1])
        return cast(T, outcome[0])

    def wait(self) -> None:
        """Returns once every process has come here."""
        if self.world > 1:
            from accelerate.state import PartialState

            PartialState().wait_for_everyone()

    def leave(self) -> None:
        """Closes the process group, if there is one."""
        if self.world > 1:
            from accelerate.state import PartialState

            PartialState().destroy_process_group()


def alone(kind: str) -> Fleet:
    """A fleet of this one process, on the first device of this kind."""
    return Fleet(0, 1, "cuda:0" if kind == "cuda" else kind)


def join(kind: str) -> Fleet:
    """This process's place, on devices of this kind (`cpu`, `cuda`, `mps`).

    Raises:
        LaunchError: WORLD_SIZE and accelerate disagree on the number of processes, or there are fewer devices.
    """
    if not launched():
        return alone(kind)
    from accelerate.state import PartialState

    with warnings.catch_warnings():
        # It advises a number of threads; ours is part of the plan.
        warnings.simplefilter("ignore")
        state: Any = PartialState(cpu=kind != "cuda", timeout=PATIENCE)
    world = int(os.environ["WORLD_SIZE"])
    if state.num_processes != world:
        raise LaunchError(
            f"WORLD_SIZE is {world} but accelerate sees {state.num_processes} process(es), so every one would do all "
            "the work. Start with --num-processes, or with `accelerate launch --multi_gpu`."
        )
    if kind == "cuda" and state.local_process_index >= torch.cuda.device_count():
        raise LaunchError(
            f"Process {state.local_process_index} of this machine has no GPU of its own; there are "
            f"{torch.cuda.device_count()}. Start at most that many processes."
        )
    return Fleet(state.process_index, world, f"cuda:{state.local_process_index}" if kind == "cuda" else kind)
