"""Which of how many processes this is, and which device it owns (accelerate).

The number of processes is what the launcher put into WORLD_SIZE. Accelerate can see one process where there are two
(a CPU machine under torchrun), and then everything would be done twice: that is an error here, not a warning.
"""

import json
import os
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from torch.distributed.distributed_c10d import PrefixStore

from hf_llc.errors import HfLlcError, LaunchError, RankError
from hf_llc.execution import machine
from hf_llc.execution.distributed.exchange import decode, encode
from hf_llc.execution.distributed.group_store import GroupStore
from hf_llc.execution.distributed.listening import LOOPBACK
from hf_llc.execution.distributed.message_store import PARTING, MachineStore
from hf_llc.execution.distributed.model_group import ModelShardGroup, check_devices
from hf_llc.execution.distributed.rendezvous import gather, place
from hf_llc.execution.distributed.signed import SignedStore
from hf_llc.execution.machine import launched as launched
from hf_llc.execution.store import RunStore, Tell, differences, listed

T = TypeVar("T")

PATIENCE = timedelta(hours=24)
"""How long ranks wait for the main one, which may be downloading; the usual ten minutes are too short for that."""
CONNECT_LATER = "TORCH_GLOO_LAZY_INIT"
"""Asks torch to connect the processes of a group with gloo at the first collective operation."""
INTERRUPTED = "interrupted. Finished work is kept: run the same command on every machine to resume."


@dataclass(frozen=True)
class ProcessWorld:
    """This process among `world`; `device` is its own, with an index where there are several.

    Attributes:
        machine, first: number of this machine, and the rank of its first process.
        messages: of the processes of this launch; None for a process alone.
        link: how processes that have no process group in common tell each other what they have made: those on several
            machines, and those of several groups of devices.
        group: the processes that hold one model together with this one; None where each holds its own.
    """

    rank: int
    world: int
    device: str
    machine: int = 0
    first: int = 0
    messages: SignedStore | None = None
    link: MachineStore | None = None
    group: ModelShardGroup | None = None

    @property
    def share(self) -> int:
        """Which of those this process belongs to that share out the parts of a run, from 0."""
        return self.rank // self.group.count if self.group else self.rank

    @property
    def writes(self) -> bool:
        """True unless another process of its group writes down what both compute."""
        return self.group is None or self.group.leads

    def lead(self, act: Callable[[], T]) -> T:
        """What `act` returns on the process that decides for this one's group, if it is in one.

        Raises: what `act` raised; where another process tells of it, without its message.
        """
        return self.group.lead(act) if self.group else act()

    def all_failed(self) -> bool:
        """True once every process of the group has failed with what this one failed with; see `ModelShardGroup`."""
        return self.group is None or self.group.all_failed()

    def store(
        self,
        folder: Path,
        tell: Tell,
        part: Callable[[str], AbstractContextManager[object]] = nullcontext,
    ) -> RunStore:
        """The run in that folder, as this process may use it."""
        if self.group is not None:
            return GroupStore(folder, tell, self.group.lead, self.group.leads, part)
        return RunStore(folder, tell, self.link, part)

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
        if self.messages is None:
            return act()
        if self.link is not None:
            return self._on("main", 0, self.link, act)
        key = self.messages.turn("main")
        if not self.is_main:
            value, code = decode(self.messages.wait_for(key))
            if code is not None:
                raise RankError("", code)
            return cast(T, value)
        try:
            result = act()
        except HfLlcError as error:
            self.messages.put(key, encode((None, error.exit_code)))
            time.sleep(PARTING)
            raise
        self.messages.put(key, encode((result, None)))
        return result

    def on_each_machine(self, act: Callable[[], T], inputs: Callable[[T], Mapping[str, Any]] | None = None) -> T:
        """What `act` returns on the first process of this machine, on every process of it.

        Args:
            inputs: of what `act` returned; they must be the same on every machine.

        Raises:
            HfLlcError, RankError: as in `on_main`. LaunchError: the inputs differ; the message names those that do.
        """
        if self.link is None:
            return self.on_main(act)
        link = self.link

        def checked() -> T:
            result = act()
            if inputs is not None:
                self._require_equal(link, json.loads(json.dumps(inputs(result))))
            return result

        return self._on(f"machine-{self.machine}", self.first, link, checked)

    def _on(self, name: str, owner: int, link: MachineStore, act: Callable[[], T]) -> T:
        key = link.turn(name)
        if self.rank != owner:
            return cast(T, decode(link.wait_for(key, owner)))
        result = act()
        link.put(key, encode(result))
        return result

    def _require_equal(self, link: MachineStore, own_inputs: Mapping[str, Any]) -> None:
        key = link.turn("inputs")
        if self.is_main:
            return link.put(key, json.dumps(own_inputs).encode())
        if differing := differences(json.loads(link.wait_for(key, 0)), own_inputs):
            raise LaunchError(
                f"This run differs from that of machine 0 ({listed(differing)}). Give the same settings on "
                "every machine, and `threads` if their numbers of cores differ."
            )

    @contextmanager
    def together(self) -> Iterator[None]:
        """While the block runs, an error here ends the work on all machines; at its end this process leaves."""
        try:
            with self.group.together() if self.group else nullcontext():
                yield
        except BaseException as error:
            if self.link is not None:
                code = error.exit_code if isinstance(error, HfLlcError) else 1
                self.link.fail(str(error) or INTERRUPTED, code)
            raise
        self.leave()

    def check(self) -> None:
        """Raise RankError if the work of all machines has ended because of an error on one of them."""
        if self.link is not None:
            self.link.check()

    def wait(self) -> None:
        """Return once every process has reached this point."""
        if self.link is not None:
            self.link.meet()
        elif self.world > 1:
            from accelerate.state import PartialState

            PartialState().wait_for_everyone()

    def leave(self) -> None:
        """Closes the process group, if there is one."""
        if self.group is not None:
            self.group.leave()
        if self.link is not None:
            self.link.close()
        if self.world > 1:
            from accelerate.state import PartialState

            PartialState().destroy_process_group()


def single_process(kind: str) -> ProcessWorld:
    """A fleet of this one process, on the first device of this kind."""
    return ProcessWorld(0, 1, "cuda:0" if kind == "cuda" else kind)


def join_launch(kind: str, devices: int = 1) -> ProcessWorld:
    """This process's place, on devices of this kind (`cpu`, `cuda`, `mps`).

    Args:
        devices: processes that hold one model together, each on its device: neighbours in the order of ranks.

    Raises:
        LaunchError: WORLD_SIZE and accelerate disagree on the number of processes, there are fewer devices, or the
            processes do not make groups of that size.
    """
    if not launched():
        return single_process(kind)
    rank, world = place()
    if world % devices:
        raise LaunchError(
            f"The number of processes must be a multiple of `devices_per_chain` = {devices}, got {world}."
        )
    from accelerate.state import PartialState

    store, messages = gather(rank, world)
    number, first, machines = _machines(messages, rank, world)
    if devices > 1:
        check_devices(kind, machines)
    apart = machines > 1 or devices > 1
    link = MachineStore(messages, rank, world, machine=number, speaks=rank == first) if apart else None
    inside, members = (rank % devices, devices) if devices > 1 else (rank, world)
    group: ModelShardGroup | None = None
    if machines > 1:
        # What they tell each other goes through the store: that they reach its port is enough.
        os.environ[CONNECT_LATER] = "1"
    elif interface := machine.interface_to(LOOPBACK):
        # By itself gloo takes that of the host's name, where other machines can connect to it.
        os.environ.setdefault("GLOO_SOCKET_IFNAME", interface)
    with warnings.catch_warnings():
        # It advises a number of threads; ours is part of the plan.
        warnings.simplefilter("ignore")
        if devices > 1:
            # Before accelerate, which would put all processes into one process group.
            prefix = PrefixStore(f"group-{rank // devices}", store)
            group = ModelShardGroup(prefix, messages.signer, inside, devices, kind, PATIENCE)
        state: Any = PartialState(cpu=kind != "cuda", timeout=PATIENCE, store=store, rank=inside, world_size=members)
    if state.num_processes != members:
        raise LaunchError(
            f"WORLD_SIZE is {members} but accelerate sees {state.num_processes} process(es), so each would "
            "do all the work. Start with `num_processes`, or with `accelerate launch --multi_gpu`."
        )
    local = state.local_process_index
    if kind == "cuda" and local >= torch.cuda.device_count():
        raise LaunchError(
            f"Process {local} of this machine has no GPU of its own; there are {torch.cuda.device_count()}. Start at "
            "most that many processes."
        )
    device = f"cuda:{local}" if kind == "cuda" else kind
    if group is not None and link is not None:
        group.watch(link)
    return ProcessWorld(rank, world, device, number, first, messages, link, group)


def _machines(messages: SignedStore, rank: int, world: int) -> tuple[int, int, int]:
    """The number of this machine, the rank of its first process, and how many machines there are."""
    messages.put(f"machine/{rank}", machine.identity().encode())
    names = [messages.wait_for(f"machine/{other}") for other in range(world)]
    different = list(dict.fromkeys(names))
    return different.index(names[rank]), names.index(names[rank]), len(different)
