"""What is measured before the chains is in proportion to what these take, and only what the settings leave open."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from hf_llc import DataSettings, ModelSettings, SamplerSettings, estimate
from hf_llc.execution.plan import Plan
from hf_llc.execution.planning import plan
from hf_llc.execution.store import RunStore
from hf_llc.execution.thoroughness import least_run, needs_of
from hf_llc.measures.llc import resolution
from hf_llc.results.progress import Observer
from hf_llc.sampling import gradients
from hf_llc.sampling.tuning.extent import full_extent
from hf_llc.sampling.tuning.proportion import FLOOR, SHARE, Meter, permitted
from hf_llc.scans.shared_settings import shared_settings
from hf_llc.settings.resolved import LOSS
from hf_llc.tasks.text_generation.objective import LanguageObjective
from tests.helpers.tiny_model import jsonl, save_tiny_model

SMALL = SamplerSettings(batch_size=4, chains=2, draws=10, threads=1, checks=False)
GIVEN: dict[str, Any] = {
    "gamma": 1000.0, "n_beta": 30.0, "lr": 1e-4, "momentum": 0.0, "sampler": "sgld-lm", "gradient": "minibatch",
    "batches": "independent", "baseline": "paired", "start": "anchor", "burn_in": 6,
}  # fmt: skip


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The folder of the tiny model."""
    return str(save_tiny_model(tmp_path_factory.mktemp("proportion") / "model"))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> DataSettings:
    """A local text of 62 sequences."""
    path = tmp_path_factory.mktemp("proportion") / "text.jsonl"
    path.write_text(jsonl(120))
    return DataSettings(dataset=str(path), context_length=32)


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A cache and a working directory of this test's own."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)


@dataclass
class Counts:
    """Gradients of one sequence, a loss being LOSS of one, by what they are taken for; `phase` is that now."""

    phase: str = "anchors"
    anchors: float = 0.0
    measured: float = 0.0
    full_gradient: float = 0.0
    chains: float = 0.0

    def add(self, number: float) -> None:
        """For what is being done now."""
        setattr(self, self.phase, getattr(self, self.phase) + number)

    @contextmanager
    def during(self, phase: str) -> Iterator[None]:
        """What is counted in the block is for that."""
        before, self.phase = self.phase, phase
        try:
            yield
        finally:
            self.phase = before


@pytest.fixture
def counts(monkeypatch: pytest.MonkeyPatch) -> Counts:
    """Of an estimate in this process."""
    results = Counts()
    losses, gradient = LanguageObjective.losses, LanguageObjective.losses_and_gradient

    def counted_losses(self: LanguageObjective, indices: Tensor) -> Tensor:
        results.add(LOSS * len(indices))
        return losses(self, indices)

    def counted_gradient(self: LanguageObjective, indices: Tensor) -> Tensor:
        results.add(len(indices))
        return gradient(self, indices)

    def resolved(*args: Any) -> Any:
        with results.during("measured"):
            result = resolution.resolve_settings(*args)
        results.phase = "chains"
        return result

    def full_gradient(*args: Any) -> Any:
        with results.during("full_gradient"):
            return gradients.full_gradient(*args)

    monkeypatch.setattr(LanguageObjective, "losses", counted_losses)
    monkeypatch.setattr(LanguageObjective, "losses_and_gradient", counted_gradient)
    monkeypatch.setattr("hf_llc.measures.llc.chains.length.resolve_settings", resolved)
    monkeypatch.setattr("hf_llc.execution.loaded_model.full_gradient", full_gradient)
    return results


@pytest.mark.parametrize(
    "sampler",
    [
        SMALL,
        replace(SMALL, draws=4, batch_size=1),
        replace(SMALL, burn_in=0),
        replace(SMALL, start="anchor"),
        replace(SMALL, checks=True, draws=40, batch_size=8, chains=4),
        replace(SMALL, batch_size=32),
        replace(SMALL, batch_size=100),
        replace(SMALL, **{**GIVEN, "start": "auto", "gamma": None}),
        replace(SMALL, **GIVEN),
        replace(SMALL, gradient="control-variate", draws=30),
        replace(SMALL, sampler="sgld", lr=1e-4, gamma=1000.0),
        replace(SMALL, gamma=0.0, lr=1e-4),
        replace(SMALL, params=("*attention*",), draws=30, batch_size=2, chains=5),
        replace(SMALL, dtype="bfloat16", draws=20),
        replace(SMALL, draws=400, burn_in=20),
    ],
    ids=[
        "small", "one sequence a step", "no burn-in", "from w*", "with checks", "large minibatches", "all items",
        "only gamma open", "all given", "control variates", "sgld", "no prior", "some weights", "16 bits", "long",
    ],
)  # fmt: skip
def test_at_most_a_fifth_of_what_the_chains_take(
    counts: Counts, model: str, data: DataSettings, sampler: SamplerSettings
) -> None:
    result = estimate(model, data, sampler)
    # The gradient of all items is the run's where its chains use it.
    beforehand = counts.measured + counts.full_gradient * (not result.settings.uses_anchor_gradient)
    assert counts.chains > 0
    assert 0 < beforehand <= max(FLOOR, SHARE * counts.chains)


def plan_of(model: str, data: DataSettings, sampler: SamplerSettings, place: Path) -> Plan:
    return plan(ModelSettings(model=model), data, sampler, output_dir=place)


def test_runs_of_usual_length_measure_everything(model: str, data: DataSettings, tmp_path: Path) -> None:
    usual = plan_of(model, data, SamplerSettings(threads=1), tmp_path / "usual")
    usual = replace(usual, corpus=replace(usual.corpus, n=2048))
    assert needs_of(usual).within(permitted(least_run(usual))) == needs_of(usual).full == full_extent(32, 32)
    shorter = replace(usual, sampler=replace(SMALL, batch_size=8, chains=4, draws=150))
    extent, full = needs_of(shorter).within(permitted(least_run(shorter))), needs_of(shorter).full
    # Half of the comparisons; what the settings are chosen from is as it was.
    assert extent == full._replace(drawn=128, compared=64)


def test_nothing_is_measured_that_the_settings_make_needless(model: str, data: DataSettings, tmp_path: Path) -> None:
    def full(**changes: Any) -> Any:
        settings = SamplerSettings(**{**GIVEN, **changes}, batch_size=4)
        return needs_of(plan_of(model, data, settings, tmp_path / "run")).full

    given = full()
    assert (given.pairs, given.compared, given.sharp) == (0, 0, False)
    assert given.probed == 4
    assert (full(lr=None).pairs, full(lr=None).sharp) == (2, True)
    assert (full(batches="auto").pairs, full(batches="auto").sharp) == (2, False)
    assert full(baseline="auto").compared > 50


def taken(model: str, data: DataSettings, sampler: SamplerSettings, place: Path, monkeypatch: Any) -> float:
    """What is measured for a curve of one checkpoint, in gradients of one sequence."""
    meters: list[Meter] = []

    def metered() -> Meter:
        meters.append(Meter())
        return meters[-1]

    monkeypatch.setattr("hf_llc.execution.loaded_model.Meter", metered)
    shared_settings(
        [plan_of(model, data, sampler, place / "run")], RunStore(place / "curve", pytest.fail), sampler, Observer()
    )
    return sum(meter.taken for meter in meters)


def test_a_curve_measures_in_proportion_to_its_runs_too(
    model: str, data: DataSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = taken(model, data, SMALL, tmp_path / "short", monkeypatch)
    run = least_run(plan_of(model, data, SMALL, tmp_path / "run"))
    assert 0 < short <= max(FLOOR, SHARE * run)
    assert taken(model, data, replace(SMALL, draws=2000), tmp_path / "long", monkeypatch) > 5 * short
