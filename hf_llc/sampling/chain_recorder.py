"""What a chain leaves behind, kept on the device and brought to the host a block at a time."""

import math
from typing import Any

import torch
from torch import Tensor


class ChainRecorder:
    """Losses and differences of every step, distances and jumps of draws; scalar tensors in, numbers out.

    Attributes:
        losses, deltas, squared_distances, paired, broken_slopes, jumps, beside, noise: of `estimate.ChainTrace`, up to
            the last flush.
    """

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.deltas: list[float] = []
        self.paired: list[float] = []
        self.squared_distances: list[float] = []
        self.jumps: list[float] = []
        self.beside: list[float] = []
        self.noise: list[float] = []
        self.broken_slopes = 0
        self._steps: list[Tensor] = []
        self._distances: list[Tensor] = []
        self._jumps: list[Tensor] = []
        self._broken: list[Tensor] = []
        self._noise: list[Tensor] = []

    def add(self, loss: Tensor, delta: Tensor, paired: Tensor) -> None:
        """Adds a step: its loss, its difference, and that before a baseline took anything from it."""
        self._steps.append(torch.stack([loss, delta, paired]))

    def add_distance(self, squared: Tensor) -> None:
        """Adds a draw's ‖w−w*‖²."""
        self._distances.append(squared)

    def add_jump(self, jump: Tensor, beside: Tensor) -> None:
        """Adds the jumps between w* and a draw, and the difference of other items there."""
        self._jumps.append(torch.stack([jump, beside.to(jump.dtype)]))

    def add_broken(self, broken: Tensor) -> None:
        """Adds whether a draw's slope at w* is broken, 1 or 0."""
        self._broken.append(broken)

    def add_noise(self, variance: Tensor) -> None:
        """Adds the variance of a draw's mean difference that its choice of items makes."""
        self._noise.append(variance)

    def flush(self) -> int | None:
        """The index of the first step since the last flush whose loss or distance is not finite; None if all are."""
        first = len(self.losses)
        for loss, delta, paired in _numbers(self._steps):
            self.losses.append(loss)
            self.deltas.append(delta)
            self.paired.append(paired)
        distances = _numbers(self._distances)
        self.squared_distances.extend(distances)
        for jump, beside in _numbers(self._jumps):
            self.jumps.append(jump)
            self.beside.append(beside)
        self.noise.extend(_numbers(self._noise))
        self.broken_slopes += sum(map(bool, _numbers(self._broken)))
        bad = next((i for i, loss in enumerate(self.losses[first:], first) if not math.isfinite(loss)), None)
        if bad is None and not all(map(math.isfinite, distances)):
            bad = len(self.losses) - 1
        return bad


def _numbers(pending: list[Tensor]) -> list[Any]:
    """What is pending, on the host; nothing is pending afterwards."""
    numbers = torch.stack(pending).tolist() if pending else []
    pending.clear()
    return numbers
