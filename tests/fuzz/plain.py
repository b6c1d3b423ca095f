"""The plain computation: a model built by its class, the file's tensors copied into it, the file's tokenizer."""

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

from tests.fuzz.outcome import CONTEXT, Number

RENAMED = {"embed_out.weight": "lm_head.weight"}
"""Names in files, and in the classes of today."""
HARMLESS = ("inv_freq", "masked_bias", ".attn.bias", "attention.bias")
"""Ends of names of tensors that hold nothing learned; old checkpoints have them."""


def tensors(folder: Path) -> dict[str, Tensor]:
    """Every tensor of the weight files, found by the index if there is one."""
    index = folder / "model.safetensors.index.json"
    single = folder / "model.safetensors"
    names = {single.name} if single.is_file() else set(json.loads(index.read_text())["weight_map"].values())
    assert not [name for name in names if Path(name).name != name], f"files outside the folder: {names}"
    results = {key: tensor for name in sorted(names) for key, tensor in load_file(folder / name).items()}
    return {RENAMED.get(key, key): tensor for key, tensor in results.items()}


def model_of(folder: Path) -> torch.nn.Module:
    """The model outside the meta device; fails where the file and the class do not have the same tensors."""
    config = AutoConfig.from_pretrained(folder)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32, attn_implementation="eager").eval()
    missing, unexpected = model.load_state_dict(tensors(folder), strict=False)
    model.tie_weights()
    tied = set(model.all_tied_weights_keys) if config.tie_word_embeddings else set()
    assert not set(missing) - tied, f"no weights for {sorted(missing)}"
    assert not [name for name in unexpected if not name.endswith(HARMLESS)], f"unused weights: {sorted(unexpected)}"
    assert isinstance(model, torch.nn.Module)
    return model


def tokens_of(folder: Path, texts: Sequence[str], context: int, most: int) -> Tensor:
    """The ids of tokenizer.json and of the special tokens beside it, an end-of-text id after each document, in rows."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    try:
        built = AutoTokenizer.from_pretrained(folder)
    except (AttributeError, TypeError, ValueError, LookupError):
        # A class that cannot be made from the file says nothing about it; the file alone is what there is.
        built = PreTrainedTokenizerFast.from_pretrained(folder)
    # Special tokens that only the files beside it declare are cut out of a text by everyone who loads the folder.
    known = tokenizer.get_added_tokens_decoder()
    tokenizer.add_special_tokens([token for id_, token in built.added_tokens_decoder.items() if id_ not in known])
    end = built.eos_token_id
    if end is None:
        end = AutoConfig.from_pretrained(folder).eos_token_id
    end = end[0] if isinstance(end, list) else end
    assert isinstance(end, int)
    encoded = (tokenizer.encode(text, add_special_tokens=False).ids for text in texts if text)
    ids = [each for document in encoded if document for each in [*document, end]]
    n = min(len(ids) // context, most)
    return torch.tensor(ids[: n * context]).view(n, context)


def loss_of(folder: Path, texts: Sequence[str], context: int = CONTEXT, most: int = 2048) -> Number:
    """Mean next-token loss of these documents, in nats per token."""
    model, ids = model_of(folder), tokens_of(folder, texts, context, most)
    with torch.no_grad():
        logits = model(input_ids=ids, use_cache=False).logits[:, :-1].float()
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())
    return Number(float(loss), len(ids))
