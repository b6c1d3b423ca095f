"""Tiny adapters of peft, saved to folders as peft saves them: the same bytes for the same arguments."""

import json
import warnings
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftConfig, get_peft_model

from tests.helpers.tiny_model import make_model

TARGETS = ("query_key_value", "dense_4h_to_h")
RANK = 3
D = RANK * (32 + 96) + RANK * (128 + 32)
"""Weights of the adapter that `save_adapter` saves, on the tiny model."""


def lora(**changes: Any) -> LoraConfig:
    """A LoRA with dropout on two layers of the tiny model."""
    plain: dict[str, Any] = {
        "r": RANK, "lora_alpha": 6, "lora_dropout": 0.5, "target_modules": list(TARGETS), "task_type": "CAUSAL_LM",
    }  # fmt: skip
    return LoraConfig(**{**plain, **changes})


def make_adapter(config: PeftConfig | None = None, *, model: Any = None, seed: int = 0, std: float = 0.1) -> Any:
    """The PeftModel of an adapter on a model, the tiny one unless given, with weights drawn from N(0, std²).

    Trained magnitudes and copies of layers are moved by as much from where they begin.
    """
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.simplefilter("ignore")
        torch.default_generator.manual_seed(seed)
        wrapped = get_peft_model(make_model() if model is None else model, config or lora())
    stream = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in wrapped.named_parameters():
            if parameter.requires_grad:
                noise = std * torch.randn(parameter.shape, generator=stream)
                parameter.copy_(noise if ".lora_A." in name or ".lora_B." in name else parameter + noise)
    return wrapped.eval()


def save_adapter(
    folder: Path,
    base: str | Path | None,
    config: PeftConfig | None = None,
    *,
    model: Any = None,
    embed: bool = False,
    **options: Any,
) -> Path:
    """`folder`, with an adapter for a base of that name in it.

    Args:
        embed: save the embeddings of the base beside it. options: as of `make_adapter`.
    """
    wrapped = make_adapter(config, model=model, **options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wrapped.save_pretrained(str(folder), save_embedding_layers=embed)
    (folder / "README.md").unlink()
    edit_adapter(folder, base_model_name_or_path=None if base is None else str(base))
    return folder


def edit_adapter(folder: Path, **changes: Any) -> None:
    """Overwrites entries of adapter_config.json."""
    path = folder / "adapter_config.json"
    values = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({n: sorted(v) if n == "target_modules" else v for n, v in values.items()}, indent=1))
