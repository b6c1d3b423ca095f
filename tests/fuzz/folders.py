"""Tiny checkpoints of three architectures, and copies of them with some files changed."""

import json
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, GPT2Config, GPTNeoXConfig, LlamaConfig, PretrainedConfig

from tests.helpers.tiny_model import CONTEXT, VOCABULARY, make_tokenizer, sentences

TEXTS = sentences(40)
IDS: dict[str, Any] = {"vocab_size": VOCABULARY, "bos_token_id": 0, "eos_token_id": 0}
CONFIGS: dict[str, PretrainedConfig] = {
    "llama": LlamaConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1, intermediate_size=32,
        max_position_embeddings=CONTEXT, initializer_range=0.3, **IDS,
    ),
    "gpt2": GPT2Config(n_embd=16, n_layer=2, n_head=2, n_positions=CONTEXT, initializer_range=0.3, **IDS),
    "gpt_neox": GPTNeoXConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=CONTEXT, initializer_range=0.3, **IDS,
    ),
}  # fmt: skip


def save_all(place: Path) -> None:
    """A folder for each architecture, one with the weights in two files, and the text beside them."""
    for name, config in CONFIGS.items():
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = AutoModelForCausalLM.from_config(config)
        model.save_pretrained(place / name)
        make_tokenizer().save_pretrained(place / name)
        if name == "llama":
            model.save_pretrained(place / "sharded", max_shard_size="20KB")
            make_tokenizer().save_pretrained(place / "sharded")
    (place / "text.jsonl").write_text("".join(json.dumps({"text": line}) + "\n" for line in TEXTS))


@contextmanager
def changed(folder: Path, files: Mapping[str, bytes | None]) -> Iterator[Path]:
    """A copy of the folder with these files' content; None leaves one out."""
    copy = folder.parent / f"copy-{uuid.uuid4().hex[:8]}"
    shutil.copytree(folder, copy, copy_function=os.link)
    try:
        for name, content in files.items():
            (copy / name).unlink(missing_ok=True)
            if content is not None:
                (copy / name).write_bytes(content)
        yield copy
    finally:
        shutil.rmtree(copy)
