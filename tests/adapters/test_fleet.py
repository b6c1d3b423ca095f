"""One process among several: who acts, and who tells what went wrong."""

from types import SimpleNamespace

import pytest
import torch

from hf_llc.adapters import fleet
from hf_llc.adapters.fleet import Fleet
from hf_llc.errors import HfLlcError, LaunchError, RankError, SettingsError

Wire = list[list[object]]


@pytest.fixture
def wire(monkeypatch: pytest.MonkeyPatch) -> Wire:
    """What rank 0 sent to all, by a broadcast inside this process: rank 0 has to act first."""
    sent: Wire = []

    def broadcast(outcome: list[object]) -> None:
        if sent:
            outcome[:] = sent[0]
        else:
            sent.append(list(outcome))

    monkeypatch.setattr("accelerate.utils.operations.broadcast_object_list", broadcast)
    return sent


def refuse() -> str:
    """What only the main process may do, and fails at."""
    raise SettingsError("what is wrong")


def test_the_main_process_acts_and_all_have_the_result(wire: Wire) -> None:
    main, other = Fleet(0, 2, "cpu"), Fleet(1, 2, "cpu")
    assert main.on_main(lambda: "plan") == "plan"
    assert other.on_main(refuse) == "plan"
    assert wire == [["plan", None]]


def test_a_failure_of_the_main_process_is_told_by_it_alone(wire: Wire) -> None:
    with pytest.raises(SettingsError, match="what is wrong"):
        Fleet(0, 2, "cpu").on_main(refuse)
    with pytest.raises(RankError, match=r"^$") as failure:
        Fleet(1, 2, "cpu").on_main(refuse)
    assert failure.value.exit_code == 2
    assert wire == [[None, 2]]


def test_a_process_alone_needs_no_broadcast() -> None:
    assert fleet.alone("cpu").on_main(lambda: "plan") == "plan"
    with pytest.raises(HfLlcError):
        fleet.alone("cpu").on_main(refuse)


def test_a_launch_that_accelerate_does_not_see_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    state = SimpleNamespace(num_processes=1, process_index=0, local_process_index=0)
    monkeypatch.setattr("accelerate.state.PartialState", lambda **_: state)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(LaunchError, match=r"WORLD_SIZE is 2 but accelerate sees 1 process.*--num-processes"):
        fleet.join("cpu")
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert fleet.join("cpu") == Fleet(0, 1, "cpu")


def test_a_process_without_a_gpu_of_its_own_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    state = SimpleNamespace(num_processes=2, process_index=1, local_process_index=1)
    monkeypatch.setattr("accelerate.state.PartialState", lambda **_: state)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(LaunchError, match=r"Process 1 of this machine has no GPU of its own; there are 1\."):
        fleet.join("cuda")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert fleet.join("cuda") == Fleet(1, 2, "cuda:1")


def test_the_best_device_is_the_first_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    for cuda, mps, best in ((True, True, "cuda"), (False, True, "mps"), (False, False, "cpu")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda cuda=cuda: cuda)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda mps=mps: mps)
        assert fleet.device_kind(None) == best
        assert fleet.device_kind("cpu") == "cpu"
    with pytest.raises(SettingsError, match="--device is cuda, but this machine has cpu"):
        fleet.device_kind("cuda")
