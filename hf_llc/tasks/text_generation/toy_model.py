"""A GPT-NeoX small enough to be trained while one waits, in the form that the Pythia suite has (transformers)."""

import math
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

from hf_llc.checkpoints.loading.errors import quiet
from hf_llc.tasks.text_generation.toy_tokenizer import END_OF_TEXT_ID, save_tokenizer

_INTO_RESIDUAL = ("attention.dense.weight", "mlp.dense_4h_to_h.weight")


@dataclass(frozen=True, kw_only=True)
class Shape:
    """Sizes of a GPT-NeoX: blocks, width of the residual stream, attention heads, positions."""

    layers: int = 2
    width: int = 64
    heads: int = 4
    context: int = 64


def build_model(shape: Shape, vocabulary: int, generator: torch.Generator) -> GPTNeoXForCausalLM:
    """The model at step 0, float32 on the CPU, with weights that depend on the arguments alone.

    Args:
        generator: every weight is drawn from it.
    """
    config = GPTNeoXConfig(
        vocab_size=vocabulary,
        hidden_size=shape.width,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        intermediate_size=4 * shape.width,
        max_position_embeddings=shape.context,
        attention_dropout=0.0,
        hidden_dropout=0.0,
        tie_word_embeddings=False,
        bos_token_id=END_OF_TEXT_ID,
        eos_token_id=END_OF_TEXT_ID,
    )
    # The constructor draws weights from the global stream, which is the caller's; ours replace them.
    with torch.random.fork_rng(devices=[]):
        model = GPTNeoXForCausalLM(config)
    _initialise(model, shape, generator)
    return model


@torch.no_grad()
def _initialise(model: GPTNeoXForCausalLM, shape: Shape, generator: torch.Generator) -> None:
    """Normal weights of standard deviation √(2/(5·width)) (Nguyen & Salazar 2019), and 2/(layers·√width) where a block
    writes to the residual stream (Wang & Komatsuzaki 2021), as GPT-NeoX and Pythia have them; biases 0, gains 1."""
    inside, outwards = math.sqrt(2 / (5 * shape.width)), 2 / (shape.layers * math.sqrt(shape.width))
    for name, parameter in model.named_parameters():
        if parameter.ndim < 2:
            parameter.fill_(1.0 if name.endswith("norm.weight") else 0.0)
            continue
        spread = outwards if name.endswith(_INTO_RESIDUAL) else inside
        parameter.normal_(0.0, spread, generator=generator)


def save_checkpoint(model: GPTNeoXForCausalLM, tokenizer: Tokenizer, folder: Path) -> None:
    """Writes config, safetensors weights and tokenizer: all that `from_pretrained(folder)` needs."""
    with quiet():
        model.save_pretrained(folder)
    save_tokenizer(tokenizer, folder, model.config.max_position_embeddings)
