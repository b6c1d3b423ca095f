"""Chains in lockstep: the draws of each are those it has alone, whatever the others do."""

import math
from collections import Counter
from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor

from hf_llc.core.baseline import nudge_of
from hf_llc.core.chain import run_chain
from hf_llc.core.gradients import full_gradient
from hf_llc.core.jumps import NODES
from hf_llc.core.lockstep import Member, run_together
from hf_llc.core.objective import copy_of, gradients
from hf_llc.core.problems import FunctionObjective
from hf_llc.core.samplers import SAMPLERS
from hf_llc.core.variations import VARIATIONS, Variation
from hf_llc.resolved import ResolvedSettings
from hf_llc.results import ChainTrace, Status
from tests.core.chains import settings

N, DIMENSION = 60, 4


def logistic_losses() -> Callable[[Sequence[Tensor], Tensor], Tensor]:
    """Losses of items (m,) at a vector and an offset, whose gradient noise depends on both."""
    stream = torch.Generator().manual_seed(0)
    inputs = torch.randn(N, DIMENSION, generator=stream, dtype=torch.float64)
    signs = torch.where(torch.rand(N, generator=stream) < 0.5, -1.0, 1.0)

    def losses_of(weights: Sequence[Tensor], indices: Tensor) -> Tensor:
        w, offset = weights
        return torch.nn.functional.softplus(-signs[indices] * (inputs[indices] @ w + offset.sum()))

    return losses_of


class Stacked:
    """The same at several sets of weights by `torch.vmap`; remembers the sets of each call, and counts copies."""

    def __init__(self, losses_of: Callable[[Sequence[Tensor], Tensor], Tensor]) -> None:
        self._losses_of = losses_of
        self.calls: list[tuple[bool, int]] = []
        self.copies = 0

    def losses(self, weights: Sequence[Tensor], indices: Tensor) -> Tensor:
        self.calls.append((False, len(indices)))
        return torch.vmap(self._losses_of)(list(weights), indices)

    def losses_and_gradient(self, weights: Sequence[Tensor], indices: Tensor) -> tuple[Tensor, list[Tensor]]:
        self.calls.append((True, len(indices)))
        self.copies += not weights[0]._is_view()
        leaves = [each.detach().requires_grad_() for each in weights]
        losses = torch.vmap(self._losses_of)(leaves, indices)
        losses.mean(dim=1).sum().backward()
        return losses.detach(), gradients(leaves)


def start() -> list[Tensor]:
    return [torch.full((DIMENSION,), 0.3, dtype=torch.float64), torch.full((1, 2), -0.1, dtype=torch.float64)]


def alone(chosen: ResolvedSettings, chain: int, variation: Variation | None = None) -> ChainTrace:
    """The trace of a chain by itself, whose settings these are."""
    parameters, losses_of = start(), logistic_losses()
    objective = FunctionObjective(parameters, N, lambda indices: losses_of(parameters, indices))
    anchors, slope = objective.losses(torch.arange(N)), full_gradient(objective, N)
    return run_chain(objective, anchors, chosen, chain, anchor_gradient=slope, variation=variation)


def together(members: Sequence[Member], stacked: Stacked | None = None) -> dict[int, ChainTrace]:
    """The traces by place; w* must stay as it is."""
    parameters, losses_of = start(), logistic_losses()
    objective = FunctionObjective(parameters, N, lambda indices: losses_of(parameters, indices))
    anchors, slope = objective.losses(torch.arange(N)), full_gradient(objective, N)
    before = copy_of(parameters)
    made = stacked or Stacked(losses_of)
    found = dict(run_together(made, objective.parameters, anchors, members, anchor_gradient=slope))
    assert all(torch.equal(now.detach(), then) for now, then in zip(parameters, before, strict=True))
    return found


def assert_same(found: ChainTrace, expected: ChainTrace, enlarged: float = 1.0) -> None:
    """Equal but for rounding, which these chains do not enlarge, or by that factor."""
    assert (found.chain, found.status, found.failed_at) == (expected.chain, expected.status, expected.failed_at)
    for name in ("losses", "deltas", "squared_distances"):
        assert getattr(found, name) == pytest.approx(getattr(expected, name), rel=1e-9, abs=1e-12 * enlarged)


def chosen(**changes: object) -> ResolvedSettings:
    base: dict[str, object] = {"n": N, "batch_size": 6, "burn_in": 7, "draws": 24, "thin": 2, "lr": 1e-2}
    return settings(**{**base, **changes})


@pytest.mark.parametrize("sampler", [name for name, sampler in SAMPLERS.items() if not sampler.whole])
def test_every_sampler_draws_together_what_it_draws_alone(sampler: str) -> None:
    at = chosen(sampler=sampler)
    found = together([Member(at, chain) for chain in range(3)])
    assert len({trace.losses for trace in found.values()}) == 3
    for chain, trace in found.items():
        assert_same(trace, alone(at, chain))


@pytest.mark.parametrize(
    "changes",
    [
        {"gradient": "control-variate"},
        {"batches": "reshuffled"},
        {"gradient": "control-variate", "batches": "reshuffled"},
        {"baseline": "linear"},
        {"baseline": "linear", "batches": "reshuffled", "gradient": "control-variate"},
        {"start": "both"},
        {"start": "laplace"},
        {"burn_in_lr": 5e-2},
    ],
    ids=lambda changes: " ".join(map(str, changes.values())),
)
def test_what_a_chain_may_ask_for_is_answered_as_alone(changes: dict[str, object]) -> None:
    at = chosen(**changes)
    # A slope is a difference of losses over η.
    enlarged = 1.0 if at.baseline == "paired" else 100 / nudge_of(start())
    for chain, trace in together([Member(at, chain) for chain in range(3)]).items():
        assert_same(trace, alone(at, chain), enlarged)


def test_varied_chains_go_along_with_the_main_ones() -> None:
    main = chosen(sampler="sgld-lm", draws=40)
    members = [Member(main, chain) for chain in range(2)]
    members += [Member(variation.settings(main), 1, variation) for variation in VARIATIONS]
    for place, trace in together(members).items():
        assert_same(trace, alone(*members[place][:3]))


def test_a_chain_that_diverges_leaves_and_the_others_go_on() -> None:
    good, bad = chosen(sampler="sgld"), chosen(sampler="sgld", lr=1e4)
    members = [Member(good, 0), Member(bad, 1), Member(good, 2)]
    found = dict(together(members))
    assert next(iter(found)) == 1
    assert found[1].status is Status.NONFINITE
    for place in (0, 2):
        assert found[place].status is Status.HEALTHY
        assert all(map(math.isfinite, found[place].losses))
        assert_same(found[place], alone(good, place))


def test_one_call_answers_all_chains_and_those_that_looked_apart_catch_up() -> None:
    stacked = Stacked(logistic_losses())
    at = chosen(batches="reshuffled", burn_in=6, draws=9, thin=2)
    other = chosen(batches="reshuffled", burn_in=6, draws=6, thin=3)
    assert at.steps == other.steps
    together([Member(at, 0), Member(at, 1), Member(other, 2)], stacked)
    assert Counter(sets for gradient, sets in stacked.calls if gradient) == {3: at.steps + NODES}


def test_those_that_end_early_leave_the_others_neighbours_that_need_no_copy() -> None:
    stacked = Stacked(logistic_losses())
    short, long = chosen(draws=4, thin=1), chosen(draws=24, thin=1)
    found = together([Member(long, 0), Member(short, 1), Member(long, 2)], stacked)
    assert list(found) == [1, 0, 2]
    sets = Counter(sets for gradient, sets in stacked.calls if gradient)
    assert sets == {3: short.steps + NODES, 2: long.steps - short.steps}
    assert stacked.copies == 0


def test_each_chain_tells_of_its_own_progress() -> None:
    told: dict[int, list[tuple[int, float, float]]] = {0: [], 1: []}
    at = chosen(thin=1)
    members = [Member(at, chain, progress=lambda *seen, own=told[chain]: own.append(seen)) for chain in told]
    found = together(members)
    for chain, seen in told.items():
        assert seen[-1][0] == at.steps
        draws = found[chain].draws(at)
        assert seen[-1][2] == pytest.approx(sum(draws) / len(draws))


def test_a_sampler_that_looks_twice_a_step_is_not_for_this() -> None:
    with pytest.raises(RuntimeError, match="no objective of its own"):
        together([Member(chosen(sampler="mala"), 0)])
