"""Chains in rounds: until their error is small enough or the time is up, and the same ones however they are made."""

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hf_llc import DataSettings, SamplerSettings, estimate
from hf_llc.execution.distributed.world import single_process
from hf_llc.execution.loaded_model import LoadedModel
from hf_llc.execution.plan import Plan
from hf_llc.execution.planning import plan
from hf_llc.measures.llc import estimation
from hf_llc.measures.llc.chains import length
from hf_llc.results.estimate import Estimate, Verdict
from hf_llc.results.progress import Observer
from hf_llc.sampling.statistics import MANY_CHAINS
from hf_llc.settings.model import ModelSettings
from hf_llc.settings.posterior import FEW_CHAINS
from hf_llc.settings.sampler import SHORT_DRAWS
from tests.helpers.tiny_model import jsonl, save_tiny_model

GIVEN: dict[str, Any] = {
    "gamma": 1000.0, "n_beta": 30.0, "lr": 1e-4, "momentum": 0.0, "sampler": "sgld-lm", "gradient": "minibatch",
    "batches": "independent", "baseline": "paired", "start": "localiser", "burn_in": 3, "batch_size": 4, "threads": 1,
    "draws": 6,
}  # fmt: skip
MANY_SECONDS = 1e6


class Told(Observer):
    """Keeps what it is told, and may end the work."""

    def __init__(self, chains: int | None = None) -> None:
        self.said: list[str] = []
        self._left = chains

    def tell(self, message: str) -> None:
        self.said.append(message)

    def chain(self, name: str, step: int, loss: float, llc: float) -> None:
        if self._left is not None:
            self._left -= 1
            if self._left < 0:
                raise KeyboardInterrupt


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rounds")
    save_tiny_model(folder / "model")
    (folder / "text.jsonl").write_text(jsonl(60))
    return folder


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def asked(**changed: Any) -> SamplerSettings:
    return SamplerSettings(**{**GIVEN, **changed})


def data_of(place: Path) -> DataSettings:
    return DataSettings(dataset=str(place / "text.jsonl"), context_length=32)


def sampled(place: Path, folder: str = "run", observer: Observer | None = None, **changed: Any) -> Estimate:
    return estimate(
        str(place / "model"), data_of(place), asked(**changed), output_dir=Path(folder), device="cpu", observer=observer
    )


def planned(place: Path, **changed: Any) -> Plan:
    return plan(
        ModelSettings(model=str(place / "model")),
        data_of(place),
        asked(**changed),
        output_dir=Path("run"),
        device="cpu",
    )


def parts(folder: str = "run") -> dict[str, dict[str, Any]]:
    """What chains have left, without the seconds."""
    results = {}
    for path in sorted(Path(folder).rglob("*.json")):
        if path.parent.name in {"chains", "checks"}:
            stored = json.loads(path.read_bytes())["payload"]
            stored.pop("seconds")
            results[f"{path.parent.name}/{path.name}"] = stored
    return results


def test_a_run_ends_by_its_error_with_many_chains(place: Path) -> None:
    heard = Told()
    result = sampled(place, observer=heard, target_stderr=1000.0, max_chains=64)
    assert result.settings.chains >= MANY_CHAINS
    assert result.settings.draws == GIVEN["draws"]
    assert "is wanted: done" in heard.said[-1]


def test_rounds_end_with_the_numbers_of_as_many_chains_at_once(place: Path) -> None:
    result = sampled(place, target_stderr=1e-3, max_chains=20)
    assert result.settings.chains == 20
    at_once = sampled(place, "at-once", chains=20)
    assert (result.llc, result.stderr, result.verdict) == (at_once.llc, at_once.stderr, at_once.verdict)
    assert parts() == parts("at-once")


def test_an_interrupted_run_ends_as_one_that_was_not(place: Path) -> None:
    whole = sampled(place, "whole", target_stderr=1e-3, max_chains=18)
    with pytest.raises(KeyboardInterrupt):
        sampled(place, observer=Told(chains=7), target_stderr=1e-3, max_chains=18)
    assert 0 < len(parts()) < len(parts("whole"))
    again = sampled(place, target_stderr=1e-3, max_chains=18)
    assert (again.llc, again.stderr, again.settings) == (whole.llc, whole.stderr, whole.settings)
    assert parts() == parts("whole")


def test_the_time_ends_chains_with_what_there_is(place: Path) -> None:
    heard = Told()
    result = sampled(place, observer=heard, budget_seconds=1e-3, target_stderr=1e-3)
    assert result.settings.chains == FEW_CHAINS
    assert result.llc is not None
    assert result.verdict is not Verdict.CONVERGED
    assert heard.said[-1].endswith("The time is up with 4 chains.")
    longer = sampled(place, budget_seconds=MANY_SECONDS, target_stderr=1e-3, max_chains=18)
    assert longer.settings.chains == 18
    at_once = sampled(place, "at-once", chains=18)
    assert (longer.llc, longer.stderr) == (at_once.llc, at_once.stderr)


def test_a_shorter_time_tells_the_number_of_all_chains_that_are_there(place: Path) -> None:
    more = sampled(place, budget_seconds=MANY_SECONDS, target_stderr=1e-3, max_chains=18)
    heard = Told()
    fewer = sampled(place, observer=heard, budget_seconds=1e-3, target_stderr=1e-3, max_chains=64)
    assert (fewer.settings.chains, fewer.llc, fewer.stderr) == (18, more.llc, more.stderr)
    assert heard.said[-1].endswith(f"λ̂ = {fewer.llc:.4g} ± {fewer.stderr:.2g}. The time is up with 18 chains.")


def test_a_run_ended_by_its_time_is_finished_until_more_time_is_given(place: Path) -> None:
    ended = planned(place, budget_seconds=1e-3, target_stderr=1e-3)
    assert not estimation.is_finished(ended)
    estimation.run(ended, single_process("cpu"), Observer())
    assert estimation.is_finished(ended)
    assert not estimation.is_finished(planned(place, budget_seconds=MANY_SECONDS, target_stderr=1e-3))
    assert not estimation.is_finished(planned(place, target_stderr=1e-3))
    assert not estimation.is_finished(planned(place, chains=5))
    assert estimation.is_finished(planned(place, chains=4, checks=False))


def test_what_ended_by_its_error_is_finished_for_the_same_error(place: Path) -> None:
    sampled(place, target_stderr=1000.0, max_chains=64)
    assert estimation.is_finished(planned(place, target_stderr=1000.0, max_chains=64))
    assert estimation.is_finished(planned(place, target_stderr=1000.0, max_chains=64, budget_seconds=MANY_SECONDS))
    assert not estimation.is_finished(planned(place, target_stderr=1e-3, max_chains=64))
    assert not estimation.is_finished(planned(place, target_stderr=1000.0, max_chains=65))


def test_the_number_so_far_is_there_after_each_round(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[int] = []
    keep = estimation.keep_chains

    def watched(plan: Plan, tell: Any) -> None:
        keep(plan, tell)
        kept.append(json.loads(Path("run/estimate.json").read_bytes())["payload"]["settings"]["chains"])

    monkeypatch.setattr(estimation, "keep_chains", watched)
    sampled(place, budget_seconds=MANY_SECONDS, target_stderr=1e-3, max_chains=18)
    assert kept == [4, 8, 16, 18]


def test_chains_that_are_given_are_made_whole_and_that_is_said(place: Path) -> None:
    heard = Told()
    result = sampled(place, observer=heard, chains=3, budget_seconds=1e-3)
    assert (result.settings.chains, result.settings.draws) == (3, GIVEN["draws"])
    assert heard.said[0].startswith("`budget_seconds` does not stop 3 chains of 6 draws")
    assert result.llc == sampled(place, "alone", chains=3).llc


@pytest.mark.parametrize("more", [{"budget_seconds": 60.0}, {"target_stderr": 0.1}, {"max_chains": 32}])
def test_neither_time_nor_error_is_part_of_the_key(place: Path, more: dict[str, Any]) -> None:
    assert planned(place, **more).key == planned(place).key
    assert planned(place, draws=None, **more).key == planned(place, draws=None).key


def test_open_chains_are_short_and_apart_from_those_of_given_length(place: Path) -> None:
    short = sampled(place, target_stderr=1000.0, max_chains=4, draws=None, checks=False)
    assert short.settings.draws == SHORT_DRAWS
    assert "chains = as many as needed, of 50 draws after 3 steps" in short.choices["chains"]
    assert (Path("run/open/chains/003.json")).exists()
    assert not Path("run/chains").exists()


def test_draws_are_half_as_many_as_the_burn_in_at_least(place: Path) -> None:
    bench = LoadedModel(result := planned(place, draws=None, burn_in=131, target_stderr=0.1), "cpu")
    assert length.resolved(result, bench, single_process("cpu")).settings.draws == 66


@pytest.mark.parametrize(("seconds", "steps"), [(1e9, None), (1000.0, 31), (100.0, 6), (1e-3, 6)])
def test_the_first_chains_have_time_in_half_of_what_is_left(
    place: Path, monkeypatch: pytest.MonkeyPatch, seconds: float, steps: int | None
) -> None:
    """A gradient takes two seconds, so that eight chains of 31 steps take about 500."""
    monkeypatch.setattr(length, "_seconds", lambda plan, bench: 2.0)
    result = planned(place, draws=None, burn_in=None, target_stderr=0.1, budget_seconds=seconds)
    bench = LoadedModel(result, "cpu")
    started = time.time()
    settings = length.resolved(replace(result, deadline=started + seconds), bench, single_process("cpu")).settings
    if steps is None:
        assert settings.draws == SHORT_DRAWS
    else:
        assert settings.steps == pytest.approx(steps, abs=3)
    assert settings.draws >= 4
    assert settings.burn_in >= 2
