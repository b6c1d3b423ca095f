"""Components of tiny models of many architectures: what their weights do, and how many they are."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageClassification,
    AutoModelForMaskedLM,
    AutoModelForSeq2SeqLM,
)

from hf_llc.components.component import Component, Region
from hf_llc.components.find import component_of, components_of, of_kinds
from hf_llc.errors import NotFoundError, SettingsError

VOCABULARY, HIDDEN, HEADS = 40, 32, 4
COMMON = {
    "vocab_size": VOCABULARY,
    "hidden_size": HIDDEN,
    "num_hidden_layers": 2,
    "num_attention_heads": HEADS,
    "intermediate_size": 48,
    "max_position_embeddings": 32,
    "bos_token_id": 0,
    "eos_token_id": 0,
    "pad_token_id": 0,
}
GPT2 = {"vocab_size": VOCABULARY, "n_embd": HIDDEN, "n_layer": 2, "n_head": HEADS, "n_positions": 32, "bos_token_id": 0,
        "eos_token_id": 0}  # fmt: skip
MODELS: dict[str, tuple[str, dict[str, Any], str]] = {
    "gpt_neox": ("gpt_neox", COMMON, "gpt_neox.layers.{}.attention.dense"),
    "gpt2": ("gpt2", GPT2, "transformer.h.{}.attn.c_proj"),
    "llama": ("llama", {**COMMON, "num_key_value_heads": 2}, "model.layers.{}.self_attn.o_proj"),
    "qwen2": ("qwen2", {**COMMON, "num_key_value_heads": 2}, "model.layers.{}.self_attn.o_proj"),
    "qwen3": ("qwen3", {**COMMON, "num_key_value_heads": 2, "head_dim": 12}, "model.layers.{}.self_attn.o_proj"),
    "gemma3": (
        "gemma3_text",
        {**COMMON, "num_key_value_heads": 1, "head_dim": 8, "query_pre_attn_scalar": 8},
        "model.layers.{}.self_attn.o_proj",
    ),
    "phi3": ("phi3", {**COMMON, "num_key_value_heads": 2}, "model.layers.{}.self_attn.o_proj"),
    "opt": (
        "opt",
        {**COMMON, "ffn_dim": 48, "word_embed_proj_dim": HIDDEN},
        "model.decoder.layers.{}.self_attn.out_proj",
    ),
    "bloom": ("bloom", {**COMMON, "n_layer": 2, "n_head": HEADS}, "transformer.h.{}.self_attention.dense"),
    "falcon": ("falcon", COMMON, "transformer.h.{}.self_attention.dense"),
    "falcon, new": (
        "falcon",
        {**COMMON, "new_decoder_architecture": True, "num_kv_heads": 2},
        "transformer.h.{}.self_attention.dense",
    ),
    "falcon, many": ("falcon", {**COMMON, "multi_query": False, "bias": True}, "transformer.h.{}.self_attention.dense"),
    "gpt_bigcode": ("gpt_bigcode", {**GPT2, "n_inner": 48}, "transformer.h.{}.attn.c_proj"),
    "gpt_bigcode, many": (
        "gpt_bigcode",
        {**GPT2, "n_inner": 48, "multi_query": False},
        "transformer.h.{}.attn.c_proj",
    ),
    "persimmon": ("persimmon", COMMON, "model.layers.{}.self_attn.dense"),
    "mpt": (
        "mpt",
        {"vocab_size": VOCABULARY, "d_model": HIDDEN, "n_heads": HEADS, "n_layers": 2, "max_seq_len": 32},
        "transformer.blocks.{}.attn.out_proj",
    ),
    "bert": ("bert", COMMON, "bert.encoder.layer.{}.attention.output.dense"),
    "modernbert": ("modernbert", COMMON, "model.layers.{}.attn.Wo"),
    "distilbert": (
        "distilbert",
        {"vocab_size": VOCABULARY, "dim": HIDDEN, "n_layers": 2, "n_heads": HEADS, "hidden_dim": 48,
         "max_position_embeddings": 32},
        "distilbert.transformer.layer.{}.attention.out_lin",
    ),
}  # fmt: skip
"""Of each model the name that transformers has for it, its config, and where its output projections are."""
MASKED = {"bert", "modernbert", "distilbert"}
TOKENS = torch.tensor([[3, 14, 15, 9, 26, 5, 35], [8, 9, 7, 9, 3, 2, 38]])


def make(name: str) -> Any:
    """The model in float64, all its weights at random, biases and norms too."""
    kind, config, _ = MODELS[name]
    auto: Any = AutoModelForMaskedLM if kind in MASKED else AutoModelForCausalLM
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = auto.from_config(AutoConfig.for_model(kind, **config), attn_implementation="eager").double().eval()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter), alpha=0.2)
    return model


@torch.no_grad()
def logits(model: Any) -> Tensor:
    values: Tensor = model(input_ids=TOKENS, attention_mask=torch.ones_like(TOKENS)).logits
    return values


@contextmanager
def looking(model: nn.Module, name: str, look: Callable[[Tensor], Tensor | None]) -> Iterator[None]:
    """In the block, what heads hand to an output projection is shown to `look`, which may return other values."""

    def hook(_: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
        changed = look(inputs[0])
        return None if changed is None else (changed, *inputs[1:])

    handle = model.get_submodule(name).register_forward_pre_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def outputs(model: Any, name: str) -> Tensor:
    """What the heads of a layer hand to their output projection, a row a head."""
    seen: list[Tensor] = []
    with looking(model, name, lambda values: seen.append(values.detach().clone())):
        logits(model)
    return torch.stack(seen[0].reshape(*TOKENS.shape, -1).chunk(HEADS, dim=-1))


def without(model: Any, name: str, heads: range) -> Tensor:
    """The logits where these heads hand zeros to the output projection."""

    def ablated(values: Tensor) -> Tensor:
        parts = list(values.reshape(*TOKENS.shape, -1).chunk(HEADS, dim=-1))
        for head in heads:
            parts[head] = torch.zeros_like(parts[head])
        return torch.cat(parts, dim=-1).reshape(values.shape)

    with looking(model, name, ablated):
        return logits(model)


@torch.no_grad()
def change(model: nn.Module, regions: Sequence[Region], by: Callable[[Tensor], Tensor]) -> dict[str, Tensor]:
    """Replaces what is in the regions; returns their tensors as they were."""
    tensors = dict(model.named_parameters())
    before = {each.parameter: tensors[each.parameter].clone() for each in regions}
    for region in regions:
        view = region.of(tensors[region.parameter])
        view.copy_(by(view))
    return before


@torch.no_grad()
def put_back(model: nn.Module, before: dict[str, Tensor]) -> None:
    tensors = dict(model.named_parameters())
    for name, values in before.items():
        tensors[name].copy_(values)


@pytest.mark.parametrize("name", MODELS)
def test_zeroing_the_weights_of_heads_is_ablating_them(name: str) -> None:
    model, place = make(name), MODELS[name][2].format(1)
    known = components_of(model)
    groups = [each for each in known if each.startswith("l1g")]
    members = HEADS // len(groups) if groups else 1
    cases = {f"l1h{head}": range(head, head + 1) for head in range(HEADS)}
    cases |= {group: range(at * members, (at + 1) * members) for at, group in enumerate(groups)}
    assert len(of_kinds(known, ["heads"])) == 2 * HEADS
    for component, heads in cases.items():
        expected = without(model, place, heads)
        before = change(model, known[component].regions, torch.zeros_like)
        torch.testing.assert_close(logits(model), expected, rtol=1e-6, atol=1e-9)
        put_back(model, before)
        assert not torch.allclose(logits(model), expected, rtol=1e-3), "ablation changes nothing here"


@pytest.mark.parametrize("name", MODELS)
def test_queries_keys_and_values_of_a_head_change_what_this_head_does_and_no_other(name: str) -> None:
    """Each region by itself: rows of a projection taken from the wrong place would show in another head."""
    model, place = make(name), MODELS[name][2].format(1)
    known = components_of(model)
    shared = [each for each in known if each.startswith("l1kv")]
    members = HEADS // len(shared) if shared else 1
    cases = {f"l1h{head}": {head} for head in range(HEADS)}
    cases |= {each: set(range(at * members, (at + 1) * members)) for at, each in enumerate(shared)}
    expected = outputs(model, place)
    for component, heads in cases.items():
        for region in known[component].regions:
            if region.parameter == f"{place}.weight":
                continue
            before = change(model, [region], lambda view: view + torch.linspace(0.5, 2, view.numel()).view(view.shape))
            difference = (outputs(model, place) - expected).abs().amax(dim=(1, 2, 3))
            put_back(model, before)
            changed = {head for head in range(HEADS) if difference[head] > 1e-6}
            # The bias of a key adds the same to all scores of a query, unless positions rotate it.
            assert changed == heads or (not changed and region.parameter.endswith("bias")), region


@pytest.mark.parametrize("name", MODELS)
def test_heads_are_disjoint_and_with_the_output_bias_are_the_attention(name: str) -> None:
    model = make(name)
    known, tensors = components_of(model), dict(model.named_parameters())
    counts = {each: torch.zeros_like(tensor) for each, tensor in tensors.items()}
    for component in (known[each] for each in of_kinds(known, ["heads", "keys-values"]) if each.startswith("l0")):
        for region in component.regions:
            region.of(counts[region.parameter]).add_(1)
    bias = f"{MODELS[name][2].format(0)}.bias"
    if bias in counts:
        counts[bias] += 1
    attention = {each.parameter for each in known["l0.attn"].regions}
    assert all(region.dim is None for region in known["l0.attn"].regions)
    assert {each for each, count in counts.items() if count.any()} == attention
    assert all(bool((counts[each] == 1).all()) for each in attention)


@pytest.mark.parametrize("name", MODELS)
def test_attention_mlps_norms_and_embeddings_are_disjoint(name: str) -> None:
    known = components_of(make(name))
    kinds = ["attention", "mlps", "norms", "embeddings"]
    parts = {each: {region.parameter for region in known[each].regions} for each in of_kinds(known, kinds)}
    if parts["embed"] & parts["unembed"]:
        assert parts["embed"] <= parts["unembed"], "a tied embedding is one tensor"
        del parts["embed"]
    total = sum(map(len, parts.values()))
    assert total == len(set().union(*parts.values()))
    assert {"embed", "l0.attn", "l0.mlp", "l1.attn", "l1.mlp", "norms", "unembed"} <= known.keys()


COUNTS = {
    "gpt_neox": {"l0h1": 1048, "l0.attn": 4224, "l0.mlp": 3152, "l0": 7504, "embed": 1280, "full": 17632},
    "gpt2": {"l0h1": 1048, "l0.attn": 4224, "l0.mlp": 8352, "l0": 12704, "embed": 1280, "full": 27776},
    "llama": {"l0h1+l0kv0": 1024, "l0g1": 1536, "l0.attn": 3072, "l0.mlp": 4608, "l0": 7744, "unembed": 1280},
    "qwen2": {"l0h1+l0kv0": 1048, "l0g1": 1568, "l0.attn": 3136, "l0.mlp": 4608, "l0": 7808, "unembed": 1280},
    "phi3": {"l0h1+l0kv0": 1024, "l0g1": 1536, "l0.attn": 3072, "l0.mlp": 4608, "l0": 7744, "unembed": 1280},
    "opt": {"l0h1": 1040 + 8, "l0.attn": 4224, "l0.mlp": 3152, "l0": 7504, "embed": 1280, "full": 17440},
    "bloom": {"l0h1": 1048, "l0.attn": 4224, "l0.mlp": 8352, "l0": 12704, "embed": 1280, "full": 26816},
    "gemma3": {"l0h1+l0kv0": 1024, "l0.attn": 2560, "l0.mlp": 4608, "l0": 7312, "embed": 1280, "full": 15936},
}
"""By the masks of devinterp 2.0.1, whose head includes the keys and values that it shares with others, and of OPT
leaves out the 8 biases of its keys."""


@pytest.mark.parametrize("name", COUNTS)
def test_counts_are_those_of_devinterp(name: str) -> None:
    model = make(name)
    tensors = dict(model.named_parameters())
    counts = {each: component_of(model, each).size(tensors) for each in COUNTS[name]}
    assert counts == COUNTS[name]


def test_components_that_move_together_are_a_union() -> None:
    model = make("llama")
    tensors = dict(model.named_parameters())
    heads = component_of(model, "+".join([*(f"l0h{head}" for head in range(HEADS)), "l0kv0", "l0kv1"]))
    assert heads.regions == component_of(model, "l0.attn").regions
    assert component_of(model, "l0h1+l0h1+l0") == Component("l0h1+l0h1+l0", "unions", component_of(model, "l0").regions)
    neighbours = component_of(model, "l0h0+l0h1")
    assert neighbours.size(tensors) == 2 * component_of(model, "l0h0").size(tensors)
    assert len(neighbours.regions) == len(component_of(model, "l0h0").regions)


def test_what_a_model_has_not_is_refused_with_what_it_has() -> None:
    model = make("llama")
    with pytest.raises(NotFoundError, match=r"component l2h0: LlamaForCausalLM has 2 layers, l0 to l1\."):
        component_of(model, "l2h0")
    with pytest.raises(NotFoundError, match=r"component l1h4 is not in LlamaForCausalLM; did you mean"):
        component_of(model, "l1h4")
    with pytest.raises(SettingsError, match=r"component l0: no list of layers was recognized in Linear;"):
        component_of(nn.Linear(2, 2), "l0")


def test_attention_of_an_unknown_layout_is_refused_and_its_layer_is_not() -> None:
    config = AutoConfig.for_model(
        "codegen", vocab_size=VOCABULARY, n_embd=HIDDEN, n_layer=1, n_head=HEADS, rotary_dim=4, n_positions=32
    )
    model = AutoModelForCausalLM.from_config(config)
    assert {"embed", "l0", "l0.mlp", "unembed"} <= components_of(model).keys()
    with pytest.raises(SettingsError, match=r"of CodeGenForCausalLM has no known layout \(concatenated, interleaved, "):
        component_of(model, "l0h1")


def test_an_image_classifier_has_patches_for_embeddings_and_no_output_to_logits() -> None:
    config = AutoConfig.for_model(
        "vit", hidden_size=HIDDEN, num_hidden_layers=2, num_attention_heads=HEADS, intermediate_size=48, image_size=16,
        patch_size=4, num_labels=5,
    )  # fmt: skip
    model = AutoModelForImageClassification.from_config(config)
    known, tensors = components_of(model), dict(model.named_parameters())
    assert known["embed"].size(tensors) == 3 * 4 * 4 * HIDDEN + HIDDEN
    assert known["l0h1"].size(tensors) == 4 * 8 * HIDDEN + 3 * 8
    assert "unembed" not in known


def test_of_an_encoder_and_a_decoder_no_layer_is_guessed() -> None:
    config = AutoConfig.for_model("t5", d_model=HIDDEN, num_layers=2, num_heads=HEADS, d_ff=48, vocab_size=40, d_kv=8)
    model = AutoModelForSeq2SeqLM.from_config(config)
    assert [each.kind for each in components_of(model).values()] == ["embeddings", "norms", "embeddings", "full"]
    with pytest.raises(SettingsError, match="component l0h1: no list of layers was recognized in T5For"):
        component_of(model, "l0h1")
