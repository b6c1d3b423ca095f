"""Several plans shared out among ranks: nobody waits at the end of one, and each loads a checkpoint once."""

import threading
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hf_llc import DataSettings, ModelSettings, SamplerSettings
from hf_llc.errors import HfLlcError, UnusableError
from hf_llc.execution import planning
from hf_llc.execution.availability import CheckpointAvailability
from hf_llc.execution.distributed.world import ProcessWorld
from hf_llc.execution.loaded_model import LoadedModel, ModelSlot
from hf_llc.execution.plan import Plan
from hf_llc.measures.llc import estimation
from hf_llc.measures.schedule import failure, run_plans
from hf_llc.results.progress import Observer
from hf_llc.results.shared_progress import PlanProgress, SharedProgress
from hf_llc.sampling.chain import run_chain
from tests.helpers.tiny_model import jsonl, save_tiny_model

SMALL = SamplerSettings(
    batch_size=4, chains=3, draws=8, burn_in=2, threads=1, checks=False, gamma=1000, lr=1e-4, sampler="sgld-lm"
)


@pytest.fixture
def plans(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Plan]:
    """Three checkpoints, to be estimated."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HOME", str(tmp_path / "home"))
    (tmp_path / "text.jsonl").write_text(jsonl(60))
    data = DataSettings(dataset=str(tmp_path / "text.jsonl"))
    return [
        planning.plan(
            ModelSettings(model=str(save_tiny_model(tmp_path / f"step{step}", step))),
            data,
            SMALL,
            output_dir=tmp_path / f"points/step{step}",
        )
        for step in range(3)
    ]


def in_threads(plans: list[Plan]) -> None:
    """Two ranks, as threads, work the plans off."""
    errors: list[BaseException] = []

    def rank(number: int) -> None:
        try:
            run_plans(plans, ProcessWorld(number, 2, "cpu"), Observer())
        except (HfLlcError, threading.BrokenBarrierError) as error:
            errors.append(error)

    threads = [threading.Thread(target=rank, args=(number,), name=f"rank-{number}") for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert errors == []


def test_a_rank_goes_on_to_the_next_checkpoint_while_another_is_at_its_last_chain(
    plans: list[Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first chain of the first checkpoint lasts until one of the last checkpoint is made: by the other rank."""
    real, real_load = run_chain, LoadedModel._load
    began, reached = threading.Event(), threading.Event()
    loads: Counter[tuple[str, str]] = Counter()

    def slow(objective: Any, anchors: Any, settings: Any, chain: int, **more: Any) -> Any:
        if not began.is_set():
            began.set()
            assert reached.wait(30)
        elif loads[threading.current_thread().name, plans[2].source.id]:
            reached.set()
        return real(objective, anchors, settings, chain, **more)

    def load(bench: LoadedModel) -> Any:
        loads[threading.current_thread().name, bench._plan.source.id] += 1
        return real_load(bench)

    monkeypatch.setattr("hf_llc.execution.chain_runner.run_chain", slow)
    monkeypatch.setattr(LoadedModel, "_load", load)
    in_threads(plans)
    assert reached.is_set()
    assert all(estimation.is_finished(plan) for plan in plans)
    assert max(loads.values()) == 1


def test_memory_holds_one_checkpoint(plans: list[Plan]) -> None:
    room = ModelSlot()
    first, second = (LoadedModel(plan, "cpu", room) for plan in plans[:2])
    assert first.objective.n == second.objective.n
    assert first._objective is None
    assert second._objective is not None


def test_what_is_not_here_is_passed_over_until_it_comes(plans: list[Plan], tmp_path: Path) -> None:
    """The first checkpoint arrives when the others are finished; the third never does, and is left as it is."""
    availability, settled = CheckpointAvailability(tmp_path / "session"), []
    folders = {plan.run_dir.name: plan.source.path for plan in plans}
    remote = [replace(plan, source=replace(plan.source, path=None)) for plan in plans]

    def settle(plan: Plan) -> None:
        settled.append(plan.run_dir.name)
        if len(settled) == 1:
            assert availability.is_requested("step0")
            assert not availability.is_requested("step2")
            availability.mark_ready("step0", folders["step0"] or Path())
        else:
            availability.mark_finished()

    availability.mark_ready("step1", folders["step1"] or Path())
    run_plans(remote, ProcessWorld(0, 1, "cpu"), Observer(), availability=availability, on_settled=settle)
    assert settled == ["step1", "step0"]
    assert not estimation.is_finished(remote[2])


def test_what_others_finish_is_not_waited_for(plans: list[Plan], tmp_path: Path) -> None:
    run_plans(plans[:1], ProcessWorld(0, 1, "cpu"), Observer())
    remote = replace(plans[0], source=replace(plans[0].source, path=None))
    settled: list[Plan] = []
    availability = CheckpointAvailability(tmp_path / "session")
    run_plans([remote], ProcessWorld(0, 1, "cpu"), Observer(), availability=availability, on_settled=settled.append)
    assert settled == [remote]


def test_a_failure_is_kept_by_its_first_reason_and_without_places(plans: list[Plan]) -> None:
    path = plans[1].source.path
    assert path is not None
    (path / "model.safetensors").write_bytes(b"broken")
    with pytest.raises(UnusableError, match="damaged"):
        run_plans(plans, ProcessWorld(0, 1, "cpu"), Observer())
    assert failure(plans[1]) is None
    run_plans(plans, ProcessWorld(0, 1, "cpu"), Observer(), keep_going=True)
    assert (failure(plans[1]) or "").startswith("model.safetensors is damaged")
    assert [estimation.is_finished(plan) for plan in plans] == [True, False, True]


class Seen(Observer):
    """Notes what a person would see."""

    def __init__(self) -> None:
        self.events: list[tuple[object, ...]] = []

    def begin(self, phase: str, total: int) -> None:
        self.events.append(("begin", phase, total))

    def advance(self, done: int) -> None:
        self.events.append(("advance", done))

    def end(self) -> None:
        self.events.append(("end",))


def test_one_plan_is_seen_at_a_time() -> None:
    seen = Seen()
    stage = SharedProgress(seen)
    one, two = PlanProgress(stage), PlanProgress(stage)
    one.begin("sampling", 10)
    one.advance(4)
    two.begin("losses", 3)
    one.advance(6)
    two.end()
    one.end()
    assert seen.events == [
        ("begin", "sampling", 10), ("advance", 0), ("advance", 4), ("end",),
        ("begin", "losses", 3), ("advance", 0), ("end",),
        ("begin", "sampling", 10), ("advance", 6), ("advance", 6), ("end",),
    ]  # fmt: skip
