"""The one checkpoint that is in a process's memory, shared by runs at it in which other weights move."""

import gc
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor

from hf_llc.checkpoints.loading.routers import routers
from hf_llc.execution.plan import Plan
from hf_llc.tasks import TASKS


@dataclass(frozen=True, kw_only=True)
class LoadedCheckpoint:
    """A model at w* with the items of its loss, before anything says which weights move.

    Attributes:
        items: on the device of the model. trainable: the parameters that required a gradient as it was loaded.
        sums: `sums_of` the model as it was loaded.
        left_out: names of weights in the files that the model has no use for.
        routers: names of the modules that choose between experts.
    """

    model: torch.nn.Module
    items: Mapping[str, Tensor]
    trainable: list[torch.nn.Parameter]
    left_out: list[str]
    routers: list[str]
    sums: list[int]

    @property
    def is_at_center(self) -> bool:
        """Whether all weights are w*, bit by bit; they are not after a draw that an error has ended."""
        return sums_of(self.model) == self.sums

    def as_loaded(self) -> "LoadedCheckpoint":
        """This checkpoint, of which the parameters require a gradient that did when it was loaded."""
        own = {id(parameter) for parameter in self.trainable}
        for parameter in self.model.parameters():
            parameter.requires_grad_(id(parameter) in own)
        return self


def sums_of(model: torch.nn.Module) -> list[int]:
    """The bits of each parameter and buffer of floating-point numbers, added up as integers modulo 2⁶⁴."""
    tensors = [each.detach() for each in [*model.parameters(), *model.buffers()] if each.is_floating_point()]
    return [int(_integers(each.contiguous().flatten()).sum(dtype=torch.int64)) for each in tensors]


def _integers(numbers: Tensor) -> Tensor:
    """The bits of these numbers as integers, eight bytes each where they come out even, which add up fastest."""
    size = numbers.element_size()
    even = numbers.numel() * size % 8 == 0
    return numbers.view(torch.int64 if even else {1: torch.int8, 2: torch.int16, 4: torch.int32}[size])


def load_checkpoint(plan: Plan, device: str) -> LoadedCheckpoint:
    """The checkpoint of a plan and its items, or this process's part of them.

    Raises:
        HfLlcError: it cannot be read, or the items are none for it.
    """
    task, devices = TASKS[plan.corpus.task], plan.sampler.devices_per_chain
    items = task.load_items(plan.corpus)
    # In 16 bits the small updates of a chain would be lost: its weights are float32 whatever multiplies them.
    model = task.load_model(plan.source, device, devices)
    task.refuse(model, items)
    return LoadedCheckpoint(
        model=model,
        # On a GPU they need no copy a step.
        items={name: tensor.to(device) for name, tensor in items.items()},
        trainable=[parameter for parameter in model.parameters() if parameter.requires_grad],
        left_out=list(getattr(model, "hf_llc_left_out", [])),
        routers=routers(model),
        sums=sums_of(model),
    )


def checkpoint_key(plan: Plan) -> tuple[Any, ...]:
    """Equal for plans that need the very same `LoadedCheckpoint`, wherever its files are."""
    # Statistics that are estimated anew are kept with a run, and stay in the model.
    own = plan.run_dir if plan.sampler.batch_norm == "reestimated" else None
    return replace(plan.source, path=None), plan.corpus, own


class Occupant(Protocol):
    """What is made of the checkpoint in memory."""

    def release(self) -> None:
        """Forget the checkpoint and what was made of it."""
        ...


class ModelSlot:
    """At most one checkpoint stays in memory, and one set of weights that move: another one evicts it."""

    def __init__(self) -> None:
        self.current: Occupant | None = None
        self._key: tuple[Any, ...] | None = None
        self._checkpoint: LoadedCheckpoint | None = None

    def acquire(self, bench: Occupant, plan: Plan) -> None:
        """Evict what is made of the checkpoint in memory, unless it is this, and that checkpoint, unless it is the
        plan's.
        """
        if self.current is not None and self.current is not bench:
            self.current.release()
        if not self.holds(plan):
            self.drop()
        self.current, self._key = bench, checkpoint_key(plan)

    def holds(self, plan: Plan) -> bool:
        """Whether the checkpoint in memory is the plan's."""
        return self._key == checkpoint_key(plan)

    def checkpoint(self, load: Callable[[], LoadedCheckpoint]) -> LoadedCheckpoint:
        """The checkpoint of the plan that acquired this last, as it was loaded, which it is now unless it is here."""
        if self._checkpoint is not None and not self._checkpoint.is_at_center:
            self._free()
        if self._checkpoint is None:
            self._checkpoint = load()
        return self._checkpoint.as_loaded()

    def clear(self) -> None:
        """Free what is in memory."""
        if self.current is not None:
            self.current.release()
        self.current = None
        self.drop()

    def drop(self) -> None:
        """Free the memory that the checkpoint takes, of which nothing else is in use."""
        self._key = None
        self._free()

    def _free(self) -> None:
        if self._checkpoint is None:
            return
        weight = weakref.ref(next(self._checkpoint.model.parameters()))
        self._checkpoint = None
        if weight() is not None:
            # Some models refer to themselves in circles, and two of them may not fit.
            gc.collect()
