"""Text classification as a task: sequence classification models of transformers over texts with one class each."""

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
from hf_llc.tasks.items import ItemObjective, Rows
from hf_llc.tasks.text.tokenizer import load_tokenizer
from hf_llc.tasks.text_classification import prepare
from hf_llc.tasks.text_classification.prepare import IDS, LABELS, LENGTHS, TYPES
from hf_llc.tasks.text_generation.objective import ACTIVATION_BUDGET
from hf_llc.tasks.text_generation.sequences import refuse_unknown

EXCERPT = 24
"""Tokens of a text that name it."""
PADDING_TOLERANCE = 1e-3
"""Of the largest score: by how much padding may change the scores of a text, through rounding."""


class TextClassification:
    """Cross-entropy of the class of each text."""

    item = "text"
    unit = "nats per text"
    kind = prepare.TEXT_CLASSIFIER

    def claims(self, config: Mapping[str, Any]) -> bool:
        """Whether it names an architecture for sequence classification."""
        return has_architecture(config, "ForSequenceClassification")

    def needs_tokenizer(self, data: DataSettings) -> bool:
        """True: the items are texts."""
        return True

    def find_items(
        self, data: DataSettings, source: ModelSource, *, tokenizer: ModelSource | None, tell: Callable[[str], None]
    ) -> Corpus:
        """Texts with special tokens, cut to the context length and padded, and their classes."""
        return prepare.find_texts(data, source, tokenizer=tokenizer, tell=tell)

    def example(self, data: DataSettings, source: ModelSource, tell: Callable[[str], None]) -> Example:
        """Texts as long as they may be at most."""
        return prepare.example(data, source)

    def load_items(self, corpus: Corpus) -> Mapping[str, Tensor]:
        """Token ids and types, (n, longest), lengths and classes, (n,)."""
        return item_cache.load(corpus)

    def labels(self, corpus: Corpus, source: ModelSource, positions: Sequence[tuple[int, int | None]]) -> Sequence[str]:
        """The beginning of each text, which are in another order than in the data."""
        items = self.load_items(corpus)
        decode = load_tokenizer(source).built.decode
        ends = items[LENGTHS].clamp(max=EXCERPT)
        return [str(decode(items[IDS][item, : int(ends[item])], skip_special_tokens=True)) for item, _ in positions]

    def load_model(self, source: ModelSource, device: str, devices: int) -> torch.nn.Module:
        """The sequence classification model, which has no dropout then."""
        return load_model(source, device, devices=devices, kind=prepare.TEXT_CLASSIFIER)

    def refuse(self, model: torch.nn.Module, items: Mapping[str, Tensor]) -> None:
        """Raise UnusableError if tokens or classes are not the model's, or its scores depend on padding."""
        refuse_unknown(items[IDS], model.get_input_embeddings().weight.shape[0])  # type: ignore[operator]
        _set_padding(model, items)
        shortest = int(items[LENGTHS].argmin())
        device = next(model.parameters()).device
        row = {name: tensor[shortest : shortest + 1].to(device) for name, tensor in items.items()}
        with torch.no_grad():
            alone = _scores(model, row, int(row[LENGTHS]))
            padded = _scores(model, row, row[IDS].shape[1])
        classes = alone.shape[-1]
        if alone.dim() != 2 or not 0 <= int(items[LABELS].min()) <= int(items[LABELS].max()) < classes:
            raise UnusableError(
                f"The data has the class {int(items[LABELS].max())}, but the model has {classes} classes; they do not "
                "belong together."
            )
        if not alone.isfinite().all():
            raise UnusableError("The model gives scores that are not finite; its weights hold inf or NaN, or overflow.")
        if float((alone - padded).abs().max()) > PADDING_TOLERANCE * float(alone.abs().max().clamp_min(1e-30)):
            raise UnusableError(
                f"{type(model).__name__} gives a text other scores when it is padded on the right, so that its loss "
                "would depend on the other texts of its batch; it is not supported."
            )

    def objective(
        self,
        model: torch.nn.Module,
        items: Mapping[str, Tensor],
        parameters: Sequence[Tensor],
        computation: Computation,
    ) -> ItemObjective:
        """Cross-entropy of the class of each text."""
        _set_padding(model, items)

        def losses(rows: Rows) -> Tensor:
            # Texts of a batch are often much shorter than the longest of all.
            scores = _scores(model, rows, int(rows[LENGTHS].max()))
            return functional.cross_entropy(scores.float(), rows[LABELS].long(), reduction="none")

        micro_batch = computation.micro_batch_size or _micro_batch(model, items[IDS].shape[1])
        return ItemObjective(
            losses, parameters, items, min(micro_batch, computation.batch_size), computation.dtype
        )  # fmt: skip


def _scores(model: Any, rows: Mapping[str, Tensor], width: int) -> Tensor:
    """Scores of the classes, (m, classes), of texts in rows that are cut to `width` tokens."""
    mask = torch.arange(width, device=rows[LENGTHS].device) < rows[LENGTHS][:, None]
    more = {TYPES: rows[TYPES][:, :width].long()} if TYPES in rows else {}
    scores: Tensor = model(input_ids=rows[IDS][:, :width].long(), attention_mask=mask.long(), **more).logits
    return scores


def _set_padding(model: Any, items: Mapping[str, Tensor]) -> None:
    """Tell a model that knows no padding which id these rows are filled with."""
    config = model.config.get_text_config()
    if not isinstance(config.pad_token_id, int) or config.pad_token_id < 0:
        ends = items[IDS].gather(1, items[LENGTHS].long()[:, None] - 1).unique().tolist()
        padding = prepare.padding_id(None, [[end] for end in ends])
        config.pad_token_id = padding
        model.config.pad_token_id = padding


def _micro_batch(model: Any, width: int) -> int:
    """Texts per forward pass that keep memory within bounds: a function of shapes alone."""
    config = model.config.get_text_config()
    layers, size = getattr(config, "num_hidden_layers", None), getattr(config, "hidden_size", None)
    activations = layers * size if isinstance(layers, int) and isinstance(size, int) else 2**14
    return max(1, ACTIVATION_BUDGET // (width * activations))
