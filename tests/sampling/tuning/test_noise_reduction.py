"""How gradient noise is kept within its budget: the prediction holds, and the choice is the cheapest that fits."""

import math
from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch

from hf_llc.measures.llc.validation.problems import linear_regression, sampled_deep_linear
from hf_llc.sampling.gradients import Gradient, full_gradient, gradient_of
from hf_llc.sampling.objective import Objective, copy_of
from hf_llc.sampling.tuning.choose_sampler import choose_dynamics, noise_matters, settled_start
from hf_llc.sampling.tuning.curvature import spectrum
from hf_llc.sampling.tuning.measure import GeometryReport, measure_geometry
from hf_llc.sampling.tuning.measurements import (
    MARGIN,
    LocalGeometry,
    RequestedDynamics,
    combine_worst_case,
    rescale_from_similar,
)
from hf_llc.sampling.tuning.noise_reduction import MOMENTA, TARGET_BIAS, NoiseReduction, choose_noise_reduction
from hf_llc.sampling.tuning.settle import measure_at_equilibrium
from tests.helpers.counting_objective import Counted

N_BETA, GAMMA = 400.0, 10.0
QUIET = LocalGeometry(curvature=2.0, trace=40.0, squares=60.0, noise=1e-6, rise=0.1, epoch=8, typical=1.5)
NOISY = LocalGeometry(
    curvature=2.0, trace=40.0, squares=60.0, noise=1.0, rise=0.1, controlled=0.9, epoch=8, typical=1.5
)


def estimators(objective: Objective) -> "dict[str, Gradient]":
    """Both, around the weights as they are."""
    slope = full_gradient(objective, objective.n)
    return {
        name: gradient_of(name, objective, copy_of(objective.parameters), slope)
        for name in ("minibatch", "control-variate")
    }


def test_quiet_gradients_are_left_as_they_are() -> None:
    assert not noise_matters(RequestedDynamics(), N_BETA, GAMMA, QUIET)
    dynamics = choose_dynamics(RequestedDynamics(), N_BETA, GAMMA, QUIET)
    assert (dynamics.gradient, dynamics.batches, dynamics.burn_in_lr) == ("minibatch", "independent", None)


def test_noise_that_matters_is_kept_within_its_share_of_the_coefficient() -> None:
    assert noise_matters(RequestedDynamics(), N_BETA, GAMMA, NOISY)
    dynamics = choose_dynamics(RequestedDynamics(), N_BETA, GAMMA, NOISY)
    way = NoiseReduction(dynamics.sampler, dynamics.momentum, dynamics.gradient, dynamics.batches)
    heating = way.heating(dynamics.lr, N_BETA, GAMMA, NOISY)
    assert heating <= TARGET_BIAS * NOISY.least_llc(N_BETA, GAMMA)
    assert dynamics.burn_in_lr is not None
    assert dynamics.burn_in_lr > dynamics.lr
    assert "gradient noise" in dynamics.why["gradient"]


def test_no_other_way_that_fits_forgets_faster_for_its_cost() -> None:
    best = choose_noise_reduction(RequestedDynamics(), N_BETA, GAMMA, NOISY)
    for gradient in ("minibatch", "control-variate"):
        for batches in ("independent", "reshuffled"):
            other = choose_noise_reduction(RequestedDynamics(gradient=gradient, batches=batches), N_BETA, GAMMA, NOISY)
            assert other.way.gradient == gradient
            assert other.way.batches == batches
            assert best.lr * best.way.gathered / best.way.cost >= 0.9 * other.lr * other.way.gathered / other.way.cost


def test_what_is_asked_for_is_kept() -> None:
    asked = RequestedDynamics(sampler="sgld-lm", lr=1e-5, gradient="minibatch")
    dynamics = choose_dynamics(asked, N_BETA, GAMMA, NOISY)
    assert (dynamics.sampler, dynamics.lr, dynamics.gradient, dynamics.burn_in_lr) == (
        "sgld-lm",
        1e-5,
        "minibatch",
        None,
    )
    assert not noise_matters(RequestedDynamics(gradient="minibatch", batches="independent"), N_BETA, GAMMA, NOISY)


def test_one_batch_an_epoch_cannot_be_reshuffled() -> None:
    single = LocalGeometry(curvature=2.0, trace=40.0, squares=60.0, noise=1.0, rise=0.1, typical=1.5)
    assert choose_noise_reduction(RequestedDynamics(), N_BETA, GAMMA, single).way.batches == "independent"


def test_a_series_uses_the_largest_noise_and_plain_noise_where_none_with_control_variates_is_known() -> None:
    result = combine_worst_case([QUIET, NOISY])
    assert (result.noise, result.controlled, result.epoch) == (1.0, 0.9, 8)
    assert combine_worst_case([QUIET, QUIET]).controlled is None


FIRST = replace(NOISY, controlled=None, epoch=1, typical=0.0)
"""What was measured at NOISY before a walk."""


def test_a_milder_checkpoint_reuses_warm_up_measurements_of_sharper_and_noisier_ones() -> None:
    mild = replace(FIRST, curvature=FIRST.curvature / 2, noise=FIRST.noise / 2, rise=0.07)
    assert rescale_from_similar(mild, [(FIRST, NOISY)]) == replace(NOISY, rise=max(0.07, NOISY.rise))
    sharp, noisy = replace(FIRST, noise=FIRST.noise / 9), replace(FIRST, curvature=FIRST.curvature / 9)
    assert rescale_from_similar(FIRST, [(sharp, NOISY), (noisy, NOISY)]) == NOISY
    assert rescale_from_similar(FIRST, [(sharp, NOISY)]) is None
    assert rescale_from_similar(FIRST, [(noisy, NOISY)]) is None
    assert rescale_from_similar(FIRST, []) is None


def test_warm_up_measurements_are_rescaled_only_to_slightly_sharper_checkpoints() -> None:
    result = rescale_from_similar(
        replace(FIRST, curvature=1.2 * FIRST.curvature, noise=1.4 * FIRST.noise), [(FIRST, NOISY)]
    )
    assert result is not None
    assert NOISY.controlled is not None
    assert result.curvature == pytest.approx(1.2 * NOISY.curvature)
    assert result.typical == pytest.approx(1.2 * NOISY.typical)
    assert (result.noise, result.controlled) == pytest.approx((1.4 * NOISY.noise, 1.4 * NOISY.controlled))
    for name in ("curvature", "noise"):
        farther = replace(FIRST, **{name: 1.01 * MARGIN * getattr(FIRST, name)})
        assert rescale_from_similar(farther, [(FIRST, NOISY)]) is None


def counted_measure(batch_size: int, others: Sequence[GeometryReport] = ()) -> tuple[GeometryReport, int]:
    """What is found around a deep linear net's minimum, and the gradients that it took."""
    inner = sampled_deep_linear((12, 12, 12), 9, 480)
    objective = Counted(inner, batch_size)
    result = measure_geometry(
        objective,
        lambda name: estimators(objective)[name],
        torch.arange(120),
        RequestedDynamics(),
        n_beta=1200.0,
        gamma=16.0,
        start="localiser",
        batch_size=batch_size,
        seed=0,
        others=others,
    )
    return result, round(objective.gradients)


def test_the_warm_up_run_is_skipped_where_other_checkpoints_were_as_sharp_and_noisy() -> None:
    results, gradients = counted_measure(60)
    assert results.walked
    assert results.measured.controlled is not None
    again, fewer = counted_measure(60, [results])
    assert again == results._replace(walked=False)
    assert fewer < gradients / 2
    milder = results._replace(first=replace(results.first, noise=results.first.noise / 2))
    assert counted_measure(60, [milder]) == (results, gradients)


def test_the_walk_ends_once_two_rounds_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    results = []
    for alike in (0.0, 0.2, 1.0):
        monkeypatch.setattr("hf_llc.sampling.tuning.settle.ALIKE", alike)
        results.append(counted_measure(60))
    (longest, most), (enough, fewer), (_, fewest) = results
    assert most > fewer + 150 > fewest + 150
    assert enough.measured.noise == pytest.approx(longest.measured.noise, rel=0.3)


def test_a_linear_models_gradients_have_no_noise_with_control_variates() -> None:
    objective, _ = linear_regression(400, 20, seed=0)
    measured = measure_geometry(
        objective,
        lambda name: estimators(objective)[name],
        torch.arange(400),
        RequestedDynamics(),
        n_beta=N_BETA,
        gamma=GAMMA,
        start="localiser",
        batch_size=50,
        seed=0,
    ).measured
    assert measured.controlled is not None
    assert measured.controlled < 0.3 * measured.noise
    assert measured.epoch == 8
    # tr Cov of a batch of 50 at the minimum is about tr H / 50, the label noise being 1.
    assert measured.noise == pytest.approx(20 / 50, rel=0.5)


def test_the_warm_up_run_measures_less_noise_at_equilibrium_and_restores_the_weights() -> None:
    objective = sampled_deep_linear((8, 8, 8), 6, 400)
    before = copy_of(objective.parameters)
    known = estimators(objective)
    start = LocalGeometry(curvature=8.0, trace=100.0, squares=200.0, noise=100.0, rise=5.0)
    result = measure_at_equilibrium(
        objective,
        known.__getitem__,
        torch.arange(400),
        RequestedDynamics(),
        start,
        n_beta=800.0,
        gamma=16.0,
        start="localiser",
        batch_size=50,
        seed=0,
        direction=spectrum(objective, torch.arange(400), 0).direction,
        items=torch.arange(128),
    )
    assert all(torch.equal(now, then) for now, then in zip(objective.parameters, before, strict=True))
    assert result.noise < 0.1 * start.noise
    assert result.curvature >= start.curvature
    assert result.controlled is not None
    assert math.isfinite(result.controlled)


def test_chains_that_cannot_forget_their_start_begin_at_both_ends() -> None:
    assert settled_start("auto", "localiser", 1e-3, 1000, 5.0)[0] == "both"
    assert settled_start("auto", "localiser", 1e-2, 1000, 2.0) == ("localiser", None)
    assert settled_start("localiser", "localiser", 1e-3, 1000, 5.0)[0] == "localiser"
    assert settled_start("auto", "anchor", 1e-3, 1000, 5.0)[0] == "anchor"


def test_chains_from_a_high_start_relax_as_long_as_chains_from_w_star() -> None:
    assert settled_start("auto", "localiser", 1e-2, 200, 2.9) == ("localiser", None)
    assert settled_start("auto", "localiser", 1e-2, 200, 3.1)[0] == "both"
    assert settled_start("auto", "localiser", 1e-2, 460, 3.1)[0] == "both"
    assert settled_start("auto", "localiser", 1e-2, 461, 3.1) == ("localiser", None)


def test_chains_that_cannot_relax_from_the_prior_start_from_laplace_draws() -> None:
    for start in ("localiser", "both"):
        assert settled_start("auto", start, 1e-4, 1000, 150.0)[0] == "laplace"
        assert settled_start("auto", start, 2.5e-4, 1000, 150.0)[0] == "both"
        assert settled_start("auto", start, 1e-4, 1000, 150.0, "bfloat16")[0] == "both"
    assert settled_start("both", "both", 1e-4, 1000, 150.0) == ("both", None)
    assert settled_start("auto", "anchor", 1e-4, 1000, 150.0)[0] == "anchor"


def test_directions_that_are_very_stiff_come_down_soon() -> None:
    assert settled_start("auto", "both", 1e-4, 1000, 15_000.0)[0] == "both"
    assert settled_start("auto", "both", 1e-6, 1000, 15_000.0)[0] == "laplace"


def test_the_typical_stiffness_is_that_at_equilibrium_if_measured() -> None:
    assert replace(NOISY, typical=2.5).typical_stiffness(N_BETA, GAMMA) == N_BETA * 2.5 / GAMMA
    assert replace(NOISY, typical=0.0).typical_stiffness(N_BETA, GAMMA) == N_BETA * 60 / 40 / GAMMA
    assert replace(NOISY, typical=0.0, trace=-1.0).typical_stiffness(N_BETA, GAMMA) == 0.0
    assert NOISY.typical_stiffness(N_BETA, 0.0) == math.inf


def test_the_scatter_of_items_is_measured_again_after_the_warm_up_run_and_rescaled() -> None:
    results, _ = counted_measure(60)
    first, settled = results.first, results.measured
    assert 0 < settled.scatter < 0.5 * first.scatter
    # Along a straight line across the bent valley in which chains live the loss is no parabola.
    assert settled.curved > settled.scatter
    assert first.curved < first.scatter
    half = replace(first, scatter=first.scatter / 2, curved=first.curved / 4)
    other = rescale_from_similar(half, [(first, settled)])
    assert other is not None
    assert (other.scatter, other.curved) == (settled.scatter / 2, settled.curved / 4)
    both = combine_worst_case([replace(first, scatter=1.0, curved=4.0), replace(first, scatter=2.0, curved=3.0)])
    assert (both.scatter, both.curved) == (2.0, 4.0)


def test_of_equally_fast_settings_the_one_with_the_least_momentum_is_chosen() -> None:
    result = choose_noise_reduction(RequestedDynamics(), N_BETA, GAMMA, NOISY)
    assert result.way.momentum == 0
    for momentum in MOMENTA:
        other = choose_noise_reduction(RequestedDynamics(sampler="baoab", momentum=momentum), N_BETA, GAMMA, NOISY)
        assert (
            other.lr * other.way.gathered / other.way.cost <= 1.05 * result.lr * result.way.gathered / result.way.cost
        )
