"""Estimates of the gradient: unbiased, and without noise where they promise it."""

import pytest
import torch

from hf_llc.errors import SettingsError
from hf_llc.measures.llc.validation.exact import quadratic_llc
from hf_llc.measures.llc.validation.problems import FunctionObjective, linear_regression
from hf_llc.sampling.gradients import GRADIENTS, check_gradient, full_gradient, gradient_of
from hf_llc.sampling.objective import copy_of
from tests.helpers.chains import llc_statistics, settings


def logistic(n: int = 60, dimension: int = 4) -> FunctionObjective:
    """A loss whose gradient noise depends on w."""
    stream = torch.Generator().manual_seed(0)
    inputs = torch.randn(n, dimension, generator=stream, dtype=torch.float64)
    signs = torch.where(torch.rand(n, generator=stream) < 0.5, -1.0, 1.0)
    w = torch.full((dimension,), 0.3, dtype=torch.float64)
    return FunctionObjective([w], n, lambda indices: torch.log1p(torch.exp(-signs[indices] * (inputs[indices] @ w))))


def test_the_full_gradient_is_that_of_the_mean_loss_however_it_is_split() -> None:
    objective = logistic()
    whole = full_gradient(objective, 60)
    objective.losses_and_gradient(torch.arange(60))
    expected = objective.parameters[0].grad
    torch.testing.assert_close(whole[0], expected)
    torch.testing.assert_close(full_gradient(objective, 7), whole)


def test_at_the_anchor_a_control_variate_is_the_full_gradient_for_any_batch() -> None:
    objective = logistic()
    whole = full_gradient(objective, 60)
    estimate = gradient_of("control-variate", objective, copy_of(objective.parameters), whole)
    for batch in torch.randperm(60, generator=torch.Generator().manual_seed(1)).split(5):
        torch.testing.assert_close(estimate(batch)[1], whole)


def test_away_from_the_anchor_both_are_unbiased_and_the_control_variate_is_quieter() -> None:
    objective = logistic()
    anchors, whole = copy_of(objective.parameters), full_gradient(objective, 60)
    with torch.no_grad():
        objective.parameters[0].add_(0.1)
    here = full_gradient(objective, 60)[0]
    batches = torch.randperm(60, generator=torch.Generator().manual_seed(2)).split(6)
    spread = {}
    for name in GRADIENTS:
        estimator = gradient_of(name, objective, anchors, whole)
        drawn = torch.stack([estimator(batch)[1][0].clone() for batch in batches])
        torch.testing.assert_close(drawn.mean(dim=0), here)
        spread[name] = float(drawn.var(dim=0).sum())
    assert spread["control-variate"] < spread["minibatch"] / 100


def test_a_control_variate_reports_the_losses_at_w_and_leaves_w_where_it_was() -> None:
    objective = logistic()
    anchors, whole = copy_of(objective.parameters), full_gradient(objective, 60)
    with torch.no_grad():
        objective.parameters[0].add_(0.5)
    before = copy_of(objective.parameters)
    batch = torch.tensor([1, 5, 9])
    losses, _ = gradient_of("control-variate", objective, anchors, whole)(batch)
    torch.testing.assert_close(losses, objective.losses(batch))
    assert torch.equal(objective.parameters[0].detach(), before[0])


def test_control_variates_remove_the_heat_of_small_batches() -> None:
    """Linear regression with unit label noise: batches of 10 of 500 heat the plain chain by far more than its error."""
    objective, curvatures = linear_regression(samples=500, dimension=20, seed=0)
    n_beta, gamma = 300.0, 30.0
    lr = 0.2 / (n_beta * max(curvatures) + gamma)
    truth = quadratic_llc(curvatures, n_beta, gamma)
    chosen = settings(n_beta=n_beta, gamma=gamma, lr=lr, n=500, batch_size=10, burn_in=300, draws=1500)
    plain = llc_statistics(objective, chosen)
    quiet = llc_statistics(objective, settings(**{**chosen.to_dict(), "gradient": "control-variate"}))
    assert plain.mean > 1.8 * truth
    assert quiet.mcse < 0.05 * truth
    # A little heat stays: the batch's own curvature differs from the whole one's.
    assert abs(quiet.mean - truth) < 3 * quiet.mcse


def test_names_are_checked() -> None:
    with pytest.raises(SettingsError, match="gradient must be one of auto, minibatch, control-variate"):
        check_gradient("full")
    with pytest.raises(ValueError, match="full gradient"):
        gradient_of("control-variate", logistic(), [], None)
