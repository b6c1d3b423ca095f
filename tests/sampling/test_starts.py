"""Draws of the Laplace approximation, against the formula and as starts of chains."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from hf_llc.measures.llc.validation import exact
from hf_llc.measures.llc.validation.problems import FunctionObjective, quadratic
from hf_llc.sampling.chain import run_chain
from hf_llc.sampling.jumps import NODES, measured_draws
from hf_llc.sampling.objective import Objective
from hf_llc.sampling.randomness import ChainRandomness, Noise
from hf_llc.sampling.starts import PRODUCTS, displace, gradients_of
from hf_llc.sampling.variations import VARIATIONS
from hf_llc.settings.resolved import ResolvedSettings
from tests.helpers.chains import settings
from tests.helpers.counting_objective import Counted

N_BETA, GAMMA = 50.0, 4.0
CPU = torch.device("cpu")


def quadratic_at(anchor: Tensor, scale: Tensor) -> FunctionObjective:
    """½ Σ h (w − w*)², at w*."""
    w = anchor.clone()
    return FunctionObjective([w], 1, lambda batch: (scale * (w - anchor) ** 2).sum().div(2).expand(len(batch)))


def drawn(objective: Objective, noise: Noise, n_beta: float = N_BETA, gamma: float = GAMMA) -> Tensor:
    """w after `displace` from where it is."""
    anchors = [parameter.detach().clone() for parameter in objective.parameters]
    batch = torch.zeros(1, dtype=torch.int64)
    displace(objective, anchors, batch, noise, n_beta=n_beta, gamma=gamma)
    return objective.parameters[0].detach()


def test_a_draw_is_the_root_of_the_inverse_times_the_noise() -> None:
    scale = torch.tensor([0.0, 0.5, 30.0, -2.0], dtype=torch.float64).repeat_interleave(25)
    assert len(scale.unique()) <= PRODUCTS
    anchor = torch.linspace(-1, 1, 100, dtype=torch.float64)
    randomness = ChainRandomness(3, 0, 1, 1, CPU)
    result = drawn(quadratic_at(anchor, scale), randomness.start("weights"))
    xi = torch.zeros(100, dtype=torch.float64)
    randomness.start("weights").add_to(xi, 1.0)
    expected = anchor + xi / (GAMMA + N_BETA * scale.abs()).sqrt()
    torch.testing.assert_close(result, expected, rtol=1e-6, atol=1e-9)


def test_with_many_curvatures_laplace_draws_have_the_posterior_spread_and_not_the_priors() -> None:
    curvatures = [10 ** (-3 + index / 100) for index in range(500)]
    truth = exact.quadratic_llc(curvatures, N_BETA, GAMMA)
    objective = quadratic(curvatures)

    def raised(start: str) -> float:
        at = settings(n=1, n_beta=N_BETA, gamma=GAMMA, start=start, burn_in=0, draws=1, lr=1e-9, batch_size=1)
        losses = [run_chain(objective, torch.zeros(1), at, chain).losses[0] for chain in range(20)]
        return N_BETA * sum(losses) / len(losses) / truth

    assert raised("localiser") > 15
    assert 0.8 < raised("laplace") < 2


def test_without_noise_it_stays_where_it_is_and_asks_for_nothing() -> None:
    objective = Counted(quadratic_at(torch.ones(5), torch.ones(5)), 1)
    assert torch.equal(drawn(objective, Noise([], [])), torch.ones(5))
    assert objective.gradients == 0


def test_where_products_are_not_finite_it_is_a_draw_of_the_prior() -> None:
    w = torch.ones(6)
    broken = FunctionObjective([w], 1, lambda batch: (w * math.nan).sum().expand(len(batch)))
    randomness = ChainRandomness(3, 0, 1, 1, CPU)
    result = drawn(broken, randomness.start("weights"))
    xi = torch.zeros(6)
    randomness.start("weights").add_to(xi, 1.0)
    torch.testing.assert_close(result, 1 + xi / math.sqrt(GAMMA))


def at_start(start: str = "laplace", **changes: object) -> ResolvedSettings:
    return settings(n=1, n_beta=N_BETA, gamma=GAMMA, start=start, burn_in=3, draws=4, lr=1e-3, batch_size=1, **changes)


@pytest.mark.parametrize("start", ["anchor", "localiser", "both", "laplace"])
def test_a_chain_takes_the_gradients_that_are_said(start: str) -> None:
    at = at_start(start)
    for chain in range(2):
        objective = Counted(quadratic([0.1, 1.0, 2.0, 5.0, 9.0, 11.0]), 1)
        run_chain(objective, torch.zeros(1), at, chain)
        assert objective.gradients == at.steps + gradients_of(at) + NODES * len(measured_draws(at))
    assert (gradients_of(at) > 0) is (start == "laplace")


def test_chains_that_are_compared_begin_at_the_same_draw() -> None:
    objective, at = quadratic([0.1, 1.0, 2.0, 5.0, 9.0, 11.0]), at_start()
    main = run_chain(objective, torch.zeros(1), at, 0)
    firsts = {
        variation.name: run_chain(objective, torch.zeros(1), variation.settings(at), 0, variation=variation).losses[0]
        for variation in VARIATIONS
    }
    assert firsts["half-step"] == main.losses[0] > 0
    assert firsts["cold"] == 0
    assert 0 < firsts["stronger"] < main.losses[0]


def test_a_chain_on_a_quadratic_loss_needs_no_burn_in() -> None:
    curvatures = [0.05, 1.0, 20.0] * 30
    objective = quadratic(curvatures)
    truth = exact.quadratic_llc(curvatures, N_BETA, GAMMA)
    at = replace(at_start(), burn_in=0, draws=1, lr=1e-4, sampler="sgld-lm")
    result = torch.tensor([N_BETA * run_chain(objective, torch.zeros(1), at, c).deltas[1] for c in range(100)])
    error = float(result.std()) / math.sqrt(len(result))
    assert error < 0.02 * truth
    assert abs(float(result.mean()) - truth) < 4 * error
