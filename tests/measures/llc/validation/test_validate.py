"""The exact answers on board, at a small effort: right within their error, and an error that is small."""

import math
from dataclasses import replace

import pytest
import torch

from hf_llc.errors import NotFoundError, SettingsError
from hf_llc.measures.llc.validation.cases import CASES, case_of, reduced_rank, sized
from hf_llc.measures.llc.validation.cases import deep_linear as deep_linear_case
from hf_llc.measures.llc.validation.exact import quadratic_llc, sloped_quadratic_llc
from hf_llc.measures.llc.validation.problems import deep_linear, sampled_deep_linear
from hf_llc.measures.llc.validation.validate import ValidationSettings, validate
from hf_llc.sampling.jumps import COST, measured_draws
from hf_llc.sampling.objective import dimension
from hf_llc.sampling.tuning.step_size import RELAXED, relaxation_rate


@pytest.mark.parametrize(
    ("name", "largest_error"),
    [("gaussian", 0.06), ("linear-regression", 0.15), ("reduced-rank-20-0", 0.04), ("reduced-rank-10-10", 0.03)],
)
def test_the_truth_lies_within_four_standard_errors(name: str, largest_error: float) -> None:
    case = case_of(name)
    validation = validate(case, ValidationSettings(draws=700))
    assert validation.llc is not None
    assert validation.stderr is not None
    assert validation.error_in_stderr is not None
    assert validation.stderr < largest_error * case.truth
    assert abs(validation.error_in_stderr) < 4
    assert validation.llc == pytest.approx(validation.truth + validation.error_in_stderr * validation.stderr)


def test_locality_itself_is_tested_by_two_minima_of_one_model() -> None:
    full, split = (case_of(name).objective for name in ("reduced-rank-20-0", "reduced-rank-10-10"))
    nothing = torch.zeros(1, dtype=torch.int64)
    assert float(full.losses(nothing)) == float(split.losses(nothing)) == 0.0
    assert case_of("reduced-rank-20-0").truth == 200
    assert case_of("reduced-rank-10-10").truth == 150


def max_curvature() -> float:
    """The largest curvature of the Gaussian case."""
    return float(10 ** (-3 + 79 / 20))


def test_euler_at_a_large_step_is_not_called_converged() -> None:
    validation = validate(
        case_of("linear-regression"), ValidationSettings(sampler="sgld", draws=800, gradient="control-variate")
    )
    far = validate(
        case_of("gaussian"), ValidationSettings(sampler="sgld", draws=400, lr=3.0 / (200 * max_curvature() + 20))
    )
    assert validation.verdict == "converged"
    assert far.verdict == "step-too-large"


def test_a_sampled_net_has_the_population_loss_around_its_minimum() -> None:
    whole, sampled = deep_linear((4, 5, 3), 2), sampled_deep_linear((4, 5, 3), 2, samples=400)
    everything = torch.arange(400)
    before = sampled.losses(everything).mean()
    stream = torch.Generator().manual_seed(0)
    for mine, theirs in zip(whole.parameters, sampled.parameters, strict=True):
        moved = 0.1 * torch.randn(mine.shape, generator=stream)
        with torch.no_grad():
            mine.add_(moved)
            theirs.add_(moved)
    rise = sampled.losses(everything).mean() - before
    assert float(rise) == pytest.approx(float(whole.losses(everything[:1])[0]), rel=1e-3)
    assert float(before) == pytest.approx(1.5, rel=0.2)


def test_every_case_says_what_defines_it_and_no_other_name_is_accepted() -> None:
    for name, make in CASES.items():
        case = make()
        assert case.name == name
        assert case.params
        assert case.truth > 0
    with pytest.raises(NotFoundError, match="case must be one of gaussian"):
        case_of("cubic")
    with pytest.raises(SettingsError, match=r"rank must be 0 to the smallest .*got 5"):
        deep_linear_case((4, 4), 5)


def test_chains_that_have_not_spread_along_flat_directions_are_not_called_converged() -> None:
    """From w*, at a small γ, λ̂ looks stationary and independent of γ while the chains still spread."""
    net = replace(deep_linear_case((12, 14, 12, 13, 12), 6, n_beta=1e6), start="anchor")
    validation = validate(net, ValidationSettings(draws=400, chains=2))
    assert validation.verdict == "not-equilibrated"
    assert "free diffusion" in validation.verdict_reason


def test_draws_too_short_to_show_spreading_are_not_called_converged() -> None:
    """Small steps after a burn-in of large ones: the walk hardly moves while the draws last."""
    net = replace(deep_linear_case((22, 24, 20), 13, n_beta=8686.0, samples=20_000, batch_size=64), start="anchor")
    validation = validate(net, ValidationSettings(draws=50, burn_in=100))
    assert validation.settings.burn_in_lr is not None
    assert validation.verdict == "not-equilibrated"


def test_a_net_with_label_noise_and_minibatches_has_its_exact_coefficient() -> None:
    """λ = 31 for widths 8, 8, 8 and rank 6, from minibatches of 40 of 320 samples."""
    validation = validate(deep_linear_case((8, 8, 8), 6, samples=320), ValidationSettings(draws=600))
    assert validation.llc is not None
    assert validation.stderr is not None
    assert validation.error_in_stderr is not None
    assert validation.verdict == "converged"
    assert validation.stderr < 0.1 * validation.truth
    assert abs(validation.error_in_stderr) < 3


def test_a_short_burn_in_starts_from_laplace_draws_and_is_not_called_converged() -> None:
    net = deep_linear_case((45, 54, 43), 30, samples=2160)
    short = ValidationSettings(draws=25, burn_in=50)
    validation = validate(net, short)
    assert validation.settings.start == "laplace"
    assert validation.verdict == "not-equilibrated"
    assert validation.llc == pytest.approx(validation.truth, rel=0.12)
    assert validation.stderr is not None
    assert validation.stderr < 0.1 * validation.truth
    steps = validation.settings.steps + 1
    gradients = 6 * (steps + 8) + 2 * (2 * 50 + 2 * 16 + 1 + 8) + (50 + 16 + 1)
    # Of draws the loss is that of other items.
    assert validation.settings.batches == "reshuffled"
    looked_at = 4 * len(measured_draws(validation.settings)) * COST
    assert validation.gradient_evaluations == round(gradients + (6 * 25 + 3 * 16) / 3 + looked_at)


def test_chains_from_a_high_start_wait_for_flat_directions_to_relax() -> None:
    """On ‖BA‖² the stiff A pulls B in while it comes down, and goes on being heated while B widens again."""
    validation = validate(reduced_rank(20, 0), ValidationSettings(draws=700))
    assert validation.settings.start == "localiser"
    rate = relaxation_rate(validation.settings.lr, 1000.0, validation.settings.sampler, validation.settings.momentum)
    assert validation.settings.burn_in * rate >= -math.log(RELAXED)
    assert validation.verdict == "converged"
    assert validation.error_in_stderr is not None
    assert abs(validation.error_in_stderr) < 3
    assert validation.stderr is not None
    assert validation.stderr < 0.015 * validation.truth


def test_a_part_hidden_by_the_prior_enters_the_error_and_the_verdict() -> None:
    hidden = deep_linear_case((8,) * 7, 4, samples=320)
    seen = deep_linear_case((8, 8, 8), 6)
    assert seen.hidden == 0.0
    assert hidden.hidden == pytest.approx(hidden.truth - 4 * 12 / 2)
    validation = validate(hidden, ValidationSettings(draws=100, chains=2, burn_in=300))
    assert validation.stderr is not None
    assert validation.stderr > hidden.hidden
    assert validation.verdict != "converged"


def test_rescaling_two_layers_changes_neither_the_loss_nor_the_truth() -> None:
    plain, rescaled = case_of("dln"), case_of("dln-rescaled")
    nothing = torch.zeros(1, dtype=torch.int64)
    assert float(rescaled.objective.losses(nothing)) == pytest.approx(0.0, abs=1e-10)
    assert rescaled.truth == plain.truth
    assert rescaled.objective.parameters[0].max() == 1.5 * plain.objective.parameters[0].max()


@pytest.mark.parametrize(("size", "weights"), [("1m", 1e6), ("10m", 1e7)])
def test_a_sized_net_has_that_many_weights(size: str, weights: float) -> None:
    assert dimension(sized(size).objective.parameters) == pytest.approx(weights, rel=0.01)
    with pytest.raises(NotFoundError, match="size must be one of 1m"):
        sized("1g")


@pytest.mark.parametrize("name", ["gaussian-draws", "linear-regression-draws"])
def test_independent_draws_have_the_exact_answer_to_5_percent(name: str) -> None:
    case = case_of(name)
    validation = validate(case, ValidationSettings(lr=1e9))
    assert validation.llc is not None
    assert validation.stderr is not None
    assert validation.error_in_stderr is not None
    assert validation.sampler == "importance"
    assert validation.verdict == "converged"
    assert validation.stderr <= 0.05 * max(1.0, validation.llc)
    assert abs(validation.error_in_stderr) < 3
    pairs = validation.settings.chains * validation.settings.draws
    assert validation.gradient_evaluations > pairs >= 8
    assert validation.params["gamma"] == validation.settings.gamma == case.gamma


def test_a_slope_takes_a_share_of_the_gaussian_that_draws_know_of() -> None:
    case = case_of("gaussian-draws")
    curvatures = [10 ** (-3 + index / 20) for index in range(80)]
    without = quadratic_llc(curvatures, case.n_beta, case.gamma)
    assert sloped_quadratic_llc(curvatures, 0.0, case.n_beta, case.gamma) == pytest.approx(without)
    # By the loss at the mean of the posterior in the limit of a stiff localizing prior: −(nβ)² ‖g‖²/γ.
    taken = (case.n_beta * case.params["slope"]) ** 2 / case.gamma
    assert case.truth == pytest.approx(without - taken, abs=0.25 * taken)
    everything = torch.zeros(1, dtype=torch.int64)
    case.objective.losses_and_gradient(everything)
    (w,) = case.objective.parameters
    assert w.grad is not None
    assert float(w.grad.norm()) == pytest.approx(case.params["slope"])


def test_seeds_of_draws_differ() -> None:
    case = case_of("gaussian-draws")
    first, second = (validate(case, ValidationSettings(seed=seed)) for seed in (0, 1))
    assert first.llc != second.llc
    assert first.settings.seed == 0
    assert second.settings.seed == 1
