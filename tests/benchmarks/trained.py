"""A small trained GPT-NeoX and its packed tokens, for benchmarks: made once per session of tests."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from hf_llc.checkpoints.loading.load import load_model
from hf_llc.checkpoints.resolve import find_model
from hf_llc.results.progress import Observer
from hf_llc.scans.demo import CHECKPOINTS, DemoSize, prose, train_once
from hf_llc.settings.data import DataSettings
from hf_llc.settings.model import ModelSettings
from hf_llc.tasks.text_generation.objective import LanguageObjective
from hf_llc.tasks.text_generation.prepare import find_corpus, load_tokens


@dataclass(frozen=True)
class Trained:
    """A checkpoint in memory with its text."""

    model: torch.nn.Module
    tokens: Tensor  # (n, context) int32

    def objective(self, micro_batch: int) -> LanguageObjective:
        """L_n at the checkpoint."""
        parameters = list(self.model.parameters())
        return LanguageObjective(lambda ids: self.model(input_ids=ids).logits, parameters, self.tokens, micro_batch)

    def anchor_losses(self, micro_batch: int = 64) -> Tensor:
        """ℓ_i(w*), shape (n,)."""
        objective = self.objective(micro_batch)
        return torch.cat([objective.losses(part) for part in torch.arange(objective.n).split(micro_batch)])


def demo_model(folder: Path, steps: int = 512, keep: Sequence[int] = (0,)) -> Trained:
    """The demonstration's model after that many steps of training; checkpoints at other steps are kept beside it."""
    size = replace(DemoSize(), checkpoints=tuple(sorted({*keep, steps})))
    documents = prose()
    text = folder / "text.jsonl"
    folder.mkdir(parents=True, exist_ok=True)
    text.write_text("".join(json.dumps({"text": document}) + "\n" for document in documents), encoding="utf-8")
    train_once(folder, documents, size, Observer())
    source = find_model(ModelSettings(model=str(folder / CHECKPOINTS / f"step{steps}")))
    data = DataSettings(dataset=str(text), text_column="text", context_length=size.shape.context)
    tokens = load_tokens(find_corpus(data, source))
    return Trained(load_model(source, "cpu", torch.float32), tokens)
