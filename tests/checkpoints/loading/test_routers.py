"""Which models choose between experts, by their configuration and the names of their modules."""

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from hf_llc.checkpoints.loading.routers import routers
from tests.helpers.jumping_losses import mixture
from tests.helpers.tiny_model import make_model

SMALL = {
    "vocab_size": 32, "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
    "num_key_value_heads": 2, "max_position_embeddings": 16, "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0,
}  # fmt: skip
MIXTURES = {
    "mixtral": {"num_local_experts": 4},
    "qwen2_moe": {
        "num_experts": 4,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 16,
        "shared_expert_intermediate_size": 16,
    },
    "qwen3_moe": {"num_experts": 4, "moe_intermediate_size": 16, "num_experts_per_tok": 2, "head_dim": 8},
    "olmoe": {"num_experts": 4, "num_experts_per_tok": 2},
    "phimoe": {"num_local_experts": 4},
    "granitemoe": {"num_local_experts": 4},
}


@pytest.mark.parametrize("kind", MIXTURES)
def test_a_mixture_of_experts_names_its_routers(kind: str) -> None:
    with torch.random.fork_rng(devices=[]):
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **{**SMALL, **MIXTURES[kind]}))
    result = routers(model)
    assert len(result) >= 1
    assert all(name.startswith("model.layers.0.") or name == "a choice of experts" for name in result), result


@pytest.mark.parametrize("kind", ["llama", "mistral", "qwen2", "gemma", "gpt2"])
def test_gates_of_a_dense_model_choose_nothing(kind: str) -> None:
    with torch.random.fork_rng(devices=[]):
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **SMALL))
    assert routers(model) == []


def test_experts_that_all_take_every_token_choose_nothing() -> None:
    assert routers(mixture(experts=4, chosen=2)) == ["model.layers.0.mlp.gate"]
    assert routers(mixture(experts=2, chosen=2)) == []
    assert routers(make_model()) == []
    assert routers(torch.nn.Linear(2, 2)) == []
