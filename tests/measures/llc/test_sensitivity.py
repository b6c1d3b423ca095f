"""What the varied chains find, on targets where it is known."""

import math
from dataclasses import replace

import pytest
import torch

from hf_llc.measures.llc.calibration.budget import gradients
from hf_llc.measures.llc.sensitivity import (
    CHANCE,
    SensitivityResults,
    evaluate,
    extrapolation,
    sensitivity_chains,
    temperature_slope,
)
from hf_llc.measures.llc.validation.exact import euler_quadratic_llc, quadratic_llc
from hf_llc.measures.llc.validation.problems import FunctionObjective, linear_regression, quadratic
from hf_llc.results.estimate import ChainTrace, Status
from hf_llc.sampling.chain import run_chain
from hf_llc.sampling.gradients import full_gradient
from hf_llc.sampling.jumps import COST, measured_draws
from hf_llc.sampling.objective import Objective
from hf_llc.sampling.variations import STEP_IN_GAMMA
from hf_llc.settings.resolved import ResolvedSettings
from tests.helpers.chains import settings, traces


def checks_of(objective: Objective, main: ResolvedSettings) -> SensitivityResults:
    """The checks of a run on this objective, through the same code as an estimate."""
    anchors = objective.losses(torch.arange(objective.n))
    varied: dict[tuple[str, int], ChainTrace] = {
        (variation.name, chain): run_chain(objective, anchors, variation.settings(main), chain, variation=variation)
        for variation, chain in sensitivity_chains(main.chains, main.draws)
    }
    return evaluate(traces(objective, main), varied, main)


CURVATURES = [0.5, 1.0, 2.0] * 100


def test_the_step_bias_of_euler_is_that_of_the_closed_form() -> None:
    n_beta, gamma, lr = 100.0, 100.0, 1e-3
    checks = checks_of(quadratic(CURVATURES), settings(sampler="sgld", n_beta=n_beta, gamma=gamma, lr=lr, draws=800))
    whole, half = (euler_quadratic_llc(CURVATURES, n_beta, gamma, step) for step in (lr, lr / 2))
    assert checks.step_bias is not None
    assert checks.step_bias_stderr is not None
    assert checks.step_bias_stderr < 0.02 * whole
    assert abs(checks.step_bias - 2 * (whole - half)) < 4 * checks.step_bias_stderr
    assert checks.step_bias > 8 * checks.step_bias_stderr


@pytest.mark.parametrize(
    ("bias", "share"), [(0.0, 0.0), (0.1, 0.0), (-0.2, 0.0), (0.2, 0.0), (0.3, 5 / 9), (-1.0, 0.96), (10.0, 0.9996)]
)
def test_what_is_more_than_chance_of_a_step_bias_is_subtracted(bias: float, share: float) -> None:
    result = extrapolation(bias, 0.1)
    assert result.correction == pytest.approx(share * bias, rel=1e-9, abs=1e-12)
    rest = (1 - share) * bias
    assert result.stderr == pytest.approx(math.sqrt((share * 0.1) ** 2 + rest**2 + (share * bias / 3) ** 2))
    assert extrapolation(bias, 0.0) == (bias, abs(bias / 3))


def test_subtracting_only_significant_bias_is_closer_to_the_truth_with_a_correct_error() -> None:
    """2000 biases measured to ± 1 where there is none: the mean square falls to a tenth of that of subtracting all."""
    stream = torch.Generator().manual_seed(0)
    measured = torch.randn(2000, generator=stream, dtype=torch.float64).tolist()
    corrections = [extrapolation(each, 1.0).correction for each in measured]
    assert sum(each**2 for each in corrections) < 0.1 * sum(each**2 for each in measured)
    # A bias of eight errors is taken away but for a small part, which the error knows of.
    results = [extrapolation(8 + each, 1.0) for each in measured]
    left = [8 - each.correction for each in results]
    assert abs(sum(left) / len(left)) < 0.6
    assert sum(abs(each) <= one.stderr for each, one in zip(left, results, strict=True)) > 0.9 * len(results)
    assert CHANCE == 2.0


def test_leimkuhler_matthews_has_no_step_bias_on_a_quadratic() -> None:
    chosen = settings(sampler="sgld-lm", n_beta=100.0, gamma=100.0, lr=1e-3, draws=800)
    checks = checks_of(quadratic(CURVATURES), chosen)
    assert checks.step_bias is not None
    assert checks.step_bias_stderr is not None
    assert checks.step_bias_stderr < 2.0
    assert abs(checks.step_bias) < 4 * checks.step_bias_stderr


@pytest.mark.parametrize(("gamma", "slope"), [(0.1, 0.0), (1e4, -1.0)])
def test_gamma_slope_tells_a_plateau_from_the_priors_own_number(gamma: float, slope: float) -> None:
    """Curvatures of 1 to 4 against a resolution γ/nβ of 1e-3 or of 100: λ̂ = ½ Σ nβh/(nβh+γ)."""
    curvatures = [1.0, 2.0, 4.0] * 60
    lr = 0.5 / (100.0 * 4 + gamma)
    checks = checks_of(quadratic(curvatures), settings(n_beta=100.0, gamma=gamma, lr=lr, burn_in=150, draws=400))
    above = quadratic_llc(curvatures, 100.0, STEP_IN_GAMMA * gamma) / quadratic_llc(curvatures, 100.0, gamma)
    exact = math.log(above) / math.log(STEP_IN_GAMMA)
    assert checks.gamma_slope is not None
    assert checks.gamma_slope_stderr is not None
    assert checks.gamma_slope_stderr < 0.05
    assert abs(checks.gamma_slope - exact) < 4 * checks.gamma_slope_stderr + 0.002
    assert checks.gamma_slope == pytest.approx(slope, abs=0.15)


def test_n_beta_slope_is_one_if_the_prior_dominates_and_zero_on_a_plateau() -> None:
    for gamma, slope in ((1e4, 1.0), (0.1, 0.0)):
        lr = 0.5 / (100.0 * 4 + gamma)
        chosen = settings(n_beta=100.0, gamma=gamma, lr=lr, burn_in=150, draws=400)
        checks = checks_of(quadratic([1.0, 2.0, 4.0] * 60), chosen)
        assert checks.n_beta_slope is not None
        assert checks.n_beta_slope_stderr is not None
        assert checks.n_beta_slope_stderr < 0.1
        assert checks.n_beta_slope == pytest.approx(slope, abs=0.15)


LEAST_SQUARES, EIGENVALUES = linear_regression(600, 20, seed=0)


@pytest.mark.parametrize(
    ("changes", "noisy"),
    [
        ({"batch_size": 60}, True),
        ({"batch_size": 60, "baseline": "linear"}, True),
        ({"batch_size": 60, "batches": "reshuffled"}, True),
        ({"batch_size": 600}, False),
    ],
    ids=["paired", "linear", "reshuffled", "all items"],
)
def test_the_slope_in_n_beta_is_that_of_the_loss_over_all_items(changes: dict[str, object], noisy: bool) -> None:
    """Minibatch noise adds more to the draws than their variance, and would be taken for a slope far below 0."""
    n_beta, gamma = 30.0, 30.0
    wide = {"n_beta": n_beta, "gamma": gamma, "lr": 4e-3, "n": 600, "draws": 1500, "burn_in": 200}
    chosen = settings(**wide | changes)
    anchors, slope = LEAST_SQUARES.losses(torch.arange(600)), full_gradient(LEAST_SQUARES, 600)
    main = [run_chain(LEAST_SQUARES, anchors, chosen, chain, anchor_gradient=slope) for chain in range(4)]
    shares = [n_beta * h / (n_beta * h + gamma) for h in EIGENVALUES]
    exact = 1 - sum(share**2 for share in shares) / sum(shares)
    results, error = temperature_slope(main, chosen)
    assert results is not None
    assert error is not None
    assert error < 0.07
    assert abs(results - exact) < 3 * error
    untouched, _ = temperature_slope([replace(trace, noise=(0.0,) * len(trace.noise)) for trace in main], chosen)
    assert untouched is not None
    assert (results - untouched > 4 * error) == noisy


def test_with_single_item_batches_the_n_beta_slope_uses_draws_with_a_second_item() -> None:
    """Items whose losses differ from ½ ‖w‖² by half of it either way."""
    n_beta, gamma, count = 10.0, 10.0, 20
    w, sizes = torch.zeros(count, dtype=torch.float64), torch.tensor([0.5, 1.5], dtype=torch.float64).repeat(100)
    objective = FunctionObjective([w], 200, lambda indices: w.square().sum().div(2) * sizes[indices])
    chosen = settings(n_beta=n_beta, gamma=gamma, lr=1e-2, n=200, draws=200, burn_in=60, chains=24)
    main = traces(objective, chosen)
    assert all(trace.noise == () and len(trace.beside) > 5 for trace in main)
    results, error = temperature_slope(main, chosen)
    assert results is not None
    assert error is not None
    assert error < 0.2
    assert abs(results - 0.5) < 3 * error
    few = [replace(trace, beside=trace.beside[:3]) for trace in main[:2]]
    assert temperature_slope(few, chosen) == (None, None)


def test_a_trace_without_recorded_noise_is_left_out_of_the_n_beta_slope() -> None:
    chosen = settings(n=6, batch_size=2)
    w = torch.zeros(3, dtype=torch.float64)
    centres = torch.linspace(-1, 1, 6, dtype=torch.float64)
    objective = FunctionObjective([w], 6, lambda indices: (w.sum() - centres[indices]).square())
    main = traces(objective, chosen)
    older = [{**trace.to_dict()} for trace in main]
    for each in older:
        del each["noise"]
    again = [ChainTrace.from_dict(each) for each in older]
    assert [trace.noise for trace in again] == [()] * 4
    assert temperature_slope([*again[:2], *main[2:]], chosen) == temperature_slope(main[2:], chosen)
    failed = [replace(trace, status=Status.NONFINITE) for trace in main[:3]]
    assert temperature_slope([*failed, main[3]], chosen) == (None, None)
    broken = [replace(trace, noise=(math.inf, *trace.noise[1:])) for trace in main]
    assert temperature_slope(broken, chosen) == (None, None)


@pytest.mark.parametrize("size", [1e-310, 1e-160, 1e160, 1e300, 1e308])
def test_draws_of_any_size_leave_a_slope_in_n_beta_or_none(size: float) -> None:
    chosen = settings(draws=8)
    main = [
        replace(trace, deltas=tuple(size * delta for delta in trace.deltas), beside=(size,) * 8)
        for trace in traces(quadratic([1.0, 2.0]), chosen)
    ]
    for every in (main, [replace(trace, noise=()) for trace in main]):
        result = temperature_slope(every, chosen)
        assert result == (None, None) or all(value is not None and math.isfinite(value) for value in result)
    negative = [replace(trace, deltas=tuple(-delta for delta in trace.deltas)) for trace in main]
    assert temperature_slope(negative, chosen) == (None, None)


def test_checks_take_a_third_of_the_main_chains_gradients_where_the_burn_in_is_short() -> None:
    """200 draws after 10 steps: what a language model has at the settings that are chosen for it."""
    for baseline in ("paired", "linear"):
        main = settings(draws=200, burn_in=10, n=2048, batch_size=32, baseline=baseline)
        alone = main.chains * (main.gradients + len(measured_draws(main)) * COST)
        assert gradients(main) - alone <= 0.35 * alone


def test_the_chain_without_noise_measures_how_far_the_loss_falls_from_a_non_minimum() -> None:
    """L = ½ Σ (w−1)² at w* = 0: the mode of the posterior lies at nβ/(nβ+γ), where L is ½ d (γ/(nβ+γ))²."""
    n_beta, gamma, count = 100.0, 50.0, 40
    w = torch.zeros(count, dtype=torch.float64)
    objective = FunctionObjective([w], 1, lambda indices: (w - 1).square().sum().div(2).expand(len(indices)))
    checks = checks_of(objective, settings(n_beta=n_beta, gamma=gamma, lr=2e-3, burn_in=200))
    fall = count / 2 * ((gamma / (n_beta + gamma)) ** 2 - 1)
    assert checks.cold_llc == pytest.approx(n_beta * fall, rel=1e-6)


def test_the_cold_chain_measures_gradient_noise() -> None:
    """Items ½ h (w − c_i)² with c_i = ±s: the minibatch mean of c moves the chain though there is no temperature."""
    n_beta, gamma, lr, spread, count = 100.0, 100.0, 2e-3, 1.0, 400
    stream = torch.Generator().manual_seed(0)
    centres = spread * torch.randn(200, count, generator=stream, dtype=torch.float64)
    centres -= centres.mean(dim=0)
    w = torch.zeros(count, dtype=torch.float64)
    objective = FunctionObjective([w], 200, lambda indices: (w - centres[indices]).square().sum(dim=1).div(2))
    chosen = settings(n_beta=n_beta, gamma=gamma, lr=lr, n=200, batch_size=10, burn_in=50, draws=1600, chains=2)
    checks = checks_of(objective, chosen)
    # w ← (1−a) w + b η, a = ε(nβ+γ)/2, b = εnβ/2, η the mean of 10 of 200 centres: variance s²(1−10/200)/10. The
    # draw's own batch is correlated with w only through steps before it, so ΔL averages ½ w² − w·η, η independent.
    a, b = lr * (n_beta + gamma) / 2, lr * n_beta / 2
    noise = spread**2 * (1 - 10 / 200) / 10 * 200 / 199
    variance = b**2 * noise / (1 - (1 - a) ** 2)
    assert checks.cold_llc == pytest.approx(n_beta * count * variance / 2, rel=0.1)


def test_a_failed_varied_chain_leaves_its_answer_open() -> None:
    main = settings(gamma=10.0, lr=1e-3)
    objective = quadratic([1.0, 2.0])
    anchors = objective.losses(torch.arange(1))
    varied = {
        (variation.name, chain): run_chain(objective, anchors, variation.settings(main), chain, variation=variation)
        for variation, chain in sensitivity_chains(main.chains, main.draws)
    }
    failed = ChainTrace.from_dict({**varied["stronger", 0].to_dict(), "status": "nonfinite", "failed_at": 3})
    result = evaluate(traces(objective, main), {**varied, ("stronger", 0): failed}, main)
    assert result.gamma_slope is None
    assert result.n_beta_slope is not None
    assert result.step_bias is not None
    assert math.isfinite(result.step_bias)


@pytest.mark.parametrize(
    ("chains", "draws", "count"), [(4, 200, 2), (16, 200, 8), (16, 50, 7), (64, 50, 25), (3, 200, 2), (2, 10, 2)]
)
def test_an_eighth_of_all_draws_are_made_at_half_the_step(chains: int, draws: int, count: int) -> None:
    checked = [chain for variation, chain in sensitivity_chains(chains, draws) if variation.name == "half-step"]
    assert checked == list(range(count))
