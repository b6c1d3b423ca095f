"""Text generation as a task: causal language models of transformers over packed text, or over conversations."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from hf_llc.checkpoints.loading.config import CAUSAL
from hf_llc.checkpoints.loading.load import load_model
from hf_llc.checkpoints.source import Corpus, ModelSource
from hf_llc.errors import UnusableError
from hf_llc.settings.data import DataSettings
from hf_llc.tasks.base import Computation
from hf_llc.tasks.text.tokenizer import load_tokenizer
from hf_llc.tasks.text_generation import prepare
from hf_llc.tasks.text_generation.head import Head
from hf_llc.tasks.text_generation.last_layer import last_layer
from hf_llc.tasks.text_generation.objective import LanguageObjective, default_micro_batch, lengths_of
from hf_llc.tasks.text_generation.prepare import TOKENS
from hf_llc.tasks.text_generation.sequences import refuse_unknown
from hf_llc.tasks.text_generation.targets import IDS, LABELS

EXCERPT = 24
"""Tokens of a sequence that are shown."""
PADDING_TOLERANCE = 1e-3
"""Of the largest logit: by how much what is behind a sequence may change its logits, through rounding."""


class TextGeneration:
    """Next-token cross-entropy of packed sequences, or of the targets of conversations and completions."""

    item = "sequence"
    unit = "nats per token"
    kind = CAUSAL

    def claims(self, config: Mapping[str, Any]) -> bool:
        """False: the default claims nothing, and is left with what no other task claims."""
        return False

    def needs_tokenizer(self, data: DataSettings) -> bool:
        """False for a file of token ids."""
        return prepare.needs_tokenizer(data)

    def find_items(
        self, data: DataSettings, source: ModelSource, *, tokenizer: ModelSource | None, tell: Callable[[str], None]
    ) -> Corpus:
        """Packed sequences of tokens, or sequences of which some tokens are targets."""
        return prepare.find_corpus(data, source, tokenizer=tokenizer, tell=tell)

    def load_items(self, corpus: Corpus) -> Mapping[str, Tensor]:
        """Tokens, (n, context), int32, which take a thousandth of what a forward pass does, and labels if need be."""
        return prepare.load_sequences(corpus)

    def labels(self, corpus: Corpus, source: ModelSource, positions: Sequence[tuple[int, int | None]]) -> Sequence[str]:
        """The beginning of each sequence, or the token at that place of it, as text."""
        items = self.load_items(corpus)
        tokens = items[IDS if LABELS in items else TOKENS]
        decode = load_tokenizer(source).built.decode
        return [
            str(decode(tokens[item, :EXCERPT] if place is None else tokens[item, place : place + 1]))
            for item, place in positions
        ]

    def load_model(self, source: ModelSource, device: str, devices: int) -> torch.nn.Module:
        """The causal language model."""
        return load_model(source, device, devices=devices)

    def refuse(self, model: torch.nn.Module, items: Mapping[str, Tensor]) -> None:
        """Raise UnusableError if a token is not in the vocabulary, or a sequence's logits depend on what is behind it.

        All checkpoints of a scan share the tokens of one.
        """
        tokens = items[IDS if LABELS in items else TOKENS]
        refuse_unknown(tokens, model.get_input_embeddings().weight.shape[0])  # type: ignore[operator]
        if LABELS in items:
            _refuse_if_padding_matters(model, items)

    def objective(
        self,
        model: torch.nn.Module,
        items: Mapping[str, Tensor],
        parameters: Sequence[Tensor],
        computation: Computation,
    ) -> LanguageObjective:
        """Mean cross-entropy of the targets of each sequence, its last layer in chunks where that pays."""
        # FSDP makes a layer whole for its own forward pass only, which a cut model would not go through.
        cut = None if computation.sharded else last_layer(model)
        tokens = items[IDS if LABELS in items else TOKENS]
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
            items.get(LABELS),
        )


def _refuse_if_padding_matters(model: torch.nn.Module, items: Mapping[str, Tensor]) -> None:
    """Raise UnusableError if the logits of the shortest sequence are others when the row is as long as the longest."""
    lengths = lengths_of(items[LABELS])
    shortest = int(lengths.argmin())
    ids = items[IDS][shortest : shortest + 1].to(next(model.parameters()).device).long()
    length = int(lengths[shortest])
    with torch.no_grad():
        alone = model(input_ids=ids[:, :length], use_cache=False).logits
        padded = model(input_ids=ids, use_cache=False).logits[:, :length]
    if float((alone - padded).abs().max()) > PADDING_TOLERANCE * float(alone.abs().max().clamp_min(1e-30)):
        raise UnusableError(
            f"{type(model).__name__} gives a sequence of {length} tokens other logits when others follow, up to "
            f"{ids.shape[1]}, so that its loss would depend on the other sequences of its batch; set `context_length` "
            "to a smaller one."
        )


def _vocabulary(model: torch.nn.Module) -> int:
    head = model.get_output_embeddings()  # type: ignore[operator]
    size = model.config.vocab_size if head is None else head.weight.shape[0]  # type: ignore[union-attr]
    return int(size)  # type: ignore[arg-type]
