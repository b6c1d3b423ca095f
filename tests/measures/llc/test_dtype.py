"""`dtype="bfloat16"`: what it changes of an estimate and what it leaves alone."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from hf_llc import DataSettings, Estimate, ModelSettings, SamplerSettings, estimate
from hf_llc.errors import SettingsError
from hf_llc.execution import devices
from hf_llc.execution.loaded_model import LoadedModel
from hf_llc.execution.planning import checked_device, plan
from hf_llc.execution.store import RunStore
from hf_llc.measures.llc.calibration.explain import settings_of
from hf_llc.measures.llc.resolution import rounding_sentence
from tests.execution.test_plan import example
from tests.helpers.estimates import estimate as made_up
from tests.helpers.tiny_model import jsonl, save_tiny_model

SMALL = SamplerSettings(
    batch_size=4, chains=2, draws=8, burn_in=2, threads=1, checks=False, start="anchor", gradient="minibatch",
    batches="independent",
)  # fmt: skip


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Estimate]:
    """An estimate of the tiny model by dtype."""
    place = tmp_path_factory.mktemp("dtype")
    model, text = save_tiny_model(place / "model"), place / "text.jsonl"
    text.write_text(jsonl(120))
    data = DataSettings(dataset=str(text), max_sequences=32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("huggingface_hub.constants.HF_HOME", str(place / "home"))
        patch.chdir(place)
        return {dtype: estimate(str(model), data, replace(SMALL, dtype=dtype)) for dtype in ("float32", "bfloat16")}


def part(result: Estimate, name: str) -> dict[str, Any]:
    """A part as it is on disk."""
    payload = RunStore(Path(result.run_dir), pytest.fail).read(name)
    assert payload is not None
    return payload


def anchors(result: Estimate) -> list[float]:
    """ℓ_i(w*), shape (n,)."""
    names = sorted(path.stem for path in (Path(result.run_dir) / "anchor").iterdir())
    return [loss for name in names for loss in part(result, f"anchor/{name}")["losses"]]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_chain_that_begins_at_the_weights_differs_by_exactly_nothing(result: dict[str, Estimate], dtype: str) -> None:
    for chain in range(2):
        deltas = part(result[dtype], f"chains/{chain:03d}")["deltas"]
        assert deltas[0] == 0.0
        assert deltas[-1] != 0.0


def test_losses_at_the_weights_are_in_the_precision_of_the_chains(result: dict[str, Estimate]) -> None:
    rounded, exact = anchors(result["bfloat16"]), anchors(result["float32"])
    assert all(one != other for one, other in zip(rounded, exact, strict=True))
    assert rounded == pytest.approx(exact, rel=1e-2)


def test_it_is_part_of_the_key_and_of_the_result(result: dict[str, Estimate]) -> None:
    rounded, exact = result["bfloat16"], result["float32"]
    assert rounded.run_dir != exact.run_dir
    assert rounded.to_dict()["settings"]["dtype"] == "bfloat16"
    assert exact.to_dict()["settings"]["dtype"] == "float32"
    assert rounded.llc != exact.llc
    assert re.match(r"dtype = bfloat16: a draw .* by \S+ nats per token, in float32 by \S+:", rounded.choices["dtype"])
    assert "dtype" not in exact.choices


def test_curvature_is_measured_in_float32(result: dict[str, Estimate]) -> None:
    rounded, exact = result["bfloat16"], result["float32"]
    assert rounded.diagnostics.curvature == exact.diagnostics.curvature
    assert rounded.diagnostics.trace_hessian == exact.diagnostics.trace_hessian
    assert (rounded.settings.gamma, rounded.settings.lr) == (exact.settings.gamma, exact.settings.lr)


def test_the_weights_that_move_are_float32(result: dict[str, Estimate], monkeypatch: pytest.MonkeyPatch) -> None:
    model = Path(result["bfloat16"].model)
    monkeypatch.setattr("huggingface_hub.constants.HF_HOME", str(model.parent / "home"))
    data = DataSettings(dataset=str(model.parent / "text.jsonl"), max_sequences=32)
    planned = plan(ModelSettings(model=str(model)), data, replace(SMALL, dtype="bfloat16"))
    assert {weight.dtype for weight in LoadedModel(planned, "cpu").objective.parameters} == {torch.float32}


def test_the_sentence_says_how_wrong_differences_of_the_loss_are_and_when_that_is_too_much() -> None:
    assert "the two agree to 2.0%" in rounding_sentence(0.102, 0.1, "nats per token")
    assert "the two agree to 2.0%" in rounding_sentence(0.098, 0.1, "nats per token")
    assert "use float32" in rounding_sentence(0.002, 0.001, "nats per token")
    assert "use float32" in rounding_sentence(0.001, 0.0, "nats per token")


def test_a_calibration_keeps_it_in_its_file() -> None:
    chosen = made_up().settings
    rounded = replace(example(), dtype="bfloat16")
    assert settings_of(rounded, DataSettings(), chosen)["dtype"] == "bfloat16"
    assert "dtype" not in settings_of(example(), DataSettings(), chosen)


def test_a_gpu_that_would_have_to_imitate_it_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "device_kind", lambda asked: "cuda")
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda including_emulation: including_emulation)
    with pytest.raises(SettingsError, match=r"dtype must be float32 on this GPU, got bfloat16"):
        checked_device(replace(SMALL, dtype="bfloat16"), None)
    assert checked_device(SMALL, None) == "cuda"
