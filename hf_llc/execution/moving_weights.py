"""Which weights of a loaded model move, and in which coordinates: all, some tensors, or regions of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hf_llc.checkpoints.loading.adapter import MOVING
from hf_llc.checkpoints.loading.errors import computed
from hf_llc.components.component import Component
from hf_llc.components.find import component_of
from hf_llc.errors import UnusableError, listed
from hf_llc.execution.distributed.model_group import ModelShardGroup, local
from hf_llc.execution.plan import Plan
from hf_llc.sampling.gradient_reach import tensors_without_gradient
from hf_llc.sampling.objective import dimension
from hf_llc.sampling.part_objective import Part, PartObjective
from hf_llc.sampling.scaled_objective import SMALLEST, ScaledObjective, scales_of
from hf_llc.sampling.selection import select
from hf_llc.sampling.sharded_objective import SharedObjective
from hf_llc.sampling.shards import WHOLE, Shards, Slice
from hf_llc.settings.component import moves_all
from hf_llc.tasks.base import TaskObjective

LoadedObjective = TaskObjective | SharedObjective | PartObjective | ScaledObjective


@dataclass(frozen=True, kw_only=True)
class MovedObjective:
    """An objective as a function of the weights that move.

    Attributes:
        objective: L_n of them, at w*. plain: the task's own at the same weights, whatever part or coordinates move.
        still: names of the parameters that would move, were there a gradient of them.
        prior: what a reader must know of a localizing prior that is not isotropic; empty for one that is.
        component: what a reader must know where a component moves alone; empty where all weights or whole tensors do.
    """

    objective: LoadedObjective
    plain: TaskObjective
    still: list[str]
    prior: str
    component: str


class MovingWeights:
    """The parameters of a model that move by the settings of a plan; all others need no gradient from then on.

    Args:
        group: of processes that hold the model together.

    Raises:
        NotFoundError, SettingsError: the model has no such parameters or component.
    """

    def __init__(self, plan: Plan, model: torch.nn.Module, group: ModelShardGroup | None) -> None:
        self._plan, self._group = plan, group
        self._part: Component | None = None
        self._still: list[str] = []
        self._prior, self._component = "", ""
        self._zero: list[str] = []
        self._named = self._moving(model)

    @property
    def tensors(self) -> list[Tensor]:
        """The tensors that may move."""
        return list(self._named.values())

    def over(self, objective: TaskObjective) -> MovedObjective:
        """The objective, made of these tensors, as a function of what moves.

        Raises:
            UnusableError: the loss cannot be computed, or does not depend on what moves.
        """
        moving = self._within_reach(objective, self._named)
        names = {id(tensor): name for name, tensor in self._named.items()}
        labels = [names[id(tensor)] for tensor in moving]
        loaded: LoadedObjective
        if self._part is not None:
            loaded, scales = self._parts(objective.moving(moving), labels, self._part)
        else:
            loaded, scales = self._whole(objective, labels, moving)
        if scales is not None:
            loaded = scaled = ScaledObjective(loaded, scales)
            if self._zero and scaled.is_constant():
                raise UnusableError(
                    f"prior is relative, and leaves nothing of {self._plan.source.id} to move on which the loss "
                    "depends: zeros have no size and stay at w*, as B of a LoRA that has not been trained, here "
                    f"{listed(self._zero)}; use `prior=isotropic`, or leave this checkpoint out."
                )
        return MovedObjective(
            objective=loaded, plain=objective, still=self._still, prior=self._prior, component=self._component
        )

    def _moving(self, model: torch.nn.Module) -> dict[str, Tensor]:
        """The parameters that may move by name; the others stay at w* and need no gradient."""
        # A tied weight has several names, and each of them is one to choose it by.
        every = {name: each for name, each in model.named_parameters(remove_duplicate=False) if each.requires_grad}
        asked, own = self._plan.sampler.params, getattr(model, MOVING, None)
        # Of an adapter its own weights move unless others are asked for.
        chosen = {id(every[name]) for name in (own if own and not asked else select(list(every), asked))}
        if component := self._plan.sampler.component:
            self._part = component_of(model, component)
            chosen = {id(every[region.parameter]) for region in self._part.regions if region.parameter in every}
        for parameter in every.values():
            parameter.requires_grad_(id(parameter) in chosen)
        return {name: parameter for name, parameter in model.named_parameters() if id(parameter) in chosen}

    def _within_reach(self, objective: TaskObjective, named: Mapping[str, Tensor]) -> list[Tensor]:
        """The tensors to which the loss gives a gradient; the others stay at w*.

        Raises:
            UnusableError: it cannot be computed, or gives none of them a gradient.
        """
        length = self._plan.corpus.context_length
        with computed(self._plan.source, length if length > 1 else None, self._plan.dtype):
            unreached = tensors_without_gradient(objective)
        names = list(named)
        self._still = [names[position] for position in unreached]
        if len(unreached) == len(names):
            sampler, which = self._plan.sampler, "it changes by jumps only"
            if sampler.params or sampler.component:
                asked = f"`params` {' '.join(sampler.params)}" if sampler.params else f"`component` {sampler.component}"
                which = f"{asked} matches no weight on which it depends smoothly; name others"
            raise UnusableError(f"The loss of {self._plan.source.id} has no gradient: {which}.")
        for name in self._still:
            named[name].requires_grad_(False)
        return [tensor for name, tensor in named.items() if name not in self._still]

    def _whole(
        self, objective: TaskObjective, names: Sequence[str], moving: Sequence[Tensor]
    ) -> tuple[TaskObjective | SharedObjective, list[float] | None]:
        """The loss of whole tensors, and under a relative prior the scale of each."""
        scales = self._scales(names, moving)
        if scales is not None:
            for tensor, scale in zip(moving, scales, strict=True):
                tensor.requires_grad_(scale > SMALLEST)
            moving = [tensor for tensor in moving if tensor.requires_grad]
            scales = [scale for scale in scales if scale > SMALLEST]
        objective = objective.moving(moving)
        if self._group is None:
            return objective, scales
        shared = SharedObjective(objective, [local(tensor) for tensor in moving], _shards(self._group, moving))
        return shared, scales

    def _parts(
        self, objective: TaskObjective, names: Sequence[str], component: Component
    ) -> tuple[PartObjective, list[float] | None]:
        """The loss of a component, and under a relative prior the scale of each of its regions."""
        regions = [region for region in component.regions if region.parameter in names]
        parts = PartObjective(
            objective, [Part(names.index(each.parameter), each.dim, each.start, each.stop) for each in regions]
        )
        scales = self._scales([str(each) for each in regions], parts.parameters)
        if scales is not None:
            kept = [position for position, scale in enumerate(scales) if scale > SMALLEST]
            parts, regions = parts.at(kept), [regions[position] for position in kept]
            scales = [scales[position] for position in kept]
        count = dimension(parts.parameters)
        if moves_all(component.name):
            self._component = f"component = {component.name}: all {count:,} weights move, as without a component."
            return parts, scales
        self._component = (
            f"component = {component.name}: {count:,} weights of {len({each.parameter for each in regions})} tensors "
            "move and all others stay at w*. λ̂ is that of this part given the rest (weight-refined, Wang et al. 2024); "
            "those of several parts do not add up to that of the whole."
        )
        return parts, scales

    def _scales(self, names: Sequence[str], moving: Sequence[Tensor]) -> list[float] | None:
        """The scale of each tensor under a relative prior, at most SMALLEST where it is to stay at w*; else None.

        Raises:
            UnusableError: all tensors are zero.
        """
        if self._plan.sampler.prior == "isotropic":
            return None
        here = list(moving) if self._group is None else [local(tensor) for tensor in moving]
        scales = scales_of(here, WHOLE if self._group is None else _shards(self._group, moving))
        zero = self._zero = [name for name, scale in zip(names, scales, strict=True) if scale <= SMALLEST]
        if len(zero) == len(names):
            raise UnusableError(
                f"prior is relative, but all weights of {self._plan.source.id} that move are zero and have no size; "
                "use `prior=isotropic`."
            )
        still = (
            f" {listed(zero)} are zero: without a size, they stay at w* and do not count in the dimension."
            if zero
            else ""
        )
        used = [scale for scale in scales if scale > SMALLEST]
        self._prior = (
            "prior = relative: γ is divided by the mean square of each tensor's weights, so that draws move each by "
            f"the same share, 1/√γ, of its root mean square, which is {min(used):.3g} to {max(used):.3g} here.{still}"
        )
        return scales


def _shards(group: ModelShardGroup, parameters: Sequence[Tensor]) -> Shards:
    """How the tensors that a group shares lie over it."""
    return Shards(
        slices=[Slice(*group.extent(parameter)) for parameter in parameters],
        rank=group.rank,
        count=group.count,
        total=group.total,
        joined=group.joined,
        local=local,
    )
