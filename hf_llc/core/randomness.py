"""The batches and the noise of a chain, addressed by step, so that any step's can be made again.

Chains that differ in one setting are compared at common random numbers: the same batches and, as far as their steps
correspond, the same noise. A chain at half the step size refines the noise of the whole one (a Brownian bridge).
"""

import math
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from hf_llc.core import seeds
from hf_llc.errors import SettingsError


class Noise:
    """A stream of standard normal tensors, taken in parameter order: a weighted sum of generators' own streams."""

    def __init__(self, generators: Sequence[torch.Generator], weights: Sequence[float]) -> None:
        self._parts = list(zip(generators, weights, strict=True))

    @torch.no_grad()
    def add_to(self, target: Tensor, scale: float) -> None:
        """target ← target + scale · ξ for the next tensor of the stream, in place, with one temporary."""
        xi = torch.empty_like(target)
        for generator, weight in self._parts:
            target.add_(xi.normal_(generator=generator), alpha=scale * weight)


BATCHES = ("independent", "reshuffled")
"""Minibatches drawn anew at each step, or in turn from a random order of all items, a new order each epoch."""


def check_batches(name: str) -> None:
    """Nothing, if batches can be drawn so.

    Raises:
        SettingsError: they cannot.
    """
    if name not in {"auto", *BATCHES}:
        raise SettingsError(f"--batches is {name!r}; choose one of auto, {', '.join(BATCHES)}.")


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
    """

    def __init__(
        self, seed: int, chain: int, n: int, batch_size: int, device: torch.device, batches: str = "independent"
    ) -> None:
        self.seed, self.chain = seed, chain
        self._n, self._batch_size = n, batch_size
        self._device = device
        self._reshuffled = batches == "reshuffled"
        self._orders: dict[str, tuple[int, Tensor]] = {}

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

    def _order(self, purpose: str, index: int) -> Tensor:
        return torch.randperm(self._n, generator=seeds.generator(self.seed, purpose, self.chain, index))

    def noise(self, step: int) -> Noise:
        return Noise([self.generator("noise", step)], [1.0])

    def start(self, purpose: str) -> Noise:
        return Noise([self.generator(f"start of {purpose}", 0)], [1.0])

    def generator(self, purpose: str, step: int) -> torch.Generator:
        """A generator for this chain and step."""
        return seeds.generator(self.seed, purpose, self.chain, step, device=self._device)


class Refined:
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

    def noise(self, step: int) -> Noise:
        whole, between = (self._whole.generator(purpose, step // 2) for purpose in ("noise", "noise between"))
        weights = [self._second, -self._first] if step % 2 else [self._first, self._second]
        return Noise([whole, between], weights)

    def start(self, purpose: str) -> Noise:
        return self._whole.start(purpose)


class Cold:
    """A chain's batches without its noise, from w* itself: what is left is the drift and the noise of the gradient."""

    def __init__(self, whole: ChainRandomness) -> None:
        self._whole = whole

    def batch(self, step: int) -> Tensor:
        return self._whole.batch(step)

    def measured(self, step: int) -> Tensor | None:
        return self._whole.measured(step)

    def noise(self, step: int) -> Noise:
        return Noise([], [])

    def start(self, purpose: str) -> Noise:
        return Noise([], [])
