"""One process among several: who acts, and who tells what went wrong."""

import socket
from datetime import timedelta
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import torch
from torch.distributed import HashStore  # type: ignore[attr-defined]

from hf_llc.errors import HfLlcError, LaunchError, RankError, SettingsError
from hf_llc.execution import machine
from hf_llc.execution.distributed import rendezvous
from hf_llc.execution.distributed import world as fleet
from hf_llc.execution.distributed.signed import SignedStore, Signer
from hf_llc.execution.distributed.world import ProcessWorld

LAUNCHED = {"WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}


SIGNER = Signer(b"the secret of the launch")


@pytest.fixture
def both() -> list[ProcessWorld]:
    """Two processes of one machine; the first has to act first."""
    store = HashStore()
    return [ProcessWorld(rank, 2, "cpu", messages=SignedStore(store, SIGNER)) for rank in range(2)]


def refuse() -> str:
    """What only the main process may do, and fails at."""
    raise SettingsError("what is wrong")


def test_the_main_process_acts_and_all_have_the_result(both: list[ProcessWorld]) -> None:
    main, other = both
    values: list[object] = ["plan", ["names"], ([], Path("folder")), None]
    for value in values:
        assert main.on_main(partial(next, iter([value]))) == value
        assert other.on_main(refuse) == value


def test_a_failure_of_the_main_process_is_told_by_it_alone(both: list[ProcessWorld]) -> None:
    with pytest.raises(SettingsError, match="what is wrong"):
        both[0].on_main(refuse)
    with pytest.raises(RankError, match=r"^$") as failure:
        both[1].on_main(refuse)
    assert failure.value.exit_code == 2


def test_a_process_alone_needs_no_broadcast() -> None:
    assert fleet.single_process("cpu").on_main(lambda: "plan") == "plan"
    with pytest.raises(HfLlcError):
        fleet.single_process("cpu").on_main(refuse)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment in which a launcher has said where both processes meet, and both have."""
    for name, value in LAUNCHED.items():
        monkeypatch.setenv(name, value)
    store = HashStore()
    monkeypatch.setattr(fleet, "gather", lambda rank, world: (store, SignedStore(store, SIGNER)))
    monkeypatch.setattr(fleet, "_machines", lambda store, rank, world: (0, 0, 1))
    return monkeypatch


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"MASTER_ADDR": None},
            r"WORLD_SIZE is 2, but MASTER_ADDR is not set, so .* find each other\. Start with",
        ),
        ({"RANK": None, "LOCAL_RANK": "", "MASTER_PORT": None}, r"but RANK, LOCAL_RANK and MASTER_PORT are not set"),
        ({"RANK": "first"}, r"RANK must be a whole number, got 'first'"),
        ({"RANK": "2"}, r"RANK must be 0 to 1 with WORLD_SIZE 2, got 2"),
        ({"WORLD_SIZE": "two"}, r"WORLD_SIZE must be a whole number, got 'two'; unset it"),
    ],
)
def test_a_launch_that_does_not_say_where_the_others_are_is_refused(
    told: pytest.MonkeyPatch, changed: dict[str, str | None], message: str
) -> None:
    for name, value in changed.items():
        told.delenv(name) if value is None else told.setenv(name, value)
    with pytest.raises(LaunchError, match=message):
        fleet.join_launch("cpu")


def test_processes_that_never_meet_are_told_of_with_where_they_should_have(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", str(free_port()))
    with pytest.raises(LaunchError, match=r"Not all of the 2 processes have reached 127\.0\.0\.1:\d+ .*every machine"):
        rendezvous.gather(0, 2, timedelta(seconds=1))


def free_port() -> int:
    """Nobody else's for the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_machines_are_told_apart_by_what_the_launcher_says(monkeypatch: pytest.MonkeyPatch) -> None:
    messages = SignedStore(HashStore(), SIGNER)
    places = iter(["0", "1", "0", "1"])
    monkeypatch.setattr(machine, "identity", lambda: next(places))
    for rank in (3, 2, 1):
        messages.put(f"machine/{rank}", machine.identity().encode())
    assert fleet._machines(messages, 0, 4) == (0, 0, 2)
    monkeypatch.undo()
    monkeypatch.setenv("GROUP_RANK", "0")
    first = machine.identity()
    monkeypatch.setenv("GROUP_RANK", "1")
    assert machine.identity() != first


def test_the_interface_is_that_from_which_the_first_machine_is_reached() -> None:
    assert machine.interface_to("127.0.0.1") in psutil.net_if_addrs()
    assert machine.interface_to("no such host") is None


def test_a_launch_that_accelerate_does_not_see_is_refused(told: pytest.MonkeyPatch) -> None:
    state = SimpleNamespace(num_processes=1, process_index=0, local_process_index=0)
    told.setattr("accelerate.state.PartialState", lambda **_: state)
    with pytest.raises(LaunchError, match=r"WORLD_SIZE is 2 but accelerate sees 1 process.*`num_processes`"):
        fleet.join_launch("cpu")
    told.setenv("WORLD_SIZE", "1")
    assert fleet.join_launch("cpu") == ProcessWorld(0, 1, "cpu")


def test_a_process_without_a_gpu_of_its_own_is_refused(told: pytest.MonkeyPatch) -> None:
    state = SimpleNamespace(num_processes=2, process_index=1, local_process_index=1)
    told.setattr("accelerate.state.PartialState", lambda **_: state)
    told.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(LaunchError, match=r"Process 1 of this machine has no GPU of its own; there are 1\."):
        fleet.join_launch("cuda")
    told.setattr(torch.cuda, "device_count", lambda: 2)
    assert (fleet.join_launch("cuda").rank, fleet.join_launch("cuda").device) == (1, "cuda:1")
