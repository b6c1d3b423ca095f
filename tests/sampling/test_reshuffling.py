"""Batches in reshuffled order: what they cover, what they are measured on, and that their noise cancels."""

import math

import pytest
import torch

from hf_llc.errors import SettingsError
from hf_llc.measures.llc.validation.exact import quadratic_llc
from hf_llc.measures.llc.validation.problems import FunctionObjective, linear_regression
from hf_llc.results.estimate import ChainTrace
from hf_llc.sampling.chain import run_chain
from hf_llc.sampling.randomness import BATCHES, ChainRandomness, HalfStepRandomness, check_batches
from tests.helpers.chains import llc_statistics, settings, traces

CPU = torch.device("cpu")
N, SIZE = 50, 12


def order(chain: int = 0, batches: str = "reshuffled") -> ChainRandomness:
    return ChainRandomness(0, chain, N, SIZE, CPU, batches)


def test_an_epoch_sees_no_item_twice_and_the_next_one_another_order() -> None:
    randomness = order()
    epochs = [torch.cat([randomness.batch(4 * epoch + step) for step in range(4)]).tolist() for epoch in range(2)]
    assert all(len(set(seen)) == 4 * SIZE for seen in epochs)
    assert epochs[0] != epochs[1]


def test_a_batch_is_the_same_whenever_and_in_whatever_order_it_is_asked_for() -> None:
    forward, backward = order(), order()
    results = [forward.batch(step).tolist() for step in range(12)]
    assert [backward.batch(step).tolist() for step in reversed(range(12))] == results[::-1]
    assert order(chain=1).batch(0).tolist() != results[0]


def test_independent_batches_overlap_and_are_their_own_measure() -> None:
    randomness = order(batches="independent")
    seen = torch.cat([randomness.batch(step) for step in range(4)]).tolist()
    assert len(set(seen)) < 4 * SIZE
    assert randomness.measured(3) is None


def test_half_steps_share_the_measured_items_and_see_every_item_between_them() -> None:
    whole = order()
    fine = HalfStepRandomness(whole)
    measured = [fine.measured(2 * step) for step in range(3)]
    for step, items in enumerate(measured):
        expected = whole.measured(step)
        assert items is not None
        assert expected is not None
        assert torch.equal(items, expected)
    assert all(torch.equal(fine.batch(2 * step), whole.batch(step)) for step in range(8))
    assert len(set(torch.cat([fine.batch(2 * step + 1) for step in range(4)]).tolist())) == 4 * SIZE


def test_draws_are_measured_on_items_apart_from_the_steps_own() -> None:
    """Items 0 … 24 have a loss that w does not change, the others w²: a draw's difference tells which it saw."""
    w = torch.zeros(1, dtype=torch.float64)
    moves = (torch.arange(N) >= N // 2).double()
    objective = FunctionObjective([w], N, lambda indices: moves[indices] * w.square().sum())
    chosen = settings(n=N, batch_size=SIZE, burn_in=2, draws=8, batches="reshuffled")
    trace = run_chain(objective, torch.zeros(N, dtype=torch.float64), chosen, 0)
    randomness = order()
    for k, (delta, squared) in enumerate(zip(trace.draws(chosen), trace.squared_distances, strict=True)):
        apart = randomness.measured(3 + k)
        assert apart is not None
        assert delta == pytest.approx(float(moves[apart].mean()) * squared)


def regression(batches: str, lr: float) -> tuple[float, float, float]:
    """λ̂ of noisy least squares, its error, and its truth; minibatches of 50 of 400."""
    objective, curvatures = linear_regression(400, 20, seed=0)
    n_beta, gamma = 400.0, 10.0
    chosen = settings(
        n=400, batch_size=50, n_beta=n_beta, gamma=gamma, lr=lr, burn_in=300, draws=1000, thin=2, batches=batches
    )
    statistics = llc_statistics(objective, chosen)
    return statistics.mean, statistics.mcse, quadratic_llc(curvatures, n_beta, gamma)


def test_the_noise_of_an_epoch_cancels_in_directions_that_are_slower_than_it() -> None:
    """A step forgets a share εnβh/2 = 0.04, an epoch of 8 steps 0.32, of which (0.32)²/12 = 0.9 % of the heat is left.

    Independent batches heat by ε(nβ)²h/4m = 2·0.04·400/(4·50) = 16 % in each direction.
    """
    plain, plain_error, truth = regression("independent", 2e-4)
    quiet, quiet_error, _ = regression("reshuffled", 2e-4)
    assert max(plain_error, quiet_error) < 0.035 * truth
    assert plain - truth > 0.1 * truth
    assert abs(quiet - truth) < 3 * quiet_error


def test_a_chain_with_reshuffled_batches_is_made_again_bit_for_bit() -> None:
    objective, _ = linear_regression(40, 3, seed=0)
    chosen = settings(n=40, batch_size=10, draws=20, batches="reshuffled")
    first, again = traces(objective, chosen), traces(objective, chosen)
    assert [without_time(trace) for trace in first] == [without_time(trace) for trace in again]


def without_time(trace: ChainTrace) -> tuple[tuple[float, ...], tuple[float, ...]]:
    return trace.deltas, trace.losses


def test_names_are_checked() -> None:
    for name in ("auto", *BATCHES):
        check_batches(name)
    with pytest.raises(SettingsError, match="batches must be one of auto, independent, reshuffled"):
        check_batches("shuffled")


def test_the_step_of_the_burn_in_falls_to_the_chains_own() -> None:
    chosen = settings(lr=1e-4, burn_in_lr=1e-2, burn_in=30)
    steps = [chosen.lr_at(step) for step in range(40)]
    assert steps[0] == pytest.approx(1e-2)
    assert steps[10] == pytest.approx(1e-3)
    assert steps[20:] == [1e-4] * 20
    assert all(math.isclose(settings(lr=1e-4, burn_in=30).lr_at(step), 1e-4) for step in range(40))
