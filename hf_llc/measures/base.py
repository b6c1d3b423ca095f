"""What a measure is, and what it is given."""

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch

from hf_llc.errors import UnusableError
from hf_llc.execution.distributed.world import ProcessWorld
from hf_llc.execution.loaded_model import LoadedModel
from hf_llc.execution.plan import Plan
from hf_llc.results.columns import Column
from hf_llc.results.progress import Observer
from hf_llc.sampling.scaled_objective import ScaledObjective
from hf_llc.tasks.base import TaskObjective

Record = Mapping[str, Any]
PASS_TOKENS = 1024
"""Tokens of a forward pass."""
OTHER_ITEM = 64
"""Tokens that an item counts as which is no text, such as an image."""


class NotApplicableError(UnusableError):
    """The measure has no meaning for this model or data, such as attention heads of a model without attention."""


@dataclass(frozen=True, kw_only=True)
class MeasureContext:
    """A checkpoint that is measured.

    Attributes:
        plan: model, items and settings, all of them pinned; `run_dir` is where a measure may keep what it makes.
        bench: the loaded model and its loss at w*; loads when it is first used. A measure leaves the weights at w*.
        world: this process among others.
        records: of the measures that this one needs, by their names.
    """

    plan: Plan
    bench: LoadedModel
    world: ProcessWorld
    observer: Observer
    records: Mapping[str, Record]

    @property
    def model(self) -> torch.nn.Module:
        """The module, with the weights of w*."""
        self._place()
        return self.bench.model

    @property
    def objective(self) -> TaskObjective:
        """The task's own loss at w*, whatever part of the weights moves, and in whatever coordinates.

        Its micro-batches do not depend on how the posterior is sampled.
        """
        self._place()
        objective = copy(self.bench.objective_of_weights())
        most = self.plan.sampler.micro_batch_size or PASS_TOKENS
        objective.micro_batch = max(1, min(most, PASS_TOKENS // self._tokens_of_item))
        return objective

    def _place(self) -> None:
        """After draws of a relative prior its coordinates are at w*, but the module follows only with the next loss."""
        moved = self.bench.objective
        if isinstance(moved, ScaledObjective):
            moved.place()

    @property
    def seed(self) -> int:
        """Random numbers derive from it."""
        return self.plan.sampler.seed

    @property
    def _tokens_of_item(self) -> int:
        length = self.plan.corpus.context_length
        return length if length > 1 else OTHER_ITEM

    @property
    def vocabulary(self) -> int:
        """Tokens that a language model knows."""
        embeddings: Any = self.model.get_input_embeddings()  # type: ignore[operator]
        return int(embeddings.weight.shape[0])

    def items(self, tokens: int, least: int = 2) -> torch.Tensor:
        """Positions of items spread evenly over all, as many as have about so many tokens, and at least `least`."""
        n = self.plan.corpus.n
        count = min(n, max(least, tokens // self._tokens_of_item))
        spread: torch.Tensor = torch.linspace(0, n - 1, count, dtype=torch.float64).round().long().unique()
        return spread


class Measure(Protocol):
    """Numbers at one checkpoint.

    Attributes:
        columns: names, types, units and meanings of what `run` returns.
        needs: names of measures that must be there before; `llc` for one that reads the chains or draws.
    """

    columns: Sequence[Column]
    needs: Sequence[str]

    def run(self, context: MeasureContext) -> Record:
        """The values of all columns, JSON-ready; None where there is no number.

        Raises:
            NotApplicableError: it has no meaning for this model or data. HfLlcError: it cannot be computed.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class ExactAnswer:
    """A case whose answer is known.

    Attributes:
        case: what is measured. truth, value: the known answer, and what the measure gives.
        tolerance: by which they may differ: rounding, or 4 standard errors where there are random numbers.
    """

    case: str
    truth: float
    value: float
    tolerance: float

    @property
    def is_met(self) -> bool:
        """Whether the two agree."""
        return abs(self.value - self.truth) <= self.tolerance


@runtime_checkable
class Exact(Protocol):
    """What a measure has beside `Measure` where answers are known in closed form: `hf-llc validate --measures`."""

    def exact_answers(self) -> Sequence[ExactAnswer]:
        """The cases, computed here and now."""
        ...
