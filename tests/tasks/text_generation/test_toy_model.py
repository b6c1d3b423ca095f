"""The small GPT-NeoX and its tokenizer: repeatable, and readable by transformers as any checkpoint is."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from hf_llc.tasks.text_generation.toy_model import Shape, build_model, save_checkpoint
from hf_llc.tasks.text_generation.toy_tokenizer import (
    END_OF_TEXT,
    END_OF_TEXT_ID,
    SMALLEST,
    save_tokenizer,
    train_tokenizer,
)
from tests.helpers.tiny_model import sentences

SHAPE = Shape(layers=2, width=16, heads=2, context=24)
VOCABULARY = 280


def weights(seed: int) -> dict[str, torch.Tensor]:
    return build_model(SHAPE, VOCABULARY, torch.Generator().manual_seed(seed)).state_dict()


def test_the_weights_depend_on_the_generator_alone() -> None:
    torch.rand(3)
    first, again, other = weights(0), weights(0), weights(1)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["gpt_neox.embed_in.weight"], other["gpt_neox.embed_in.weight"])


def test_building_leaves_the_global_stream_alone() -> None:
    before = torch.get_rng_state()
    weights(0)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_spread_of_the_weights_is_that_of_gpt_neox() -> None:
    wide = build_model(Shape(layers=2, width=64), 512, torch.Generator().manual_seed(0)).state_dict()
    inside, outwards = (2 / (5 * 64)) ** 0.5, 2 / (2 * 64**0.5)
    assert float(wide["gpt_neox.embed_in.weight"].std()) == pytest.approx(inside, rel=0.02)
    assert float(wide["gpt_neox.layers.0.mlp.dense_h_to_4h.weight"].std()) == pytest.approx(inside, rel=0.02)
    assert float(wide["gpt_neox.layers.1.mlp.dense_4h_to_h.weight"].std()) == pytest.approx(outwards, rel=0.02)
    assert float(wide["gpt_neox.layers.1.attention.dense.weight"].std()) == pytest.approx(outwards, rel=0.04)
    assert bool((wide["gpt_neox.layers.0.input_layernorm.weight"] == 1).all())
    assert not wide["gpt_neox.layers.0.mlp.dense_h_to_4h.bias"].any()


def test_head_and_embedding_are_different_weights() -> None:
    model = build_model(SHAPE, VOCABULARY, torch.Generator().manual_seed(0))
    embedding, head = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    assert isinstance(embedding, torch.Tensor)
    assert isinstance(head, torch.Tensor)
    assert not torch.equal(embedding, head)


def test_transformers_reads_the_checkpoint_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = build_model(SHAPE, VOCABULARY, torch.Generator().manual_seed(0))
    save_checkpoint(model, train_tokenizer(sentences(50), VOCABULARY), tmp_path)
    assert capsys.readouterr() == ("", "")
    loaded: Any = AutoModelForCausalLM.from_pretrained(tmp_path, output_loading_info=True)
    read, info = loaded
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    ids = torch.arange(24).reshape(1, 24)
    with torch.no_grad():
        assert torch.equal(read(ids).logits, model(ids).logits)
    assert read.config.max_position_embeddings == 24
    assert all(value.dtype == torch.float32 for value in load_file(tmp_path / "model.safetensors").values())


def test_transformers_reads_the_tokenizer_back(tmp_path: Path) -> None:
    result = train_tokenizer(sentences(50), VOCABULARY)
    model = build_model(SHAPE, result.get_vocab_size(), torch.Generator().manual_seed(0))
    save_checkpoint(model, result, tmp_path)
    read = AutoTokenizer.from_pretrained(tmp_path)
    text = "the old stone bridge\n  Wörld 名 " + sentences(1)[0]
    assert read(text, add_special_tokens=False)["input_ids"] == result.encode(text).ids
    assert read.decode(result.encode(text).ids) == text
    assert (read.eos_token, read.eos_token_id, read.model_max_length) == (END_OF_TEXT, END_OF_TEXT_ID, 24)
    assert len(read) == model.config.vocab_size == VOCABULARY


def test_the_tokenizer_is_the_same_for_the_same_documents(tmp_path: Path) -> None:
    for name in ("one", "two"):
        save_tokenizer(train_tokenizer(sentences(50), VOCABULARY), tmp_path / name, 24)
    assert (tmp_path / "one" / "tokenizer.json").read_bytes() == (tmp_path / "two" / "tokenizer.json").read_bytes()


def test_the_tokenizer_learns_from_its_documents() -> None:
    text = sentences(1)[0]
    small, larger = train_tokenizer(sentences(50), SMALLEST), train_tokenizer(sentences(50), VOCABULARY)
    assert len(small.encode(text).ids) == len(text.encode())
    assert len(larger.encode(text).ids) < len(text.encode())


def test_a_vocabulary_without_room_for_all_bytes_is_refused() -> None:
    with pytest.raises(ValueError, match="256 bytes"):
        train_tokenizer(sentences(5), SMALLEST - 1)
