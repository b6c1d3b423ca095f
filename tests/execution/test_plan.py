"""What makes two requests the same run, and how many threads and processes one gets."""

import json
from collections.abc import Callable, Mapping
from copy import copy
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from hf_llc import SamplerSettings
from hf_llc.checkpoints.source import Corpus, ModelSource
from hf_llc.execution import machine
from hf_llc.execution.machine import default_threads
from hf_llc.execution.plan import Plan
from hf_llc.measures.run import default_processes
from hf_llc.settings.posterior import PosteriorSettings
from hf_llc.settings.stopping import StoppingSettings

KNOWN = {"gradient": "minibatch", "measured": {"curvature": 2.0}}


def example() -> Plan:
    """A plan of which nothing exists."""
    source = ModelSource(id="org/m", revision="main", sha="a" * 40, step=None, path=Path("/there"))
    corpus = Corpus(
        id="org/d", revision="b" * 40, config=None, split="train", text_column="text", fingerprint="sha256:0", n=100,
        context_length=64, path=Path("/tokens"),
    )  # fmt: skip
    return Plan(
        source=source, corpus=corpus, sampler=SamplerSettings(), device="cpu", dtype="float32", threads=1,
        run_dir=Path("/run"),
    )  # fmt: skip


CHANGES: dict[str, Callable[[Plan], Plan]] = {
    "sha": lambda p: replace(p, source=replace(p.source, sha="c" * 40)),
    "subfolder": lambda p: replace(p, source=replace(p.source, subfolder="step-1")),
    "gguf_file": lambda p: replace(p, source=replace(p.source, gguf_file="q.gguf")),
    "fingerprint": lambda p: replace(p, corpus=replace(p.corpus, fingerprint="sha256:1")),
    "n": lambda p: replace(p, corpus=replace(p.corpus, n=101)),
    "device": lambda p: replace(p, device="cuda"),
    "dtype": lambda p: replace(p, dtype="float64"),
    "threads": lambda p: replace(p, threads=2),
}
NO_CHANGES: dict[str, Callable[[Plan], Plan]] = {
    "another name of the commit": lambda p: replace(p, source=replace(p.source, revision="v1", step=3)),
    "where the weights lie": lambda p: replace(p, source=replace(p.source, path=Path("/elsewhere"))),
    "another dataset with the same tokens": lambda p: replace(p, corpus=replace(p.corpus, id="other", split="test")),
    "where the run is kept": lambda p: replace(p, run_dir=Path("/elsewhere")),
    "what is known around w*": lambda p: replace(p, known=KNOWN),
    "a number beside the chains": lambda p: replace(p, sampler=replace(p.sampler, cross_check="sgld")),
}


def other(value: Any) -> Any:
    """A value of the same kind that is not equal."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, str):
        return {"auto": "sgld", "isotropic": "relative", "frozen": "reestimated"}.get(value, value + "x")
    if isinstance(value, tuple):
        return (*value, "*")
    return 7 if value is None else value + 1


OF_CHAINS: Mapping[str, Any] = {"sampler": "sgld", "lr": 1e-4, "gamma": 100.0, "chains": 4, "draws": 200}
KEYS: Mapping[str, tuple[Mapping[str, Any], str]] = {
    "left open": ({}, "e567d09b5c6d"),
    "draws": ({"sampler": "importance"}, "9ef49f49718b"),
    "draws over two devices": (
        {"sampler": "importance", "micro_batch_size": 4, "devices_per_chain": 2}, "ba565a9f7098",
    ),
    "chains": (OF_CHAINS, "908debd65149"),
    "chains over two devices": ({"sampler": "sgld", "micro_batch_size": 4, "devices_per_chain": 2}, "d401f38e075b"),
}  # fmt: skip
"""Settings, and the key that runs with them have had so far."""


@pytest.mark.parametrize("name", KEYS)
def test_runs_of_earlier_versions_keep_their_key(name: str) -> None:
    asked, key = KEYS[name]
    assert replace(example(), sampler=SamplerSettings(**asked)).key == key


ENDED: Mapping[str, Any] = {"target_stderr": 0.1, "budget_seconds": 60.0, "max_chains": 8, "cross_check": "draws"}


def test_when_sampling_ends_is_no_input() -> None:
    assert ENDED.keys() == {field.name for field in fields(StoppingSettings)}
    chains = replace(example(), sampler=SamplerSettings(**OF_CHAINS))
    for name, value in ENDED.items():
        assert replace(chains, sampler=SamplerSettings(**OF_CHAINS, **{name: value})).key == chains.key


def test_runs_from_before_there_was_a_choice_of_baseline_go_on_under_their_key() -> None:
    assert "baseline" not in example().inputs()["sampler"]
    asked = replace(example(), sampler=SamplerSettings(baseline="paired"))
    assert asked.inputs()["sampler"]["baseline"] == "paired"


def test_the_key_changes_with_every_input() -> None:
    keys = {"nothing": example().key} | {name: change(example()).key for name, change in CHANGES.items()}
    plain = example().sampler
    for name in [*(field.name for field in fields(PosteriorSettings)), "micro_batch_size", "devices_per_chain"]:
        changed = copy(plain)
        # Whether or not it is allowed.
        vars(changed)[name] = "l0h1" if name == "component" else other(getattr(plain, name))
        keys[name] = replace(example(), sampler=changed).key
    assert len(set(keys.values())) == len(keys)
    assert example().inputs().keys() == CHANGES.keys() | {"schema", "sampler"}


@pytest.mark.parametrize("changes", [{"prior": "relative"}, {"batch_norm": "reestimated"}, {"component": "l0h1"}])
def test_draws_of_another_posterior_have_another_key(changes: Mapping[str, Any]) -> None:
    draws = replace(example(), sampler=SamplerSettings(sampler="importance"))
    assert replace(draws, sampler=replace(draws.sampler, **changes)).key != draws.key


@pytest.mark.parametrize("name", NO_CHANGES)
def test_the_key_does_not_change_with_what_cannot_matter(name: str) -> None:
    assert NO_CHANGES[name](example()).key == example().key
    on_gpu = replace(example(), device="cuda")
    assert replace(on_gpu, threads=7).key == on_gpu.key


def test_a_plan_survives_its_json_form() -> None:
    for plan in (example(), replace(example(), known=KNOWN)):
        assert Plan.from_dict(json.loads(json.dumps(plan.to_dict()))) == plan


def test_threads_depend_on_cores_and_chains_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "cores", lambda: 8)
    assert [default_threads(chains) for chains in (1, 2, 3, 4, 8, 100)] == [8, 4, 2, 2, 1, 1]


def test_processes_are_started_only_where_they_pay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "cores", lambda: 8)
    monkeypatch.setattr(machine, "free_memory", lambda: 64 * 10**9)
    large = replace(example(), source=replace(example().source, weight_bytes=4 * 10**8), threads=2)
    assert default_processes([replace(large, source=replace(large.source, weight_bytes=4 * 10**4))]) == 1
    assert default_processes([large]) == 4
    assert default_processes([replace(large, threads=4)]) == 2
    assert default_processes([replace(large, sampler=SamplerSettings(chains=3, draws=200))]) == 3
    monkeypatch.setattr(machine, "free_memory", lambda: 14 * 10**9)
    assert default_processes([large]) == 2
    monkeypatch.setattr(machine, "free_memory", lambda: 10**9)
    assert default_processes([large]) == 1
