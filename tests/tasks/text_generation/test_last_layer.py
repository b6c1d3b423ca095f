"""Which models can be cut before their logits, and that the parts are the whole."""

from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    CohereConfig,
    Gemma2Config,
    GPT2Config,
    GPTJConfig,
    GPTNeoXConfig,
    LlamaConfig,
)

from hf_llc.checkpoints.loading.errors import quiet
from hf_llc.tasks.text_generation.last_layer import last_layer

SIZES: dict[str, Any] = {
    "vocab_size": 90,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "bos_token_id": 1,
}
LLAMA_LIKE: dict[str, Any] = {
    **SIZES,
    "num_key_value_heads": 2,
    "intermediate_size": 64,
    "eos_token_id": 2,
}
GPT_LIKE: dict[str, Any] = {
    "vocab_size": 90,
    "n_embd": 32,
    "n_layer": 2,
    "n_head": 2,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


def model_of(config: Any) -> Any:
    with torch.random.fork_rng(devices=[]), quiet():
        torch.manual_seed(0)
        return AutoModelForCausalLM.from_config(config).eval()


@pytest.mark.parametrize(
    "config",
    [
        GPTNeoXConfig(**SIZES, intermediate_size=64, eos_token_id=2),
        LlamaConfig(**LLAMA_LIKE, tie_word_embeddings=True),
        GPT2Config(**GPT_LIKE),
        GPTJConfig(**GPT_LIKE, rotary_dim=8),
    ],
    ids=lambda config: config.model_type,
)
def test_the_parts_make_the_models_logits(config: Any) -> None:
    model = model_of(config)
    result = last_layer(model)
    assert result is not None
    assert result.activations == 64
    assert (result.bias is not None) == (config.model_type == "gptj")
    ids = torch.randint(90, (3, 20), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        parts = torch.nn.functional.linear(result.hidden(ids), result.weight, result.bias)
        assert torch.equal(parts, model(input_ids=ids).logits)


@pytest.mark.parametrize(
    "config",
    [Gemma2Config(**LLAMA_LIKE, head_dim=16), CohereConfig(**LLAMA_LIKE, logit_scale=0.5)],
    ids=["logits bent by tanh", "logits scaled"],
)
def test_a_model_that_changes_its_logits_afterwards_is_not_cut(config: Any) -> None:
    assert last_layer(model_of(config)) is None


def test_a_model_of_three_positions_is_cut() -> None:
    assert last_layer(model_of(GPT2Config(**{**GPT_LIKE, "n_positions": 3}))) is not None
