"""Estimates and scans of adapters: only their own weights move, and every number knows its base."""

import json
import shutil
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

from hf_llc import Estimate, HfLlcError, ModelSettings, calibrate, compare_paired, estimate, scan
from hf_llc.errors import SettingsError, UnusableError
from tests.helpers.tiny_adapters import D, edit_adapter, lora, make_adapter, save_adapter
from tests.helpers.tiny_model import WEIGHTS, make_model, make_tokenizer, save_tiny_model
from tests.helpers.tiny_text_models import labelled, save_bert_classifier, write_rows
from tests.hub_server.environment import use_hub

IDS = torch.arange(320).reshape(20, 16) * 7 % 300
CHAINS: dict[str, Any] = {
    "sampler": "sgld-lm", "gamma": 1000.0, "lr": 1e-4, "chains": 2, "draws": 8, "burn_in": 2, "checks": False,
    "batch_size": 4, "gradient": "minibatch", "batches": "independent",
}  # fmt: skip
DRAWS: dict[str, Any] = {"sampler": "importance", "gamma": 1000.0, "chains": 2, "draws": 8, "batch_size": 4}


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A working directory with a base and an adapter, and no network."""
    use_hub(monkeypatch, "http://127.0.0.1:9", tmp_path / "hf_home")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.chdir(tmp_path)
    save_tiny_model(Path("base"))
    save_adapter(Path("adapter"), "base")


@pytest.mark.parametrize("settings", [CHAINS, DRAWS])
def test_the_weights_of_the_adapter_alone_move_and_both_are_named(settings: dict[str, Any]) -> None:
    results, whole = estimate("adapter", IDS, **settings), estimate("base", IDS, **settings)
    assert (results.diagnostics.dimension, whole.diagnostics.dimension) == (D, WEIGHTS)
    assert results.llc != whole.llc
    assert (results.model, results.base_model, results.base_sha) == ("adapter", "base", whole.sha)
    assert (whole.base_model, whole.base_sha) == (None, None)
    assert "peft" in results.versions
    assert "peft" not in whole.versions
    assert Estimate.from_dict(results.to_dict()) == results


def test_a_component_of_an_adapter_is_what_belongs_to_it_of_base_and_adapter() -> None:
    """As with `params`, weights of the base move where they are asked for."""
    layer = estimate("adapter", IDS, **DRAWS, component="l0")
    named = estimate("adapter", IDS, **DRAWS, params=["*.layers.0.*"])
    assert (layer.llc, layer.diagnostics.dimension) == (named.llc, named.diagnostics.dimension)
    with pytest.raises(
        SettingsError, match="component l0h1: the attention of layer 0 of GPTNeoXForCausalLM has no known layout"
    ):
        estimate("adapter", IDS, **DRAWS, component="l0h1")


def test_a_calibration_names_the_base() -> None:
    result = calibrate("adapter", IDS, gamma=1000.0, n_beta=5.0, pilot_draws=10, batch_size=4, threads=1)
    whole = estimate("base", IDS, **CHAINS)
    assert (result.model, result.base_model, result.base_sha) == ("adapter", "base", whole.sha)
    assert result.dimension == D


def test_the_loss_is_that_of_the_merged_model(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        make_adapter().merge_and_unload().save_pretrained("merged")
    results, whole = (estimate(name, IDS, **CHAINS) for name in ("adapter", "merged"))
    assert results.init_loss == pytest.approx(whole.init_loss, abs=1e-5)
    assert results.init_loss != pytest.approx(estimate("base", IDS, **CHAINS).init_loss, abs=1e-3)


def test_an_adapter_that_has_learned_nothing_moves_all_the_same() -> None:
    """At B = 0 the loss is that of the base, and B moves."""
    save_adapter(Path("new"), "base", std=0.0)
    result = estimate("new", IDS, **CHAINS)
    assert result.init_loss == estimate("base", IDS, **CHAINS).init_loss
    assert result.diagnostics.dimension == D
    assert result.diagnostics.distance is not None
    assert result.diagnostics.distance > 0


def save_without_b(folder: str, part: str) -> None:
    """An adapter whose B is zero in the layers with this part in their name."""
    wrapped = make_adapter()
    with torch.no_grad():
        for name, parameter in wrapped.named_parameters():
            if "lora_B" in name and part in name:
                parameter.zero_()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wrapped.save_pretrained(folder)
    edit_adapter(Path(folder), base_model_name_or_path="base")


@pytest.mark.parametrize("settings", [CHAINS, DRAWS])
def test_an_adapter_that_has_learned_nothing_has_no_number_under_a_relative_prior(settings: dict[str, Any]) -> None:
    """At B = 0, which has no size and stays, nothing else that moves changes the loss: λ̂ would be 0 ± 0."""
    save_without_b("new", ".")
    with pytest.raises(UnusableError, match=r"leaves nothing of new to move .* stay at w\*, .*lora_B"):
        estimate("new", IDS, prior="relative", **{**settings, "gamma": 10.0})
    assert estimate("adapter", IDS, prior="relative", **{**settings, "gamma": 10.0}).diagnostics.dimension == D


def test_zeros_beside_weights_that_matter_are_no_reason_to_refuse() -> None:
    save_without_b("half", "dense_4h_to_h.")
    result = estimate("half", IDS, prior="relative", **{**DRAWS, "gamma": 10.0})
    assert result.llc != 0
    assert result.diagnostics.dimension < D
    assert "without a size, they stay at w*" in result.choices["prior"]


@pytest.mark.parametrize(
    ("params", "dimension"),
    [
        (("*",), WEIGHTS + D),
        (("*.lora_B.*",), 3 * (96 + 32)),
        (("lm_head*",), 300 * 32),
        (("*lora_*", "re:norm"), D + 192),
    ],
)
def test_other_weights_move_if_they_are_asked_for(params: tuple[str, ...], dimension: int) -> None:
    result = estimate("adapter", IDS, params=params, **CHAINS)
    assert result.diagnostics.dimension == dimension


def test_the_base_is_part_of_the_run() -> None:
    first = estimate("adapter", IDS, **CHAINS)
    save_tiny_model(Path("base"), 1)
    moved = estimate("adapter", IDS, **CHAINS)
    assert (moved.sha, moved.base_sha == first.base_sha) == (first.sha, False)
    assert moved.run_dir != first.run_dir
    assert moved.init_loss != first.init_loss
    save_tiny_model(Path("base"), 0)
    again = estimate("adapter", IDS, **CHAINS)
    assert (again.run_dir, again.llc, again.base_sha) == (first.run_dir, first.llc, first.base_sha)


def test_another_scale_of_the_same_weights_is_another_adapter() -> None:
    first = estimate("adapter", IDS, **CHAINS)
    edit_adapter(Path("adapter"), lora_alpha=60)
    again = estimate("adapter", IDS, **CHAINS)
    assert again.sha != first.sha
    assert again.init_loss != first.init_loss


def test_the_base_may_be_named(tmp_path: Path) -> None:
    shutil.move("base", "elsewhere")
    with pytest.raises(
        HfLlcError, match=r"an adapter for base \(of its adapter_config.json\): .* If it is elsewhere, name it with"
    ):
        estimate("adapter", IDS, **CHAINS)
    result = estimate(ModelSettings(model="adapter", base_model="elsewhere"), IDS, **CHAINS)
    assert result.base_model == "elsewhere"
    with pytest.raises(SettingsError, match="elsewhere is a whole model, not an adapter, and has no base; leave out"):
        estimate(ModelSettings(model="elsewhere", base_model="adapter"), IDS, **CHAINS)


def test_an_adapter_of_an_adapter_is_refused() -> None:
    edit_adapter(Path("adapter"), base_model_name_or_path="other")
    save_adapter(Path("other"), "base")
    with pytest.raises(UnusableError, match="adapter is an adapter for other, which is itself an adapter; merge"):
        estimate("adapter", IDS, **CHAINS)


def test_an_adapter_that_names_no_base_is_refused() -> None:
    edit_adapter(Path("adapter"), base_model_name_or_path=None)
    with pytest.raises(UnusableError, match=r"does not say which model it is put on .*; name it with `base_model`"):
        estimate("adapter", IDS, **CHAINS)


def test_text_is_read_by_the_tokenizer_of_the_adapter_else_of_the_base() -> None:
    result = estimate("adapter", ["the river runs below the old stone bridge"] * 40, context_length=8, **CHAINS)
    make_tokenizer().save_pretrained("adapter")
    for path in Path("base").glob("tokenizer*"):
        path.unlink()
    again = estimate("adapter", ["the river runs below the old stone bridge"] * 40, context_length=8, **CHAINS)
    assert again.dataset.fingerprint == result.dataset.fingerprint


def test_without_peft_it_is_named_before_anything_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hf_llc.checkpoints.adapter.find_spec", lambda name: None)
    with pytest.raises(SettingsError, match=r"peft, which loads it, is not installed: pip install 'hf-llc\[peft\]'"):
        estimate("adapter", IDS, **CHAINS)


@pytest.mark.parametrize("task", ["SEQ_CLS", "SEQ_2_SEQ_LM", "FEATURE_EXTRACTION"])
def test_an_adapter_for_another_task_than_its_base_is_refused(task: str) -> None:
    edit_adapter(Path("adapter"), task_type=task)
    with pytest.raises(UnusableError, match=rf"adapter was trained for {task} .*base base is a model for text-generat"):
        estimate("adapter", IDS, **CHAINS)


def test_an_adapter_of_a_classifier_is_a_classifier() -> None:
    from transformers import BertForSequenceClassification

    save_bert_classifier(Path("bert"))
    config = lora(task_type="SEQ_CLS", target_modules=["query"], modules_to_save=["classifier"])
    save_adapter(Path("lora"), "bert", config, model=BertForSequenceClassification.from_pretrained("bert"))
    rows = write_rows(Path("rows.jsonl"), labelled(40))
    result = estimate("lora", rows, **CHAINS)
    assert result.dataset.task == "text-classification"
    assert result.diagnostics.dimension == 3 * (32 + 32) + 2 * 32 + 2


def series(steps: dict[int, int]) -> Path:
    """A Trainer's folder: adapters by step, of these seeds."""
    for step, seed in steps.items():
        save_adapter(Path(f"run/checkpoint-{step}"), "base", seed=seed)
        Path(f"run/checkpoint-{step}/trainer_state.json").write_text("{}")
    return Path("run")


def test_a_scan_over_the_adapters_of_a_trainer(tmp_path: Path) -> None:
    curve = scan(series({500: 1, 1000: 2, 1500: 2}), IDS, num_processes=1, **CHAINS)
    assert curve is not None
    copies = [(point.step, point.duplicate_of) for point in curve]
    assert copies == [
        (500, None),
        (1000, None),
        (1500, "checkpoint-1000"),
    ]
    alone = estimate("run/checkpoint-500", IDS, **CHAINS)
    first = curve.points[0].estimate
    assert first is not None
    assert (first.llc, first.base_sha) == (alone.llc, alone.base_sha)
    edit_adapter(Path("run/checkpoint-1500"), lora_alpha=60)
    again = scan("run", IDS, num_processes=1, **CHAINS)
    assert again is not None
    assert [point.duplicate_of for point in again] == [None, None, None]
    assert again.points[0].llc == curve.points[0].llc


def test_a_scan_whose_base_has_changed_is_another_scan() -> None:
    first = scan(series({500: 1, 1000: 2}), IDS, num_processes=1, **CHAINS)
    save_tiny_model(Path("base"), 1)
    second = scan("run", IDS, num_processes=1, **CHAINS)
    assert first is not None
    assert second is not None
    assert first.run_dir != second.run_dir
    assert first.points[0].llc != second.points[0].llc
    with pytest.raises(HfLlcError, match=r"holds a run with other inputs \(base"):
        scan("run", IDS, num_processes=1, output_dir=Path(first.run_dir), **CHAINS)


def test_a_scan_does_not_mix_adapters_and_whole_models() -> None:
    series({500: 1, 1000: 2})
    save_tiny_model(Path("run/checkpoint-1500"), 3)
    with pytest.raises(
        SettingsError, match=r"are adapters \(checkpoint-500, checkpoint-1000\) and whole models \(checkpoint-1500\)"
    ):
        scan("run", IDS, num_processes=1, **CHAINS)
    curve = scan("run", IDS, revisions="checkpoint-500,checkpoint-1000", num_processes=1, **CHAINS)
    assert curve is not None
    assert all(point.llc is not None for point in curve)


def test_one_checkpoint_without_its_weights_is_a_point_with_a_reason() -> None:
    series({500: 1, 1000: 2})
    path = Path("run/checkpoint-500/adapter_model.safetensors")
    path.rename(path.with_suffix(".bin"))
    curve = scan("run", IDS, num_processes=1, **CHAINS)
    assert curve is not None
    assert "is an adapter in adapter_model.bin, a pickle" in (curve.points[0].error or "")
    assert curve.points[1].llc is not None


def test_identical_adapters_differ_by_nothing_and_on_other_bases_by_something() -> None:
    first = estimate("adapter", IDS, output_dir=Path("one"), **DRAWS)
    same = estimate("adapter", IDS, output_dir=Path("two"), **DRAWS)
    (difference,) = compare_paired(first, same)
    assert (difference.difference, difference.stderr) == (0.0, 0.0)
    save_tiny_model(Path("base"), 1)
    other = estimate("adapter", IDS, output_dir=Path("three"), **DRAWS)
    (difference,) = compare_paired(first, other)
    assert difference.difference != 0.0
    assert difference.pairs > 0


def test_an_adapter_in_memory_gives_the_number_of_its_files() -> None:
    model = make_adapter()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    results, of_files = estimate(model, IDS, **CHAINS), estimate("adapter", IDS, **CHAINS)
    assert results.llc == of_files.llc
    assert results.diagnostics.dimension == D
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert estimate(model, IDS, **CHAINS).run_dir == results.run_dir
    with torch.no_grad():
        model.get_base_model().lm_head.weight.add_(0.01)
    other = estimate(model, IDS, **CHAINS)
    assert other.base_sha != results.base_sha
    assert other.llc != results.llc


def test_the_active_adapter_of_several_in_memory_is_meant() -> None:
    model = make_adapter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.add_adapter("second", lora(r=2))
    assert estimate(model, IDS, **CHAINS).llc == estimate("adapter", IDS, **CHAINS).llc
    model.set_adapter("second")
    result = estimate(model, IDS, **CHAINS)
    assert result.diagnostics.dimension == 2 * D // 3
    assert result.init_loss == estimate(make_model(), IDS, **CHAINS).init_loss


def test_an_adapter_in_memory_that_is_merged_or_disabled_is_refused() -> None:
    model = make_adapter()
    with model.disable_adapter(), pytest.raises(SettingsError, match="has its adapter disabled"):
        estimate(model, IDS, **CHAINS)
    model.merge_adapter()
    with pytest.raises(SettingsError, match=r"has its adapter merged into its base; call unmerge_adapter\(\) first"):
        estimate(model, IDS, **CHAINS)


def test_a_trained_copy_of_a_layer_in_memory_keeps_its_base() -> None:
    model = make_adapter(lora(modules_to_save=["lm_head"]))
    result = estimate(model, IDS, **CHAINS)
    assert result.diagnostics.dimension == D + 300 * 32
    assert result.base_sha == estimate(make_model(), IDS, **CHAINS).sha


def test_adapters_by_step_in_memory_are_a_curve() -> None:
    curve = scan({500: make_adapter(seed=1), 1000: make_adapter(seed=2)}, IDS, num_processes=1, **CHAINS)
    assert curve is not None
    of_files = scan(series({500: 1, 1000: 2}), IDS, num_processes=1, **CHAINS)
    assert of_files is not None
    assert [point.llc for point in curve] == [point.llc for point in of_files]


def test_a_model_of_several_devices_is_refused() -> None:
    with pytest.raises(SettingsError, match="adapter is an adapter, which cannot be spread over devices; leave out"):
        estimate("adapter", IDS, devices_per_chain=2, **DRAWS)


@pytest.mark.processes
def test_two_processes_have_the_draws_of_one() -> None:
    alone = estimate("adapter", IDS, **CHAINS)
    shutil.rmtree(alone.run_dir)
    together = estimate("adapter", IDS, num_processes=2, **CHAINS)
    assert (together.llc, together.base_sha) == (alone.llc, alone.base_sha)


def test_the_key_of_a_whole_model_is_as_it_was() -> None:
    """No run of today begins anew."""
    result = estimate("base", IDS, **CHAINS)
    inputs = json.loads((Path(result.run_dir) / "inputs.json").read_bytes())["payload"]
    assert "base" not in inputs
