"""What a task is: how a model and data become a loss per item, and the words for items and their loss."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self, runtime_checkable

import torch
from torch import Tensor

from hf_llc.checkpoints.loading.config import Kind
from hf_llc.checkpoints.source import Corpus, ModelSource
from hf_llc.sampling.objective import Objective
from hf_llc.settings.data import DataSettings


class TaskObjective(Objective, Protocol):
    """An objective that a task makes of a model; `items.ItemObjective` is one.

    Attributes:
        micro_batch: items per forward pass.
    """

    micro_batch: int

    def in_full(self) -> Self:
        """This objective, at these tensors, without autocast."""
        ...

    def moving(self, parameters: Sequence[Tensor]) -> Self:
        """This loss as a function of these of its tensors; the others stay fixed."""
        ...


@dataclass(frozen=True, kw_only=True)
class Computation:
    """How an objective is computed.

    Attributes:
        batch_size: items of a minibatch. micro_batch_size: items per forward pass; None leaves it to the task.
        dtype: in which torch may multiply matrices (autocast); None is that of the parameters.
        sharded: True if a group of processes holds the model, which then must be called as a whole.
    """

    batch_size: int
    micro_batch_size: int | None
    dtype: torch.dtype | None
    sharded: bool


@dataclass(frozen=True, kw_only=True)
class Example:
    """Items as a model's data would give them, but of random content: what a forecast times.

    Attributes:
        kind: what transformers loads the model as. context_length: as of a `Corpus`.
        items: from their number to their tensors by name.
    """

    kind: Kind
    context_length: int
    items: Callable[[int], Mapping[str, Tensor]]


class Forecastable(Protocol):
    """What a task has beside `Task` where the cost of an estimate can be forecast."""

    def example(self, data: DataSettings, source: ModelSource, tell: Callable[[str], None]) -> Example:
        """Items of the size that the settings and the files beside the weights say; the data is not read.

        Raises:
            HfLlcError: these files cannot be read, or do not go together.
        """
        ...


@runtime_checkable
class Readable(Protocol):
    """What a task has beside `Task` where its items can be shown as text."""

    def labels(self, corpus: Corpus, source: ModelSource, positions: Sequence[tuple[int, int | None]]) -> Sequence[str]:
        """A short text for each position: of an item, or of the token at that place of it.

        Raises:
            HfLlcError: the tokenizer cannot be read.
        """
        ...


class HasKind(Protocol):
    """What a task has beside `Task` where a model's parts can be listed without its weights.

    Attributes:
        kind: what transformers loads the model as.
    """

    kind: Kind


def has_architecture(config: Mapping[str, Any], ending: str) -> bool:
    """Whether a `config.json` names a class of transformers such as `…ForMaskedLM`."""
    names = config.get("architectures")
    return isinstance(names, list) and any(ending in str(name) for name in names)


class Task(Protocol):
    """A kind of loss.

    Attributes:
        item: what the loss is a mean over, `sequence`, `image` or `row`. unit: of the loss, `nats per token`.
    """

    item: str
    unit: str

    def claims(self, config: Mapping[str, Any]) -> bool:
        """Whether a model with this `config.json` is for this task; one task at most may claim a model."""
        ...

    def needs_tokenizer(self, data: DataSettings) -> bool:
        """Whether the items are made by the tokenizer of the model."""
        ...

    def find_items(
        self, data: DataSettings, source: ModelSource, *, tokenizer: ModelSource | None, tell: Callable[[str], None]
    ) -> Corpus:
        """The items, pinned and as tensors in a file on this disk; `Corpus.task` is filled in afterwards.

        Args:
            tokenizer: the checkpoint that has the tokenizer, if not the model itself.

        Raises:
            HfLlcError: they cannot be had, do not fit the model, or are fewer than two.
        """
        ...

    def load_items(self, corpus: Corpus) -> Mapping[str, Tensor]:
        """The tensors of the items by name, a row an item.

        Raises:
            ResourceError: they are gone, or are not those of `corpus.fingerprint` any more.
        """
        ...

    def load_model(self, source: ModelSource, device: str, devices: int) -> torch.nn.Module:
        """The model with float32 weights, in evaluation mode; parameters that are constants need no gradient.

        Args:
            devices: over how many processes it is to be spread.

        Raises:
            UnusableError: it is damaged or for another task.
        """
        ...

    def refuse(self, model: torch.nn.Module, items: Mapping[str, Tensor]) -> None:
        """Raise UnusableError if the items are not for this model, such as tokens or labels that it does not know."""
        ...

    def objective(
        self,
        model: torch.nn.Module,
        items: Mapping[str, Tensor],
        parameters: Sequence[Tensor],
        computation: Computation,
    ) -> TaskObjective:
        """The loss ℓ_i of each item in `unit`; ℓ_i must depend on item i only, whatever else is in its batch.

        Args:
            items: on the model's device. parameters: those that move.
        """
        ...
