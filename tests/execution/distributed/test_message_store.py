"""Machines without a shared disk: parts travel, claims hold everywhere, and nobody waits for who is gone."""

import os
import pickle
import re
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

import pytest
from torch.distributed import TCPStore  # type: ignore[attr-defined]
from torch.distributed.distributed_c10d import Store

from hf_llc.errors import HfLlcError, LaunchError, RankError, SettingsError
from hf_llc.execution.distributed.message_store import MachineStore
from hf_llc.execution.distributed.signed import SignedStore, Signer
from hf_llc.execution.distributed.world import ProcessWorld
from hf_llc.execution.store import RunStore
from hf_llc.measures.run import tethered
from hf_llc.results.progress import Observer

T = TypeVar("T")


@pytest.fixture
def server() -> TCPStore:
    """The store as the first machine keeps it."""
    return TCPStore("127.0.0.1", 0, is_master=True, timeout=timedelta(seconds=5), wait_for_workers=False)


def client(server: TCPStore) -> SignedStore:
    """A client of the store as another machine of the launch has it."""
    return SignedStore(stranger(server), Signer(b"the secret of the launch"))


def stranger(server: TCPStore) -> Store:
    """A client of the store such as anybody may have who reaches its port."""
    # torch looks up the names of both ends, which takes five seconds where no name server answers.
    return TCPStore("127.0.0.1", server.port, is_master=False, timeout=timedelta(seconds=60))


@pytest.fixture
def linked() -> Iterator[Callable[..., MachineStore]]:
    """`MachineStore` with quick signs of life that end with the test: torch would tell of a store that is gone."""
    results: list[MachineStore] = []

    def link(*arguments: Any, **options: Any) -> MachineStore:
        results.append(MachineStore(*arguments, beat=0.02, lease=0.3, **options))
        return results[-1]

    yield link
    for each in results:
        each._over.set()
    time.sleep(0.05)


@pytest.fixture
def links(server: TCPStore, linked: Callable[..., MachineStore]) -> list[MachineStore]:
    """Of one process on each of two machines."""
    return [linked(client(server), rank, 2, machine=rank) for rank in range(2)]


@pytest.fixture
def fleets(links: list[MachineStore], monkeypatch: pytest.MonkeyPatch) -> list[ProcessWorld]:
    """One process on each of two machines, without a process group to leave."""
    monkeypatch.setattr("accelerate.state.PartialState", lambda: SimpleNamespace(destroy_process_group=lambda: None))
    return [
        ProcessWorld(rank, 2, "cpu", machine=rank, first=rank, messages=link._store, link=link)
        for rank, link in enumerate(links)
    ]


def at_once(acts: Sequence[Callable[[], T]]) -> list[T | HfLlcError]:
    """What each returned or raised, all of them running side by side."""

    def run(act: Callable[[], T]) -> T | HfLlcError:
        try:
            return act()
        except HfLlcError as error:
            return error

    with ThreadPoolExecutor(len(acts)) as pool:
        return list(pool.map(run, acts))


def stores(links: list[MachineStore], folder: Path, inputs: list[dict[str, int]]) -> list[RunStore]:
    """Of a run in two folders, one on each machine."""
    results = [RunStore(folder / str(link.rank), pytest.fail, link) for link in links]
    for store, each in zip(results, inputs, strict=True):
        store.open(each)
    return results


def arrived(link: MachineStore) -> None:
    """What was put over that link is there: a put is not answered, but what is asked after it on the same line is."""
    assert link.get("nothing") is None


def test_a_part_made_on_one_machine_is_kept_on_the_other(links: list[MachineStore], tmp_path: Path) -> None:
    first, second = stores(links, tmp_path, [{"seed": 0}, {"seed": 0}])
    assert second.read("chains/000") is None
    first.write("chains/000", {"llc": 1.5})
    arrived(links[0])
    assert second.read("chains/000") == {"llc": 1.5}
    assert second.path("chains/000").read_bytes() == first.path("chains/000").read_bytes()


def test_parts_of_runs_from_other_inputs_do_not_mix(links: list[MachineStore], tmp_path: Path) -> None:
    first, second = stores(links, tmp_path, [{"seed": 0}, {"seed": 1}])
    first.write("chains/000", {"llc": 1.5})
    arrived(links[0])
    assert second.read("chains/000") is None


def test_what_an_earlier_command_left_on_one_machine_is_offered(links: list[MachineStore], tmp_path: Path) -> None:
    earlier = RunStore(tmp_path / "1", pytest.fail)
    earlier.open({"seed": 0})
    earlier.write("chains/000", {"llc": 1.5})
    first, second = stores(links, tmp_path, [{"seed": 0}, {"seed": 0}])
    assert first.read("chains/000") is None
    second.offer(["chains/000", "chains/001"])
    arrived(links[1])
    assert first.read("chains/000") == {"llc": 1.5}


def test_a_claim_holds_on_all_machines_until_it_is_left(links: list[MachineStore], tmp_path: Path) -> None:
    first, second = stores(links, tmp_path, [{"seed": 0}, {"seed": 0}])
    with first.claim("chains/000") as mine, second.claim("chains/000") as theirs, second.claim("chains/001") as other:
        assert (mine, theirs, other) == (True, False, True)
    with second.claim("chains/000") as theirs:
        assert theirs


def test_a_claim_of_a_process_that_is_lost_is_not_waited_for(links: list[MachineStore]) -> None:
    assert links[1].claim("part")
    assert not links[0].claim("part")
    links[1]._over.set()
    began = time.monotonic()
    with pytest.raises(LaunchError, match=r"Process 1 has not answered for .* s\. Finished work is kept: run"):
        links[0].wait_for("part", 1)
    with pytest.raises(LaunchError, match="Process 1 has not answered"):
        links[0].claim("part")
    assert 0.25 < time.monotonic() - began < 5


def test_a_store_that_is_gone_is_told_of_in_one_sentence(linked: Callable[..., MachineStore]) -> None:
    server = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    link = linked(client(server), 1, 2, machine=1)
    del server
    with pytest.raises(LaunchError, match=r"machine of the first process no longer answers\. Finished work is kept"):
        link.claim("part")


def test_each_machine_acts_for_itself_and_all_meet(fleets: list[ProcessWorld]) -> None:
    def work(fleet: ProcessWorld) -> tuple[str, str]:
        with fleet.together():
            own = fleet.on_each_machine(lambda: f"plan of {fleet.machine}", lambda _: {"seed": 0})
            shared = fleet.on_main(lambda: f"names of {fleet.machine}")
            fleet.wait()
        return own, shared

    result = at_once([partial(work, fleet) for fleet in fleets])
    assert result == [("plan of 0", "names of 0"), ("plan of 1", "names of 0")]


def test_processes_of_one_machine_have_what_its_first_one_has(
    server: TCPStore, linked: Callable[..., MachineStore]
) -> None:
    both = [linked(client(server), rank, 2, machine=0) for rank in range(2)]
    fleets = [ProcessWorld(rank, 2, "cpu", messages=link._store, link=link) for rank, link in enumerate(both)]
    acts = [partial(fleet.on_each_machine, partial(int, fleet.rank)) for fleet in fleets]
    assert at_once(acts) == [0, 0]


def test_machines_that_are_asked_for_different_runs_stop_and_say_what_differs(fleets: list[ProcessWorld]) -> None:
    def work(fleet: ProcessWorld) -> int:
        with fleet.together():
            fleet.on_each_machine(lambda: 4 - fleet.rank, lambda threads: {"threads": threads})
            fleet.wait()
        return 0

    here, results = at_once([partial(work, fleet) for fleet in fleets])
    assert isinstance(results, LaunchError)
    assert re.search(
        r"run differs from that of machine 0 \(threads: there 4, here 3\)\. Give .* `threads`", str(results)
    )
    assert isinstance(here, RankError)
    assert str(here) == f"Machine 1: {results}"
    assert here.exit_code == 1


def test_a_failure_on_one_machine_ends_the_others_with_its_message_and_code(fleets: list[ProcessWorld]) -> None:
    def work(fleet: ProcessWorld) -> int:
        with fleet.together():
            if fleet.rank == 1:
                raise SettingsError("what is wrong; what to do.")
            fleet.wait()
        return 0

    here, results = at_once([partial(work, fleet) for fleet in fleets])
    assert isinstance(results, SettingsError)
    assert isinstance(here, RankError)
    assert (str(here), here.exit_code) == ("Machine 1: what is wrong; what to do.", 2)


def test_it_is_told_once_on_a_machine(server: TCPStore, linked: Callable[..., MachineStore]) -> None:
    first = linked(client(server), 0, 3, machine=0)
    silent = [linked(client(server), 1, 3, machine=0, speaks=False), linked(client(server), 2, 3, machine=1)]
    silent[1].fail("what is wrong", 1)
    for link, arguments in ((first, "Machine 1: what is wrong"), (silent[0], ""), (silent[1], "")):
        with pytest.raises(RankError) as failure:
            link.require(2)
        assert str(failure.value) == arguments


def test_a_chain_ends_when_another_machine_has_failed(fleets: list[ProcessWorld]) -> None:
    watched = tethered(fleets[0], Observer())
    watched.chain("000", 16, 2.5, 10.0)
    fleets[1].link.fail("what is wrong", 2)  # type: ignore[union-attr]
    with pytest.raises(RankError, match=r"^Machine 1: what is wrong$"):
        watched.chain("000", 32, 2.5, 10.0)


class Ruin:
    """What an unpickler would run."""

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.mkdir, ("ruined",)  # type: ignore[return-value]


KEYS = ["machine-0/1", "main/1", "inputs/1", "failed", "beat/0", "met/0", "claim/part", "part"]


@pytest.mark.parametrize("key", KEYS)
def test_what_a_stranger_writes_is_neither_run_nor_read(
    links: list[MachineStore],
    fleets: list[ProcessWorld],
    server: TCPStore,
    key: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    anybody = stranger(server)
    acts: dict[str, Callable[[], object]] = {
        "machine-0/1": lambda: fleets[1]._on("machine-0", 0, links[1], int),
        "main/1": lambda: fleets[1].on_main(int),
        "inputs/1": lambda: fleets[1]._require_equal(links[1], {"seed": 0}),
        "failed": links[1].check,
        "beat/0": lambda: links[1].require(0),
        "met/0": lambda: links[1].wait_for("met/0", 0),
        "claim/part": lambda: links[1].claim("part"),
        "part": lambda: links[1].get("part"),
    }
    contents = [pickle.dumps(Ruin()), b'{"machine": 0, "why": "x", "code": 0}', b"0", bytes(40)]
    for turn, content in enumerate(contents, start=1):
        # Keys stand below a prefix, which the port tells anybody.
        anybody.set(f"hf-llc/{key.replace('/1', f'/{turn}')}", content)  # type: ignore[arg-type]
        with pytest.raises(LaunchError, match=r"does not have the signature of this.*Set HF_LLC_SECRET") as told:
            acts[key]()
        assert "\n" not in str(told.value)
    assert list(tmp_path.iterdir()) == []


def test_a_signed_message_holds_under_its_own_name_only(links: list[MachineStore], server: TCPStore) -> None:
    links[0].put("chains/000", b"1.5")
    anybody = stranger(server)
    anybody.set("hf-llc/chains/001", anybody.get("hf-llc/chains/000"))  # type: ignore[arg-type]
    assert links[1].get("chains/000") == b"1.5"
    with pytest.raises(LaunchError, match=r"'chains/001' does not have the signature"):
        links[1].get("chains/001")
