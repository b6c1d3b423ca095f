"""What the tool makes of an input: a number, or one line; whatever else it does is a fault, and raised here."""

import re
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from hf_llc.execution.loaded_model import LoadedModel, computing
from hf_llc.execution.planning import plan
from hf_llc.settings.data import DataSettings
from hf_llc.settings.model import ModelSettings
from hf_llc.settings.sampler import SamplerSettings

REPORT = import_module("hf_llc.cli.error_handling")
CONTEXT = 32
SECONDS = 30
"""That one example may take, on a busy machine too."""
ROOM = 6 * 2**30
"""Bytes of address space beyond those in use that one example may ask for."""
LONGEST_LINE = 600
SAMPLER = SamplerSettings(
    sampler="sgld-lm", n_beta=30, gamma=1000, lr=1e-4, chains=2, draws=4, burn_in=1, batch_size=4, checks=False,
    start="anchor", gradient="minibatch", batches="independent", baseline="paired", threads=1,
)  # fmt: skip


class EndlessError(BaseException):
    """An example took too long. Not an Exception, which the tool might take for a broken file."""


@dataclass(frozen=True)
class Number:
    """The mean loss at w* in nats per token, over n sequences."""

    loss: float
    n: int


@dataclass(frozen=True)
class Refusal:
    """The one line that a user sees."""

    line: str


@contextmanager
def bounded() -> Iterator[None]:
    """A block that may take neither for ever nor all memory."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise EndlessError(f"more than {SECONDS} s")

    before = signal.signal(signal.SIGALRM, stop)
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    in_use = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (in_use + ROOM, hard))
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
        signal.signal(signal.SIGALRM, before)


def refusal(error: BaseException) -> Refusal:
    """The line for an expected failure; a failure that has none is raised again."""
    line = REPORT.message(error)
    if line is None:
        raise error
    assert "\n" not in line
    assert 0 < len(line) <= LONGEST_LINE, line
    assert not re.search(r"Traceback|weights_only=False", line), line
    return Refusal(line)


def loss_at(model: str | Path, dataset: Path, **data: Any) -> Number | Refusal:
    """The loss at w* as an estimate computes it, from the same parts: plan, checkpoint, tokens, objective."""
    asked = DataSettings(**{"dataset": str(dataset), "context_length": CONTEXT, **data})
    with bounded(), computing(1):
        try:
            planned = plan(ModelSettings(model=str(model)), asked, SAMPLER, device="cpu")
            objective = LoadedModel(planned, "cpu").load()
            losses = objective.losses(torch.arange(objective.n))
        except REPORT.EXPECTED as error:
            return refusal(error)
    return Number(float(losses.double().mean()), objective.n)
