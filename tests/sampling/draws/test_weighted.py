"""Independent draws with importance weights: weights are the ratio of densities, and averages the posterior's."""

import math

import pytest
import torch
from torch import Tensor

from hf_llc.measures.llc.validation.problems import FunctionObjective
from hf_llc.sampling.draws.weighted import WeightedDraws
from hf_llc.sampling.gradients import full_gradient

CURVATURES = torch.tensor([4.0, 1.0, 0.2, 0.0], dtype=torch.float64)
SLOPE = torch.tensor([0.3, -0.1, 0.0, 0.2], dtype=torch.float64)
N_BETA, GAMMA = 1.0, 20.0


@pytest.fixture
def objective() -> FunctionObjective:
    """L(w) = ½ Σ h w² + b·w, at w* = (1, 1, 1, 1)."""
    w = torch.ones(4, dtype=torch.float64, requires_grad=True)

    def losses(indices: Tensor) -> Tensor:
        return (0.5 * (CURVATURES * w * w).sum() + SLOPE @ w).expand(len(indices))

    return FunctionObjective([w], 1, losses)


def drawn(objective: FunctionObjective, pairs: int) -> tuple[Tensor, Tensor, Tensor]:
    """Weights w − w* of the draws, (draws, 4), their losses above that at w*, and their g·(w − w*)."""
    anchor = objective.losses(torch.arange(1)).item()
    center = objective.parameters[0].detach().clone()
    slope = full_gradient(objective, 1)
    draws = WeightedDraws(objective, slope, n_beta=N_BETA, gamma=GAMMA, seed=0)
    weights, rises, products = [], [], []
    for pair in range(pairs):
        for sign in (1.0, -1.0):
            products.append(draws.move(pair, sign))
            weights.append(objective.parameters[0].detach() - center)
            rises.append(objective.losses(torch.arange(1)).item() - anchor)
    draws.restore()
    assert torch.equal(objective.parameters[0], center)
    return torch.stack(weights), torch.tensor(rises), torch.tensor(products)


def test_log_weights_are_the_ratio_of_posterior_and_proposal_up_to_a_constant(objective: FunctionObjective) -> None:
    slope = CURVATURES + SLOPE
    steps, rises, products = drawn(objective, 20)
    log_posterior = -N_BETA * rises - GAMMA / 2 * steps.square().sum(dim=1)
    log_prior = -GAMMA / 2 * steps.square().sum(dim=1)
    log_proposal = -GAMMA / 2 * (steps + N_BETA / GAMMA * slope).square().sum(dim=1)
    for target, weight in ((log_posterior, -N_BETA * (rises - products)), (log_prior, N_BETA * products)):
        difference = target - log_proposal - weight
        torch.testing.assert_close(difference, difference[:1].expand(40), atol=1e-5, rtol=0)


def test_weighted_averages_are_those_of_the_posterior(objective: FunctionObjective) -> None:
    steps, rises, products = drawn(objective, 4000)
    weights = torch.softmax(-N_BETA * (rises.double() - products.double()), dim=0)
    stiffness = N_BETA * CURVATURES + GAMMA
    mean = -N_BETA * (CURVATURES + SLOPE) / stiffness
    error = torch.sqrt((weights.square()[:, None] * (steps - mean).square()).sum(dim=0))
    assert float(error.max()) < 0.02
    assert bool(((weights @ steps - mean).abs() < 4 * error).all())
    variance = weights @ (steps - mean).square()
    torch.testing.assert_close(variance, 1 / stiffness, rtol=5 * math.sqrt(2 / 4000), atol=0)


def test_members_of_a_pair_lie_opposite_each_other_around_the_middle_of_the_proposal(
    objective: FunctionObjective,
) -> None:
    steps, _, _ = drawn(objective, 3)
    middle = -N_BETA / GAMMA * (CURVATURES + SLOPE)
    torch.testing.assert_close((steps[0::2] + steps[1::2]) / 2, middle.expand(3, 4))


def test_draws_depend_on_the_pair_and_not_on_their_order(objective: FunctionObjective) -> None:
    draws = WeightedDraws(objective, full_gradient(objective, 1), n_beta=N_BETA, gamma=GAMMA, seed=0)
    draws.move(5, 1.0)
    first = objective.parameters[0].detach().clone()
    draws.move(2, -1.0)
    draws.move(5, 1.0)
    assert torch.equal(objective.parameters[0], first)
