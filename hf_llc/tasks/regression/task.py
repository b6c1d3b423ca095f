"""Regression as a task: half the squared error of a deep linear network."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from hf_llc.checkpoints.loading.load import load_model
from hf_llc.checkpoints.source import Corpus, ModelSource
from hf_llc.errors import UnusableError
from hf_llc.settings.data import DataSettings
from hf_llc.tasks import item_cache
from hf_llc.tasks.base import Computation, Example
from hf_llc.tasks.items import ItemObjective, Rows
from hf_llc.tasks.regression import prepare
from hf_llc.tasks.regression.data_file import INPUTS, TARGETS
from hf_llc.tasks.regression.deep_linear import MODEL_TYPE, squared_errors

ACTIVATIONS = 2**26
"""Numbers that the layers put out in a forward pass where the micro-batch is left to choose: 256 MiB in float32."""


class Regression:
    """ℓ_i = ½ ‖y_i − f(x_i)‖², summed over outputs: the negative log likelihood of unit Gaussian noise on each output,
    less its constant ½ log 2π."""

    item = "item"
    unit = "nats per item"
    kind = prepare.REGRESSION_MODEL

    def claims(self, config: Mapping[str, Any]) -> bool:
        """True for a deep linear network."""
        return config.get("model_type") == MODEL_TYPE

    def needs_tokenizer(self, data: DataSettings) -> bool:
        """False: items are numbers."""
        return False

    def find_items(
        self, data: DataSettings, source: ModelSource, *, tokenizer: ModelSource | None, tell: Callable[[str], None]
    ) -> Corpus:
        """Inputs and targets."""
        return prepare.find_pairs(data, source, tell)

    def example(self, data: DataSettings, source: ModelSource, tell: Callable[[str], None]) -> Example:
        """Inputs and targets of the model's widths."""
        return prepare.example(source)

    def load_items(self, corpus: Corpus) -> Mapping[str, Tensor]:
        """Inputs (n, inputs) and targets (n, outputs), float32."""
        return item_cache.load(corpus)

    def load_model(self, source: ModelSource, device: str, devices: int) -> torch.nn.Module:
        """The network."""
        return load_model(source, device, devices=devices, kind=prepare.REGRESSION_MODEL)

    def refuse(self, model: torch.nn.Module, items: Mapping[str, Tensor]) -> None:
        """Raise UnusableError if the items have other widths than the model, or its outputs are not finite."""
        name = str(getattr(model, "name_or_path", "")) or "the model"
        prepare.refuse_widths(name, _widths(model), items)
        few = items[INPUTS][:2].to(next(model.parameters()).device)
        with torch.no_grad():
            predictions = model(inputs=few).predictions
        if not predictions.isfinite().all():
            raise UnusableError(
                "The model gives predictions that are not finite; its weights hold inf or NaN, or overflow."
            )

    def objective(
        self,
        model: torch.nn.Module,
        items: Mapping[str, Tensor],
        parameters: Sequence[Tensor],
        computation: Computation,
    ) -> ItemObjective:
        """Half the squared error of each item."""

        def losses(rows: Rows) -> Tensor:
            return squared_errors(model(inputs=rows[INPUTS]).predictions.float(), rows[TARGETS])

        micro_batch = computation.micro_batch_size or max(1, ACTIVATIONS // sum(_widths(model)))
        return ItemObjective(losses, parameters, items, min(micro_batch, computation.batch_size), computation.dtype)


def _widths(model: Any) -> list[int]:
    widths: list[int] = model.config.widths
    return widths
