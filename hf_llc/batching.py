"""Whether the chains of a process are computed in one call of the model, and which of them go together.

On a GPU a small model leaves most of a step to the launches of its kernels, and one call for several chains has as many
of them as one chain. On a CPU it does not pay: with one thread 4 or 8 chains were measured to take 1.4 times as long as
one after another at 170 thousand weights, 1.2 times at 1.3 million (`tests/benchmarks/test_batching.py`).
"""

import math
import re
import statistics
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace

import torch
from torch import Tensor

from hf_llc import queue
from hf_llc.adapters.store import RunStore
from hf_llc.core.lockstep import LIMIT
from hf_llc.core.objective import clear_gradients, dimension, gradients
from hf_llc.core.samplers import SAMPLERS
from hf_llc.observer import Observer
from hf_llc.plan import Plan
from hf_llc.queue import Steps
from hf_llc.resolution import Resolution
from hf_llc.workbench import Workbench

TIMED_ON = frozenset({"cuda"})
"""Kinds of device on which `auto` times both ways."""
LARGEST = 10_000_000
"""Weights above which `auto` does not try: launches are a small part of a step, and each chain is a copy of them."""
TOGETHER = 2**27
"""Weights of all chains in one call at most: half a GiB in float32, and a few such copies live."""
PAYS = 0.9
"""Share of the time of one after another below which one call is chosen."""
TURNS = 3
AGREE = {"float32": 1e-3, "bfloat16": 5e-2}
"""Relative difference of losses and of gradients up to which both ways compute the same, by dtype."""
PART = "batching"


@dataclass(frozen=True)
class Choice:
    """Whether chains of `size` weights go in one call, and one sentence why; "" where there was nothing to choose."""

    batched: bool
    why: str = ""
    size: int = 0

    def applied(self, found: Resolution) -> Resolution:
        """The resolution with this choice in its settings."""
        settings = replace(found.settings, batched_chains="on" if self.batched else "off")
        return replace(found, settings=settings, choices={**found.choices, **self.sentences})

    @property
    def sentences(self) -> dict[str, str]:
        """Why, by the setting's name."""
        return {"batched_chains": f"batched_chains = {'on' if self.batched else 'off'}: {self.why}"} if self.why else {}


def is_open(plan: Plan) -> bool:
    """True if the model must be looked at: one call was asked for, or may pay."""
    asked = plan.sampler.batched_chains
    may_pay = plan.sampler.devices_per_chain == 1 and plan.device in TIMED_ON
    return asked == "on" or (asked == "auto" and may_pay)


def part_names(plan: Plan) -> list[str]:
    """The part of a run that holds the choice, if there is something to choose."""
    return [PART] if is_open(plan) else []


def chosen(plan: Plan, store: RunStore, bench: Workbench, observer: Observer) -> Steps[Choice]:
    """The choice, made once for all processes and kept, since the draws' last digits depend on it."""
    if not is_open(plan):
        return Choice(batched=False)

    def make(name: str) -> dict[str, object]:
        with observer.part("loading"):
            bench.load()
        with observer.part("measuring"):
            return asdict(choose(plan, bench))

    (payload,) = yield from queue.parts(store, [PART], make)
    return Choice(**payload)


def choose(plan: Plan, bench: Workbench) -> Choice:
    """What is asked for if it can be had; else what takes less time, by a few gradients each way. w* stays as it is."""
    size = dimension(bench.objective.parameters, bench.objective.shards)
    problem = _spread(plan) or _too_large(plan, size) or _looks_twice(plan) or _not_computed(plan, bench)
    if problem:
        return Choice(False, problem, size)
    if plan.sampler.batched_chains == "on":
        return Choice(True, "chains go in one call of the model, as asked.", size)
    count = min(limit(size), plan.sampler.chains)
    ratio = _ratio(bench, count, plan.sampler.chain_batch_size)
    words = f"{count} gradients in one call take {ratio:.2f} of the time of one after another, as just now timed."
    return Choice(ratio < PAYS, words, size)


def limit(size: int) -> int:
    """Chains of so many weights that go into one call at most."""
    return min(LIMIT, TOGETHER // max(1, size))


def groups(names: Sequence[str], size: int, world: int, *, batched: bool) -> list[list[str]]:
    """Which chains go together: none, or dealt out in turn to a group for each process, or more where the limit asks.

    A function of its arguments alone, so that all processes have the same.

    Args:
        size: weights of a chain. world: processes.
    """
    if not batched:
        return [[name] for name in names]
    count = min(len(names), max(world, math.ceil(len(names) / limit(size))))
    return [list(names[turn::count]) for turn in range(count)]


def _spread(plan: Plan) -> str:
    """Why the chains of a model that several devices hold cannot go together, "" if one does."""
    if plan.sampler.devices_per_chain == 1:
        return ""
    return "several devices hold the model together, for one chain at a time."


def _too_large(plan: Plan, size: int) -> str:
    """Why so many weights are not tried, "" if they are."""
    if plan.sampler.batched_chains == "auto" and size > LARGEST:
        return f"launches are a small part of a step of {size:.2g} weights."
    return "" if limit(size) >= 2 else f"two copies of {size:.2g} weights in one call would take too much memory."


def _looks_twice(plan: Plan) -> str:
    """Why the sampler's chains cannot go together, "" if they can. `auto` never chooses one that cannot."""
    sampler = SAMPLERS.get(plan.sampler.sampler)
    if sampler is None or not sampler.whole:
        return ""
    return f"a step of {plan.sampler.sampler} looks at its weights a second time, which is for one chain by itself."


def _not_computed(plan: Plan, bench: Workbench) -> str:
    """Why this model cannot be computed at several sets of weights in one call; "" if it can."""
    objective, stacked = bench.objective, bench.stacked
    size = max(1, plan.sampler.chain_batch_size // 2)
    batches = torch.arange(2 * size).remainder(objective.n).view(2, size)
    try:
        with warnings.catch_warnings():
            # torch computes one set after the other then, which is slower than what it is to replace.
            warnings.filterwarnings("error", ".*performance drop.*")
            losses, slopes = stacked.losses_and_gradient(_copies(objective.parameters, 2), batches)
    except (RuntimeError, ValueError, TypeError, UserWarning) as error:
        # Below its first sentence torch asks for reports and names places in its own code.
        told = re.split(r"\n|\. Please", str(error))[0]
        return f"this model cannot be computed at several sets of weights at once ({told})."
    apart = []
    for row, batch in enumerate(batches):
        apart.append(_apart([losses[row]], [objective.losses_and_gradient(batch)]))
        apart.append(_apart([slope[row] for slope in slopes], gradients(objective.parameters)))
    clear_gradients(objective.parameters)
    # Written so that NaN is a problem.
    if all(each <= AGREE[plan.dtype] for each in apart):
        return ""
    return f"one call gives other losses or gradients (they differ by {max(apart):.1%})."


def _copies(parameters: Sequence[Tensor], count: int) -> list[Tensor]:
    return [torch.stack([parameter.detach()] * count) for parameter in parameters]


def _apart(found: Sequence[Tensor], expected: Sequence[Tensor]) -> float:
    """‖found − expected‖ / ‖expected‖ over all tensors; 0 if both are 0."""
    difference = math.hypot(*(float((one - other).norm()) for one, other in zip(found, expected, strict=True)))
    whole = math.hypot(*(float(other.norm()) for other in expected))
    return difference / whole if whole else difference


def _ratio(bench: Workbench, count: int, batch_size: int) -> float:
    """Time of so many chains' gradients in one call over that of one after another, the median of turns."""
    objective, stacked = bench.objective, bench.stacked
    weights = _copies(objective.parameters, count)
    batches = torch.arange(count * batch_size).remainder(objective.n).view(count, batch_size)

    def alone() -> None:
        for batch in batches:
            objective.losses_and_gradient(batch)
        _settle(gradients(objective.parameters))

    def together() -> None:
        _settle(stacked.losses_and_gradient(weights, batches)[1])

    turns = [(_seconds(together), _seconds(alone)) for _ in range(1 + TURNS)]
    clear_gradients(objective.parameters)
    # The first turn also finds out how to compute.
    return statistics.median(one / other for one, other in turns[1:])


def _settle(found: Sequence[Tensor]) -> None:
    """Returns once the device has done what it was asked for."""
    float(found[-1].sum())


def _seconds(work: Callable[[], None]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
