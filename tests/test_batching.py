"""Chains in one call of the model: when that is chosen, what is said of it, and that numbers stay but for rounding."""

import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from hf_llc import (
    CalibrationSettings,
    DataSettings,
    Estimate,
    ModelSettings,
    Observer,
    SamplerSettings,
    batching,
    calibrate,
    estimate,
    grouping,
)
from hf_llc.adapters.stateless import Stateless
from hf_llc.adapters.store import RunStore
from hf_llc.batching import Choice, choose, groups, limit
from hf_llc.core.lockstep import LIMIT, run_together
from hf_llc.core.objective import copy_of
from hf_llc.plan import Plan
from hf_llc.planning import plan
from hf_llc.results import ChainTrace
from hf_llc.settings_file import read_settings
from hf_llc.workbench import Workbench
from tests.tiny import jsonl, save_tiny_model

SAMPLER = SamplerSettings(
    batch_size=4, chains=2, draws=8, burn_in=2, threads=1, gamma=100.0, lr=1e-4, baseline="paired"
)


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A cache and a working directory of this test's own."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_tiny_model(tmp_path_factory.mktemp("batching") / "model"))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> DataSettings:
    path = tmp_path_factory.mktemp("batching") / "text.jsonl"
    path.write_text(jsonl(120))
    return DataSettings(dataset=str(path))


@pytest.fixture
def timed(monkeypatch: pytest.MonkeyPatch) -> Callable[[float, float], None]:
    """`timed(together, alone)`: a CPU counts as worth trying, and the clock says these seconds by turns."""

    def say(together: float, alone: float) -> None:
        monkeypatch.setattr(batching, "TIMED_ON", {"cpu"})
        turns = iter([together, alone] * 100)
        monkeypatch.setattr(batching, "_seconds", lambda work: (work(), next(turns))[1])

    return say


class Listener(Observer):
    """Keeps what is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def tell(self, message: str) -> None:
        self.told.append(message)

    @property
    def choice(self) -> list[str]:
        return [line for line in self.told if "batched_chains" in line]


def made(model: str, data: DataSettings, **changes: Any) -> Plan:
    return plan(ModelSettings(model=model), data, replace(SAMPLER, **changes))


def chosen(plan: Plan) -> Choice:
    """The choice, after which w* must be as it was."""
    bench = Workbench(plan, "cpu")
    before = copy_of(bench.objective.parameters)
    found = choose(plan, bench)
    assert all(torch.equal(now, then) for now, then in zip(bench.objective.parameters, before, strict=True))
    assert all(parameter.grad is None for parameter in bench.objective.parameters)
    return found


def traces(found: Estimate) -> list[ChainTrace]:
    """Every chain and check as it is on disk."""
    folder = Path(found.run_dir)
    paths = sorted([*folder.glob("chains/*.json"), *folder.glob("checks/*.json")])
    return [ChainTrace.from_dict(json.loads(path.read_bytes())["payload"]) for path in paths]


def assert_same_but_for_rounding(found: Estimate, expected: Estimate) -> None:
    both = list(zip(traces(found), traces(expected), strict=True))
    assert len(both) > 2
    for one, other in both:
        assert (one.chain, one.status) == (other.chain, other.status)
        assert one.losses == pytest.approx(other.losses, rel=2e-5)
        assert one.deltas == pytest.approx(other.deltas, abs=2e-5)
        assert one.squared_distances == pytest.approx(other.squared_distances, rel=1e-4)
    assert any(one.losses != other.losses for one, other in both)
    assert found.llc == pytest.approx(expected.llc, rel=1e-3)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"sampler": "baoab", "momentum": 0.8, "gradient": "control-variate"},
        {"sampler": "sgld-lm", "batches": "reshuffled", "thin": 2, "start": "both"},
        {"sampler": "sgld-lm", "start": "laplace"},
        {"sampler": "rmsprop-sgld", "params": ("*mlp*",), "micro_batch_size": 3},
    ],
    ids=["measured", "control variate", "reshuffled", "laplace", "part of the weights"],
)
def test_chains_and_checks_in_one_call_draw_what_they_draw_one_after_another(
    model: str, data: DataSettings, changes: dict[str, Any]
) -> None:
    off, on = (estimate(model, data, replace(SAMPLER, batched_chains=word, **changes)) for word in ("off", "on"))
    assert (off.settings.batched_chains, on.settings.batched_chains) == ("off", "on")
    assert off.run_dir != on.run_dir
    assert_same_but_for_rounding(on, off)


def test_so_do_they_in_16_bits_up_to_the_rounding_of_16_bits(model: str, data: DataSettings) -> None:
    plain = replace(SAMPLER, dtype="bfloat16", checks=False)
    off, on = (estimate(model, data, replace(plain, batched_chains=word)) for word in ("off", "on"))
    assert on.settings.batched_chains == "on"
    for one, other in zip(traces(on), traces(off), strict=True):
        assert one.losses == pytest.approx(other.losses, rel=5e-3)


def test_so_does_a_calibration(model: str, data: DataSettings) -> None:
    wanted = CalibrationSettings(pilot_draws=8)
    few = replace(data, max_sequences=32, context_length=16)
    asked = replace(SAMPLER, gamma=1e4, lr=None, batch_size=4)
    off, on = (calibrate(model, few, replace(asked, batched_chains=word), wanted) for word in ("off", "on"))
    assert on.pilot.llc == pytest.approx(off.pilot.llc, rel=1e-3)
    assert [point.llc for point in on.sweep] == pytest.approx([point.llc for point in off.sweep], rel=1e-3)
    assert read_settings(Path(on.settings_file))["batched_chains"] == "on"
    assert read_settings(Path(on.settings_file))["baseline"] == "paired"


def test_all_chains_of_a_process_are_in_one_call(
    model: str, data: DataSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []

    def seen(objective: Any, anchors: Any, losses: Any, members: Sequence[Any], **more: Any) -> Iterable[Any]:
        calls.append(len(members))
        return run_together(objective, anchors, losses, members, **more)

    monkeypatch.setattr(grouping, "run_together", seen)
    estimate(model, data, replace(SAMPLER, batched_chains="on"))
    # Two chains and two at half the step, one without noise and one that is held more strongly.
    assert calls == [6]


def test_on_a_cpu_auto_is_one_after_another_without_a_word(model: str, data: DataSettings) -> None:
    listener = Listener()
    auto = estimate(model, data, SAMPLER, observer=listener)
    assert auto.settings.batched_chains == "off"
    assert listener.choice == []
    assert not (Path(auto.run_dir) / "batching.json").exists()
    off = estimate(model, data, replace(SAMPLER, batched_chains="off"))
    assert [trace.losses for trace in traces(auto)] == [trace.losses for trace in traces(off)]


@pytest.mark.parametrize(
    ("together", "alone", "word", "ratio"),
    [(0.4, 1.0, "on", "0.40"), (1.1, 1.0, "off", "1.10"), (0.95, 1.0, "off", "0.95")],
)
def test_where_it_may_pay_auto_takes_what_was_timed_to_and_says_so_in_one_line(
    model: str, data: DataSettings, timed: Callable[[float, float], None], together: float, alone: float, word: str,
    ratio: str,
) -> None:  # fmt: skip
    timed(together, alone)
    listener = Listener()
    found = estimate(model, data, SAMPLER, observer=listener)
    assert found.settings.batched_chains == word
    line = (
        f"batched_chains = {word}: 2 gradients in one call take {ratio} of the time of one after another, as just now "
        "timed."
    )
    assert listener.choice == [line]
    assert found.choices["batched_chains"] == line


def test_what_was_chosen_stays_chosen_for_the_run(
    model: str, data: DataSettings, timed: Callable[[float, float], None]
) -> None:
    timed(0.4, 1.0)
    first = estimate(model, data, SAMPLER)
    for name in ("chains/001", "resolved"):
        (Path(first.run_dir) / f"{name}.json").unlink()
    timed(2.0, 1.0)
    again = estimate(model, data, SAMPLER)
    assert again.run_dir == first.run_dir
    assert again.settings.batched_chains == "on"


def test_auto_leaves_large_models_alone(
    model: str, data: DataSettings, timed: Callable[[float, float], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    timed(0.1, 1.0)
    monkeypatch.setattr(batching, "LARGEST", 1000)
    found = chosen(made(model, data))
    assert not found.batched
    assert "launches are a small part of a step" in found.why
    assert chosen(made(model, data, batched_chains="on")).batched


def test_what_cannot_go_together_goes_one_after_another_and_says_why(
    model: str, data: DataSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    listener = Listener()
    few = replace(data, max_sequences=4)
    found = estimate(model, few, replace(SAMPLER, sampler="mala", batched_chains="on", checks=False), observer=listener)
    assert found.settings.batched_chains == "off"
    assert listener.choice == [
        "batched_chains = off: a step of mala looks at its weights a second time, which is for one chain by itself."
    ]
    asked = made(model, data, batched_chains="on")
    monkeypatch.setattr(batching, "TOGETHER", 1000)
    assert "would take too much memory" in chosen(asked).why


def test_chains_of_a_model_on_several_devices_go_one_after_another(
    model: str, data: DataSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = made(model, data, batched_chains="on", devices_per_chain=2)
    assert choose(asked, Workbench(made(model, data), "cpu")).sentences == {
        "batched_chains": "batched_chains = off: several devices hold the model together, for one chain at a time."
    }
    monkeypatch.setattr(batching, "TIMED_ON", {"cpu"})
    assert batching.is_open(made(model, data))
    assert not batching.is_open(made(model, data, devices_per_chain=2))


def test_a_model_that_torch_cannot_compute_so_goes_one_after_another(
    model: str, data: DataSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def branches(self: Stateless, weights: Sequence[Tensor], ids: Tensor) -> Tensor:
        found: Tensor = torch.vmap(lambda each: each if each.sum() > 0 else -each)(weights[0])
        return found

    monkeypatch.setattr(Stateless, "__call__", branches)
    found = chosen(made(model, data, batched_chains="on"))
    assert not found.batched
    assert "cannot be computed at several sets of weights at once (" in found.why
    assert "\n" not in found.why


def test_of_what_torch_says_of_it_the_first_sentence_is_told(
    model: str, data: DataSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(self: Stateless, weights: Sequence[Tensor], ids: Tensor) -> Tensor:
        raise RuntimeError("There is a performance drop. Please file an issue (Triggered internally at /some/file.cpp)")

    monkeypatch.setattr(Stateless, "__call__", slow)
    why = chosen(made(model, data, batched_chains="on")).why
    assert why == "this model cannot be computed at several sets of weights at once (There is a performance drop)."


@pytest.mark.parametrize("factor", [1.01, math.nan])
def test_a_model_that_gives_other_numbers_so_goes_one_after_another(
    model: str, data: DataSettings, monkeypatch: pytest.MonkeyPatch, factor: float
) -> None:
    right = Stateless.__call__

    def wrong(self: Stateless, weights: Sequence[Tensor], ids: Tensor) -> Tensor:
        return right(self, [weight * factor for weight in weights], ids)

    monkeypatch.setattr(Stateless, "__call__", wrong)
    found = chosen(made(model, data, batched_chains="on"))
    assert not found.batched
    assert "one call gives other losses or gradients" in found.why


def test_on_and_off_are_part_of_the_key_and_auto_is_that_of_before(model: str, data: DataSettings) -> None:
    auto, on, off = (made(model, data, batched_chains=word) for word in ("auto", "on", "off"))
    assert "batched_chains" not in auto.inputs()["sampler"]
    assert len({auto.key, on.key, off.key}) == 3


@pytest.mark.parametrize(("count", "world"), [(14, 1), (14, 2), (3, 4), (40, 2), (1, 1)])
def test_every_chain_is_in_one_group_and_processes_have_equal_shares(count: int, world: int) -> None:
    names = [f"chains/{index:03d}" for index in range(count)]
    found = groups(names, 1000, world, batched=True)
    assert sorted(name for group in found for name in group) == names
    assert max(map(len, found)) - min(map(len, found)) <= 1
    assert max(map(len, found)) <= LIMIT
    assert len(found) >= min(world, count)
    assert groups(names, 1000, world, batched=False) == [[name] for name in names]


def test_groups_of_larger_models_are_smaller() -> None:
    assert limit(1000) == LIMIT
    assert 2 <= limit(batching.LARGEST) < LIMIT
    assert limit(10**9) == 0


def test_a_part_of_a_group_that_is_there_is_not_made_again(model: str, data: DataSettings) -> None:
    asked = replace(SAMPLER, batched_chains="on")
    first = estimate(model, data, asked)
    store = RunStore(Path(first.run_dir), pytest.fail)
    kept = {path: path.stat().st_mtime_ns for path in store.folder.glob("ch*/*.json")}
    gone = [store.path(name) for name in ("chains/001", "checks/cold-000")]
    for path in gone:
        kept.pop(path)
        path.unlink()
    again = estimate(model, data, asked)
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert all(path.exists() for path in gone)
    assert_same_but_for_rounding(again, estimate(model, data, replace(asked, batched_chains="off")))


def test_seconds_of_chains_in_one_call_add_up_to_no_more_than_there_were(model: str, data: DataSettings) -> None:
    found = estimate(model, data, replace(SAMPLER, batched_chains="on"))
    assert all(trace.seconds > 0 for trace in traces(found))
    assert 0 < found.seconds["sampling"] < found.seconds["total"]
