"""Checkpoints from disk: what loads, and what is refused with which sentence."""

import json
import os
from pathlib import Path
from typing import Any

import gguf
import pytest
import torch
import transformers
from huggingface_hub.utils.tqdm import are_progress_bars_disabled
from tokenizers.pre_tokenizers import ByteLevel
from transformers.utils import logging

from hf_llc.checkpoints.loading.load import context_limit, facts, load_model, parameter_count
from hf_llc.checkpoints.source import ModelSource
from hf_llc.errors import UnusableError
from hf_llc.tasks.text.encoding import token_ids
from hf_llc.tasks.text.tokenizer import load_tokenizer
from tests.helpers.tiny_model import CONTEXT, VOCABULARY, make_model, save_tiny_model

SMALL: dict[str, Any] = {"vocab_size": 60, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}


def at(folder: Path, **options: Any) -> ModelSource:
    """The source that `find_model` would make of a folder."""
    return ModelSource(id=folder.name, revision=None, sha="sha256:0", step=None, path=folder, **options)


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A folder with the tiny model."""
    return save_tiny_model(tmp_path / "tiny")


def save(folder: Path, model: Any) -> Path:
    """`folder`, with a model in it."""
    model.save_pretrained(folder)
    return folder


def head(model: Any) -> torch.Tensor:
    """The weights of the language-model head."""
    weight = model.lm_head.weight
    assert isinstance(weight, torch.Tensor)
    return weight


def edit_config(folder: Path, **changes: Any) -> None:
    """Overwrites entries of config.json."""
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def edit_weights(folder: Path, *, drop: str = "", fill: float | None = None) -> None:
    """Drops the tensors whose name contains `drop`, or fills the final layer norm."""
    weights = {name: value.clone() for name, value in make_model().state_dict().items() if not (drop and drop in name)}
    if fill is not None:
        weights["gpt_neox.final_layer_norm.weight"].fill_(fill)
    make_model().save_pretrained(folder, state_dict=weights)


def test_the_model_has_the_saved_weights_ready_for_gradients(tiny: Path) -> None:
    model = load_model(at(tiny), "cpu")
    expected = make_model().state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in model.state_dict().items())
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert not model.training
    assert not model.config.use_cache  # type: ignore[union-attr]


def test_moving_the_weights_leaves_the_file_alone(tiny: Path) -> None:
    before = (tiny / "model.safetensors").read_bytes()
    model = load_model(at(tiny), "cpu")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1.0)
    del model
    assert (tiny / "model.safetensors").read_bytes() == before


def test_half_precision_weights_become_float32(tmp_path: Path) -> None:
    half: Any = make_model()
    folder = save(tmp_path / "half", half.half())
    model = load_model(at(folder), "cpu")
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert torch.equal(head(model), head(make_model()).half().float())


def test_another_dtype_can_be_asked_for(tiny: Path) -> None:
    model = load_model(at(tiny), "cpu", torch.bfloat16)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}


def test_pickled_weights_load(tiny: Path) -> None:
    torch.save(make_model().state_dict(), tiny / "pytorch_model.bin")
    (tiny / "model.safetensors").unlink()
    assert torch.equal(head(load_model(at(tiny), "cpu")), head(make_model()))


def test_sharded_weights_load(tmp_path: Path) -> None:
    make_model().save_pretrained(tmp_path, max_shard_size="60KB")
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 1
    assert torch.equal(head(load_model(at(tmp_path), "cpu")), head(make_model()))


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    make_model().save_pretrained(tmp_path, max_shard_size="60KB")
    gone = sorted(tmp_path.glob("model-*.safetensors"))[1]
    gone.unlink()
    with pytest.raises(UnusableError, match=f"{gone.name}, a part of the weights that .*index.json names, is missing"):
        load_model(at(tmp_path), "cpu")


@pytest.mark.parametrize("content", [b"", b"\0" * 100, None])
def test_damaged_safetensors_are_named(tiny: Path, content: bytes | None) -> None:
    path = tiny / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-10] if content is None else content)
    with pytest.raises(UnusableError, match=r"tiny/model\.safetensors is damaged .* download the model again"):
        load_model(at(tiny), "cpu")


def test_a_damaged_index_is_named(tmp_path: Path) -> None:
    make_model().save_pretrained(tmp_path, max_shard_size="60KB")
    (tmp_path / "model.safetensors.index.json").write_text("{")
    with pytest.raises(UnusableError, match=r"index\.json is damaged"):
        load_model(at(tmp_path), "cpu")


def test_damaged_pickled_weights_are_one_line(tiny: Path) -> None:
    torch.save(make_model().state_dict(), tiny / "pytorch_model.bin")
    (tiny / "model.safetensors").unlink()
    (tiny / "pytorch_model.bin").write_bytes((tiny / "pytorch_model.bin").read_bytes()[:5000])
    with pytest.raises(
        UnusableError, match=r"tiny/pytorch_model\.bin is damaged .* download the model again"
    ) as caught:
        load_model(at(tiny), "cpu")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["lm_head", "layers.0.mlp"])
def test_weights_that_would_be_random_are_refused(tiny: Path, name: str) -> None:
    edit_weights(tiny, drop=name)
    with pytest.raises(UnusableError, match=f"has no weights for .*{name}.*fill them with noise"):
        load_model(at(tiny), "cpu")


def test_a_tied_head_is_not_missing(tmp_path: Path) -> None:
    config = transformers.GPT2Config(vocab_size=60, n_embd=16, n_layer=1, n_head=2, n_positions=32)
    folder = save(tmp_path / "gpt2", transformers.GPT2LMHeadModel(config))
    model = load_model(at(folder), "cpu")
    assert parameter_count(at(folder)) == sum(parameter.numel() for parameter in model.parameters())
    assert context_limit(at(folder)) == 32


def test_weights_of_the_wrong_shape_are_refused(tiny: Path) -> None:
    edit_config(tiny, vocab_size=VOCABULARY + 1)
    with pytest.raises(UnusableError, match="cannot read the weights of tiny"):
        load_model(at(tiny), "cpu")


@pytest.mark.parametrize("fill", [float("nan"), float("inf")])
def test_weights_that_give_no_finite_logits_are_refused(tiny: Path, fill: float) -> None:
    edit_weights(tiny, fill=fill)
    with pytest.raises(UnusableError, match="logits that are not finite"):
        load_model(at(tiny), "cpu")


def test_a_masked_language_model_is_refused(tmp_path: Path) -> None:
    folder = save(
        tmp_path / "bert", transformers.BertForMaskedLM(transformers.BertConfig(**SMALL, intermediate_size=32))
    )
    with pytest.raises(UnusableError, match="bert is a BertForMaskedLM, not a causal language model"):
        load_model(at(folder), "cpu")


def test_a_model_that_looks_ahead_is_refused_whatever_its_name_says(tmp_path: Path) -> None:
    config = transformers.BertConfig(**SMALL, intermediate_size=32, initializer_range=0.5)
    folder = save(tmp_path / "bert", transformers.BertLMHeadModel(config))
    with pytest.raises(UnusableError, match="uses later tokens"):
        load_model(at(folder), "cpu")


def test_a_model_of_three_positions_loads(tmp_path: Path) -> None:
    config = transformers.GPT2Config(
        n_embd=8, n_layer=1, n_head=2, vocab_size=20, n_positions=3, bos_token_id=0, eos_token_id=0
    )
    folder = save(tmp_path / "short", transformers.GPT2LMHeadModel(config))
    assert load_model(at(folder), "cpu")(input_ids=torch.tensor([[1, 2, 3]])).logits.isfinite().all()


def test_a_bert_that_does_not_look_ahead_loads(tmp_path: Path) -> None:
    config = transformers.BertConfig(**SMALL, intermediate_size=32, initializer_range=0.5, is_decoder=True)
    folder = save(tmp_path / "bert", transformers.BertLMHeadModel(config))
    assert isinstance(load_model(at(folder), "cpu"), transformers.BertLMHeadModel)


def test_a_classifier_is_refused_although_its_weights_would_load(tmp_path: Path) -> None:
    config = transformers.GPT2Config(vocab_size=60, n_embd=16, n_layer=1, n_head=2, n_positions=32, pad_token_id=0)
    folder = save(tmp_path / "judge", transformers.GPT2ForSequenceClassification(config))
    with pytest.raises(UnusableError, match="judge is a GPT2ForSequenceClassification"):
        load_model(at(folder), "cpu")


def test_an_encoder_decoder_is_refused(tmp_path: Path) -> None:
    config = transformers.T5Config(vocab_size=60, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2)
    folder = save(tmp_path / "t5", transformers.T5ForConditionalGeneration(config))
    with pytest.raises(UnusableError, match="t5 is an encoder-decoder"):
        parameter_count(at(folder))


def test_a_vision_model_is_refused(tmp_path: Path) -> None:
    config = transformers.ViTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, image_size=8, patch_size=4
    )
    folder = save(tmp_path / "vit", transformers.ViTModel(config))
    with pytest.raises(UnusableError, match="vit is not a causal language model"):
        load_model(at(folder), "cpu")


def test_quantised_weights_are_refused(tiny: Path) -> None:
    edit_config(tiny, quantization_config={"quant_method": "gptq", "bits": 4})
    with pytest.raises(UnusableError, match=r"quantised weights \(gptq\).*full-precision"):
        load_model(at(tiny), "cpu")


CODE = """
from transformers import LlamaConfig, LlamaForCausalLM
class MyConfig(LlamaConfig):
    model_type = "my_llama"
class MyModel(LlamaForCausalLM):
    config_class = MyConfig
"""


@pytest.fixture
def with_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model whose classes are in its own repository."""
    monkeypatch.setattr(transformers.dynamic_module_utils, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    config = transformers.LlamaConfig(**SMALL, intermediate_size=32)
    folder = save(tmp_path / "own", transformers.LlamaForCausalLM(config))
    (folder / "my_code.py").write_text(CODE)
    auto_map = {"AutoConfig": "my_code.MyConfig", "AutoModelForCausalLM": "my_code.MyModel"}
    edit_config(folder, model_type="my_llama", architectures=["MyModel"], auto_map=auto_map)
    return folder


def test_code_of_the_repository_needs_permission(with_code: Path) -> None:
    with pytest.raises(UnusableError, match=r"needs Python code .* allow it with `trust_remote_code`"):
        load_model(at(with_code), "cpu")


def test_code_of_the_repository_runs_with_permission(with_code: Path) -> None:
    model = load_model(at(with_code, trust_remote_code=True), "cpu")
    assert type(model).__name__ == "MyModel"


@pytest.mark.parametrize("content", ["{", "[]", '{"model_type": "no_such_model"}', '{"hidden_size": 3}', None])
def test_an_unreadable_config_is_one_line(tiny: Path, content: str | None) -> None:
    path = tiny / "config.json"
    path.unlink() if content is None else path.write_text(content)
    with pytest.raises(UnusableError, match=r"its config\.json of tiny") as caught:
        load_model(at(tiny), "cpu")
    assert "\n" not in str(caught.value)


def test_a_config_of_the_wrong_types_is_one_line(tiny: Path) -> None:
    edit_config(tiny, hidden_size="wide")
    with pytest.raises(UnusableError, match="of tiny") as caught:
        load_model(at(tiny), "cpu")
    assert "\n" not in str(caught.value)


def test_the_number_of_weights_needs_no_weights(tiny: Path) -> None:
    (tiny / "model.safetensors").unlink()
    assert parameter_count(at(tiny)) == sum(parameter.numel() for parameter in make_model().parameters())


def test_facts_of_a_config(tiny: Path) -> None:
    known = facts(at(tiny))
    assert (known.context_limit, known.eos_token_id, known.vocabulary_size) == (CONTEXT, 0, VOCABULARY)
    edit_config(tiny, eos_token_id=[7, 8])
    assert facts(at(tiny)).eos_token_id == 7


def test_facts_of_a_model_without_positions_or_end(tmp_path: Path) -> None:
    transformers.MambaConfig(vocab_size=60, eos_token_id=None).save_pretrained(tmp_path)
    assert (facts(at(tmp_path)).context_limit, facts(at(tmp_path)).eos_token_id) == (None, None)


def test_the_context_limit_of_a_model_that_calls_it_otherwise(tmp_path: Path) -> None:
    transformers.BloomConfig(vocab_size=60).save_pretrained(tmp_path)
    edit_config(tmp_path, seq_length=99)
    assert context_limit(at(tmp_path)) == 99
    transformers.WhisperConfig(max_target_positions=88).save_pretrained(tmp_path)
    assert context_limit(at(tmp_path)) == 88


def test_facts_of_a_model_with_a_text_part(tmp_path: Path) -> None:
    transformers.Gemma3Config(text_config={"max_position_embeddings": 77, "vocab_size": 60}).save_pretrained(tmp_path)
    assert (facts(at(tmp_path)).context_limit, facts(at(tmp_path)).vocabulary_size) == (77, 60)


def test_nothing_is_written_while_loading_and_verbosity_comes_back(
    tiny: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_DEBUG", raising=False)
    edit_weights(tiny, drop="lm_head")
    before = (logging.get_verbosity(), logging.is_progress_bar_enabled(), are_progress_bars_disabled())
    capfd.readouterr()
    with pytest.raises(UnusableError, match="has no weights for lm_head"):
        load_model(at(tiny), "cpu")
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled(), are_progress_bars_disabled()) == before


def test_with_hf_debug_transformers_says_what_it_does(
    tiny: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_DEBUG", "1")
    load_model(at(tiny), "cpu")
    assert "Loading weights" in capfd.readouterr().err


def save_gguf(
    path: Path,
    pre: str | None = None,
    pair: str = "ab",
    scaling: float | str = 1.0,
    divisors: torch.Tensor | None = None,
    extra: str | None = None,
) -> dict[str, torch.Tensor]:
    """Writes a Llama of one layer as float32 GGUF with a byte-level tokenizer; its embedding, norms and head."""
    width, inner, vocabulary = 32, 64, 258
    generator = torch.Generator().manual_seed(0)
    shapes = {
        "token_embd": (vocabulary, width),
        "output": (vocabulary, width),
        **{f"blk.0.attn_{part}": (width, width) for part in ("q", "k", "v", "output")},
        "blk.0.ffn_gate": (inner, width),
        "blk.0.ffn_up": (inner, width),
        "blk.0.ffn_down": (width, inner),
    }
    tensors = {name: torch.randn(shape, generator=generator) * 0.2 for name, shape in shapes.items()}
    norms = {name: torch.ones(width) for name in ("output_norm", "blk.0.attn_norm", "blk.0.ffn_norm")}
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(width)
    writer.add_block_count(1)
    writer.add_feed_forward_length(inner)
    writer.add_head_count(2)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(width // 2)
    if scaling != 1:
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        add: Any = writer.add_string if isinstance(scaling, str) else writer.add_float32
        add("llama.rope.scaling.factor", scaling)
    writer.add_vocab_size(vocabulary)
    writer.add_tokenizer_model("gpt2")
    if pre is not None:
        writer.add_tokenizer_pre(pre)
    alphabet = sorted(ByteLevel.alphabet())
    writer.add_token_list([*alphabet, pair, "<|end|>"])
    writer.add_token_types([1] * 257 + [3])
    writer.add_token_merges([" ".join(pair)])
    writer.add_eos_token_id(257)
    for name, tensor in {**tensors, **norms}.items():
        writer.add_tensor(f"{name}.weight", tensor.numpy())
    if divisors is not None:
        writer.add_tensor("rope_freqs.weight", divisors.numpy())
    if extra is not None:
        writer.add_tensor(extra, torch.ones(width).numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return tensors


def test_a_gguf_file_loads_with_its_weights_unpacked(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    tensors = save_gguf(tmp_path / "a.gguf")
    source = at(tmp_path, gguf_file="a.gguf")
    capfd.readouterr()
    model: Any = load_model(source, "cpu")
    assert capfd.readouterr().err == ""
    assert torch.equal(head(model), tensors["output"])
    assert torch.equal(model.model.layers[0].mlp.down_proj.weight, tensors["blk.0.ffn_down"])
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert parameter_count(source) == sum(parameter.numel() for parameter in model.parameters())
    assert context_limit(source) == CONTEXT
    model.save_pretrained(tmp_path / "plain")  # impossible while it counts as quantised
    again: Any = load_model(at(tmp_path / "plain"), "cpu")
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in model.state_dict().items())


def test_the_rotary_frequencies_of_a_gguf_file_are_divided_as_it_says(tmp_path: Path) -> None:
    rope = {"rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0, "low_freq_factor": 1.0,
            "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}  # fmt: skip
    config = transformers.LlamaConfig(hidden_size=32, num_attention_heads=2, rope_parameters=rope)
    scaled, _ = transformers.modeling_rope_utils.ROPE_INIT_FUNCTIONS["llama3"](config, "cpu")
    plain = 1 / 10000.0 ** (torch.arange(0, 16, 2) / 16)
    save_gguf(tmp_path / "a.gguf", divisors=plain / scaled)
    model: Any = load_model(at(tmp_path, gguf_file="a.gguf"), "cpu")
    torch.testing.assert_close(model.model.rotary_emb.inv_freq, scaled)
    assert not torch.allclose(scaled, plain)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"scaling": 4.0}, "linear, factor 4"), ({"divisors": torch.full((3,), 2.0)}, "rope_freqs.weight of 3 numbers")],
)
def test_a_gguf_file_that_scales_positions_in_another_way_is_refused(
    tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    save_gguf(tmp_path / "a.gguf", **options)
    with pytest.raises(UnusableError, match=rf"scales rotary positions \({message}\), which transformers \S+ does not"):
        load_model(at(tmp_path, gguf_file="a.gguf"), "cpu")


@pytest.mark.parametrize("name", ["blk.0.attn_q.bias", "blk.1.attn_q.weight", "blk.0.attn_q.scale", "per_layer.weight"])
def test_tensors_of_a_gguf_file_that_the_model_does_not_take_are_named(tmp_path: Path, name: str) -> None:
    save_gguf(tmp_path / "a.gguf", extra=name)
    with pytest.raises(UnusableError, match=f"GGUF file holds tensors .* does not take: {name}; without them"):
        load_model(at(tmp_path, gguf_file="a.gguf"), "cpu")


def test_an_entry_of_a_gguf_file_of_the_wrong_type_is_one_line(tmp_path: Path) -> None:
    save_gguf(tmp_path / "a.gguf", scaling="four")
    with pytest.raises(UnusableError, match=r"cannot read .*ValueError") as caught:
        load_model(at(tmp_path, gguf_file="a.gguf"), "cpu")
    assert "\n" not in str(caught.value)


def test_tables_of_positions_in_a_gguf_file_do_no_harm(tmp_path: Path) -> None:
    tensors = save_gguf(tmp_path / "a.gguf", extra="blk.0.attn_rot_embd.weight", divisors=torch.ones(8))
    assert torch.equal(head(load_model(at(tmp_path, gguf_file="a.gguf"), "cpu")), tensors["output"])


def test_the_tokenizer_of_a_gguf_file_is_inside_it(tmp_path: Path) -> None:
    save_gguf(tmp_path / "a.gguf")
    tokenizer = load_tokenizer(at(tmp_path, gguf_file="a.gguf"))
    assert tokenizer.eos_token_id == 257
    assert tokenizer.decode(next(token_ids(tokenizer, ["old bridge"]))) == "old bridge"


@pytest.mark.parametrize(
    ("pre", "together"), [(None, True), ("gpt-2", True), ("smollm", False), ("qwen2", False), ("unheard-of", True)]
)
def test_the_pre_tokenizer_that_a_gguf_file_names_is_used(tmp_path: Path, pre: str | None, together: bool) -> None:
    save_gguf(tmp_path / "a.gguf", pre, pair="12")
    tokenizer = load_tokenizer(at(tmp_path, gguf_file="a.gguf"))
    assert len(tokenizer.ids(["a12"])[0]) == (2 if together else 3)
    assert len(tokenizer.remarks) == (pre == "unheard-of")
    assert all("'unheard-of'" in remark and "tokenizer.json" in remark for remark in tokenizer.remarks)


def test_the_tokenizer_of_a_gguf_file_in_a_subfolder_is_inside_it(tmp_path: Path) -> None:
    folder = tmp_path / "sub"
    folder.mkdir()
    save_gguf(folder / "a.gguf")
    # Not that of another file of this name at the top.
    save_gguf(tmp_path / "a.gguf", pair="xy")
    (ids,) = load_tokenizer(at(tmp_path, subfolder="sub", gguf_file="a.gguf")).ids(["ab"])
    assert len(ids) == 1


def test_a_gguf_file_that_was_cut_short_is_blamed(tmp_path: Path) -> None:
    path = tmp_path / "a.gguf"
    save_gguf(path)
    path.write_bytes(path.read_bytes()[:-4000])
    with pytest.raises(
        UnusableError, match=r"cannot read a\.gguf of .*; download it again if it was cut short"
    ) as caught:
        load_model(at(tmp_path, gguf_file="a.gguf"), "cpu")
    assert "config.json" not in str(caught.value)


def test_a_damaged_gguf_file_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "a.gguf").write_bytes(os.urandom(1000))
    with pytest.raises(UnusableError, match="cannot read") as caught:
        load_model(at(tmp_path, gguf_file="a.gguf"), "cpu")
    assert "\n" not in str(caught.value)
