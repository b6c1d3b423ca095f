"""The loop: what is recorded, what is thrown away, what is put back, and what a failure looks like."""

import math

import pytest
import torch
from torch import Tensor

from hf_llc.measures.llc.validation.problems import FunctionObjective, quadratic
from hf_llc.results.estimate import ChainTrace, Status
from hf_llc.sampling.chain import run_chain
from hf_llc.sampling.randomness import ChainRandomness
from tests.helpers.chains import llc_statistics, settings, traces


def test_a_step_size_towards_zero_gives_zero() -> None:
    statistics = llc_statistics(quadratic([1.0, 2.0]), settings(lr=1e-18))
    assert abs(statistics.mean) < 1e-10


def test_n_beta_zero_gives_zero_though_the_weights_move() -> None:
    chosen = settings(n_beta=0.0)
    result = traces(quadratic([1.0, 2.0]), chosen)
    assert all(min(trace.squared_distances) > 0 for trace in result)
    assert llc_statistics(quadratic([1.0, 2.0]), chosen).mean == 0.0


def test_weights_are_back_at_the_anchor_bit_for_bit() -> None:
    w = torch.randn(1000, generator=torch.Generator().manual_seed(0))
    before = w.clone()
    objective = FunctionObjective([w], 1, lambda indices: w.square().sum().expand(len(indices)))
    run_chain(objective, torch.zeros(1), settings(), 0)
    assert torch.equal(w.detach(), before)
    assert w.grad is None


def test_draws_are_every_thin_th_step_after_the_burn_in() -> None:
    chosen = settings(burn_in=3, thin=2, draws=4)
    trace = ChainTrace(
        chain=0,
        status=Status.HEALTHY,
        failed_at=None,
        losses=tuple(map(float, range(12))),
        deltas=tuple(map(float, range(12))),
        squared_distances=(),
        seconds=0.0,
    )
    assert chosen.steps == 11
    assert trace.draws(chosen) == (5.0, 7.0, 9.0, 11.0)


def test_a_chain_records_one_loss_a_step_and_one_distance_a_draw() -> None:
    chosen = settings(burn_in=3, thin=2, draws=4)
    trace = traces(quadratic([1.0]), chosen)[0]
    assert len(trace.losses) == len(trace.deltas) == chosen.steps + 1
    assert len(trace.squared_distances) == len(trace.draws(chosen)) == 4
    assert trace.deltas[0] == 0.0


def test_distances_belong_to_the_draws() -> None:
    chosen = settings(burn_in=3, thin=2, draws=4)
    trace = traces(quadratic([2.0]), chosen)[0]
    # With one weight and L = w², the loss is the squared distance.
    assert trace.squared_distances == pytest.approx(trace.draws(chosen))


def unequal_items(n: int) -> FunctionObjective:
    """Items whose losses at w* differ by far more than the chain moves them."""
    w = torch.zeros(1, dtype=torch.float64)
    levels = torch.linspace(0, 100, n, dtype=torch.float64)
    return FunctionObjective([w], n, lambda indices: levels[indices] + w.square().sum())


def test_the_paired_baseline_removes_what_differs_between_batches() -> None:
    chosen = settings(n=64, batch_size=4, draws=200)
    trace = traces(unequal_items(64), chosen)[0]
    squared = [loss - 50 for loss in trace.losses[1:]]
    assert torch.tensor(squared).std() > 5
    assert trace.draws(chosen) == pytest.approx(trace.squared_distances)


def randomness(seed: int, chain: int, n: int, batch_size: int) -> ChainRandomness:
    return ChainRandomness(seed, chain, n, batch_size, torch.device("cpu"))


def test_chains_see_different_batches_and_a_batch_holds_an_item_once() -> None:
    batches = [randomness(0, chain, 1000, 32).batch(step) for chain in range(4) for step in range(4)]
    assert len({tuple(batch.tolist()) for batch in batches}) == 16
    assert all(len(set(batch.tolist())) == 32 for batch in batches)


def test_every_item_is_drawn_equally_often() -> None:
    counts = torch.zeros(20)
    source, steps = randomness(3, 1, 20, 5), 4000
    for step in range(steps):
        counts[source.batch(step)] += 1
    share = 5 / 20
    spread = math.sqrt(steps * share * (1 - share))
    assert float((counts - steps * share).abs().max()) < 4.5 * spread


def test_a_chain_does_not_depend_on_the_chains_run_before_it() -> None:
    chosen = settings()
    alone = run_chain(quadratic([1.0, 3.0]), torch.zeros(1), chosen, 2)
    assert alone == traces(quadratic([1.0, 3.0]), chosen)[2]


def failing(after: int, value: float) -> FunctionObjective:
    """A loss that becomes `value` at the evaluation numbered `after`."""
    w = torch.zeros(3)
    calls = iter(range(10**9))

    def losses_of(indices: Tensor) -> Tensor:
        factor = value if next(calls) >= after else 1.0
        return (w.square().sum() * factor + (factor if factor != 1.0 else 0.0)).expand(len(indices))

    return FunctionObjective([w], 1, losses_of)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_nonfinite_loss_fails_the_chain_and_names_the_step(value: float) -> None:
    trace = run_chain(failing(37, value), torch.zeros(1), settings(), 0)
    assert trace.status is Status.NONFINITE
    assert trace.failed_at == 37


def test_a_nonfinite_weight_fails_the_chain_even_where_the_loss_does_not_see_it() -> None:
    seen, unseen = torch.zeros(2), torch.zeros(2)
    objective = FunctionObjective([seen, unseen], 1, lambda indices: seen.square().sum().expand(len(indices)))
    unseen_anchor = torch.full((2,), 1e38)
    with torch.no_grad():
        unseen.copy_(unseen_anchor)
    trace = run_chain(objective, torch.zeros(1), settings(n_beta=0.0, gamma=0.0, lr=1e76), 0)
    assert trace.status is Status.NONFINITE


def test_a_failed_chain_still_puts_the_weights_back() -> None:
    objective = failing(20, math.nan)
    run_chain(objective, torch.zeros(1), settings(), 0)
    assert torch.equal(objective.parameters[0].detach(), torch.zeros(3))


def test_a_trace_survives_its_json_form_and_keeps_nan_as_null() -> None:
    trace = run_chain(failing(5, math.nan), torch.zeros(1), settings(), 0)
    stored = trace.to_dict()
    assert stored["losses"][5] is None
    again = ChainTrace.from_dict(stored)
    assert again.status is trace.status
    assert again.losses[:5] == trace.losses[:5]
    assert math.isnan(again.losses[5])


def test_progress_is_told_the_steps_done_and_the_mean_so_far() -> None:
    told: list[tuple[int, float, float]] = []
    chosen = settings(burn_in=0, draws=40)
    objective = quadratic([1.0])
    trace = run_chain(objective, torch.zeros(1), chosen, 0, progress=lambda *seen: told.append(seen))
    draws = trace.draws(chosen)
    assert [step for step, _, _ in told] == [15, 31, 40]
    assert told[-1][2] == pytest.approx(sum(draws) / len(draws))
