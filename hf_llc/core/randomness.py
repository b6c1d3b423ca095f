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


class Randomness(Protocol):
    """Where a chain's random numbers come from."""

    def batch(self, step: int) -> Tensor:
        """Distinct item indices of a step's minibatch, int64 on the CPU."""
        ...

    def noise(self, step: int) -> Noise:
        """The noise ξ of a step, from its beginning each time it is asked for."""
        ...


class ChainRandomness:
    """Random numbers of one chain: they depend on (seed, chain, step), and on the kind of device."""

    def __init__(self, seed: int, chain: int, n: int, batch_size: int, device: torch.device) -> None:
        self.seed, self.chain = seed, chain
        self._n, self._batch_size = n, batch_size
        self._device = device

    def batch(self, step: int, purpose: str = "batch") -> Tensor:
        """Uniformly drawn without replacement, independent between steps and chains."""
        generator = seeds.generator(self.seed, purpose, self.chain, step)
        return torch.randperm(self._n, generator=generator)[: self._batch_size]

    def noise(self, step: int) -> Noise:
        return Noise([self.generator("noise", step)], [1.0])

    def generator(self, purpose: str, step: int) -> torch.Generator:
        """A generator for this chain and step."""
        return seeds.generator(self.seed, purpose, self.chain, step, device=self._device)


class Refined:
    """A chain's random numbers at half its step size: steps 2t and 2t+1 share what step t had.

    Their noises are (ξ_t ± ζ_t)/√2 with ζ_t fresh, so that together they move a weight as ξ_t does; step 2t sees the
    batch of step t, step 2t+1 one of its own.
    """

    def __init__(self, whole: ChainRandomness) -> None:
        self._whole = whole

    def batch(self, step: int) -> Tensor:
        return self._whole.batch(step // 2, "batch" if step % 2 == 0 else "batch between")

    def noise(self, step: int) -> Noise:
        whole, between = (self._whole.generator(purpose, step // 2) for purpose in ("noise", "noise between"))
        return Noise([whole, between], [math.sqrt(0.5), math.sqrt(0.5) * (-1 if step % 2 else 1)])


class Cold:
    """A chain's batches without its noise: what is left is the drift and the noise of the gradient."""

    def __init__(self, whole: ChainRandomness) -> None:
        self._whole = whole

    def batch(self, step: int) -> Tensor:
        return self._whole.batch(step)

    def noise(self, step: int) -> Noise:
        return Noise([], [])
