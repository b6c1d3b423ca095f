"""Timing of the parts of a chain, for `--profile`; its numbers do not change."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

from torch import Tensor

from hf_llc.sampling.objective import Objective
from hf_llc.sampling.randomness import Noise, Randomness
from hf_llc.sampling.shards import Shards

Part = Callable[[str], AbstractContextManager[object]]
"""A block that counts as the part of that name; see `hf_llc.results.profile.PARTS`."""


class TimedObjective:
    """The objective; what it computes is `forward_backward`."""

    def __init__(self, objective: Objective, part: Part) -> None:
        self._objective, self._part = objective, part

    @property
    def n(self) -> int:
        return self._objective.n

    @property
    def parameters(self) -> Sequence[Tensor]:
        return self._objective.parameters

    @property
    def shards(self) -> Shards:
        return self._objective.shards

    def losses(self, indices: Tensor) -> Tensor:
        with self._part("forward_backward"):
            return self._objective.losses(indices)

    def losses_and_gradient(self, indices: Tensor) -> Tensor:
        with self._part("forward_backward"):
            return self._objective.losses_and_gradient(indices)


class TimedNoise(Noise):
    """The noise; drawing and adding it is `noise`."""

    def __init__(self, noise: Noise, part: Part) -> None:
        self._noise, self._part = noise, part

    def add_to(self, target: Tensor, scale: float) -> None:
        with self._part("noise"):
            self._noise.add_to(target, scale)

    def add_to_all(self, targets: list[Tensor], scale: float) -> None:
        with self._part("noise"):
            self._noise.add_to_all(targets, scale)


class TimedRandomness:
    """The chain's random numbers; drawing a minibatch is `data`."""

    def __init__(self, randomness: Randomness, part: Part) -> None:
        self._randomness, self._part = randomness, part

    def batch(self, step: int) -> Tensor:
        with self._part("data"):
            return self._randomness.batch(step)

    def measured(self, step: int) -> Tensor | None:
        with self._part("data"):
            return self._randomness.measured(step)

    def first(self) -> Tensor:
        with self._part("data"):
            return self._randomness.first()

    def noise(self, step: int) -> Noise:
        return TimedNoise(self._randomness.noise(step), self._part)

    def start(self, purpose: str) -> Noise:
        return TimedNoise(self._randomness.start(purpose), self._part)


def timed(step: Callable[..., None], part: Part) -> Callable[..., None]:
    """The sampler's step; what it does itself is `update`."""

    def run(*arguments: Any) -> None:
        with part("update"):
            step(*arguments)

    return run
