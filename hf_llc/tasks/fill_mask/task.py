"""Fill-mask as a task: masked language models of transformers over packed tokens with a fixed mask."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from hf_llc.checkpoints.loading.load import load_model
from hf_llc.checkpoints.source import Corpus, ModelSource
from hf_llc.errors import UnusableError
from hf_llc.settings.data import DataSettings
from hf_llc.tasks import item_cache
from hf_llc.tasks.base import Computation, Example, has_architecture
from hf_llc.tasks.fill_mask import prepare
from hf_llc.tasks.fill_mask.prepare import IDS, IGNORED, LABELS
from hf_llc.tasks.items import ItemObjective, Rows
from hf_llc.tasks.text_generation.objective import default_micro_batch
from hf_llc.tasks.text_generation.sequences import refuse_unknown


class FillMask:
    """Mean cross-entropy of the masked tokens of packed sequences."""

    item = "sequence"
    unit = "nats per masked token"
    kind = prepare.MASKED

    def claims(self, config: Mapping[str, Any]) -> bool:
        """Whether it names an architecture for masked language modelling."""
        return has_architecture(config, "ForMaskedLM")

    def needs_tokenizer(self, data: DataSettings) -> bool:
        """True: the items are text."""
        return True

    def find_items(
        self, data: DataSettings, source: ModelSource, *, tokenizer: ModelSource | None, tell: Callable[[str], None]
    ) -> Corpus:
        """Packed sequences of tokens, a fixed part of them masked."""
        return prepare.find_sequences(data, source, tokenizer=tokenizer, tell=tell)

    def example(self, data: DataSettings, source: ModelSource, tell: Callable[[str], None]) -> Example:
        """Sequences as long as they would be packed."""
        return prepare.example(data, source)

    def load_items(self, corpus: Corpus) -> Mapping[str, Tensor]:
        """What the model reads and what was masked, both (n, context)."""
        return item_cache.load(corpus)

    def load_model(self, source: ModelSource, device: str, devices: int) -> torch.nn.Module:
        """The masked language model, which has no dropout then."""
        return load_model(source, device, devices=devices, kind=prepare.MASKED)

    def refuse(self, model: torch.nn.Module, items: Mapping[str, Tensor]) -> None:
        """Raise UnusableError if a token is not in the vocabulary, or scores are not finite."""
        vocabulary = _vocabulary(model)
        refuse_unknown(items[IDS], vocabulary)
        refuse_unknown(items[LABELS].clamp(min=0), vocabulary)
        with torch.no_grad():
            scores = _scores(model, items[IDS][:1].to(next(model.parameters()).device))
        if not scores.isfinite().all():
            raise UnusableError("The model gives scores that are not finite; its weights hold inf or NaN, or overflow.")

    def objective(
        self,
        model: torch.nn.Module,
        items: Mapping[str, Tensor],
        parameters: Sequence[Tensor],
        computation: Computation,
    ) -> ItemObjective:
        """Mean cross-entropy of the masked tokens of each sequence."""

        def losses(rows: Rows) -> Tensor:
            labels = rows[LABELS].long()
            scores = _scores(model, rows[IDS]).transpose(1, 2).float()
            each = functional.cross_entropy(scores, labels, ignore_index=IGNORED, reduction="none")
            means: Tensor = each.sum(dim=1) / (labels != IGNORED).sum(dim=1)
            return means

        micro_batch = computation.micro_batch_size
        if micro_batch is None:
            micro_batch = default_micro_batch(computation.batch_size, items[IDS].shape[1], _vocabulary(model))
        return ItemObjective(losses, parameters, items, min(micro_batch, computation.batch_size), computation.dtype)


def _vocabulary(model: Any) -> int:
    return int(model.get_input_embeddings().weight.shape[0])


def _scores(model: Any, ids: Tensor) -> Tensor:
    """Scores of the vocabulary, (m, context, vocabulary)."""
    scores: Tensor = model(input_ids=ids.long(), attention_mask=torch.ones_like(ids, dtype=torch.long)).logits
    return scores
