"""Weights in the files that are not those of the model: refused, or known to be harmless."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoModelForCausalLM

from hf_llc.checkpoints.loading.load import load_model, parameter_count
from hf_llc.errors import UnusableError
from tests.checkpoints.loading.test_load import at, edit_config
from tests.helpers.tiny_model import save_tiny_model

SHAPE: dict[str, Any] = {
    "vocab_size": 60, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32,
    "max_position_embeddings": 32, "bos_token_id": 0, "eos_token_id": 0,
}  # fmt: skip
LLAMA = transformers.LlamaConfig(**SHAPE, num_key_value_heads=2)
Change = Callable[[dict[str, Tensor]], Any]


def save(folder: Path, config: Any) -> Path:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return folder


def change(folder: Path, edit: Change) -> Path:
    """The folder, after `edit` has changed its tensors by name."""
    weights = load_file(folder / "model.safetensors")
    edit(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def refused(folder: Path, match: str) -> None:
    with pytest.raises(UnusableError, match=match) as caught:
        load_model(at(folder), "cpu")
    assert "\n" not in str(caught.value)


def logits(folder: Path) -> Tensor:
    model: Any = load_model(at(folder), "cpu")
    with torch.no_grad():
        result: Tensor = model(input_ids=torch.arange(16).view(1, -1)).logits
    return result


@pytest.mark.parametrize(
    ("dtype", "word"),
    [(torch.float8_e4m3fn, "F8_E4M3"), (torch.float8_e5m2, "F8_E5M2"), (torch.int8, "I8"), (torch.int32, "I32")],
)
def test_stored_types_that_need_a_scale_are_refused(tmp_path: Path, dtype: torch.dtype, word: str) -> None:
    name = "model.layers.0.mlp.up_proj.weight"
    folder = change(save(tmp_path / "m", LLAMA), lambda w: w.update({name: w[name].to(dtype)}))
    refused(folder, rf"up_proj\.weight in model\.safetensors is stored as {word}, quantised, while its config\.json")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_floats_are_weights(tmp_path: Path, dtype: torch.dtype) -> None:
    folder = change(save(tmp_path / "m", LLAMA), lambda w: w.update({k: v.to(dtype) for k, v in w.items()}))
    load_model(at(folder), "cpu")


@pytest.mark.parametrize("name", ["mlp.up_proj.weight_scale", "self_attn.q_proj.bias", "self_attn.q_proj.g_idx"])
def test_tensors_that_the_model_does_not_take_are_named(tmp_path: Path, name: str) -> None:
    extra = f"model.layers.1.{name}"
    folder = change(save(tmp_path / "m", LLAMA), lambda w: w.update({extra: torch.ones(16)}))
    refused(folder, rf"does not take: {re.escape(extra)}; without them it is another model\. Make config\.json say")


def test_layers_that_the_config_does_not_count_are_refused(tmp_path: Path) -> None:
    folder = save(tmp_path / "m", LLAMA)
    edit_config(folder, num_hidden_layers=1)
    refused(folder, r"does not take: model\.layers\.1\.\S+, \S+, \S+ and 6 more;")


def test_an_adapter_among_the_weights_is_called_one(tmp_path: Path) -> None:
    extra = {f"model.layers.0.self_attn.q_proj.lora_{x}.weight": torch.ones(2, 2) for x in "AB"}
    refused(change(save(tmp_path / "m", LLAMA), lambda w: w.update(extra)), r"They are of an adapter: merge it")


def test_empty_tensors_are_those_of_a_sharded_training(tmp_path: Path) -> None:
    def empty(weights: dict[str, Tensor]) -> None:
        weights |= {name: torch.empty(0) for name in weights if "layers" in name}

    refused(change(save(tmp_path / "m", LLAMA), empty), r"layers\.\S+ in model\.safetensors is empty, as DeepSpeed")


def test_the_same_in_pickled_weights(tmp_path: Path) -> None:
    folder = save(tmp_path / "m", LLAMA)
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    name = "model.layers.0.mlp.up_proj.weight"
    for change_, message in (
        ({name: weights[name].to(torch.int8)}, r"in pytorch_model\.bin is stored as int8, quantised"),
        ({name: torch.empty(0)}, r"in pytorch_model\.bin is empty"),
        ({"model.layers.9.mlp.up_proj.weight": weights[name]}, r"does not take: model\.layers\.9"),
        ({"epoch": 3}, r"holds epoch beside or around its tensors"),
    ):
        torch.save(weights | change_, folder / "pytorch_model.bin")
        refused(folder, message)


class Secret:
    """Something that no file of weights should hold."""


def test_objects_in_pickled_weights_are_not_recommended(tmp_path: Path) -> None:
    folder = save(tmp_path / "m", LLAMA)
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(weights | {"args": Secret()}, folder / "pytorch_model.bin")
    with pytest.raises(UnusableError, match="holds Python objects beside tensors, which may run code") as caught:
        load_model(at(folder), "cpu")
    assert "weights_only" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_wrong_shape_is_named_with_both(tmp_path: Path) -> None:
    folder = save(tmp_path / "m", LLAMA)
    edit_config(folder, vocab_size=61)
    refused(folder, r"cannot read the weights of m \(\S+ is 60×16 in the file and 61×16 by config\.json\)$")


def test_tied_weights_with_two_values_are_refused(tmp_path: Path) -> None:
    tied = transformers.LlamaConfig(**SHAPE, num_key_value_heads=2, tie_word_embeddings=True)
    folder = save(tmp_path / "m", tied)
    table = "model.embed_tokens.weight"
    before = logits(folder)
    change(folder, lambda w: w.update({"lm_head.weight": w[table].clone()}))
    assert torch.equal(logits(folder), before)
    change(folder, lambda w: w.update({"lm_head.weight": w[table] * 1.5}))
    refused(folder, r"holds lm_head\.weight and model\.embed_tokens\.weight with different values, while its config")
    edit_config(folder, tie_word_embeddings=False)
    assert not torch.equal(logits(folder), before)


QUERY = "model.layers.0.self_attn.q_proj.weight"


@pytest.mark.parametrize(
    ("name", "copy"),
    [
        ("model.embed_tokens.weight", "embed_tokens.weight"),
        (QUERY, QUERY.removeprefix("model.")),
        (QUERY, f"model.{QUERY}"),
        ("model.norm.weight", "norm.weight"),
    ],
)
@pytest.mark.parametrize("kind", ["safetensors", "bin"])
def test_a_weight_that_is_there_twice_must_have_one_value(tmp_path: Path, name: str, copy: str, kind: str) -> None:
    folder = save(tmp_path, LLAMA)
    expected = logits(folder)

    def add(difference: float) -> None:
        change(folder, lambda weights: weights.update({copy: weights[name] + difference}))
        if kind == "bin":
            torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")

    add(0.0)
    path = folder / "model.safetensors"
    for difference in (0.0, 0.5):
        add(difference)
        held = path.rename(folder / "kept") if kind == "bin" else None
        if difference:
            refused(folder, rf"holds {re.escape(name)} twice with different values: (?=.*{name} in)(?=.*{copy} in)")
        else:
            assert torch.equal(logits(folder), expected)
        if held is not None:
            held.rename(path)


@pytest.mark.parametrize("difference", [0.0, 0.5])
def test_a_weight_in_two_shards_must_have_one_value(tmp_path: Path, difference: float) -> None:
    expected = logits(save(tmp_path, LLAMA))
    AutoModelForCausalLM.from_pretrained(tmp_path).save_pretrained(tmp_path / "parts", max_shard_size="10KB")
    folder = tmp_path / "parts"
    shards = sorted(folder.glob("model-*.safetensors"))
    parts = {shard: load_file(shard) for shard in shards}
    one = next(shard for shard in shards if "lm_head.weight" in parts[shard])
    other = next(shard for shard in shards if shard != one)
    copied = parts[other] | {"lm_head.weight": parts[one]["lm_head.weight"] + difference}
    save_file(copied, other, metadata={"format": "pt"})
    if difference:
        refused(folder, rf"holds lm_head\.weight twice with different values: .*{one.name}|{other.name}")
    else:
        assert torch.equal(logits(folder), expected)


def test_the_experts_of_a_layer_are_parts_of_one_weight(tmp_path: Path) -> None:
    folder = save(tmp_path, transformers.MixtralConfig(**SHAPE, num_key_value_heads=2, num_local_experts=4))
    assert any("experts.1." in name for name in load_file(folder / "model.safetensors"))
    load_model(at(folder), "cpu")
    name = next(name for name in load_file(folder / "model.safetensors") if "experts.1." in name)
    change(folder, lambda weights: weights.update({name.removeprefix("model."): weights[name] + 1}))
    refused(folder, "twice with different values")


def mask(size: int = 32) -> Tensor:
    return torch.ones(size, size, dtype=torch.bool).tril().view(1, 1, size, size)


GPT2: dict[str, Any] = {"n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 32}
OLD: list[tuple[Any, dict[str, Tensor]]] = [
    (
        transformers.GPT2Config(vocab_size=60, bos_token_id=0, eos_token_id=0, **GPT2),
        {"transformer.h.0.attn.bias": mask().float(), "transformer.h.0.attn.masked_bias": torch.tensor(-1e4)},
    ),
    (
        transformers.GPTNeoXConfig(**SHAPE),
        {
            "gpt_neox.layers.0.attention.bias": mask(),
            "gpt_neox.layers.0.attention.masked_bias": torch.tensor(-1e9),
            "gpt_neox.layers.0.attention.rotary_emb.inv_freq": torch.ones(1),
        },
    ),
    (
        transformers.GPTNeoConfig(
            vocab_size=60, hidden_size=16, num_layers=1, num_heads=2, attention_types=[[["global"], 1]],
            max_position_embeddings=32, bos_token_id=0, eos_token_id=0,
        ),
        {
            "transformer.h.0.attn.attention.bias": mask().to(torch.uint8),
            "transformer.h.0.attn.attention.masked_bias": torch.tensor(-1e9),
        },
    ),
    (LLAMA, {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(4, dtype=torch.float16)}),
    (LLAMA, {"model.mtp.layers.0.mlp.up_proj.weight": torch.ones(4, 4)}),
]  # fmt: skip


@pytest.mark.parametrize(("config", "extra"), OLD, ids=[f"{each[0].model_type}-{n}" for n, each in enumerate(OLD)])
@pytest.mark.parametrize("kind", ["safetensors", "bin", "bin of the inner model"])
def test_what_old_versions_saved_with_the_weights_does_no_harm(
    tmp_path: Path, config: Any, extra: dict[str, Tensor], kind: str
) -> None:
    folder = save(tmp_path / "m", config)
    before = logits(folder)
    change(folder, lambda w: w.update(extra))
    if kind != "safetensors":
        weights = load_file(folder / "model.safetensors")
        (folder / "model.safetensors").unlink()
        prefix = "transformer." if "inner" in kind else ""
        torch.save({name.removeprefix(prefix): value for name, value in weights.items()}, folder / "pytorch_model.bin")
    assert torch.equal(logits(folder), before)


def test_a_weight_that_is_called_almost_like_an_old_mask_is_a_weight(tmp_path: Path) -> None:
    config, extra = OLD[0]
    folder = change(save(tmp_path / "m", config), lambda w: w.update(extra))
    weights = load_file(folder / "model.safetensors")
    inner = {name.removeprefix("transformer."): value for name, value in weights.items()}  # as OpenAI's file has them
    save_file(inner, folder / "model.safetensors", metadata={"format": "pt"})
    model: Any = load_model(at(folder), "cpu")
    assert model.hf_llc_left_out == []
    bias = "h.0.attn.c_attn.bias"
    change(folder, lambda w: w.update({bias: w[bias].to(torch.int8)}))
    refused(folder, r"h\.0\.attn\.c_attn\.bias in model\.safetensors is stored as I8, quantised")


def test_the_other_senses_of_a_model_of_text_and_pictures_do_no_harm(tmp_path: Path) -> None:
    text = {**SHAPE, "num_key_value_heads": 2, "head_dim": 8, "num_local_experts": 2, "intermediate_size_mlp": 32}
    folder = save(tmp_path / "m", transformers.Llama4TextConfig(**text))
    before = logits(folder)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    vision = {**sizes, "image_size": 28, "patch_size": 14, "vision_output_dim": 16, "projector_input_dim": 16,
              "projector_output_dim": 16}  # fmt: skip
    transformers.Llama4Config(text_config=text, vision_config=vision).save_pretrained(folder)
    weights = load_file(folder / "model.safetensors")
    moved = {f"language_model.{name}": value for name, value in weights.items()}
    moved |= {"vision_model.class_embedding": torch.ones(16), "multi_modal_projector.linear_1.weight": torch.ones(4, 4)}
    save_file(moved, folder / "model.safetensors", metadata={"format": "pt"})
    assert torch.equal(logits(folder), before)


@pytest.mark.parametrize("name", ["num_hidden_layers", "num_key_value_heads"])
def test_more_parts_than_there_is_room_for_are_refused_at_once(tmp_path: Path, name: str) -> None:
    folder = save_tiny_model(tmp_path / "m", tokenizer=False)
    edit_config(folder, **{name: 10**9})
    for size in (0, (folder / "model.safetensors").stat().st_size):
        with pytest.raises(UnusableError, match=f"says {name} = 1000000000, more than its weights have room for"):
            parameter_count(at(folder, weight_bytes=size))


def test_sizes_that_the_weights_cannot_have_are_refused(tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / "m", tokenizer=False)
    size = (folder / "model.safetensors").stat().st_size
    edit_config(folder, vocab_size=10**7)
    with pytest.raises(
        UnusableError, match=r"describes 640,0\d\d,\d+ weights, but its files of weights hold 1\d\d,\d+ b"
    ):
        parameter_count(at(folder, weight_bytes=size))
    edit_config(folder, vocab_size=10**30)
    with pytest.raises(UnusableError, match=r"says vocab_size = 10{19}… \(31 digits\), which is too large"):
        parameter_count(at(folder, weight_bytes=size))


@pytest.mark.parametrize("number", [0, -2])
@pytest.mark.parametrize("name", ["num_attention_heads", "hidden_size", "vocab_size", "intermediate_size"])
def test_sizes_that_are_not_positive_are_named(tmp_path: Path, name: str, number: int) -> None:
    folder = save_tiny_model(tmp_path / "m", tokenizer=False)
    edit_config(folder, **{name: number})
    refused(folder, rf"of m .*its config\.json says {name} = {number}")


def test_a_config_nested_too_deep_is_one_line(tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / "m", tokenizer=False)
    (folder / "config.json").write_text('{"a": ' + "[" * 100_000 + "]" * 100_000 + "}")
    refused(folder, r"cannot read its config\.json of m")


def test_the_header_of_a_sparse_file_is_not_read(tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / "m", tokenizer=False)
    with (folder / "model.safetensors").open("wb") as file:
        file.write((3_000_000_000).to_bytes(8, "little"))
        file.truncate(3_000_000_100)
    refused(folder, r"model\.safetensors is damaged")


def test_settings_for_generation_are_not_needed(tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / "m", tokenizer=False)
    for content in ("[]", '{"cache_implementation": "old"}', "{", '{"temperature": "hot"}'):
        (folder / "generation_config.json").write_text(content)
        load_model(at(folder), "cpu")


@pytest.mark.parametrize("name", ["flash_attention_2", "flash_attention_3", "kernels-community/flash-attn"])
def test_an_attention_that_needs_a_gpu_is_another_way_to_the_same(tmp_path: Path, name: str) -> None:
    folder = save(tmp_path / "m", LLAMA)
    before = logits(folder)
    edit_config(folder, attn_implementation=name)
    assert torch.equal(logits(folder), before)
