"""Looking less thoroughly: it takes what it is said to take at most, and finds about the same."""

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor

from hf_llc.measures.llc.validation.problems import (
    FunctionObjective,
    linear_regression,
    quadratic,
    sampled_deep_linear,
)
from hf_llc.sampling.gradients import Gradient, differences, full_gradient, gradient_of
from hf_llc.sampling.objective import copy_of
from hf_llc.sampling.tuning.curvature import sharpest, spectrum
from hf_llc.sampling.tuning.extent import Needs, full_extent
from hf_llc.sampling.tuning.gamma import TARGET_RISE, WIDEST, choose_gamma
from hf_llc.sampling.tuning.gradient_noise import gradient_noise
from hf_llc.sampling.tuning.measure import GeometryReport, measure_geometry
from hf_llc.sampling.tuning.measurements import LocalGeometry, RequestedDynamics
from hf_llc.sampling.tuning.noise_reduction import without_costly_control_variates
from hf_llc.sampling.tuning.probe import choose_probe
from hf_llc.sampling.tuning.proportion import FLOOR, Allowance, Meter, Metered, permitted
from hf_llc.sampling.tuning.settle import ROUNDS, measure_at_equilibrium

N_BETA, GAMMA, BATCH = 1200.0, 16.0, 60
ONE = torch.arange(1)
OPEN = RequestedDynamics()


@pytest.mark.parametrize("batch_size", [1, 2, 3, 8, 32, 100])
@pytest.mark.parametrize("n", [1, 10, 64, 1000])
def test_an_extent_takes_no_more_than_is_allowed(batch_size: int, n: int) -> None:
    for flags in product((False, True), repeat=6):
        needs = Needs(n, batch_size, *flags)
        for most in (20.0, 33.0, 70.0, 200.0, 1000.0, 9000.0):
            assert needs.cost(needs.within(most)) <= most
        assert needs.within(math.inf) == needs.full
        # What chains in 16 bits take, and control variates by request, is more.
        assert needs.cost(needs.within(FLOOR)) <= FLOOR + 1 + 2 * needs.controlled


def allowance_for(needs: Needs, run: float) -> Allowance:
    """Of chains that take so many gradients of one item, whatever is measured."""
    return Allowance(Meter(), needs.within(permitted(run)), lambda *_: run, lambda *_: None)


@pytest.mark.parametrize("run", [80.0, 500.0, 3_000.0, 20_000.0, 100_000.0, 1e6])
@pytest.mark.parametrize(
    "asked",
    [RequestedDynamics(), RequestedDynamics(gradient="minibatch"), RequestedDynamics(sampler="sgld-lm", lr=1e-4)],
)
@pytest.mark.parametrize("start", ["auto", "anchor"])
def test_measurements_at_the_center_are_in_proportion_to_the_run(
    run: float, asked: RequestedDynamics, start: str
) -> None:
    around, taken = measured_for(run, asked, start)
    assert 0 < taken <= max(FLOOR, run / 5)
    assert math.isfinite(around.measured.curvature)


def needs_for(asked: RequestedDynamics, start: str) -> Needs:
    return Needs.of(
        asked, n=480, batch_size=BATCH, gamma=GAMMA, baseline="auto", start=start
    )  # fmt: skip


def measured_for(run: float, asked: RequestedDynamics, start: str) -> tuple[GeometryReport, float]:
    """What is found around a deep linear net's minimum, and the gradients of one item that it took."""
    inner = sampled_deep_linear((12, 12, 12), 9, 480)
    needs = needs_for(asked, start)
    allowance = allowance_for(needs, run)
    objective = Metered(inner, allowance.meter)
    extent = allowance.extent
    probe = choose_probe(objective, extent.probed, BATCH, 0, extent.drawn)
    # A full gradient by request is the run's own.
    slope = full_gradient(inner, 480)
    result = measure_geometry(
        objective,
        lambda name: gradient_of(name, objective, copy_of(inner.parameters), slope),
        probe.items(extent.probed),
        asked,
        n_beta=N_BETA,
        gamma=GAMMA,
        start=start,
        batch_size=BATCH,
        seed=0,
        probe=probe,
        allowance=allowance,
    )
    return result, allowance.meter.taken


def test_a_short_run_estimates_equilibrium_noise_without_a_warm_up_run() -> None:
    walked, _ = measured_for(1e6, RequestedDynamics(), "localiser")
    spared, _ = measured_for(10_000.0, RequestedDynamics(), "localiser")
    assert (walked.walked, spared.walked) == (True, False)
    far, near, settled = walked.first.noise, spared.measured.noise, walked.measured.noise
    # At draws of the localizing prior, where chains begin, it is far larger.
    assert far > 4 * settled
    assert settled / 4 < near < 4 * settled
    assert spared.measured.epoch == 8


NOISY = LocalGeometry(
    curvature=2.0, trace=40.0, squares=60.0, noise=0.1, rise=0.1, controlled=1e-3, epoch=8, typical=1.5
)


def test_control_variates_are_left_where_their_full_gradient_costs_more_than_they_gain() -> None:
    asked = RequestedDynamics(batches="independent")
    assert without_costly_control_variates(asked, 400.0, 10.0, NOISY, 1.0) is NOISY
    assert without_costly_control_variates(asked, 400.0, 10.0, NOISY, 1000.0) == replace(NOISY, controlled=None)
    # With that step plain minibatches heat too much, whatever it costs.
    given = asked._replace(sampler="sgld-lm", lr=1e-3)
    assert without_costly_control_variates(given, 400.0, 10.0, NOISY, 1000.0) is NOISY
    asked_for = asked._replace(gradient="control-variate")
    assert without_costly_control_variates(asked_for, 400.0, 10.0, NOISY, 1000.0) is NOISY


class Walked:
    """A walk at a deep linear net's minimum, for chains that take so many gradients of one item."""

    def __init__(self, run: float, choices: Sequence[Any] = (), asked: RequestedDynamics = OPEN) -> None:
        self.objective = sampled_deep_linear((12, 12, 12), 9, 480)
        self.before = copy_of(self.objective.parameters)
        self.asked_for: list[str] = []
        needs, told = needs_for(RequestedDynamics(), "localiser"), iter(choices)
        self.allowance = Allowance(Meter(), needs.full, lambda *_: run, lambda *_: next(told) if choices else None)
        self.metered = Metered(self.objective, self.allowance.meter)
        batch = torch.arange(BATCH)
        first = measured_for(1e6, RequestedDynamics(), "localiser")[0].first
        self.found = measure_at_equilibrium(
            self.metered,
            self._gradient,
            batch,
            asked,
            first,
            n_beta=N_BETA,
            gamma=GAMMA,
            start="localiser",
            batch_size=BATCH,
            seed=0,
            direction=spectrum(self.objective, batch, 0).direction,
            items=torch.arange(128),
            allowance=self.allowance,
        )

    def _gradient(self, name: str) -> Gradient:
        # Wherever the walk has come to, w* is there when the estimators around it are made.
        assert all(torch.equal(*pair) for pair in zip(self.objective.parameters, self.before, strict=True))
        self.asked_for.append(name)
        slope = full_gradient(self.objective, 480) if name == "control-variate" else None
        return gradient_of(name, self.metered, copy_of(self.objective.parameters), slope)


def test_the_full_gradient_at_the_center_is_computed_on_first_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hf_llc.sampling.tuning.settle.WARMTH", 0.001)
    walk = Walked(1e6, asked=RequestedDynamics(batches="independent"))
    assert walk.asked_for == ["minibatch", "control-variate"]
    assert walk.found.controlled is not None
    assert all(torch.equal(*pair) for pair in zip(walk.objective.parameters, walk.before, strict=True))


def test_the_walk_ends_once_it_no_longer_changes_a_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hf_llc.sampling.tuning.settle.ALIKE", 0.0)
    longest, ended = Walked(1e9), Walked(1e9, ["first", "second", "second", "second"])
    steps = BATCH * ROUNDS[-1]
    assert longest.allowance.meter.taken > ended.allowance.meter.taken + steps


def test_the_walk_ends_before_a_round_that_is_out_of_proportion(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hf_llc.sampling.tuning.settle.ALIKE", 0.0)
    longest = Walked(1e9).allowance.meter.taken
    for run in (50_000.0, 100_000.0):
        assert Walked(run).allowance.meter.taken <= run / 5 < longest


def test_the_noise_of_smaller_batches_says_what_that_of_minibatches_is() -> None:
    objective, _ = linear_regression(400, 20, seed=0)
    plain = gradient_of("minibatch", objective, [], None)
    whole = [gradient_noise(objective, plain, 20, seed) for seed in range(40)]
    parts = [gradient_noise(objective, plain, 20, seed, 1, 2) for seed in range(400)]
    mean, other = sum(whole) / 40, sum(parts) / 400
    errors = [torch.tensor(each).std() / len(each) ** 0.5 for each in (whole, parts)]
    assert abs(mean - other) < 3 * float(torch.stack(errors).norm())
    assert gradient_noise(objective, plain, 20, 0, 0) == 0


def test_differences_of_gradients_are_as_noisy_as_control_variates() -> None:
    objective = sampled_deep_linear((8, 8, 8), 6, 400)
    anchors, slope = copy_of(objective.parameters), full_gradient(objective, 400)
    stream = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in objective.parameters:
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=stream))
    results = [
        gradient_noise(objective, each, 50, 0)
        for each in (gradient_of("control-variate", objective, anchors, slope), differences(objective, anchors))
    ]
    assert results[1] == pytest.approx(results[0], rel=1e-4)


def saturating(scale: float) -> FunctionObjective:
    """A loss of 2,000 weights that is quadratic near w* and bounded by 5 nats."""
    w = torch.ones(2000)

    def losses_of(indices: Tensor) -> Tensor:
        bend = scale * (w - 1).square().sum() / 2
        return (5 * bend / (5 + bend)).expand(len(indices))

    return FunctionObjective([w], 1, losses_of)


@pytest.mark.parametrize("scale", [0.01, 1.0, 30.0, 1000.0])
def test_gamma_from_a_few_displacements_is_about_that_of_a_search(scale: float) -> None:
    objective = saturating(scale)
    losses = objective.losses(ONE)
    searched, few = (choose_gamma(objective, ONE, losses, 0, evaluations) for evaluations in (None, 4))
    assert searched[1] <= 1.02 * TARGET_RISE
    assert few[1] <= 2 * TARGET_RISE
    assert 0.3 < few[0] / searched[0] < 4


def test_gamma_from_a_few_displacements_gets_away_from_where_the_loss_is_not_finite() -> None:
    w = torch.ones(100)

    def losses_of(indices: Tensor) -> Tensor:
        far = (w - 1).square().sum()
        return torch.where(far < 1e-2, far, torch.nan).expand(len(indices))

    objective = FunctionObjective([w], 1, losses_of)
    gamma, rise, share = choose_gamma(objective, ONE, objective.losses(ONE), 0, 4)
    assert math.isfinite(rise)
    assert share < WIDEST / 10
    assert gamma > 0


def test_three_products_at_each_of_two_places_find_most_of_a_curvature() -> None:
    objective = quadratic([10.0 / (1 + rank) for rank in range(2000)])
    shares = []
    for seed in range(10):
        direction = spectrum(objective, ONE, seed, 3).direction
        shares.append(sharpest(objective, ONE, direction, seed, 3)[0] / 10)
    assert min(shares) > 0.7
    assert max(shares) <= 1.001


def test_items_are_taken_at_random_where_the_first_ones_are_not_compared() -> None:
    objective, _ = linear_regression(400, 5, seed=0)
    probe = choose_probe(objective, 4, 8, 0, 0)
    assert probe.sharp is None
    assert probe.items(8).tolist() != list(range(8))
    assert sorted(probe.order.tolist()) == list(range(400))


def test_the_full_extent_is_what_was_looked_at_without_a_limit() -> None:
    extent = full_extent(32, 32)
    assert (extent.drawn, extent.products, extent.evaluations, extent.pairs) == (256, 12, None, 2)
