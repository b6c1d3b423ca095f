"""λ̂ from independent draws of the localizing prior: each term against its formula, the sum against exact answers."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from hf_llc.core.exact import power_llc, quadratic_llc
from hf_llc.core.prior_draws import PriorDraws, posterior_mean, prior_draws
from hf_llc.core.problems import FunctionObjective, linear_regression, quadratic, separable

WIDE = [8.0, 2.0, *[0.3] * 40, *[0.01] * 200, *[0.0] * 100]
"""Curvatures of a loss with a few sharp directions and a flat bulk, nats per weight²."""


def sloped(curvatures: list[float], slope: float) -> FunctionObjective:
    """L = ½ Σ h_i w_i² + slope · Σ w_i / √d at 0, which is no minimum."""
    h = torch.tensor(curvatures, dtype=torch.float64)
    w = torch.zeros(len(curvatures), dtype=torch.float64)
    tilt = slope / math.sqrt(len(curvatures))
    return FunctionObjective([w], 1, lambda indices: ((h * w * w) / 2 + tilt * w).sum().expand(len(indices)))


def sloped_llc(curvatures: list[float], slope: float, n_beta: float, gamma: float) -> float:
    """½ Σ x/(1+x) − Σ s (1 + x/2)/(1+x)², by the posterior's mean and covariance in closed form."""
    total = 0.0
    for h in curvatures:
        tilt = slope / math.sqrt(len(curvatures))
        stiffness = n_beta * h + gamma
        mean, variance = -n_beta * tilt / stiffness, 1 / stiffness
        total += n_beta * (h * (variance + mean**2) / 2 + tilt * mean)
    return total


def losses_at_center(objective: FunctionObjective) -> Tensor:
    return objective.losses(torch.arange(objective.n))


def test_each_term_of_a_quadratic_with_a_slope_is_its_formula() -> None:
    n_beta, gamma, slope = 100.0, 1000.0, 2.0
    x = [n_beta * h / gamma for h in WIDE]
    result = prior_draws(
        sloped(WIDE, slope),
        torch.zeros(1, dtype=torch.float64),
        n_beta=n_beta,
        gamma=gamma,
        curvature=max(WIDE),
        batch_size=1,
        seed=0,
        pairs=400,
        gradient_pairs=400,
    )
    for value, exact in (
        (result.prior_mean, sum(x) / 2),
        (result.narrowing, sum(each**2 for each in x) / 2),
        (result.slope, n_beta**2 * slope**2 / gamma),
    ):
        assert abs(value.mean - exact) < 4 * value.stderr + 1e-9 * exact
        assert value.stderr < 0.1 * exact


@pytest.mark.parametrize("slope", [0.0, 0.5, 2.0])
def test_the_interval_holds_the_exact_answer_of_a_quadratic(slope: float) -> None:
    n_beta, gamma = 100.0, 1000.0
    x = [n_beta * h / gamma for h in WIDE]
    middle, half = posterior_mean(
        sum(x) / 2, sum(each**2 for each in x) / 2, n_beta**2 * slope**2 / gamma, n_beta * max(WIDE) / gamma
    )
    assert middle is not None
    assert abs(middle - sloped_llc(WIDE, slope, n_beta, gamma)) <= half
    if slope == 0:
        assert sloped_llc(WIDE, slope, n_beta, gamma) == pytest.approx(quadratic_llc(WIDE, n_beta, gamma))


@pytest.mark.parametrize(("gamma", "slope"), [(1000.0, 0.0), (1000.0, 2.0), (300.0, 1.0)])
def test_the_truth_lies_within_two_errors_in_nineteen_of_twenty_runs(gamma: float, slope: float) -> None:
    n_beta = 100.0
    truth = sloped_llc(WIDE, slope, n_beta, gamma)
    objective = sloped(WIDE, slope)
    anchors = torch.zeros(1, dtype=torch.float64)
    inside = 0
    for seed in range(60):
        result = prior_draws(
            objective, anchors, n_beta=n_beta, gamma=gamma, curvature=max(WIDE), batch_size=1, seed=seed
        )
        assert result.llc is not None
        assert result.stderr is not None
        inside += abs(result.llc - truth) < 2 * result.stderr
    assert inside >= 54


def test_minibatches_add_noise_but_no_bias() -> None:
    objective, curvatures = linear_regression(400, 20, seed=1)
    n_beta, gamma = 60.0, 600.0
    results = [
        prior_draws(
            objective,
            losses_at_center(objective),
            n_beta=n_beta,
            gamma=gamma,
            curvature=max(curvatures),
            batch_size=4,
            seed=seed,
            pairs=200,
            gradient_pairs=100,
        )
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


def test_each_pair_has_items_of_its_own_and_gradients_are_of_two_minibatches_without_a_common_item() -> None:
    def items(seed: int) -> tuple[list[list[int]], list[list[int]]]:
        objective, _ = linear_regression(40, 3, seed=1)
        at_w_star = losses_at_center(objective)
        taken: dict[str, list[list[int]]] = {"losses": [], "losses_and_gradient": []}

        def watched(name: str, act: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
            def look(indices: Tensor) -> Tensor:
                taken[name].append(indices.tolist())
                return act(indices)

            return look

        for name in taken:
            setattr(objective, name, watched(name, getattr(objective, name)))
        prior_draws(
            objective, at_w_star, n_beta=1.0, gamma=10.0, curvature=1.0, batch_size=4, seed=seed, pairs=10,
            gradient_pairs=3,
        )  # fmt: skip
        return taken["losses"], taken["losses_and_gradient"]

    losses, slopes = items(0)
    # Both draws of a pair have the same items, and the ten pairs all of them once.
    assert losses[::2] == losses[1::2]
    assert sorted(item for batch in losses[::2] for item in batch) == list(range(40))
    for one, other in zip(slopes[::2], slopes[1::2], strict=True):
        assert len({*one, *other}) == 8
    other_losses, other_slopes = items(1)
    assert losses != other_losses
    assert slopes != other_slopes


def test_a_quartic_that_no_curvature_at_the_center_shows_is_narrowed_by_the_draws() -> None:
    n_beta, gamma, count = 1.0, 25.0, 200
    truth = count * power_llc(4, n_beta, gamma)
    objective = separable(4, count)
    result = prior_draws(
        objective,
        losses_at_center(objective),
        n_beta=n_beta,
        gamma=gamma,
        curvature=0.0,
        batch_size=1,
        seed=0,
        pairs=400,
        gradient_pairs=100,
    )
    assert result.llc is not None
    assert result.stderr is not None
    assert result.prior_mean.mean > truth + 4 * result.prior_mean.stderr
    assert abs(result.llc - truth) < 4 * result.stderr


def test_the_weights_are_w_star_again_and_the_callers_random_numbers_untouched() -> None:
    objective = quadratic(WIDE)
    before, state = objective.parameters[0].detach().clone(), torch.get_rng_state()

    def drawn(seed: int) -> PriorDraws:
        anchors = losses_at_center(objective)
        return prior_draws(objective, anchors, n_beta=1.0, gamma=10.0, curvature=8.0, batch_size=1, seed=seed)

    first = drawn(3)
    assert torch.equal(objective.parameters[0], before)
    assert objective.parameters[0].grad is None
    assert torch.equal(torch.get_rng_state(), state)
    assert first == drawn(3)
    assert first != drawn(4)


def test_a_loss_that_falls_at_draws_of_the_prior_has_no_number() -> None:
    result = prior_draws(
        quadratic([-1.0, -2.0]),
        torch.zeros(1, dtype=torch.float64),
        n_beta=1.0,
        gamma=10.0,
        curvature=2.0,
        batch_size=1,
        seed=0,
    )
    assert result.llc is None
    assert result.stderr is None
    assert posterior_mean(1.0, math.nan, 0.0, 0.0) == (None, math.inf)
    # What cannot be below 0 is noise where it is.
    assert posterior_mean(1.0, -0.1, -0.1, 0.0) == (1.0, 0.0)
    # With Var e = 2 κ₁ all x are 2 if none is larger, whatever was taken for the largest.
    assert posterior_mean(1.0, 2.0, 0.0, 0.5) == pytest.approx((1 / 3, 0.0))


@pytest.mark.parametrize(("n_beta", "gamma", "pairs"), [(0.0, 1.0, 4), (1.0, 0.0, 4), (1.0, 1.0, 1)])
def test_what_the_series_cannot_do_with_is_refused(n_beta: float, gamma: float, pairs: int) -> None:
    with pytest.raises(ValueError, match="must be above 0"):
        prior_draws(
            quadratic([1.0]),
            torch.zeros(1),
            n_beta=n_beta,
            gamma=gamma,
            curvature=1.0,
            batch_size=1,
            seed=0,
            pairs=pairs,
        )
