"""Adapters on their bases: the function that peft computes, its gradient, and what is refused with which sentence."""

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from peft import AutoPeftModelForCausalLM, IA3Config, LoHaConfig, LoKrConfig, PeftConfig, TrainableTokensConfig
from safetensors.torch import load_file, save_file
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, MixtralConfig, MixtralForCausalLM

from hf_llc.checkpoints.adapter import read_adapter_config
from hf_llc.checkpoints.loading.adapter import MOVING
from hf_llc.checkpoints.loading.load import facts, load_model, parameter_count
from hf_llc.checkpoints.resolve import find_model
from hf_llc.checkpoints.source import ModelSource
from hf_llc.errors import UnusableError
from hf_llc.settings.model import ModelSettings
from tests.helpers.tiny_adapters import TARGETS, D, edit_adapter, lora, save_adapter
from tests.helpers.tiny_model import WEIGHTS, make_model
from tests.hub_server.environment import use_hub

IDS = torch.arange(32).reshape(2, 16) * 7 % 50


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No network, and an empty working directory."""
    use_hub(monkeypatch, "http://127.0.0.1:9", tmp_path / "hf_home")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.chdir(tmp_path)


def make_llama(*, tied: bool, vocabulary: int = 60) -> LlamaForCausalLM:
    """Two layers, whose embeddings are tied or not."""
    config = LlamaConfig(
        vocab_size=vocabulary, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=64, tie_word_embeddings=tied, bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(3)
        model = LlamaForCausalLM(config)
    model.train(False)
    return model


def make_gpt2() -> GPT2LMHeadModel:
    """A model whose layers are transposed, with tied embeddings."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(4)
        model = GPT2LMHeadModel(GPT2Config(vocab_size=60, n_embd=16, n_layer=1, n_head=2, n_positions=64))
    model.train(False)
    return model


def make_mixtral() -> MixtralForCausalLM:
    """A mixture of four experts, whose weights are no layers of their own."""
    config = MixtralConfig(
        vocab_size=60, hidden_size=16, intermediate_size=24, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=2, num_local_experts=4, num_experts_per_tok=2, bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(5)
        model = MixtralForCausalLM(config)
    model.train(False)
    return model


EXPERTS = ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]
Made = Callable[[], Any]


def put(tmp_path: Path, config: PeftConfig | None = None, make: Made = make_model, **options: Any) -> ModelSource:
    """The source of an adapter on a model, both saved."""
    base = make()
    base.save_pretrained(tmp_path / "base")
    return find(save_adapter(tmp_path / "adapter", tmp_path / "base", config, model=base, **options))


def find(folder: Path) -> ModelSource:
    return find_model(ModelSettings(model=str(folder)))


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        result: torch.Tensor = model(input_ids=IDS).logits
    return result


def by_peft(folder: Path) -> Any:
    """The adapter as peft itself loads it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return AutoPeftModelForCausalLM.from_pretrained(folder, is_trainable=True).eval()


def merged(wrapped: Any) -> Any:
    """The whole model that peft makes of the two."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return wrapped.merge_and_unload()


def tied() -> LlamaForCausalLM:
    return make_llama(tied=True)


def untied() -> LlamaForCausalLM:
    return make_llama(tied=False)


KINDS: dict[str, tuple[Made, Made]] = {
    "lora": (lora, make_model),
    "all-linear": (lambda: lora(target_modules="all-linear"), make_model),
    "patterns": (lambda: lora(rank_pattern={"dense_4h_to_h": 2}, alpha_pattern={"query_key_value": 9}), make_model),
    "rslora": (lambda: lora(use_rslora=True), make_model),
    "biases": (lambda: lora(bias="all"), make_model),
    "lora-bias": (lambda: lora(lora_bias=True), make_model),
    "modules-to-save": (lambda: lora(modules_to_save=["embed_in"]), make_model),
    "head-to-save": (lambda: lora(modules_to_save=["lm_head"]), make_model),
    "head": (lambda: lora(target_modules=["lm_head", "query_key_value"]), make_model),
    "embedding": (lambda: lora(target_modules=["embed_in", "query_key_value"]), make_model),
    "one-layer": (lambda: lora(target_modules=["q_proj", "v_proj"], layers_to_transform=[1]), untied),
    "no-task": (lambda: lora(task_type=None), make_model),
    "dora": (lambda: lora(use_dora=True), make_model),
    "dora-gpt2": (lambda: lora(use_dora=True, target_modules=["c_attn", "c_proj"], fan_in_fan_out=True), make_gpt2),
    "gpt2": (lambda: lora(target_modules=["c_attn"], fan_in_fan_out=True), make_gpt2),
    "mica": (lambda: lora(init_lora_weights="mica"), make_model),
    "tokens": (lambda: lora(trainable_token_indices=[1, 5, 7]), make_model),
    "only-tokens": (lambda: TrainableTokensConfig(token_indices=[2, 7], target_modules=["embed_in"]), make_model),
    "tied": (lambda: lora(target_modules=["q_proj", "v_proj"]), tied),
    "tied-tokens": (lambda: lora(target_modules=["q_proj"], trainable_token_indices=[0, 7]), tied),
    "tied-head-to-save": (lambda: lora(target_modules=["q_proj"], modules_to_save=["lm_head"]), tied),
    "tied-both-to-save": (
        lambda: lora(target_modules=["q_proj"], modules_to_save=["embed_tokens"], ensure_weight_tying=True),
        tied,
    ),
    "experts": (lambda: lora(target_modules=["gate"], target_parameters=EXPERTS, lora_dropout=0.0), make_mixtral),
    "loha": (lambda: LoHaConfig(r=2, target_modules=list(TARGETS), module_dropout=0.5), make_model),
    "lokr": (lambda: LoKrConfig(r=2, target_modules=list(TARGETS), module_dropout=0.5), make_model),
    "ia3": (
        lambda: IA3Config(target_modules=list(TARGETS), feedforward_modules=["dense_4h_to_h"]),
        make_model,
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_the_function_is_that_of_peft_merged_or_not_and_the_adapter_moves(tmp_path: Path, kind: str) -> None:
    config, make = KINDS[kind]
    results, theirs = load_model(put(tmp_path, config(), make), "cpu"), by_peft(tmp_path / "adapter")
    expected = logits(theirs)
    assert (logits(load_model(find(tmp_path / "base"), "cpu")) - expected).abs().max() > 1e-3
    torch.testing.assert_close(logits(results), expected, atol=1e-6, rtol=1e-5)
    trained = {name for name, each in theirs.get_base_model().named_parameters() if each.requires_grad}
    assert set(getattr(results, MOVING)) == trained
    assert all(each.dtype == torch.float32 for each in results.parameters())
    assert not any(module.training for module in results.modules())
    torch.testing.assert_close(logits(results), logits(merged(theirs)), atol=1e-5, rtol=1e-4)


def test_a_tied_embedding_with_a_lora_is_changed_where_tokens_are_read_as_in_training(tmp_path: Path) -> None:
    """Merging would change the layer of the output too."""
    result = load_model(put(tmp_path, lora(target_modules=["embed_tokens"]), tied), "cpu")
    theirs = by_peft(tmp_path / "adapter")
    torch.testing.assert_close(logits(result), logits(theirs), atol=1e-6, rtol=1e-5)
    assert (logits(result) - logits(merged(theirs))).abs().max() > 1e-2


@pytest.mark.parametrize("kind", ["lora", "dora", "dora-gpt2", "loha", "lokr", "ia3", "tokens", "head-to-save"])
def test_the_gradient_is_the_slope_of_the_loss(tmp_path: Path, kind: str) -> None:
    """peft itself takes the norm in DoRA for a constant."""
    config, make = KINDS[kind]
    result = load_model(put(tmp_path, config(), make), "cpu", dtype=torch.float64)
    named = dict(result.named_parameters())
    moving = [named[name] for name in getattr(result, MOVING)]

    def loss() -> torch.Tensor:
        return torch.nn.functional.cross_entropy(
            result(input_ids=IDS).logits[:, :-1].flatten(0, 1), IDS[:, 1:].flatten()
        )

    gradient = torch.autograd.grad(loss(), moving)
    stream = torch.Generator().manual_seed(1)
    directions = [torch.randn(each.shape, generator=stream, dtype=torch.float64) for each in moving]
    slope = sum(float((g * v).sum()) for g, v in zip(gradient, directions, strict=True))
    step, ends = 1e-5, []
    for sign in (1, -1):
        with torch.no_grad():
            for each, direction in zip(moving, directions, strict=True):
                each.add_(direction, alpha=sign * step)
            ends.append(float(loss()))
            for each, direction in zip(moving, directions, strict=True):
                each.add_(direction, alpha=-sign * step)
    assert slope == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=1e-6)


def test_every_weight_of_both_may_move_but_for_a_layer_whose_copy_was_trained(tmp_path: Path) -> None:
    result = load_model(put(tmp_path, lora(modules_to_save=["lm_head"])), "cpu")
    still = {name for name, each in result.named_parameters() if not each.requires_grad}
    assert still == {"lm_head.original_module.weight"}


def test_an_adapter_in_bfloat16_is_read_in_float32(tmp_path: Path) -> None:
    source = put(tmp_path)
    path = tmp_path / "adapter" / "adapter_model.safetensors"
    save_file({name: tensor.to(torch.bfloat16) for name, tensor in load_file(path).items()}, path)
    results, exact = load_model(source, "cpu"), load_file(path)
    name = "gpt_neox.layers.0.mlp.dense_4h_to_h.lora_B"
    weight = dict(results.named_parameters())[f"{name}.default.weight"]
    assert weight.dtype == torch.float32
    assert torch.equal(weight, exact[f"base_model.model.{name}.weight"].float())


def test_an_adapter_whose_b_is_zero_is_its_base(tmp_path: Path) -> None:
    source = put(tmp_path)
    path = tmp_path / "adapter" / "adapter_model.safetensors"
    save_file({n: torch.zeros_like(t) if ".lora_B." in n else t for n, t in load_file(path).items()}, path)
    assert torch.equal(logits(load_model(source, "cpu")), logits(make_model()))


def test_an_adapter_with_more_tokens_than_its_base_has_its_own_vocabulary(tmp_path: Path) -> None:
    untied().save_pretrained(tmp_path / "base")
    longer = make_llama(tied=False)
    with torch.random.fork_rng(devices=[]):
        longer.resize_token_embeddings(64, mean_resizing=False)
    config = lora(target_modules=["q_proj"], modules_to_save=["embed_tokens", "lm_head"])
    source = find(save_adapter(tmp_path / "adapter", tmp_path / "base", config, model=longer))
    result = load_model(source, "cpu")
    torch.testing.assert_close(logits(result), logits(longer), atol=1e-6, rtol=1e-5)
    assert logits(result).shape[-1] == 64
    assert facts(source).vocabulary_size is None


@pytest.mark.parametrize("make", [tied, untied])
def test_embeddings_that_peft_saved_beside_the_adapter_are_read(tmp_path: Path, make: Made) -> None:
    """As it does where tokens were added and the new rows were not trained, or trained with the whole embedding."""
    make().save_pretrained(tmp_path / "base")
    longer = make()
    with torch.random.fork_rng(devices=[]):
        longer.resize_token_embeddings(64, mean_resizing=False)
    source = find(
        save_adapter(tmp_path / "adapter", tmp_path / "base", lora(target_modules=["q_proj"]), model=longer, embed=True)
    )
    torch.testing.assert_close(logits(load_model(source, "cpu")), logits(longer), atol=1e-6, rtol=1e-5)
    if make is untied:
        edit_weights(tmp_path, lambda w: w.pop("base_model.model.lm_head.weight"))
        with pytest.raises(UnusableError, match=r"adapter_model\.safetensors lacks lm_head\.weight"):
            load_model(source, "cpu")


def test_weights_are_counted_from_the_configs_alone(tmp_path: Path) -> None:
    source = put(tmp_path)
    for folder in ("base/model", "adapter/adapter_model"):
        (tmp_path / f"{folder}.safetensors").unlink()
    assert (parameter_count(source), parameter_count(source, of_adapter=True)) == (WEIGHTS + D, D)


@pytest.mark.parametrize("kind", ["dora", "tokens", "head-to-save", "mica", "loha", "lokr", "ia3"])
def test_every_kind_is_counted(tmp_path: Path, kind: str) -> None:
    source = put(tmp_path, KINDS[kind][0](), KINDS[kind][1])
    result = load_model(source, "cpu")
    named = dict(result.named_parameters())
    assert parameter_count(source, of_adapter=True) == sum(named[name].numel() for name in getattr(result, MOVING))


def edit_weights(tmp_path: Path, change: Callable[[dict[str, torch.Tensor]], Any]) -> None:
    path = tmp_path / "adapter" / "adapter_model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)


A = "base_model.model.gpt_neox.layers.0.mlp.dense_4h_to_h.lora_A.weight"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.pop(A), r"adapter_model.safetensors lacks gpt_neox\.layers\.0\.mlp\.dense_4h_to_h\.lora_A"),
        (lambda w: w.update({A.replace("0", "7", 1): w[A].clone()}), "has no place for: gpt_neox.layers.7.mlp"),
        (lambda w: w.update({A: torch.zeros(3, 5)}), "cannot be put on .*size mismatch"),
        (lambda w: w.update({A: torch.zeros(0, 128)}), "is empty, as DeepSpeed ZeRO-3"),
        (lambda w: w.update({A: torch.zeros(3, 128, dtype=torch.int8)}), "stored as I8, which is no weight"),
        (lambda w: w.update({A: torch.full((3, 128), torch.nan)}), "gives logits that are not finite"),
        (lambda w: w.clear(), "holds no weights"),
    ],
)
def test_weights_that_do_not_fit_are_refused(tmp_path: Path, change: Any, message: str) -> None:
    source = put(tmp_path)
    edit_weights(tmp_path, change)
    with pytest.raises(UnusableError, match=message):
        load_model(source, "cpu")


def test_a_trained_copy_that_is_not_in_the_file_is_missed(tmp_path: Path) -> None:
    source = put(tmp_path, lora(modules_to_save=["lm_head"]))
    edit_weights(tmp_path, lambda w: w.pop("base_model.model.lm_head.weight"))
    with pytest.raises(UnusableError, match=r"adapter_model\.safetensors lacks lm_head\.weight"):
        load_model(source, "cpu")


def test_a_trained_bias_that_is_not_in_the_file_is_missed(tmp_path: Path) -> None:
    source = put(tmp_path, lora(bias="all"))
    name = "base_model.model.gpt_neox.layers.0.attention.dense.bias"
    edit_weights(tmp_path, lambda w: w.pop(name))
    with pytest.raises(UnusableError, match=r"lacks gpt_neox\.layers\.0\.attention\.dense\.bias"):
        load_model(source, "cpu")


def test_a_file_cut_short_is_damaged(tmp_path: Path) -> None:
    source = put(tmp_path)
    path = tmp_path / "adapter" / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(UnusableError, match="is damaged"):
        load_model(source, "cpu")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"target_modules": ["nowhere"]}, "cannot be put on .*Target modules .* not found in the base model"),
        ({"r": 5}, "cannot be put on .*size mismatch"),
        ({"r": 10**9}, "says r = 1000000000, and no weight in adapter_model.safetensors is wider than 128; they do"),
        ({"rank_pattern": {"dense": 10**9}}, "says dense = 1000000000, and no weight"),
        ({"r": 0}, "cannot be put on .*positive integer"),
        ({"r": "4"}, "cannot be put on"),
        ({"trainable_token_indices": [10**6]}, "cannot be put on|lacks"),
        ({"peft_type": "PREFIX_TUNING"}, r"is a prompt that was trained \(PREFIX_TUNING\), not a change of weights"),
        ({"peft_type": "VERA"}, "adapter of the kind 'VERA' .*LoRA, LoHa, LoKr, .* are; merge it into its base"),
        ({"peft_type": None}, "of the kind None"),
        ({"peft_type": ["LORA"]}, r"of the kind \['LORA'\]|of the kind a list"),
        ({"layer_replication": [[0, 1], [0, 1]]}, r"repeats layers of its base \(layer_replication\)"),
        ({"alora_invocation_tokens": [1]}, "after a certain phrase only"),
        ({"init_lora_weights": "pissa_niter_4"}, "changes the weights of its base when it is loaded .*pissa_niter_4"),
        ({"of_the_future": 3}, "has of_the_future in its adapter_config.json, which peft .* does not know"),
        ({"auto_mapping": {"base_model_class": "LlamaForCausalLM"}}, "was trained on a LlamaForCausalLM, but .* is a"),
        ({"target_modules": [3]}, "cannot be put on"),
    ],
)
def test_a_config_that_does_not_fit_is_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    put(tmp_path)
    edit_adapter(tmp_path / "adapter", **changes)
    with pytest.raises(UnusableError, match=message):
        load_model(find(tmp_path / "adapter"), "cpu")


def test_settings_of_the_future_that_say_nothing_are_no_reason_to_refuse(tmp_path: Path) -> None:
    put(tmp_path)
    edit_adapter(tmp_path / "adapter", of_the_future=None, of_another=False)
    load_model(find(tmp_path / "adapter"), "cpu")


def test_dora_of_an_embedding_is_refused(tmp_path: Path) -> None:
    source = put(tmp_path, lora(use_dora=True, target_modules=["embed_in"]))
    with pytest.raises(UnusableError, match=r"is a DoRA of gpt_neox\.embed_in, which is no linear layer"):
        load_model(source, "cpu")


def test_global_random_numbers_go_on_as_before(tmp_path: Path) -> None:
    source = put(tmp_path)
    before = torch.random.get_rng_state()
    load_model(source, "cpu")
    assert torch.equal(torch.random.get_rng_state(), before)


def test_the_version_that_is_tested_is_one_that_users_get() -> None:
    assert tuple(map(int, peft.__version__.split(".")[:2])) >= (0, 21)


def test_a_config_is_read_without_peft(tmp_path: Path) -> None:
    source = put(tmp_path)
    config = read_adapter_config(source)
    assert (config.kind, config.base, config.task) == ("LORA", str(tmp_path / "base"), "CAUSAL_LM")
    assert config.values["r"] == json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())["r"]
