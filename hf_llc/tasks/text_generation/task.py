"""Text generation as a task: causal language models of transformers over packed tokens."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from hf_llc.checkpoints.loading.load import load_model
from hf_llc.checkpoints.source import Corpus, ModelSource
from hf_llc.settings.data import DataSettings
from hf_llc.tasks.base import Computation
from hf_llc.tasks.text_generation import prepare
from hf_llc.tasks.text_generation.head import Head
from hf_llc.tasks.text_generation.last_layer import last_layer
from hf_llc.tasks.text_generation.objective import LanguageObjective, default_micro_batch

TOKENS = "tokens"


class TextGeneration:
    """Next-token cross-entropy of packed sequences."""

    item = "sequence"
    unit = "nats per token"

    def claims(self, config: Mapping[str, Any]) -> bool:
        """False: the default claims nothing, and is left with what no other task claims."""
        return False

    def needs_tokenizer(self, data: DataSettings) -> bool:
        """False for a file of token ids."""
        return prepare.needs_tokenizer(data)

    def find_items(
        self, data: DataSettings, source: ModelSource, *, tokenizer: ModelSource | None, tell: Callable[[str], None]
    ) -> Corpus:
        """Packed sequences of tokens."""
        return prepare.find_corpus(data, source, tokenizer=tokenizer, tell=tell)

    def load_items(self, corpus: Corpus) -> Mapping[str, Tensor]:
        """The tokens, (n, context), int32: these take a thousandth of what a forward pass does."""
        return {TOKENS: prepare.load_tokens(corpus)}

    def load_model(self, source: ModelSource, device: str, devices: int) -> torch.nn.Module:
        """The causal language model."""
        return load_model(source, device, devices=devices)

    def refuse(self, model: torch.nn.Module, items: Mapping[str, Tensor]) -> None:
        """Raise UnusableError if a token is not in the vocabulary: all checkpoints of a scan share those of one."""
        prepare.refuse_unknown(items[TOKENS], model.get_input_embeddings().weight.shape[0])  # type: ignore[operator]

    def objective(
        self,
        model: torch.nn.Module,
        items: Mapping[str, Tensor],
        parameters: Sequence[Tensor],
        computation: Computation,
    ) -> LanguageObjective:
        """Mean cross-entropy of each sequence, its last layer in chunks where that pays."""
        # FSDP makes a layer whole for its own forward pass only, which a cut model would not go through.
        cut = None if computation.sharded else last_layer(model)
        tokens = items[TOKENS]
        micro_batch = computation.micro_batch_size
        if micro_batch is None:
            micro_batch = default_micro_batch(
                computation.batch_size, tokens.shape[1], _vocabulary(model), cut.activations if cut else None
            )
        return LanguageObjective(
            lambda ids: model(input_ids=ids, use_cache=False).logits,
            parameters,
            tokens,
            min(micro_batch, computation.batch_size),
            Head(cut.hidden, cut.weight, cut.bias) if cut else None,
            computation.dtype,
        )


def _vocabulary(model: torch.nn.Module) -> int:
    head = model.get_output_embeddings()  # type: ignore[operator]
    size = model.config.vocab_size if head is None else head.weight.shape[0]  # type: ignore[union-attr]
    return int(size)  # type: ignore[arg-type]
