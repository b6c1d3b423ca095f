"""What is chosen when a setting is not given: temperature, γ, step size, burn-in."""

import gc
import math

import pytest
import torch
from torch import Tensor

from hf_llc.errors import SettingsError
from hf_llc.measures.llc.validation.exact import quadratic_llc
from hf_llc.measures.llc.validation.problems import FunctionObjective, quadratic, sampled_deep_linear
from hf_llc.sampling.estimator import free_distance
from hf_llc.sampling.gradients import gradient_of
from hf_llc.sampling.objective import copy_of
from hf_llc.sampling.samplers import SAMPLERS
from hf_llc.sampling.tuning.curvature import hessian_vector_, sharpest, spectrum
from hf_llc.sampling.tuning.gamma import TARGET_RISE, WIDEST, choose_gamma
from hf_llc.sampling.tuning.measure import measure_geometry
from hf_llc.sampling.tuning.measurements import RequestedDynamics
from hf_llc.sampling.tuning.step_size import check_lr, choose_burn_in, choose_lr, stability
from hf_llc.sampling.tuning.temperature import default_n_beta
from tests.helpers.chains import llc_statistics, settings, traces
from tests.helpers.counting_objective import Counted, live_copies

ONE = torch.zeros(1, dtype=torch.int64)
ON_HOST = 1
"""Copies of w* that are on the host where weights are on another device."""


def test_default_temperature_is_n_over_log_n() -> None:
    assert default_n_beta(1000) == pytest.approx(1000 / math.log(1000))
    with pytest.raises(SettingsError, match="at least 2 items, got 1"):
        default_n_beta(1)


@pytest.mark.parametrize("curvatures", [[5.0, 1.0, 0.1], [3.0, -7.0, 0.5]])
def test_curvature_of_a_quadratic_is_the_largest_absolute_one(curvatures: list[float]) -> None:
    assert spectrum(quadratic(curvatures), ONE, seed=0).largest == pytest.approx(max(map(abs, curvatures)), rel=0.02)


def test_the_sharpest_direction_is_found_from_one_that_was_the_sharpest_elsewhere() -> None:
    """Begun at the second axis, of curvature 2, without any share of the first, which has 5."""
    here = quadratic([5.0, 2.0, 0.1])
    (like,) = here.parameters
    near = torch.tensor([0.0, 1.0, 0.0]).to(like.dtype).view_as(like)
    largest, (direction,) = sharpest(here, ONE, [near], seed=1)
    assert largest == pytest.approx(5.0, rel=0.03)
    assert abs(float(direction.flatten()[0])) > 0.9


def test_the_product_with_the_hessian_takes_the_place_of_the_vector() -> None:
    here = quadratic([5.0, 2.0, 0.1])
    vector = [torch.ones_like(parameter) for parameter in here.parameters]
    hessian_vector_(here, copy_of(here.parameters), ONE, vector, probe=0.1)
    assert torch.cat([part.flatten() for part in vector]).tolist() == pytest.approx([5.0, 2.0, 0.1])


def test_a_direction_that_is_not_finite_is_begun_anew() -> None:
    here = quadratic([5.0, 2.0, 0.1])
    near = [torch.full_like(parameter, math.nan) for parameter in here.parameters]
    assert sharpest(here, ONE, near, seed=1)[0] == pytest.approx(5.0, rel=0.03)


def test_measuring_takes_four_copies_of_the_weights() -> None:
    """The weights, w* or where they are, a direction, and a gradient; w* itself may be on the host."""
    inner = sampled_deep_linear((41, 41, 41, 41, 41), 41, 90)
    most: list[float] = []

    class Watched(Counted):
        def losses_and_gradient(self, indices: Tensor) -> Tensor:
            losses = super().losses_and_gradient(indices)
            most.append(live_copies(inner.parameters))
            return losses

    objective = Watched(inner, 30)
    gc.freeze()  # of all that is there already only the weights are of interest, and they are known
    try:
        measure_geometry(
            objective,
            lambda name: gradient_of(name, objective, [], None),
            torch.arange(30),
            RequestedDynamics(gradient="minibatch", batches="independent"),
            n_beta=30.0,
            gamma=100.0,
            start="localiser",
            batch_size=30,
            seed=0,
        )
    finally:
        gc.unfreeze()
    assert len(most) > 10
    assert 3.5 < max(most) - ON_HOST < 4.5


def test_the_sum_of_squared_curvatures_is_right_on_average_over_directions() -> None:
    curvatures = [0.5, 1.0, 2.0] * 30
    squares = [spectrum(quadratic(curvatures), ONE, seed=seed).squares for seed in range(60)]
    exact = sum(h * h for h in curvatures)
    error = torch.tensor(squares).std() / math.sqrt(60)
    assert float(error) < 0.05 * exact
    assert abs(sum(squares) / 60 - exact) < 4 * float(error)


def flat_quadratic(weight: float, count: int = 20_000) -> FunctionObjective:
    """L = ½ ‖w − w*‖², w* = `weight` everywhere."""
    w = torch.full((count,), weight)
    return FunctionObjective([w], 1, lambda indices: (w - weight).square().sum().div(2).expand(len(indices)))


def test_gamma_lets_the_prior_raise_the_loss_by_the_target() -> None:
    objective = flat_quadratic(1.0)
    gamma, rise, share = choose_gamma(objective, ONE, objective.losses(ONE), seed=0)
    assert gamma == pytest.approx(20_000 / (2 * TARGET_RISE), rel=0.1)
    assert rise == pytest.approx(TARGET_RISE, rel=0.1)
    assert share == pytest.approx(gamma**-0.5, rel=0.01)
    assert torch.equal(objective.parameters[0].detach(), torch.ones(20_000))


def test_gamma_ignores_a_slope_and_is_bounded_by_the_size_of_the_weights() -> None:
    w = torch.full((100,), 2.0)
    sloped = FunctionObjective([w], 1, lambda indices: (1000 * w.sum()).expand(len(indices)))
    gamma, _, share = choose_gamma(sloped, ONE, sloped.losses(ONE), seed=0)
    assert share == pytest.approx(WIDEST, rel=0.05)
    assert gamma == pytest.approx((WIDEST * 2.0) ** -2, rel=0.05)


def test_a_loss_that_becomes_nan_counts_as_too_far() -> None:
    w = torch.ones(100)

    def losses_of(indices: torch.Tensor) -> torch.Tensor:
        moved = (w - 1).square().sum()
        return torch.where(moved > 1e-4, torch.nan, moved).expand(len(indices))

    gamma, rise, _ = choose_gamma(FunctionObjective([w], 1, losses_of), ONE, torch.zeros(1), seed=0)
    assert math.isfinite(rise)
    assert 100 / gamma <= 2e-4


@pytest.mark.parametrize("name", SAMPLERS)
def test_the_chosen_step_has_the_samplers_own_fraction_of_stiffness(name: str) -> None:
    fraction = SAMPLERS[name].step_fraction
    lr = choose_lr(fraction, n_beta=100.0, curvature=3.0, gamma=70.0)
    assert 0.9 * fraction <= stability(lr, 100.0, 3.0, 70.0) <= fraction
    assert lr == float(f"{lr:.1e}")


def test_a_step_past_stability_is_refused_with_the_largest_that_is_not() -> None:
    check_lr(0.0039, n_beta=100.0, curvature=10.0, gamma=0.0)
    with pytest.raises(SettingsError, match=r"lr must be < 0\.004, got .* past the stability limit"):
        check_lr(0.0041, n_beta=100.0, curvature=10.0, gamma=0.0)


def test_a_flat_unbounded_loss_has_no_default_step() -> None:
    with pytest.raises(SettingsError, match="nothing limits the step size"):
        choose_lr(0.1, n_beta=100.0, curvature=0.0, gamma=0.0)


def test_burn_in_lasts_until_a_flat_direction_has_99_percent_of_its_variance() -> None:
    steps = choose_burn_in(0.1, draws=200, thin=1, start="anchor", typical=0.1)
    assert 1 - math.exp(-1e-3 * 100.0 * steps) >= 0.99
    assert 1 - math.exp(-1e-3 * 100.0 * (steps - 1)) < 0.99


def test_burn_in_is_bounded_where_relaxation_is_not() -> None:
    assert choose_burn_in(1e-9, draws=200, thin=1, start="anchor", typical=0.1) == 1000
    assert choose_burn_in(0.0, draws=200, thin=2, start="anchor", typical=0.1) == 400


@pytest.mark.parametrize("stiffness", [0.1, 1.0, 3.0, 30.0])
def test_chains_from_the_prior_have_relaxed_at_the_end_of_the_burn_in(stiffness: float) -> None:
    """Excess of λ̂ of a direction of stiffness k = nβh/γ that began at variance 1/γ, against its share when settled."""
    rate, n_beta, gamma = 1e-2, 100.0, 100.0
    steps = choose_burn_in(rate, draws=4, thin=1, start="localiser", typical=stiffness)
    chosen = settings(n_beta=n_beta, gamma=gamma, lr=rate / gamma, start="localiser", burn_in=steps, draws=4)
    count = 4000
    statistics = llc_statistics(quadratic([stiffness] * count), chosen)
    settled = quadratic_llc([stiffness] * count, n_beta, gamma)
    # Far above λ̂ they have to relax as chains from w* do.
    assert steps == (130 if stiffness <= 3 else 461)
    assert statistics.mean - settled < 0.2 * settled


def test_chains_from_the_prior_start_with_its_variance() -> None:
    chosen = settings(n_beta=0.0, gamma=50.0, lr=1e-6, start="localiser", burn_in=0, draws=4)
    squared = traces(quadratic([1.0] * 20_000), chosen)[0].squared_distances[0]
    assert squared == pytest.approx(20_000 / 50.0, rel=4 * math.sqrt(2 / 20_000))


def test_free_distance_is_that_of_the_prior_alone() -> None:
    dimension, gamma, lr, steps = 5000, 50.0, 1e-3, 30
    stream = torch.Generator().manual_seed(0)
    w = torch.zeros(dimension, dtype=torch.float64)
    for _ in range(steps):
        w += -lr * gamma / 2 * w + math.sqrt(lr) * torch.randn(dimension, generator=stream, dtype=torch.float64)
    expected = free_distance(dimension, gamma, lr, steps)
    # The Euler step of this size widens the distance by εγ/8, well inside the sampling error of 1/√(2d) times four.
    assert float(w.norm()) == pytest.approx(expected, rel=4 / math.sqrt(2 * dimension))
    assert free_distance(dimension, 0.0, lr, steps) == pytest.approx(math.sqrt(dimension * lr * steps))
