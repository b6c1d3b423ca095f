"""One process's model, items and objective: loaded when the first part of a run needs them, and not before."""

import gc
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from hf_llc.checkpoints.source import Corpus
from hf_llc.errors import SettingsError
from hf_llc.execution import batch_norm, machine
from hf_llc.execution.distributed.model_group import ModelShardGroup
from hf_llc.execution.model_slot import LoadedCheckpoint, load_checkpoint
from hf_llc.execution.model_slot import ModelSlot as ModelSlot
from hf_llc.execution.moving_weights import LoadedObjective as LoadedObjective
from hf_llc.execution.moving_weights import MovedObjective, MovingWeights
from hf_llc.execution.plan import Plan
from hf_llc.execution.tensors import read_tensors, write_tensors
from hf_llc.execution.thoroughness import least_run, needs_of
from hf_llc.sampling.gradients import Gradient, full_gradient, gradient_of
from hf_llc.sampling.objective import Objective, copy_of
from hf_llc.sampling.scaled_objective import ScaledObjective
from hf_llc.sampling.tuning.extent import Extent
from hf_llc.sampling.tuning.probe import Probe, choose_probe
from hf_llc.sampling.tuning.proportion import Meter, Metered, permitted
from hf_llc.tasks import TASKS
from hf_llc.tasks.base import Computation, TaskObjective

GRADIENT_FILE = "anchor-gradient.safetensors"
SPARE = 6
"""Copies of the weights for which there must be room where a chain keeps noise: it makes four, and others live too."""


COPIES = 5
"""Of the weights at once: w*, three gradients that wait, and the gradient that is taken."""


def drop_gradient(run_dir: Path) -> None:
    """Removes the file that `LoadedModel.anchor_gradient` left in a run's folder."""
    (run_dir / GRADIENT_FILE).unlink(missing_ok=True)


class LoadedModel:
    """The checkpoint of a plan on one device, or this process's part of it on one of a group's.

    Args:
        in_proportion: what is measured before the chains is limited by what these will take.
    """

    def __init__(
        self,
        plan: Plan,
        device: str,
        slot: ModelSlot | None = None,
        group: ModelShardGroup | None = None,
        *,
        in_proportion: bool = True,
    ) -> None:
        self._plan = plan
        self.in_proportion, self.meter = in_proportion, Meter()
        self._device, self._group = device, group
        self._slot = slot or ModelSlot()
        self.load_seconds = 0.0
        self._objective: LoadedObjective | None = None
        self._anchor_gradient: list[Tensor] | None = None
        self._moved: MovedObjective | None = None
        self._batch_norm = ""
        self._probe: Probe | None = None
        self._checkpoint: LoadedCheckpoint | None = None
        self._others: dict[str, TaskObjective] = {}

    def at(self, plan: Plan) -> "LoadedModel":
        """The loaded model of another plan on the same device, which evicts this one when it is loaded.

        It is the one in memory, if that is of the same plan.
        """
        current = self._slot.current
        if isinstance(current, LoadedModel) and current.is_of(plan):
            return current
        return LoadedModel(plan, self._device, self._slot, self._group)

    def is_of(self, plan: Plan) -> bool:
        """Whether this is the model of that plan and in memory."""
        return self._objective is not None and self.in_proportion and self._plan == plan

    @property
    def model(self) -> torch.nn.Module:
        """The module itself, at the weights of `objective`."""
        return self.checkpoint.model

    @property
    def checkpoint(self) -> LoadedCheckpoint:
        """The checkpoint in memory."""
        self.load()
        assert self._checkpoint is not None
        return self._checkpoint

    @property
    def objective(self) -> LoadedObjective:
        """L_n of the plan's checkpoint over its items, at w*."""
        return self.load()

    def load(self) -> LoadedObjective:
        """L_n of the plan's checkpoint over its items; loads the checkpoint unless it is in memory."""
        if self._objective is None:
            self._slot.acquire(self, self._plan)
            self._objective = self._load()
        return self._objective

    @property
    def moved(self) -> MovedObjective:
        """The objective with what a reader must know of which weights move."""
        self.load()
        assert self._moved is not None
        return self._moved

    @property
    def in_full(self) -> Objective:
        """The objective in float32, for curvature: in bfloat16 gradients a small step apart differ by rounding alone.

        What is asked of it is counted on `meter`.
        """
        return Metered(self.objective.in_full(), self.meter)

    def clear(self) -> None:
        """Free the memory of the checkpoint; it is loaded again when it is needed."""
        self.release()
        if self._slot.current is self:
            self._slot.clear()

    def release(self) -> None:
        """Forget the checkpoint, which stays in memory for other plans at it."""
        if self._objective is None:
            return
        if isinstance(self._objective, ScaledObjective):
            # Its coordinates are back at w* after a draw, but the module follows them only when a loss is computed.
            self._objective.place()
        self._objective, self._anchor_gradient, self._checkpoint, self._moved = None, None, None, None
        self._others.clear()
        if self._group is not None:
            # FSDP refers to itself in circles, and no slot holds a part of a model.
            gc.collect()

    def _load(self) -> LoadedObjective:
        plan, devices = self._plan, self._plan.sampler.devices_per_chain
        if devices > 1 and self._group is None:
            raise SettingsError(
                f"devices_per_chain is {devices}, but this is a single process; use hf-llc estimate or "
                f"hf_llc.estimate(num_processes={devices}), which start as many."
            )
        started = time.monotonic()

        def load() -> LoadedCheckpoint:
            return load_checkpoint(plan, self._device)

        checkpoint = load() if self._group is not None else self._slot.checkpoint(load)
        weights = MovingWeights(plan, checkpoint.model, self._group)
        objective = TASKS[plan.corpus.task].objective(
            checkpoint.model, checkpoint.items, weights.tensors, self._computation(sharded=self._group is not None)
        )
        self._batch_norm = self._normalized(checkpoint.model, objective)
        self._moved = weights.over(objective)
        self._checkpoint = checkpoint
        self.load_seconds = time.monotonic() - started
        return self._moved.objective

    def _computation(self, *, sharded: bool = False) -> Computation:
        return Computation(
            batch_size=self._plan.batch_size,
            micro_batch_size=self._plan.sampler.micro_batch_size,
            dtype=torch.bfloat16 if self._plan.dtype == "bfloat16" else None,
            sharded=sharded,
        )

    def objective_of_weights(self) -> TaskObjective:
        """The task's own objective at the weights of `objective`, whatever part of them or coordinates that moves."""
        return self.moved.plain

    def objective_over(self, corpus: Corpus) -> TaskObjective:
        """The mean loss over other items, at the weights of `objective`, which move it."""
        model = self.model
        if corpus.fingerprint not in self._others:
            task = TASKS[corpus.task]
            items = task.load_items(corpus)
            task.refuse(model, items)
            moved = {name: tensor.to(self._device) for name, tensor in items.items()}
            weights = [each for each in model.parameters() if each.requires_grad]
            self._others[corpus.fingerprint] = task.objective(model, moved, weights, self._computation())
        return self._others[corpus.fingerprint]

    def gradient(self, name: str) -> Gradient:
        """The estimator of ∇L_n of that name, around the weights as they are now: w*."""
        slope = self.anchor_gradient() if name != "minibatch" else None
        return gradient_of(name, self.in_full, copy_of(self.objective.parameters) if slope else [], slope)

    def anchor_gradient(self) -> list[Tensor]:
        """∇L_n(w*) in nats per weight, from the run's folder if a process has left it there, else put there.

        Parts of it that a group holds stay where they are.
        """
        path = self._plan.run_dir / GRADIENT_FILE
        if self._anchor_gradient is None and self._group is not None:
            self._anchor_gradient = full_gradient(self.objective, self._plan.batch_size)
        if self._anchor_gradient is None:
            device = self.objective.parameters[0].device
            stored = read_tensors(path)
            if stored is None:
                stored = full_gradient(self.objective, self._plan.batch_size)
                write_tensors(path, stored)
            self._anchor_gradient = [tensor.to(device) for tensor in stored]
        return self._anchor_gradient

    def can_keep_noise(self) -> bool:
        """True if memory has ample room for the noise of two addresses beside what a chain needs anyway."""
        weights = sum(parameter.nbytes for parameter in self.objective.parameters)
        return machine.free_memory() > SPARE * weights

    def spare_device(self) -> torch.device | None:
        """Where copies of the weights wait: the host where a GPU has no room for COPIES of them beside w, else None."""
        parameters = self.objective.parameters
        device = parameters[0].device
        if device.type != "cuda":
            return None
        weights = sum(parameter.nbytes for parameter in parameters)
        return torch.device("cpu") if torch.cuda.mem_get_info(device)[0] < COPIES * weights else None

    @property
    def left_out(self) -> list[str]:
        """Names of weights in the files that the model has no use for."""
        return self.checkpoint.left_out

    @property
    def still(self) -> list[str]:
        """Names of the parameters that would move, were there a gradient of them."""
        return self.moved.still

    @property
    def routers(self) -> list[str]:
        """Names of the modules that choose between experts: where their choice changes, the loss jumps."""
        return self.checkpoint.routers

    @property
    def batch_norm(self) -> str:
        """What a reader must know of the statistics that batch norm keeps; empty without any."""
        self.load()
        return self._batch_norm

    @property
    def prior(self) -> str:
        """What a reader must know of a localizing prior that is not isotropic; empty for one that is."""
        return self.moved.prior

    @property
    def component(self) -> str:
        """What a reader must know where a component moves alone; empty where all weights or whole tensors do."""
        return self.moved.component

    @property
    def unit(self) -> str:
        """The unit of the loss, such as nats per token."""
        return TASKS[self._plan.corpus.task].unit

    @property
    def micro_batch(self) -> int:
        """Items per forward pass."""
        return self.objective.micro_batch

    @property
    def extent(self) -> Extent:
        """How thoroughly to look around w*: a function of the plan alone, so that every process looks alike."""
        needs = needs_of(self._plan)
        if not self.in_proportion or self._plan.sampler.by_draws:
            return needs.full
        return needs.within(permitted(least_run(self._plan)))

    @property
    def probe(self) -> Probe:
        """Items on which curvature and the rise of the loss under the prior are measured: the first sequences, if
        others are like them."""
        if self._probe is None:
            sampler = self._plan.sampler
            extent, size = self.extent, self._plan.batch_size
            self._probe = choose_probe(self.in_full, self.probed, size, sampler.seed, extent.drawn)
        return self._probe

    @property
    def probed(self) -> int:
        """How many sequences curvature and the prior's rise are measured on: a minibatch's worth, or fewer."""
        return self.extent.probed

    def probe_batch(self) -> Tensor:
        """Positions of the sequences on which curvature and the prior's rise are measured, (probed,)."""
        return self.probe.items(self.probed)

    def _normalized(self, model: torch.nn.Module, objective: TaskObjective) -> str:
        """The sentence on batch norm, whose statistics are estimated anew first where that is asked for."""
        count, plan = sum(isinstance(module, _BatchNorm) for module in model.modules()), self._plan
        if plan.sampler.batch_norm == "frozen":
            return batch_norm.frozen_sentence(count) if count else ""
        change = batch_norm.reestimate(model, objective, plan.run_dir)
        return batch_norm.sentence(count, change, plan.corpus.n, plan.items, self.unit)


@contextmanager
def computing(count: int) -> Iterator[None]:
    """torch computes with this many CPU threads inside the block: sums depend on how many share them.

    In float32, with gradients and without autocast too, whatever the caller has set for work of their own; that is put
    back.
    """
    before, dtype = torch.get_num_threads(), torch.get_default_dtype()
    torch.set_num_threads(count)
    torch.set_default_dtype(torch.float32)
    try:
        with ExitStack() as stack:
            stack.enter_context(torch.inference_mode(False))
            stack.enter_context(torch.enable_grad())
            for kind in filter(torch.is_autocast_enabled, ("cpu", "cuda", "mps")):
                stack.enter_context(torch.autocast(kind, enabled=False))
            yield
    finally:
        torch.set_num_threads(before)
        torch.set_default_dtype(dtype)
