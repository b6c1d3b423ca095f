"""λ̂ from independent draws of the localizing prior: each moment against its formula, the sum against exact answers."""

import math
import statistics
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from hf_llc.measures.llc.validation.exact import power_llc, quadratic_llc
from hf_llc.measures.llc.validation.problems import FunctionObjective, linear_regression, quadratic, separable
from hf_llc.sampling.draws.cumulants import Moments, posterior_mean
from hf_llc.sampling.draws.prior import GradientPair, LossPair, PriorDraws
from hf_llc.sampling.draws.statistics import DrawSummary, Value, summarise_draws
from hf_llc.sampling.objective import Objective

WIDE = [8.0, 2.0, *[0.3] * 40, *[0.01] * 200, *[0.0] * 100]
"""Curvatures of a loss with a few sharp directions and a flat bulk, nats per weight²."""
N_BETA = 100.0


def sloped(curvatures: list[float], slope: float) -> FunctionObjective:
    """L = ½ Σ h_i w_i² + slope · Σ w_i / √d at 0, which is no minimum."""
    h = torch.tensor(curvatures, dtype=torch.float64)
    w = torch.zeros(len(curvatures), dtype=torch.float64)
    tilt = slope / math.sqrt(len(curvatures))
    return FunctionObjective([w], 1, lambda indices: ((h * w * w) / 2 + tilt * w).sum().expand(len(indices)))


def sloped_llc(curvatures: list[float], slope: float, gamma: float) -> float:
    """½ Σ x/(1+x) − Σ s (1 + x/2)/(1+x)², by the posterior's mean and covariance in closed form."""
    total = 0.0
    for h in curvatures:
        tilt = slope / math.sqrt(len(curvatures))
        stiffness = N_BETA * h + gamma
        mean, variance = -N_BETA * tilt / stiffness, 1 / stiffness
        total += N_BETA * (h * (variance + mean**2) / 2 + tilt * mean)
    return total


def moments_of(curvatures: list[float], slope: float, gamma: float) -> Moments:
    """κ₁, Var e, E[o²] and Σ s x of that loss."""
    x = [N_BETA * h / gamma for h in curvatures]
    each = (N_BETA * slope) ** 2 / gamma / len(curvatures)
    return Moments(sum(x) / 2, sum(value**2 for value in x) / 2, each * len(x), each * sum(x))


def drawn(
    objective: Objective,
    *,
    gamma: float,
    n_beta: float = N_BETA,
    batch_size: int = 1,
    seed: int = 0,
    pairs: int = 32,
    gradient_pairs: int = 6,
    bends: int = 2,
    jumps: bool = False,
) -> DrawSummary:
    """What so many draws say."""
    draws = PriorDraws(objective, objective, gamma=gamma, batch_size=batch_size, seed=seed)
    return summarise_draws(
        [LossPair.from_dict(draws.losses(pair).to_dict()) for pair in range(pairs)],
        [GradientPair.from_dict(draws.gradients(pair).to_dict()) for pair in range(gradient_pairs)],
        [draws.bend(number) for number in range(bends)],
        n=objective.n,
        n_beta=n_beta,
        gamma=gamma,
        jumps=jumps,
    )


def displaced_regression(n: int) -> FunctionObjective:
    """A linear regression away from its minimum, where the gradients of items differ much."""
    objective, _ = linear_regression(n, 5, seed=1)
    with torch.no_grad():
        objective.parameters[0].add_(0.4)
    return objective


def test_each_moment_of_a_quadratic_with_a_slope_is_its_formula() -> None:
    gamma, slope = 1000.0, 2.0
    result = drawn(sloped(WIDE, slope), gamma=gamma, pairs=400, gradient_pairs=400)
    exact = moments_of(WIDE, slope, gamma)
    assert result.bend is not None
    for value, truth in zip((result.prior_mean, result.narrowing, result.slope, result.bend), exact, strict=True):
        assert truth is not None
        assert abs(value.mean - truth) < 4 * value.stderr + 1e-4 * truth
        assert value.stderr < 0.1 * truth
    assert abs(result.beyond.mean) < 4 * result.beyond.stderr + 1e-9


@pytest.mark.parametrize("gamma", [300.0, 1000.0, 1e5])
@pytest.mark.parametrize("slope", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("bent", [False, True])
def test_the_interval_holds_the_exact_answer_of_a_quadratic(gamma: float, slope: float, bent: bool) -> None:
    moments = moments_of(WIDE, slope, gamma)
    interval = posterior_mean(moments if bent else moments._replace(bend=None))
    truth = sloped_llc(WIDE, slope, gamma)
    assert abs(interval.middle - truth) <= interval.open + 1e-12
    narrower = posterior_mean(moments, N_BETA * max(WIDE) / gamma)
    assert abs(narrower.middle - truth) <= narrower.open + 1e-12
    assert narrower.open <= interval.open + 1e-12
    if slope == 0:
        assert truth == pytest.approx(quadratic_llc(WIDE, N_BETA, gamma))


def test_a_bend_narrows_what_the_slope_leaves_open() -> None:
    moments = moments_of(WIDE, 2.0, 300.0)
    wide, narrow = posterior_mean(moments._replace(bend=None)), posterior_mean(moments)
    assert narrow.open_slope < wide.open_slope / 3
    assert narrow.open - narrow.open_slope == pytest.approx(wide.open - wide.open_slope)


def test_moments_that_no_curvatures_above_zero_have_leave_much_open() -> None:
    assert posterior_mean(Moments(-1.0, 0.5, 0.0)) == (-1.5, 1.0, 0.0)
    # What cannot be below 0 is noise where it is.
    assert posterior_mean(Moments(1.0, -0.1, -0.1)) == (1.0, 0.0, 0.0)
    # Along a slope in which the loss bends down the prior is widened, not narrowed.
    assert posterior_mean(Moments(1.0, 0.1, 1.0, -0.1)).middle < 1 - 0.1 - 1


@pytest.mark.parametrize(("gamma", "slope"), [(1000.0, 0.0), (1000.0, 2.0), (300.0, 1.0)])
@pytest.mark.parametrize(("pairs", "gradient_pairs"), [(8, 3), (32, 6)])
def test_the_truth_lies_within_two_errors_in_nineteen_of_twenty_runs(
    gamma: float, slope: float, pairs: int, gradient_pairs: int
) -> None:
    truth, objective = sloped_llc(WIDE, slope, gamma), sloped(WIDE, slope)
    inside = 0
    for seed in range(60):
        result = drawn(objective, gamma=gamma, seed=seed, pairs=pairs, gradient_pairs=gradient_pairs)
        assert result.llc is not None
        assert result.stderr is not None
        inside += abs(result.llc - truth) < 2 * result.stderr
    assert inside >= 54


def test_the_truth_at_the_end_of_the_open_interval_is_held_too() -> None:
    """Where all curvatures are alike the truth is the least that the moments allow."""
    curvatures, gamma, inside = [0.2] * 60, 100.0, 0
    truth = quadratic_llc(curvatures, N_BETA, gamma)
    for seed in range(200):
        result = drawn(quadratic(curvatures), gamma=gamma, seed=seed, pairs=16, gradient_pairs=3)
        assert result.llc is not None
        assert result.stderr is not None
        inside += abs(result.llc - truth) < 2 * result.stderr
    # 181 of them without the second part of the error.
    assert inside >= 184


def test_minibatches_add_noise_but_no_bias() -> None:
    objective, curvatures = linear_regression(400, 20, seed=1)
    n_beta, gamma = 60.0, 600.0
    results = [
        drawn(objective, n_beta=n_beta, gamma=gamma, batch_size=4, seed=seed, pairs=200, gradient_pairs=100, bends=40)
        for seed in range(6)
    ]
    x = [n_beta * h / gamma for h in curvatures]
    for exact, values in (
        (sum(x) / 2, [result.prior_mean for result in results]),
        (sum(each**2 for each in x) / 2, [result.narrowing for result in results]),
        (0.0, [result.slope for result in results]),
    ):
        error = math.sqrt(sum(value.stderr**2 for value in values)) / len(values)
        assert abs(sum(value.mean for value in values) / len(values) - exact) < 4 * error
    # Losses at w* differ by 1.3 in these units from minibatch to minibatch; those of the same items are subtracted.
    assert max(result.prior_mean.stderr for result in results) < 0.1
    truth = quadratic_llc(curvatures, n_beta, gamma)
    for result in results:
        assert result.llc is not None
        assert result.stderr is not None
        assert abs(result.llc - truth) < 4 * result.stderr


@pytest.mark.parametrize("batch_size", [24, 31, 32])
def test_products_of_minibatches_are_those_of_all_items(batch_size: int) -> None:
    objective = displaced_regression(32)
    objective.losses_and_gradient(torch.arange(32))
    gradient = objective.parameters[0].grad
    assert gradient is not None
    truth = float(gradient.square().sum())
    draws = PriorDraws(objective, objective, gamma=1e6, batch_size=batch_size, seed=0)
    products = torch.tensor([draws.gradients(pair).odd for pair in range(1500)], dtype=torch.float64)
    error = float(products.std()) / math.sqrt(len(products))
    # Without the term for sampling without replacement the mean would be below by a quarter and more.
    assert error < 0.06 * truth
    assert abs(float(products.mean()) - truth) < 4 * error + 1e-3 * truth


def test_a_bend_is_that_of_all_items() -> None:
    objective = displaced_regression(2000)
    whole = PriorDraws(objective, objective, gamma=10.0, batch_size=2000, seed=0).bend(0)
    draws = PriorDraws(objective, objective, gamma=10.0, batch_size=40, seed=0)
    bends = torch.tensor([draws.bend(number) for number in range(600)], dtype=torch.float64)
    error = float(bends.std()) / math.sqrt(len(bends))
    assert error < 0.1 * whole
    assert abs(float(bends.mean()) - whole) < 4 * error


def test_pairs_have_different_items_and_their_two_gradients_share_none() -> None:
    def items(seed: int) -> tuple[list[list[int]], list[list[int]]]:
        objective, _ = linear_regression(40, 3, seed=1)
        taken: dict[str, list[list[int]]] = {"losses": [], "losses_and_gradient": []}

        def watched(name: str, act: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
            def look(indices: Tensor) -> Tensor:
                taken[name].append(indices.tolist())
                return act(indices)

            return look

        for name in taken:
            setattr(objective, name, watched(name, getattr(objective, name)))
        draws = PriorDraws(objective, objective, gamma=10.0, batch_size=4, seed=seed)
        for pair in range(10):
            draws.losses(pair)
        losses = list(taken["losses"])
        for pair in range(3):
            draws.gradients(pair)
        return losses, taken["losses_and_gradient"]

    losses, slopes = items(0)
    # Both draws of a pair and w* have the same items, and the ten pairs all of them once.
    assert losses[::3] == losses[1::3] == losses[2::3]
    assert sorted(item for batch in losses[::3] for item in batch) == list(range(40))
    for first, second, third, fourth in zip(*(slopes[place::4] for place in range(4)), strict=True):
        assert first == second
        assert third == fourth
        assert len({*first, *third}) == 2
    other_losses, other_slopes = items(1)
    assert losses != other_losses
    assert slopes != other_slopes


def test_a_quartic_that_no_curvature_at_the_center_shows_is_narrowed_by_the_draws() -> None:
    n_beta, gamma, count = 1.0, 25.0, 200
    truth = count * power_llc(4, n_beta, gamma)
    result = drawn(separable(4, count), n_beta=n_beta, gamma=gamma, pairs=400, gradient_pairs=100)
    assert result.llc is not None
    assert result.stderr is not None
    assert result.prior_mean.mean > truth + 4 * result.prior_mean.stderr
    assert abs(result.llc - truth) < 4 * result.stderr
    # All of it is of degree four, of which the gradient sees twice as much.
    assert result.beyond.mean == pytest.approx(-result.prior_mean.mean, rel=0.1)
    assert result.gamma_slope is not None
    assert result.gamma_slope.mean == pytest.approx(-2, abs=0.2)


def test_slopes_in_gamma_and_n_beta_are_those_of_the_exact_answer() -> None:
    gamma, step = 1000.0, 1e-4
    result = drawn(sloped(WIDE, 0.3), gamma=gamma, pairs=200, gradient_pairs=200)
    truth = sloped_llc(WIDE, 0.3, gamma)
    in_gamma = (sloped_llc(WIDE, 0.3, gamma * (1 + step)) - truth) / step / truth
    # λ̂ depends on nβ by nβh/γ and by (nβ)²/γ: E[L] alone at γ/t is that at nβ t for the part without slope.
    no_slope = moments_of(WIDE, 0.0, gamma / (1 + step))
    assert no_slope.prior_mean > 0
    assert result.gamma_slope is not None
    assert result.n_beta_slope is not None
    assert abs(result.gamma_slope.mean - in_gamma) < 4 * result.gamma_slope.stderr + result.open / truth

    def at(n_beta: float) -> float:
        total, tilt = 0.0, 0.3 / math.sqrt(len(WIDE))
        for h in WIDE:
            stiffness = n_beta * h + gamma
            mean = -n_beta * tilt / stiffness
            total += n_beta * (h * (1 / stiffness + mean**2) / 2 + tilt * mean)
        return total

    in_n_beta = (at(N_BETA * (1 + step)) - truth) / step / truth
    assert abs(result.n_beta_slope.mean - in_n_beta) < 4 * result.n_beta_slope.stderr + result.open / truth


def test_weights_of_losses_over_all_items_give_the_same_number_and_minibatches_none() -> None:
    gamma = 3000.0
    objective = quadratic(WIDE)
    result = drawn(objective, gamma=gamma, pairs=400)
    assert result.weighted is not None
    truth = quadratic_llc(WIDE, N_BETA, gamma)
    assert abs(result.weighted.mean - truth) < 4 * result.weighted.stderr
    assert result.weighted.stderr < 0.05 * truth
    assert result.weighted.pareto_k < 0.7
    assert 100 < result.weighted.effective < 800
    regression, _ = linear_regression(40, 3, seed=1)
    assert drawn(regression, gamma=gamma, batch_size=8).weighted is None


@pytest.mark.parametrize("known", [True, False])
def test_jumps_that_no_gradient_sees_are_taken_from_the_losses(known: bool) -> None:
    gamma, height, count = 4.0, 0.05, 40
    w = torch.zeros(count, dtype=torch.float64)
    losses = lambda indices: (w * w / 200 + height * (w.abs() > 0.5)).sum().expand(len(indices))  # noqa: E731
    result = drawn(
        FunctionObjective([w], 1, losses), n_beta=1.0, gamma=gamma, pairs=800, gradient_pairs=40, jumps=known
    )
    grid = torch.linspace(-6, 6, 200_001, dtype=torch.float64)
    rise = grid * grid / 200 + height * (grid.abs() > 0.5)
    weights = torch.exp(-rise - gamma * grid * grid / 2)
    truth = count * float((weights * rise).sum() / weights.sum())
    assert result.by_losses
    assert result.llc is not None
    assert result.stderr is not None
    assert abs(result.llc - truth) < 4 * result.stderr
    assert result.stderr < 0.1 * truth
    # By its gradient the loss would hardly be narrower than its prior.
    assert result.narrowing.mean > 4 * count * (1 / 200 / gamma) ** 2


def test_jumps_on_either_side_of_the_slope_show_in_the_variance_of_the_losses() -> None:
    gamma, count = 4.0, 20
    w = torch.zeros(count, dtype=torch.float64)

    def loss(x: Tensor) -> Tensor:
        """A parabola in steps up and down by 0.3 whose mean is about 0."""
        return 0.2 * x * x + 0.3 * torch.sign(torch.sin(200 * x.abs()))

    objective = FunctionObjective([w], 1, lambda indices: loss(w).sum().expand(len(indices)))
    result = drawn(objective, n_beta=1.0, gamma=gamma, pairs=400, gradient_pairs=40)
    grid = torch.linspace(-6, 6, 200_001, dtype=torch.float64)
    weights = torch.exp(-loss(grid) - gamma * grid * grid / 2)
    truth = count * float((weights * loss(grid)).sum() / weights.sum())
    # On average they are not seen beside the slope.
    assert abs(result.beyond.mean) < 3 * result.beyond.stderr
    assert result.by_losses
    assert result.llc is not None
    assert result.stderr is not None
    assert abs(result.llc - truth) < 3 * result.stderr


def test_few_pairs_have_wider_errors_than_their_spread_says() -> None:
    objective = quadratic(WIDE)
    draws = PriorDraws(objective, objective, gamma=1000.0, batch_size=1, seed=0)
    slopes = [draws.gradients(pair) for pair in range(2)]
    for count, factor in ((2, 1.81), (4, 1.2), (100, 1.005)):
        pairs = [draws.losses(pair) for pair in range(count)]
        result = summarise_draws(pairs, slopes, n=1, n_beta=N_BETA, gamma=1000.0)
        plain = statistics.stdev(N_BETA * pair.rise for pair in pairs) / math.sqrt(count)
        # The 84th percentiles of Student's t with 1, 3 and 99 degrees of freedom.
        assert result.prior_mean.stderr / plain == pytest.approx(factor, rel=0.01)


def test_the_weights_are_w_star_again_and_the_callers_random_numbers_untouched() -> None:
    objective = quadratic(WIDE)
    before, state = objective.parameters[0].detach().clone(), torch.get_rng_state()
    first = drawn(objective, gamma=10.0, seed=3)
    assert torch.equal(objective.parameters[0], before)
    assert objective.parameters[0].grad is None
    assert torch.equal(torch.get_rng_state(), state)
    assert first == drawn(objective, gamma=10.0, seed=3)
    assert first != drawn(objective, gamma=10.0, seed=4)


def test_copies_kept_elsewhere_change_nothing() -> None:
    objective, _ = linear_regression(40, 3, seed=1)
    here = PriorDraws(objective, objective, gamma=10.0, batch_size=4, seed=0)
    result = PriorDraws(objective, objective, gamma=10.0, batch_size=4, seed=0, keep_on=torch.device("cpu"))
    assert here.losses(1) == result.losses(1)
    assert here.gradients(1) == result.gradients(1)
    assert here.bend(1) == result.bend(1)


def test_losses_that_are_no_number_leave_no_number() -> None:
    pair = LossPair(counts=(1,), anchor=1.0, anchor_square=1.0, up=(0.1,), down=(0.2,), squared_distance=1.0)
    slope = GradientPair(even=1.0, odd=1.0, radial=0.1, rise=0.1)
    for bad in (math.nan, math.inf):
        broken = LossPair.from_dict(replace(pair, up=(bad,)).to_dict())
        result = summarise_draws([pair, broken], [slope, slope], n=1, n_beta=1.0, gamma=1.0)
        assert (result.llc, result.stderr) == (None, None)
        other = GradientPair.from_dict(replace(slope, even=bad).to_dict())
        assert summarise_draws([pair, pair], [slope, other], n=1, n_beta=1.0, gamma=1.0).llc is None


def test_a_slope_that_is_measured_below_zero_keeps_its_error() -> None:
    pair = LossPair(counts=(1,), anchor=1.0, anchor_square=1.0, up=(1.0,), down=(1.0,), squared_distance=1.0)
    slopes = [GradientPair(even=0.02, odd=odd, radial=1.0, rise=1.0) for odd in (-0.3, 0.1, -0.2, 0.0)]
    result = summarise_draws([pair, pair], slopes, n=1, n_beta=1.0, gamma=1.0)
    assert result.slope.mean < 0
    assert result.errors[2] == pytest.approx(result.slope.stderr, rel=0.3)
    assert result.stderr is not None
    assert result.stderr > 0.8 * result.slope.stderr


def test_values_that_do_not_vary_have_no_error() -> None:
    pair = LossPair(counts=(1,), anchor=1.0, anchor_square=1.0, up=(0.1,), down=(0.1,), squared_distance=1.0)
    slope = GradientPair(even=0.0, odd=0.0, radial=0.1, rise=0.1)
    result = summarise_draws([pair, pair], [slope, slope], n=1, n_beta=2.0, gamma=1.0)
    assert result.prior_mean == Value(0.2, 0.0, 1)
    assert result.llc == pytest.approx(0.2)
    assert result.stderr == pytest.approx(0, abs=1e-15)


def test_a_loss_far_from_quadratic_leaves_open_what_its_slope_takes() -> None:
    """With a part of degree four as large as that of degree two, up to two thirds of E[o²] may be counted too much."""
    pairs = [LossPair(counts=(1,), anchor=1.0, anchor_square=1.0, up=(up,), down=(0.2 - up,), squared_distance=1.0)
             for up in (0.1, 0.1)]  # fmt: skip

    def opened(radial: float, odd: float) -> float:
        slope = GradientPair(even=0.0, odd=odd, radial=radial, rise=0.1)
        return summarise_draws(pairs, [slope, slope], [0.0, 0.0], n=1, n_beta=100.0, gamma=1e4).open

    quadratic, bent = opened(0.1, 2.0), opened(0.15, 2.0)
    assert bent - quadratic == pytest.approx(2 / 3 * (0.5 - 0.05) * 2.0)
    assert opened(0.15, 0.0) == pytest.approx(opened(0.1, 0.0))
