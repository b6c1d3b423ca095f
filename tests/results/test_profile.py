"""Every second belongs to one part."""

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hf_llc import DataSettings, ModelSettings, SamplerSettings
from hf_llc.execution.planning import plan
from hf_llc.measures import run
from hf_llc.measures.llc.estimation import collect, is_finished
from hf_llc.measures.run import run_all
from hf_llc.results.profile import PARTS, Profile, settle_devices
from hf_llc.results.progress import Observer
from hf_llc.results.shared_progress import PlanProgress, SharedProgress
from tests.helpers.tiny_model import jsonl, save_tiny_model


class Clock:
    """Seconds that pass when they are told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_part_within_another_takes_its_time_from_it_and_the_rest_is_other() -> None:
    clock = Clock()
    profile = Profile(clock)
    clock.now = 1.0
    with profile.part("update"):
        clock.now = 3.0
        with profile.part("noise"):
            clock.now = 7.0
        clock.now = 8.0
    clock.now = 10.5
    record = profile.to_dict()
    assert {name: seconds for name, seconds in record.items() if seconds} == {
        "update": 3.0, "noise": 4.0, "other": 3.5, "total": 10.5, "processes": 1,
    }  # fmt: skip
    assert record.keys() == {*PARTS, "total", "processes"}


def test_a_part_ends_with_an_exception_too() -> None:
    clock = Clock()
    profile = Profile(clock)

    def fail() -> None:
        with profile.part("data"):
            clock.now = 2.0
            raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011
        fail()
    clock.now = 5.0
    assert (profile.to_dict()["data"], profile.to_dict()["other"]) == (2.0, 3.0)


def test_another_thread_counts_nothing() -> None:
    clock = Clock()
    profile = Profile(clock)

    def work() -> None:
        with profile.part("io"):
            clock.now += 4.0

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert (profile.to_dict()["io"], profile.to_dict()["other"]) == (0.0, 4.0)


def test_processes_bring_their_own_seconds_in_place_of_the_wait_for_them() -> None:
    clock = Clock()
    profile, told = Profile(clock), dict.fromkeys(PARTS, 0.0)
    clock.now = 1.0
    with profile.handed_over(2, lambda: [{**told, "noise": 5.0, "total": 5.0}, {**told, "data": 6.0, "total": 6.0}]):
        clock.now = 11.0
    record = profile.to_dict()
    assert (record["noise"], record["data"], record["starting"], record["other"]) == (5.0, 6.0, 9.0, 1.0)
    assert (record["total"], record["processes"]) == (21.0, 2)


def test_a_gpu_is_waited_for_with_a_profile_and_never_without(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[int] = []
    monkeypatch.setattr("torch.cuda.is_initialized", lambda: True)
    monkeypatch.setattr("torch.cuda.synchronize", lambda: waits.append(1))
    with Observer().part("noise"):
        pass
    assert not waits
    observer = Observer()
    observer.profile = Profile()
    with PlanProgress(SharedProgress(observer)).part("noise"):
        pass
    assert len(waits) == 2
    monkeypatch.setattr("torch.cuda.is_initialized", lambda: False)
    settle_devices()
    assert len(waits) == 2


def test_ranks_leave_what_they_counted_for_the_process_that_started_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    text = tmp_path / "text.jsonl"
    text.write_text(jsonl(60))
    sampler = SamplerSettings(
        batch_size=4, chains=2, draws=8, burn_in=2, threads=1, checks=False, gradient="minibatch",
        batches="independent",
    )  # fmt: skip
    model = ModelSettings(model=str(save_tiny_model(tmp_path / "model")))
    planned = plan(model, DataSettings(dataset=str(text)), sampler)

    def in_this_process(module: str, arguments: list[str], **more: Any) -> None:
        run.work(Path(arguments[1]), Observer())

    monkeypatch.setattr(run, "launch", in_this_process)
    observer = Observer()
    observer.profile = Profile()
    run_all([planned], processes=2, observer=observer)
    record = observer.profile.to_dict()
    assert record["processes"] == 2
    assert min(record[name] for name in ("loading", "measuring", "forward_backward", "update", "noise", "io")) > 0
    assert record["total"] == pytest.approx(sum(record[name] for name in PARTS))
    # One rank never came: its time is that of a process that starts.
    assert record["starting"] > record["total"] / 2 - record["other"]
    again = replace(planned, run_dir=tmp_path / "again")
    run_all([again], processes=2, observer=Observer())
    assert is_finished(again)
    assert not list(again.run_dir.glob("profile-*"))
    assert collect(again, Observer(), 0.0).llc == collect(planned, Observer(), 0.0).llc


def test_every_part_that_is_named_anywhere_is_one() -> None:
    asked: set[str] = set()
    sources = [path.read_text(encoding="utf-8") for path in Path(run.__file__).parent.rglob("*.py")]
    for source in sources:
        for piece in source.replace("_part(", "part(").split('part("')[1:]:
            asked.add(piece.partition('"')[0])
    assert asked
    assert asked <= PARTS.keys()
