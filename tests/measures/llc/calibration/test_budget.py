"""Draws, thinning and burn-in from what a pilot shows: against closed forms and against chains that were run."""

import math
from dataclasses import replace

import numpy
import pytest
import torch

from hf_llc.measures.llc.calibration.budget import (
    FEWEST_EFFECTIVE,
    OF_BOTH,
    Spread,
    choose_budget,
    expected_stderr,
    gradients,
    settled_burn_in,
    thinning,
    thinning_loss,
)
from hf_llc.measures.llc.validation.problems import quadratic
from hf_llc.sampling.chain import run_chain
from hf_llc.sampling.variations import VARIATIONS
from hf_llc.settings.resolved import LOSS
from tests.helpers.chains import settings

SPREAD = Spread(monte_carlo=20.0, step=2.0, bias=0.0, autocorrelation=3.0)


def variance_of_mean(correlation: float, count: int, thin: int) -> float:
    """Of the mean over every `thin`-th of `count` draws of a stationary AR(1) process of variance 1, term by term."""
    kept = count // thin
    lags = numpy.arange(1, kept)
    return float((1 + 2 * ((1 - lags / kept) * correlation ** (lags * thin)).sum()) / kept)


@pytest.mark.parametrize("correlation", [0.5, 0.9, 0.98])
@pytest.mark.parametrize("thin", [1, 2, 5, 40])
def test_the_loss_by_thinning_is_that_of_an_autoregression(correlation: float, thin: int) -> None:
    tau = (1 + correlation) / (1 - correlation)
    count = 400_000
    exact = variance_of_mean(correlation, count, thin) / variance_of_mean(correlation, count, 1)
    assert thinning_loss(thin, tau) == pytest.approx(exact, rel=2e-3)


def test_thinning_loses_about_a_hundredth_and_only_where_draws_repeat_one_another() -> None:
    assert {thinning(tau / 10) for tau in range(80)} == {1}
    assert thinning(9.0) == 2
    for tau in (8.0, 11.9, 40.0, 1000.0):
        assert thinning_loss(thinning(tau), tau) ** 0.5 < 1.015


def test_the_mean_of_the_larger_error_is_what_it_is_said_to_be() -> None:
    stream = numpy.random.default_rng(0)
    for chains in (2, 4):
        spread = (stream.chisquare(chains - 1, 400_000) / (chains - 1)) ** 0.5
        assert numpy.maximum(1, spread).mean() == pytest.approx(OF_BOTH, abs=0.03)


@pytest.mark.parametrize("gradient", ["minibatch", "control-variate"])
@pytest.mark.parametrize("sampler", ["sgld-lm", "baoab"])
def test_gradients_are_those_that_a_run_takes(sampler: str, gradient: str) -> None:
    chosen = settings(sampler=sampler, gradient=gradient, chains=3, draws=40, burn_in=7, thin=2)
    objective, taken, alone = quadratic([1.0, 2.0]), 0, 0
    evaluate, look = objective.losses_and_gradient, objective.losses

    def looked(indices: torch.Tensor) -> torch.Tensor:
        nonlocal alone
        alone += 1
        return look(indices)

    def counted(indices: torch.Tensor) -> torch.Tensor:
        nonlocal taken
        taken += 1
        return evaluate(indices)

    objective.losses_and_gradient, objective.losses = counted, looked  # type: ignore[method-assign]
    slope = [torch.zeros(2, dtype=torch.float64)]
    for chain in range(3):
        run_chain(objective, torch.zeros(1), chosen, chain, anchor_gradient=slope)
    for variation in VARIATIONS:
        for chain in range(variation.chains):
            varied = variation.settings(chosen)
            run_chain(objective, torch.zeros(1), varied, chain, anchor_gradient=slope, variation=variation)
    # The last state of a chain has a loss and no step.
    alone -= 3 + sum(variation.chains for variation in VARIATIONS)
    assert alone > 0
    assert gradients(chosen) == round(taken + alone * LOSS)


def test_the_fewest_draws_are_taken_that_are_enough() -> None:
    effort = choose_budget(settings(burn_in=20), SPREAD, wanted=0.5, budget=10**6)
    draws = effort.settings.draws
    assert effort.met
    assert not effort.floor
    assert effort.stderr == expected_stderr(effort.settings, SPREAD) <= 0.5
    assert expected_stderr(replace(effort.settings, draws=draws - 1), SPREAD) > 0.5
    assert (effort.settings.burn_in, effort.settings.thin) == (20, 1)


def test_the_expected_error_falls_as_the_root_of_the_draws_and_has_both_parts() -> None:
    chosen = settings(draws=1600)
    mine = expected_stderr(chosen, SPREAD)
    assert expected_stderr(replace(chosen, draws=6400), SPREAD) == pytest.approx(mine / 2)
    # Two chains are run at ε/2 for a quarter of the draws.
    step = 2.0 / math.sqrt(2 * 400)
    assert mine == pytest.approx(math.hypot(20 / math.sqrt(4 * 1600), step))
    assert expected_stderr(chosen, replace(SPREAD, bias=3.0)) == pytest.approx(math.hypot(mine, 1.0))


def test_a_budget_that_is_too_small_is_kept_and_the_error_reached_is_said() -> None:
    effort = choose_budget(settings(), SPREAD, wanted=0.1, budget=5000)
    assert not effort.met
    assert effort.gradients <= 5000
    assert effort.stderr > 0.1
    # What is left of the budget would not change the error by more than a fiftieth.
    more = choose_budget(settings(), SPREAD, wanted=0.1, budget=5000 + 10)
    assert effort.stderr <= 1.03 * more.stderr


def test_a_step_size_bias_beyond_the_wanted_error_does_not_eat_the_budget() -> None:
    effort = choose_budget(settings(), replace(SPREAD, bias=6.0), wanted=1.0, budget=10**6)
    assert not effort.met
    assert 2.0 < effort.stderr < 2.05
    assert effort.gradients < 10_000


def test_an_easy_target_still_has_enough_effective_draws() -> None:
    effort = choose_budget(settings(), SPREAD, wanted=100.0, budget=10**6)
    assert effort.met
    assert effort.floor
    steps = effort.settings.chains * effort.settings.draws * effort.settings.thin
    assert FEWEST_EFFECTIVE <= steps / SPREAD.autocorrelation < 1.1 * FEWEST_EFFECTIVE


def relaxing(rate: float, steps: int, amplitude: float, seed: int) -> list[list[float]]:
    """Four chains that approach 1 from above at a rate per step, with noise of 0.1."""
    stream = numpy.random.default_rng(seed)
    mean = 1 + amplitude * numpy.exp(-rate * numpy.arange(steps + 1))
    result: list[list[float]] = (mean + 0.1 * stream.standard_normal((4, steps + 1))).tolist()
    return result


def test_a_burn_in_that_is_long_enough_is_left_as_it_is() -> None:
    kept = [settled_burn_in(relaxing(0.2, 400, 2.0, seed), 40, 1.0) for seed in range(50)]
    assert [burn_in for burn_in, _ in kept].count(40) >= 49
    assert numpy.std([apart for _, apart in kept]) == pytest.approx(1.0, abs=0.3)


def test_a_burn_in_that_is_too_short_is_doubled_until_the_draws_agree() -> None:
    burn_in, apart = settled_burn_in(relaxing(0.05, 1000, 2.0, seed=0), 10, 1.0)
    # After t steps the eighth of the chain that follows is 2 e^(−t/20) / 6 off; its error is 0.005.
    assert burn_in in {80, 160}
    assert abs(apart) <= 3


def test_chains_that_never_settle_say_so() -> None:
    rising = [[0.01 * step for step in range(401)]] * 4
    burn_in, apart = settled_burn_in(rising, 10, 1.0)
    assert abs(apart) > 3
    assert burn_in <= 200


def test_chains_without_noise_have_settled() -> None:
    assert settled_burn_in([[0.0] * 101] * 2, 0, 1.0) == (0, 0.0)
