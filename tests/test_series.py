"""What a curve has in common is measured at no more of its checkpoints than it takes."""

import json
from pathlib import Path
from typing import Any

import pytest

from hf_llc import DataSettings, ModelSettings, SamplerSettings
from hf_llc.adapters.store import RunStore
from hf_llc.core import measurement, pilot
from hf_llc.core.circumstances import Measured
from hf_llc.observer import Observer
from hf_llc.planning import plan
from hf_llc.series import shared_settings
from tests.tiny import save_tiny_model, sentences

SAMPLER = SamplerSettings(batch_size=4, chains=2, draws=8, burn_in=2, threads=1, gamma=1000, checks=False)


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A cache and a working directory of this test's own, and gradient noise that matters everywhere."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(measurement, "noise_matters", lambda *_: True)


def shared(place: Path, seeds: list[int]) -> SamplerSettings:
    """What a curve over tiny models of these seeds has in common."""
    place.mkdir(exist_ok=True)
    text = place / "text.jsonl"
    text.write_text("".join(json.dumps({"text": line}) + "\n" for line in sentences(60)))
    plans = [
        plan(
            ModelSettings(model=str(save_tiny_model(place / f"model{seed}", seed))),
            DataSettings(dataset=str(text)),
            SAMPLER,
            output_dir=place / f"run{index}",
        )
        for index, seed in enumerate(seeds)
    ]
    return shared_settings(plans, RunStore(place / "curve", pytest.fail), SAMPLER, Observer())


def test_one_walk_stands_for_checkpoints_that_are_no_sharper_and_no_noisier(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    walks: list[Measured] = []
    real = pilot.measure_settled

    def counted(*args: Any, **named: Any) -> Measured:
        walks.append(args[4])
        return real(*args, **named)

    monkeypatch.setattr(measurement, "measure_settled", counted)
    alone = shared(tmp_path / "alone", [0])
    assert len(walks) == 1
    assert shared(tmp_path / "alike", [0, 0, 0]) == alone
    assert len(walks) == 2
    shared(tmp_path / "others", [0, 1, 2, 3])
    others = walks[2:]
    assert 1 < len(others) < 4
    # Each one after the first is sharper or noisier than all before it.
    for index, walk in enumerate(others[1:], 1):
        before = others[:index]
        assert walk.curvature > max(each.curvature for each in before) or walk.noise > max(e.noise for e in before)


def test_a_quiet_checkpoint_spares_nobody_the_walk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last one is measured first; its gradient noise, though as large, does not matter to it."""
    answers = iter([False, True])
    walks: list[Measured] = []

    def counted(*args: Any, **_: Any) -> Measured:
        walks.append(args[4])
        return walks[-1]

    monkeypatch.setattr(measurement, "noise_matters", lambda *_: next(answers))
    monkeypatch.setattr(measurement, "measure_settled", counted)
    shared(tmp_path, [0, 0])
    assert len(walks) == 1
