"""What a measure is, and what it is given."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from hf_llc.execution.distributed.world import ProcessWorld
from hf_llc.execution.loaded_model import LoadedModel
from hf_llc.execution.plan import Plan
from hf_llc.results.columns import Column
from hf_llc.results.progress import Observer

Record = Mapping[str, Any]


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
            HfLlcError: it cannot be computed for this checkpoint.
        """
        ...
