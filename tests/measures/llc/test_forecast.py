"""What an estimate would cost, of each task: from the config alone, without the data."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from hf_llc import DataSettings, ModelSettings, SamplerSettings
from hf_llc.checkpoints.loading.config import Kind
from hf_llc.checkpoints.loading.load import random_model
from hf_llc.checkpoints.source import ModelSource
from hf_llc.errors import NotFoundError, SettingsError
from hf_llc.measures.llc import forecast_subject, forecast_timing
from hf_llc.measures.llc.forecast import forecast
from hf_llc.tasks import TASKS
from tests.helpers import tiny_images
from tests.helpers.tiny_regression import make_model
from tests.helpers.tiny_text_models import save_bert_classifier, save_masked_bert
from tests.hub_server.environment import use_hub

CHAINS = SamplerSettings(sampler="sgld-lm", chains=2, draws=20, burn_in=5, batch_size=8)
DRAWS = SamplerSettings(sampler="importance")


def images(folder: Path) -> Path:
    return tiny_images.save_model(tiny_images.make_model(), folder, processor=tiny_images.make_processor())


def regression(folder: Path) -> Path:
    make_model((30, 20, 10)).save_pretrained(folder)
    return folder


CASES: Mapping[str, tuple[Callable[[Path], Path], str, int]] = {
    "image-classification": (images, "images", 1),
    "regression": (regression, "items", 1),
    "fill-mask": (save_masked_bert, "tokens", 12),
    "text-classification": (save_bert_classifier, "tokens", 12),
}
"""A model of each task, what it computes on, and how many of these an item has."""
DATA = DataSettings(dataset="nowhere", context_length=12)
"""Which is not looked for."""


def data_for(name: str) -> DataSettings:
    """DATA without a length where items have none."""
    return DATA if CASES[name][1] == "tokens" else replace(DATA, context_length=None)


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An empty working directory and cache, no network, and clocks that are looked at for a moment."""
    use_hub(monkeypatch, "http://127.0.0.1:9", tmp_path / "hf_home")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(forecast_timing, "TIMING", 0.01)


def test_every_task_of_models_on_disk_has_a_forecast() -> None:
    assert {*CASES, "text-generation", "own-module"} == set(TASKS)


@pytest.mark.parametrize("name", CASES)
def test_what_goes_through_the_model_is_counted_in_the_words_of_the_task(name: str) -> None:
    make, items, each = CASES[name]
    model = ModelSettings(model=str(make(Path("model"))))
    chains = forecast(model, data_for(name), CHAINS, device="cpu")
    assert (chains.items, chains.tokens) == (items, 2 * 26 * 8 * each)
    assert chains.operations == 3 * chains.per_token * chains.tokens
    assert chains.seconds > 0
    assert chains.parameters > 100
    draws = forecast(model, data_for(name), DRAWS, device="cpu")
    assert draws.pairs is not None
    assert draws.operations == draws.per_token * draws.tokens
    larger = forecast(model, data_for(name), replace(DRAWS, draws=10 * draws.pairs), device="cpu")
    assert larger.tokens > 10 * draws.tokens


def test_operations_of_an_item_are_counted() -> None:
    """Of a deep linear network a multiplication and an addition for each weight, of an image one for each place."""
    result = forecast(ModelSettings(model=str(regression(Path("r")))), data_for("regression"), CHAINS, device="cpu")
    assert result.per_token == 2 * result.parameters == 2 * 800
    result = forecast(
        ModelSettings(model=str(images(Path("i")))), data_for("image-classification"), CHAINS, device="cpu"
    )
    assert result.per_token > 3 * 2 * result.parameters


def test_a_model_that_is_not_quickly_made_is_counted_and_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = images(Path("model"))
    monkeypatch.setattr(forecast_timing, "QUICKLY_MADE", 0)
    results: list[str] = []

    def model_on(source: ModelSource, device: str, kind: Kind) -> torch.nn.Module:
        results.append(device)
        return random_model(source, device, kind)

    monkeypatch.setattr(forecast_subject, "random_model", model_on)
    result = forecast(ModelSettings(model=str(folder)), data_for("image-classification"), DRAWS, device="cpu")
    assert results == ["meta"]
    assert result.memory_bytes < 100 * 10**6  # no logits
    assert result.seconds > 0


@pytest.mark.parametrize("name", CASES)
def test_batch_norm_is_estimated_anew_by_a_forecast_of_a_model_that_has_some_alone(name: str) -> None:
    make, _, _ = CASES[name]
    model, sampler = ModelSettings(model=str(make(Path("model")))), replace(CHAINS, batch_norm="reestimated")
    if name == "image-classification":
        assert forecast(model, data_for(name), sampler, device="cpu").seconds > 0
    else:
        with pytest.raises(SettingsError, match="has no batch norm with running statistics"):
            forecast(model, data_for(name), sampler, device="cpu")


def test_weights_that_move_are_those_that_are_asked_for() -> None:
    model = ModelSettings(model=str(regression(Path("model"))))
    whole, part = (
        forecast(model, data_for("regression"), replace(CHAINS, params=params), device="cpu")
        for params in ((), ("*.0.*",))
    )
    assert (whole.moving, part.moving, part.parameters) == (800, 600, 800)
    assert part.memory_bytes < whole.memory_bytes
    bert = ModelSettings(model=str(save_masked_bert(Path("bert"))))
    part = forecast(bert, data_for("fill-mask"), replace(CHAINS, component="l0.mlp"), device="cpu")
    hidden, inner = 32, 64
    assert part.moving == 2 * hidden * inner + hidden + inner
    with pytest.raises(NotFoundError, match="matches no parameter"):
        forecast(model, data_for("regression"), replace(CHAINS, params=("none",)), device="cpu")


def test_settings_that_the_task_has_no_use_for_are_refused() -> None:
    model = ModelSettings(model=str(regression(Path("model"))))
    settings: dict[str, dict[str, Any]] = {
        name: {name: value} for name, value in {"context_length": 12, "bos": "never", "loss_on": "all"}.items()
    }
    for name, asked in settings.items():
        with pytest.raises(SettingsError, match=f"{name} is for .*, and model is for regression; leave it out"):
            forecast(model, DataSettings(dataset="nowhere", **asked), CHAINS, device="cpu")


def test_random_numbers_go_on_as_they_would_have() -> None:
    model = ModelSettings(model=str(regression(Path("model"))))
    state = torch.get_rng_state()
    forecast(model, data_for("regression"), CHAINS, device="cpu")
    assert torch.equal(state, torch.get_rng_state())
