"""What a curve has in common is measured at no more of its checkpoints than it takes."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hf_llc import DataSettings, ModelSettings, SamplerSettings
from hf_llc.errors import SettingsError
from hf_llc.execution.loaded_model import LoadedModel, computing
from hf_llc.execution.plan import Plan
from hf_llc.execution.planning import plan
from hf_llc.execution.store import RunStore
from hf_llc.measures.llc import resolution
from hf_llc.measures.llc.resolution import resolve_settings
from hf_llc.results.progress import Observer
from hf_llc.sampling.tuning import choose_sampler, measure, measurements, settle
from hf_llc.sampling.tuning.measurements import LocalGeometry
from hf_llc.scans.shared_settings import shared_settings
from tests.helpers.tiny_model import jsonl, save_tiny_model

SAMPLER = SamplerSettings(batch_size=4, chains=2, draws=2000, burn_in=2, threads=1, gamma=1000, checks=False)
"""So many draws that a walk is in proportion; none is made."""


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A cache and a working directory of this test's own, and gradient noise that matters everywhere."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(measure, "noise_matters", lambda *_: True)


def plans_of(place: Path, seeds: list[int]) -> list[Plan]:
    """Plans for tiny models of these seeds."""
    place.mkdir(exist_ok=True)
    text = place / "text.jsonl"
    text.write_text(jsonl(60))
    return [
        plan(
            ModelSettings(model=str(save_tiny_model(place / f"model{seed}", seed))),
            DataSettings(dataset=str(text)),
            SAMPLER,
            output_dir=place / f"run{index}",
        )
        for index, seed in enumerate(seeds)
    ]


def shared(place: Path, seeds: list[int]) -> SamplerSettings:
    """What a curve over tiny models of these seeds has in common."""
    plans = plans_of(place, seeds)
    return shared_settings(plans, RunStore(place / "curve", pytest.fail), SAMPLER, Observer()).sampler


@pytest.fixture
def walks(monkeypatch: pytest.MonkeyPatch) -> list[LocalGeometry]:
    """What was measured before each walk."""
    results: list[LocalGeometry] = []
    real = settle.measure_at_equilibrium

    def counted(*args: Any, **named: Any) -> LocalGeometry:
        results.append(args[4])
        return real(*args, **named)

    monkeypatch.setattr(measure, "measure_at_equilibrium", counted)
    return results


def test_one_warm_up_run_serves_checkpoints_that_are_no_sharper_and_no_noisier(
    tmp_path: Path, walks: list[LocalGeometry]
) -> None:
    alone = shared(tmp_path / "alone", [0])
    assert len(walks) == 1
    assert shared(tmp_path / "alike", [0, 0, 0]) == alone
    assert len(walks) == 2


def test_checkpoints_beyond_the_margin_get_a_warm_up_run_of_their_own(
    tmp_path: Path, walks: list[LocalGeometry], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measurements, "MARGIN", 1.01)
    shared(tmp_path, [0, 1, 2, 3])
    assert 1 < len(walks) < 4
    for index, walk in enumerate(walks[1:], 1):
        before = walks[:index]
        sharper = walk.curvature > 1.01 * max(each.curvature for each in before)
        assert sharper or walk.noise > 1.01 * max(each.noise for each in before)


def test_a_quiet_checkpoint_spares_nobody_the_walk(
    tmp_path: Path, walks: list[LocalGeometry], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last one is measured first; its gradient noise, though as large, does not matter to it."""
    answers = iter([False, True])
    monkeypatch.setattr(measure, "noise_matters", lambda *_: next(answers))
    shared(tmp_path, [0, 0])
    assert len(walks) == 1


@pytest.mark.parametrize("gradient", ["minibatch", "control-variate"])
def test_what_the_curve_has_measured_is_what_a_point_would_measure(
    tmp_path: Path, gradient: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (plain,) = plans_of(tmp_path, [0])
    common = shared_settings([plain], RunStore(tmp_path / "curve", pytest.fail), SAMPLER, Observer())
    monkeypatch.setattr(measure, "noise_matters", choose_sampler.noise_matters)
    settled = replace(common.sampler, gradient=gradient)
    result = replace(plain, sampler=settled)
    bench = LoadedModel(result, "cpu")
    with computing(1):
        afresh = resolve_settings(result, bench)
        monkeypatch.setattr(resolution, "measure_geometry", pytest.fail)
        known = resolve_settings(common.knowing(result), bench)
    # What noise adds is of no use to a point where nothing is left to be chosen by it.
    assert (known.heating > 0, afresh.heating) == (gradient == "minibatch", 0.0)
    assert replace(known, seconds=0.0, heating=0.0) == replace(afresh, seconds=0.0)


def test_without_a_prior_each_point_measures_for_itself(tmp_path: Path) -> None:
    """The rise of the loss is then infinite, which no file of a run can hold."""
    (plain,) = plans_of(tmp_path, [0])
    common = shared_settings([plain], RunStore(tmp_path / "curve", pytest.fail), replace(SAMPLER, gamma=0), Observer())
    assert common.known == {}


def test_a_scan_refuses_minibatches_to_a_sampler_of_whole_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (plain,) = plans_of(tmp_path, [0])
    asked = replace(SAMPLER, sampler="mala", lr=1e-4, start="anchor", gradient="minibatch", batches="independent")
    monkeypatch.setattr(LoadedModel, "load", pytest.fail)
    with pytest.raises(SettingsError, match=r"`sampler=mala` needs the loss of all .* but `batch_size` is 4"):
        shared_settings([replace(plain, sampler=asked)], RunStore(tmp_path / "curve", pytest.fail), asked, Observer())
