"""What a short look at this machine shows: how fast it computes, and what draws of a model take on it."""

import time
from collections.abc import Callable
from typing import NamedTuple

import torch

from hf_llc.execution import devices, machine
from hf_llc.execution.distributed import world as fleets
from hf_llc.execution.loaded_model import COPIES, computing
from hf_llc.execution.plan import draw_batch_size
from hf_llc.measures.llc.draws.amounts import Amount
from hf_llc.measures.llc.forecast_subject import Subject
from hf_llc.sampling.draws.prior import GRADIENT_SHARE, PriorDraws
from hf_llc.settings.sampler import SamplerSettings

QUICKLY_MADE = 2 * 10**8
"""Weights up to which a model with random ones is made for timing."""
TIMING = 1.0
"""Seconds that each kind of work is timed for, about."""
LEAST_SHARE = 0.05
"""Of a core, below which what is measured of it in a second says little."""
MOVING = 1.5e8
"""Weights that are moved to a draw in a second by one core, where that is not timed."""
EFFICIENCY = 0.5
"""Share of a large matrix product's rate that a language model's step reaches, roughly."""


class Costs(NamedTuple):
    """Seconds of a minibatch's losses, of their gradient, and of moving the weights to a draw."""

    losses: float
    gradient: float
    move: float

    def of(self, amount: Amount) -> float:
        """Seconds of so many draws; each kind as in `sampling.draws.prior`."""
        return (
            amount.losses * (3 * self.losses + 2 * self.move)
            + amount.gradients * (4 * self.gradient + 2 * GRADIENT_SHARE * self.losses + 4 * self.move)
            + amount.bends * (4 * self.gradient + 2 * self.move)
        )


class Timing(NamedTuple):
    """What a short look at the machine showed.

    Attributes:
        kind: `cpu`, `cuda` or `mps`. threads: of a process. rate: floating-point operations per second of a matrix
            product. costs: of draws; 0 where chains are asked for, which are not timed. share: of a core that this
            process had meanwhile.
    """

    kind: str
    threads: int
    rate: float
    costs: Costs
    share: float


def look_at(subject: Subject, sampler: SamplerSettings, device: str | None) -> Timing:
    """Times draws of the subject for a second or so, or where chains are asked for a matrix product alone."""
    kind = devices.device_kind(device)
    place = fleets.single_process(kind).device
    if not (sampler.by_draws or sampler.tries_draws):
        rate = _matrix_rate(place, getattr(torch, sampler.dtype))
        return Timing(kind, 1, rate, Costs(0.0, 0.0, 0.0), 1.0)
    threads = sampler.threads or machine.default_threads(sampler.chain_count)
    with computing(threads):
        busy, started = time.thread_time(), time.monotonic()
        rate = _matrix_rate(place, getattr(torch, sampler.dtype))
        costs = _timed(subject, place, batch_size(subject, sampler), rate)
        # What else runs here slows down the start as it slows down the draws, which are timed with it.
        share = max(LEAST_SHARE, min(1.0, (time.thread_time() - busy) / (time.monotonic() - started)))
    return Timing(kind, threads, rate, costs, share)


def batch_size(subject: Subject, sampler: SamplerSettings) -> int:
    """Items of a minibatch of draws."""
    return sampler.batch_size or draw_batch_size(subject.context, subject.n)


def _timed(subject: Subject, device: str, size: int, rate: float) -> Costs:
    """The costs of a minibatch, of a model with random weights where one is quickly made, else by their operations."""
    parameters = subject.parameters
    if parameters > QUICKLY_MADE or 4 * COPIES * parameters > machine.free_memory():
        losses = subject.per_token * size * subject.context / (EFFICIENCY * rate)
        return Costs(losses, 3 * GRADIENT_SHARE * losses, parameters / MOVING)
    objective = subject.objective(size, device)
    items = torch.arange(size)

    def seconds(act: Callable[[], object]) -> float:
        act()
        started, done = time.monotonic(), 0
        while done < 1 or (time.monotonic() - started < TIMING and done < 5):
            act()
            done += 1
        return (time.monotonic() - started) / done

    draws = PriorDraws(objective, objective, gamma=1e12, batch_size=size, seed=0)
    return Costs(
        seconds(lambda: objective.losses(items).sum().item()),
        seconds(lambda: objective.losses_and_gradient(items[: max(1, int(GRADIENT_SHARE * size))]).sum().item()),
        seconds(lambda: draws.move("timing", 0, 1.0)),
    )


def _matrix_rate(device: str, dtype: torch.dtype) -> float:
    """Floating-point operations per second of a matrix product on this device, from a tenth of a second."""
    size = 1024
    matrix = torch.ones(size, size, device=device, dtype=dtype)
    done, started = 0, time.monotonic()
    while time.monotonic() - started < 0.1:
        (matrix @ matrix).sum().item()
        done += 1
    return done * 2 * size**3 / (time.monotonic() - started)
