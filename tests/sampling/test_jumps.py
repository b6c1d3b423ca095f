"""The way from w* to a draw: what a gradient knows of it, and by how much the loss jumps besides."""

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from hf_llc.measures.llc.validation.problems import (
    FunctionObjective,
    deep_linear,
    normal_crossing,
    quadratic,
    separable,
)
from hf_llc.results.estimate import ChainTrace
from hf_llc.sampling.chain import run_chain
from hf_llc.sampling.jumps import COST, LEAST, MOST, SHARE, integral, measured_draws, nodes, other_items
from hf_llc.sampling.objective import Objective, copy_of
from hf_llc.sampling.variations import VARIATIONS
from tests.helpers.chains import settings, traces
from tests.helpers.jumping_losses import stepped

RULES = [nodes(0, 0, index) for index in range(4000)]


def by_rule(function: Callable[[float], float], rule: int) -> float:
    return sum(node.weight * function(node.t) for node in RULES[rule])


@pytest.mark.parametrize("power", [0, 1, 2, 3])
def test_a_cubic_is_integrated_exactly_by_any_rule(power: int) -> None:
    for rule in range(50):
        assert by_rule(lambda t: t**power, rule) == pytest.approx(1 / (power + 1), rel=1e-9)


@pytest.mark.parametrize(
    ("function", "exact"),
    [(lambda t: float(t > 0.3), 0.7), (lambda t: t**7, 1 / 8), (lambda t: abs(t - 0.55), 0.2525)],
    ids=["step", "seventh power", "kink"],
)
def test_other_functions_are_integrated_without_bias(function: Callable[[float], float], exact: float) -> None:
    result = torch.tensor([by_rule(function, rule) for rule in range(len(RULES))], dtype=torch.float64)
    error = float(result.std()) / math.sqrt(len(RULES))
    assert abs(float(result.mean()) - exact) < 3.5 * error
    assert error < 0.02 * exact


def test_nodes_lie_on_the_segment_and_go_back_towards_the_anchor() -> None:
    for rule in RULES:
        assert 1 >= rule[0].t > rule[1].t > rule[2].t >= 0


def seen_along(objective: Objective, target: list[Tensor]) -> float:
    """The integral to these weights, which the objective holds afterwards, bit for bit."""
    anchors = copy_of(objective.parameters)
    with torch.no_grad():
        for parameter, value in zip(objective.parameters, target, strict=True):
            parameter.copy_(value)
    value = integral(objective, anchors, torch.zeros(1, dtype=torch.int64), nodes(1, 2, 3))
    result = float(value)
    for parameter, value in zip(objective.parameters, target, strict=True):
        assert torch.equal(parameter.detach(), value)
        assert parameter.grad is None
    return result


def test_a_smooth_loss_rises_by_its_gradient_and_a_step_by_nothing() -> None:
    stream = torch.Generator().manual_seed(0)
    target = torch.randn(10, generator=stream, dtype=torch.float64).mul(0.1)
    objective = stepped()
    result = seen_along(objective, [target])
    assert result == pytest.approx(float(target.square().sum() / 2), rel=1e-12)
    rise = float(objective.losses(torch.zeros(1, dtype=torch.int64))[0])
    assert rise - result == pytest.approx(0.05 * int((target.abs() > 0.1).sum()), rel=1e-9)


@pytest.mark.parametrize(
    ("objective", "changes"),
    [
        (quadratic([1.0, 2.0, 30.0]), {}),
        (separable(4, 20), {"n_beta": 1e4, "lr": 1e-4}),
        (normal_crossing(), {"n_beta": 1e4, "lr": 1e-4}),
    ],
    ids=["quadratic", "quartic", "crossing"],
)
def test_losses_of_degree_four_have_no_jumps_but_for_rounding(
    objective: FunctionObjective, changes: dict[str, object]
) -> None:
    chosen = settings(**changes)
    for trace in traces(objective, chosen):
        assert len(trace.jumps) == len(trace.beside) == len(measured_draws(chosen))
        assert max(map(abs, trace.jumps)) < 1e-12 * max(trace.draws(chosen))
        # One item: what is seen beside is the draw's own.
        assert [*trace.beside] == [trace.draws(chosen)[draw - 1] for draw in sorted(measured_draws(chosen))]


def test_what_the_rule_misses_of_a_deep_product_averages_out() -> None:
    chosen = settings(dtype="float32", draws=400)
    result = traces(deep_linear((6, 6, 6, 6), 3), chosen)
    jumps = torch.tensor([jump for trace in result for jump in trace.jumps])
    mean = torch.tensor([trace.draws(chosen) for trace in result]).mean()
    error = float(jumps.std()) / math.sqrt(len(jumps))
    assert error < 0.03 * float(mean)
    assert abs(float(jumps.mean())) < 3 * error


def test_measuring_jumps_does_not_change_a_chain_and_is_done_in_main_chains_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    chosen = settings(batch_size=2, n=6, draws=100)
    w = torch.zeros(3, dtype=torch.float64)
    centres = torch.linspace(-1, 1, 6, dtype=torch.float64)

    def run(**options: object) -> ChainTrace:
        objective = FunctionObjective([w], 6, lambda indices: (w.sum() - centres[indices]).square())
        return run_chain(objective, centres.square(), chosen, 0, **options)  # type: ignore[arg-type]

    seen, varied = run(), run(variation=VARIATIONS[2])
    monkeypatch.setattr("hf_llc.sampling.jumps.measured_draws", lambda settings: frozenset())
    unseen = run()
    assert len(seen.jumps) > 0
    # What is seen beside is of other items than the draw's own.
    assert not {*seen.beside} & {*seen.draws(chosen)}
    assert varied.jumps == unseen.jumps == ()
    assert replace(seen, jumps=(), beside=()) == unseen


def test_each_segment_has_nodes_and_other_items_of_its_own() -> None:
    chosen = settings(batch_size=4, n=40)
    places = [(seed, chain, draw) for seed in range(2) for chain in range(2) for draw in (1, 2, 3)]
    items = [other_items(replace(chosen, seed=seed), chain, draw).tolist() for seed, chain, draw in places]
    assert all(len({*each}) == 4 and {*each} <= {*range(40)} for each in items)
    assert len(set(map(tuple, items))) == len({nodes(*place)[0].t for place in places}) == len(places)
    assert items[0] == other_items(chosen, 0, 1).tolist()


@pytest.mark.parametrize("draws", [1, 5, 50, 200, 1500, 20_000])
def test_segments_are_few_and_spread_over_the_draws(draws: int) -> None:
    chosen = settings(draws=draws, burn_in=10)
    places = sorted(measured_draws(chosen))
    assert LEAST <= len(places) <= MOST
    assert len(places) == LEAST or COST * len(places) <= SHARE * chosen.gradients
    assert 1 <= places[0] <= places[-1] <= draws
    gaps = [after - before for before, after in zip([0, *places], [*places, draws], strict=False)]
    assert max(gaps) <= draws / len(places) + 1
