"""A tiny Llama or Gemma with a tokenizer that begins texts with BOS and writes conversations, and conversations."""

from pathlib import Path
from typing import Any

import torch
from tokenizers import processors
from transformers import GemmaConfig, GemmaForCausalLM, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from tests.helpers.tiny_model import VOCABULARY, make_tokenizer, sentences

CHAT_CONTEXT = 128
BOS, START, END = "<bos>", "<|im_start|>", "<|im_end|>"
CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + (message['content'] or '') + "
    "'<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
MARKED = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' }}{% if message['role'] == 'assistant' %}"
    "{% generation %}{{ message['content'] + '<|im_end|>' }}{% endgeneration %}{% else %}"
    "{{ message['content'] + '<|im_end|>' }}{% endif %}{{ '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
"""CHATML with marks around what the assistant says."""
Message = dict[str, Any]


def make_chat_tokenizer(template: str | None = CHATML, *, bos: bool = False) -> PreTrainedTokenizerFast:
    """The tiny tokenizer with the tokens of ChatML, and with BOS, which it puts before a text if `bos`."""
    tokenizer = make_tokenizer()
    tokenizer.add_special_tokens({"bos_token": BOS, "additional_special_tokens": [START, END]})
    if bos:
        tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{BOS} $A", pair=f"{BOS} $A {BOS} $B", special_tokens=[(BOS, tokenizer.bos_token_id)]
        )
    tokenizer.chat_template = template
    return tokenizer


def make_llama(seed: int = 0, **changes: Any) -> Any:
    """About 32 thousand float32 weights in eval mode, with no token for padding."""
    return _drawn(LlamaForCausalLM, LlamaConfig, seed, pad_token_id=None, **changes)


def make_gemma(seed: int = 0, **changes: Any) -> Any:
    """A Gemma of the size of the tiny Llama: embeddings that are scaled and tied, a head of its own size."""
    return _drawn(GemmaForCausalLM, GemmaConfig, seed, head_dim=16, pad_token_id=None, **changes)


def _drawn(kind: Any, config: Any, seed: int, **changes: Any) -> Any:
    settings = {
        "vocab_size": VOCABULARY + 3,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "intermediate_size": 64,
        "max_position_embeddings": CHAT_CONTEXT,
        "bos_token_id": VOCABULARY,
        "eos_token_id": 0,
    }
    with torch.random.fork_rng(devices=[]):
        model = kind(config(**{**settings, **changes}))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" not in name:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.2)
    return model.eval()


def save_chat_model(
    folder: Path, template: str | None = CHATML, *, bos: bool = False, model: Any = None
) -> Path:  # fmt: skip
    """`folder`, with a tiny Llama, or that model, and the tokenizer."""
    (make_llama() if model is None else model).save_pretrained(folder)
    make_chat_tokenizer(template, bos=bos).save_pretrained(folder)
    return folder


def conversation(number: int) -> list[Message]:
    """One or two questions with their answers, some below a system's message: at most 64 tokens or a little more."""
    texts = sentences(5, first=5 * number)
    system = [{"role": "system", "content": "be short"}] if number % 3 == 0 else []
    first = [{"role": "user", "content": texts[0][:20]}, {"role": "assistant", "content": texts[1][:24]}]
    second = [{"role": "user", "content": texts[2][:12]}, {"role": "assistant", "content": texts[3][:16]}]
    return [*system, *first, *(second if number % 2 else [])]


def conversations(count: int) -> list[dict[str, Any]]:
    """Rows of `messages`."""
    return [{"messages": conversation(number)} for number in range(count)]


def pairs(count: int) -> list[dict[str, Any]]:
    """Rows of a `prompt` and its `completion` as strings."""
    texts = sentences(2 * count)
    return [{"prompt": texts[2 * n], "completion": " " + texts[2 * n + 1][:30]} for n in range(count)]
