"""The batches and the noise of a chain, addressed by step, so that any step's can be made again.

Chains that differ in one setting are compared at common random numbers: the same batches and, as far as their steps
correspond, the same noise. A chain at half the step size refines the noise of the whole one (a Brownian bridge).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from hf_llc.errors import SettingsError
from hf_llc.sampling import seeds
from hf_llc.sampling.foreach import tensor_blocks, tensor_groups
from hf_llc.sampling.shards import WHOLE, DrawnShards, Shards
from hf_llc.settings.bounds import shown


class Stream(Protocol):
    """Standard normal tensors of one address, in parameter order."""

    def add_to(self, target: Tensor, scale: float) -> None:
        """target ← target + scale · ξ for the next tensor of the stream, in place."""
        ...

    def like(self, target: Tensor) -> Tensor:
        """ξ, the next tensor of the stream."""
        ...


class Noise:
    """A weighted sum of streams."""

    def __init__(self, streams: Sequence[Stream], weights: Sequence[float]) -> None:
        self._parts = list(zip(streams, weights, strict=True))

    def add_to(self, target: Tensor, scale: float) -> None:
        """target ← target + scale · ξ for the next tensor of every stream, in place."""
        for stream, weight in self._parts:
            stream.add_to(target, scale * weight)

    def add_to_all(self, targets: list[Tensor], scale: float) -> None:
        """target ← target + scale · ξ for each target in turn, in place."""
        if len(targets) == 1:
            return self.add_to(targets[0], scale)
        for stream, weight in self._parts:
            torch._foreach_add_(targets, [stream.like(target) for target in targets], alpha=scale * weight)


@torch.no_grad()
def add_noise(targets: Sequence[Tensor], noises: Sequence[Noise], scale: float) -> None:
    """targets ← targets + scale · Σξ, in place, the noises in their order for each target."""
    for (group,) in tensor_groups(targets):
        for noise in noises:
            noise.add_to_all(group, scale)


class Drawn:
    """A stream that is drawn as it is asked for, with a block as temporary, or a whole tensor off the CPU."""

    def __init__(self, generator: torch.Generator) -> None:
        self._generator = generator

    def add_to(self, target: Tensor, scale: float) -> None:
        for (block,) in tensor_blocks(target):
            block.add_(self.like(block), alpha=scale)

    def like(self, target: Tensor) -> Tensor:
        return torch.empty_like(target).normal_(generator=self._generator)

    def fill(self, target: Tensor) -> None:
        target.normal_(generator=self._generator)


@dataclass
class Slot:
    """A tensor of the noise of a step."""

    normal: Tensor
    step: int = -1


class Kept:
    """A stream as large as the weights that stays in memory until the same purpose's next step is drawn over it.

    Each tensor of an earlier step has to be taken before that of the next one, as samplers do that go through the
    weights once.
    """

    def __init__(self, drawn: Drawn | DrawnShards, slots: Sequence[Slot], step: int) -> None:
        self._drawn, self._slots, self._step = drawn, slots, step
        self._known = all(slot.step == step for slot in slots)
        self._next = 0

    def add_to(self, target: Tensor, scale: float) -> None:
        target.add_(self.like(target), alpha=scale)

    def like(self, target: Tensor) -> Tensor:
        slot = self._slots[self._next]
        self._next += 1
        if not self._known:
            self._drawn.fill(slot.normal)
            slot.step = self._step
        elif slot.step != self._step:
            raise RuntimeError(f"the noise of step {self._step} was drawn over by that of step {slot.step}")
        return slot.normal


BATCHES = ("independent", "reshuffled")
"""Minibatches drawn anew at each step, or in turn from a random order of all items, a new order each epoch."""


def check_batches(name: str) -> None:
    """Raise SettingsError if there is no way of drawing minibatches of that name."""
    if name not in {"auto", *BATCHES}:
        raise SettingsError(f"batches must be one of auto, {', '.join(BATCHES)}, got {shown(name)}")


class Randomness(Protocol):
    """Where a chain's random numbers come from."""

    def batch(self, step: int) -> Tensor:
        """Distinct item indices of a step's minibatch, int64 on the CPU."""
        ...

    def measured(self, step: int) -> Tensor | None:
        """The items whose loss a draw takes; None for the step's own minibatch.

        Within an epoch the batches to come are not independent of the weights, which those before have moved.
        """
        ...

    def first(self) -> Tensor:
        """The items that a chain may look at before its first step, as many as a minibatch has."""
        ...

    def noise(self, step: int) -> Noise:
        """The noise ξ of a step, from its beginning each time it is asked for."""
        ...

    def start(self, purpose: str) -> Noise:
        """The noise that a chain begins with: of its weights, or of its momenta."""
        ...


class ChainRandomness:
    """Random numbers of one chain: they depend on (seed, chain, step), and on the kind of device.

    Args:
        batches: a name in BATCHES. Over an epoch reshuffled minibatches see every item once, so that what the noise of
            their gradients does to directions slower than an epoch cancels.
        keep: the tensors that noise is added to, if a step's is kept for the next step (one copy of them a purpose)
            instead of being drawn again; the numbers are the same.
        shards: how the tensors that noise is added to lie over processes; each takes its part of the same noise.
    """

    def __init__(
        self,
        seed: int,
        chain: int,
        n: int,
        batch_size: int,
        device: torch.device,
        batches: str = "independent",
        *,
        keep: Sequence[Tensor] = (),
        shards: Shards = WHOLE,
    ) -> None:
        self.seed, self.chain = seed, chain
        self._n, self._batch_size = n, batch_size
        self._device = device
        self._reshuffled = batches == "reshuffled"
        self._orders: dict[str, tuple[int, Tensor]] = {}
        self._keep, self._shards = keep, shards
        self._kept: dict[str, list[Slot]] = {}

    def batch(self, step: int, purpose: str = "batch") -> Tensor:
        """Uniformly drawn without replacement; independent between chains, and between steps unless reshuffled."""
        if not self._reshuffled:
            return self._order(purpose, step)[: self._batch_size]
        epoch, place = divmod(step, max(1, self._n // self._batch_size))
        known = self._orders.get(purpose)
        if known is None or known[0] != epoch:
            known = self._orders[purpose] = (epoch, self._order(f"{purpose} epoch", epoch))
        return known[1][place * self._batch_size : (place + 1) * self._batch_size]

    def measured(self, step: int) -> Tensor | None:
        return self._order("measured", step)[: self._batch_size] if self._reshuffled else None

    def first(self) -> Tensor:
        return self._order("first", 0)[: self._batch_size]

    def _order(self, purpose: str, index: int) -> Tensor:
        return torch.randperm(self._n, generator=seeds.generator(self.seed, purpose, self.chain, index))

    def noise(self, step: int) -> Noise:
        return Noise([self.stream("noise", step)], [1.0])

    def start(self, purpose: str) -> Noise:
        return Noise([self._drawn(f"start of {purpose}", 0)], [1.0])

    def stream(self, purpose: str, step: int) -> Stream:
        """The standard normal tensors of this purpose and step, from the first one."""
        drawn = self._drawn(purpose, step)
        if not self._keep:
            return drawn
        slots = self._kept.setdefault(purpose, [])
        if not slots:
            slots += [Slot(torch.empty_like(tensor)) for tensor in self._keep]
        return Kept(drawn, slots, step)

    def _drawn(self, purpose: str, step: int) -> Drawn | DrawnShards:
        generator = seeds.generator(self.seed, purpose, self.chain, step, device=self._device)
        return self._shards.drawn(generator) or Drawn(generator)


class HalfStepRandomness:
    """A chain's random numbers at half its time step: steps 2t and 2t+1 share what step t had.

    Their noises are aξ_t + bζ_t and bξ_t − aζ_t with ζ_t fresh and a² + b² = 1. Together they do what ξ_t does: to a
    weight that is moved by their sum if a = b, and with a/b = √c to a momentum of which a whole step keeps c, a half
    step √c. Step 2t sees the batch of step t, step 2t+1 one of its own.
    """

    def __init__(self, whole: ChainRandomness, momentum: float = 1.0) -> None:
        self._whole = whole
        self._first, self._second = math.sqrt(momentum / (1 + momentum)), math.sqrt(1 / (1 + momentum))

    def batch(self, step: int) -> Tensor:
        return self._whole.batch(step // 2, "batch" if step % 2 == 0 else "batch between")

    def measured(self, step: int) -> Tensor | None:
        return self._whole.measured(step // 2)

    def first(self) -> Tensor:
        return self._whole.first()

    def noise(self, step: int) -> Noise:
        whole, between = (self._whole.stream(purpose, step // 2) for purpose in ("noise", "noise between"))
        weights = [self._second, -self._first] if step % 2 else [self._first, self._second]
        return Noise([whole, between], weights)

    def start(self, purpose: str) -> Noise:
        return self._whole.start(purpose)


class NoiseFreeRandomness:
    """A chain's batches without its noise, from w* itself: what is left is the drift and the noise of the gradient."""

    def __init__(self, whole: ChainRandomness) -> None:
        self._whole = whole

    def batch(self, step: int) -> Tensor:
        return self._whole.batch(step)

    def measured(self, step: int) -> Tensor | None:
        return self._whole.measured(step)

    def first(self) -> Tensor:
        return self._whole.first()

    def noise(self, step: int) -> Noise:
        return Noise([], [])

    def start(self, purpose: str) -> Noise:
        return Noise([], [])
