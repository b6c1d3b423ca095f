"""Chains of small models in one call beside one after another: time on one CPU thread, and operations started.

Where launches are what a step takes, as on a GPU, its time goes with the operations. Ratios are of runs by turns.
"""

import statistics
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

from hf_llc.adapters.stateless import Stateless
from hf_llc.core.chain import run_chain
from hf_llc.core.lockstep import Member, run_together
from hf_llc.core.stacked import StackedLanguageObjective
from hf_llc.workbench import computing
from tests.benchmarks.test_speed import SHAPES, objective_of, seconds, settings, tokens_of

STEPS, TURNS = 3, 3


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    with computing(1):
        yield


class Counted(TorchDispatchMode):
    """Counts the operations that torch is asked for inside the block; views start nothing and are left out."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += not func.is_view
        return func(*args, **(kwargs or {}))


def counted(work: Callable[[int], None], steps: int) -> int:
    """Operations of that many steps."""
    mode = Counted()
    with mode:
        work(steps)
    return mode.count


def small() -> GPTNeoXForCausalLM:
    """About 170 thousand weights."""
    config = GPTNeoXConfig(
        vocab_size=512, hidden_size=64, num_hidden_layers=2, num_attention_heads=4, intermediate_size=256,
        max_position_embeddings=128,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made: GPTNeoXForCausalLM = GPTNeoXForCausalLM(config)
    made.train(False)
    return made


@pytest.mark.parametrize("chains", [4, 8])
@pytest.mark.parametrize("make", [small, SHAPES[0].model], ids=["170K", "1.3M"])
def test_a_step_in_one_call_beside_one_after_another(make: Callable[[], GPTNeoXForCausalLM], chains: int) -> None:
    model, tokens = make(), tokens_of(SHAPES[0])
    objective = objective_of(model, tokens)
    anchors = objective.losses(torch.arange(objective.n))
    stacked = StackedLanguageObjective(Stateless(model, objective.parameters), tokens, 1000)

    def together(steps: int) -> None:
        members = [Member(settings("sgld-lm", steps, tokens), chain) for chain in range(chains)]
        list(run_together(stacked, objective.parameters, anchors, members))

    def alone(steps: int) -> None:
        for chain in range(chains):
            run_chain(objective, anchors, settings("sgld-lm", steps, tokens), chain)

    # The difference leaves out what a chain does once.
    counts = [counted(work, 2) - counted(work, 1) for work in (together, alone)]
    ratios = sorted(seconds(partial(together, STEPS)) / seconds(partial(alone, STEPS)) for _ in range(TURNS))
    size = sum(parameter.numel() for parameter in objective.parameters)
    print(
        f"\n{size:,} weights, {chains} chains: time {statistics.median(ratios):.2f} "
        f"({ratios[0]:.2f} to {ratios[-1]:.2f} "
        f"in {TURNS} turns), operations of a step of all chains {counts[0]} in place of "
        f"{counts[1]} ({counts[0] / counts[1]:.2f})"
    )
    assert counts[0] < counts[1]
