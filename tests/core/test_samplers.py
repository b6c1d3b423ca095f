"""The law of each step, term by term, and the stationary law on a Gaussian target against closed forms."""

import math
from dataclasses import replace

import pytest
import torch
from scipy import stats
from torch import Tensor

from hf_llc.core.exact import euler_quadratic_llc, quadratic_llc
from hf_llc.core.problems import quadratic
from hf_llc.core.randomness import ChainRandomness, Randomness, Refined
from hf_llc.core.samplers import AUTO, SAMPLERS, choose_sampler
from hf_llc.core.samplers.law import Law
from hf_llc.errors import SettingsError
from tests.core.chains import llc_statistics, settings, traces

CPU = torch.device("cpu")


def random_numbers(seed: int = 0, chain: int = 0) -> ChainRandomness:
    return ChainRandomness(seed, chain, 1, 1, CPU)


def normal(randomness: Randomness, index: int, like: Tensor) -> Tensor:
    """The noise ξ that `index` addresses, for a single tensor."""
    drawn = torch.zeros_like(like)
    randomness.noise(index).add_to(drawn, 1.0)
    return drawn


def moved(name: str, w: Tensor, anchor: Tensor, gradient: Tensor, law: Law, index: int, seed: int = 0) -> Tensor:
    """w after one step of the named sampler."""
    after = w.clone()
    sampler = SAMPLERS[name]
    sampler.step([after], [anchor], [gradient], sampler.init([after]), law, random_numbers(seed), index)
    return after


@pytest.mark.parametrize("name", ["sgld", "sgld-lm"])
def test_without_its_noise_the_step_is_the_exact_drift(name: str) -> None:
    stream = torch.Generator().manual_seed(1)
    w, anchor, gradient = (torch.randn(50, generator=stream, dtype=torch.float64) for _ in range(3))
    law = Law(n_beta=7.0, gamma=3.0, lr=0.02)
    noise = random_numbers()
    xi = normal(noise, 5, w) if name == "sgld" else (normal(noise, 5, w) + normal(noise, 6, w)) / 2

    drifted = moved(name, w, anchor, gradient, law, 5) - math.sqrt(law.lr) * xi

    expected = w - law.lr / 2 * (law.n_beta * gradient + law.gamma * (w - anchor))
    torch.testing.assert_close(drifted, expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize(("name", "variance"), [("sgld", 1.0), ("sgld-lm", 0.5)])
def test_without_gradient_and_localisation_the_increment_is_normal_with_the_stated_variance(
    name: str, variance: float
) -> None:
    count = 200_000
    start = torch.zeros(count, dtype=torch.float64)
    law = Law(n_beta=0.0, gamma=0.0, lr=0.09)

    increments = moved(name, start, start, start, law, 3) / math.sqrt(law.lr * variance)

    assert abs(float(increments.var()) - 1) < 4 * math.sqrt(2 / count)
    assert stats.kstest(increments.numpy(), "norm").pvalue > 1e-3


def test_neighbouring_increments_of_leimkuhler_matthews_share_half_their_noise() -> None:
    count = 200_000
    start = torch.zeros(count, dtype=torch.float64)
    law = Law(n_beta=0.0, gamma=0.0, lr=1.0)
    first, second, third = (moved("sgld-lm", start, start, start, law, index) for index in (3, 4, 5))

    assert abs(float((first * second).mean()) - 0.25) < 4 * math.sqrt(0.3125 / count)
    assert abs(float((first * third).mean())) < 4 * 0.5 / math.sqrt(count)


def test_steps_and_chains_have_noise_of_their_own() -> None:
    like = torch.empty(1000, dtype=torch.float64)
    drawn = [
        normal(random_numbers(seed, chain), step, like)
        for seed, chain, step in [(0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0)]
    ]
    correlations = torch.corrcoef(torch.stack(drawn)) - torch.eye(4)
    assert float(correlations.abs().max()) < 5 / math.sqrt(1000)


def test_a_refined_pair_of_noises_moves_a_weight_as_the_whole_one_does() -> None:
    like = torch.empty(100_000, dtype=torch.float64)
    refined = Refined(random_numbers())
    first, second = normal(refined, 6, like), normal(refined, 7, like)

    torch.testing.assert_close((first + second) / math.sqrt(2), normal(random_numbers(), 3, like))
    assert abs(float(first.var()) - 1) < 4 * math.sqrt(2 / 100_000)
    assert abs(float((first * second).mean())) < 4 / math.sqrt(100_000)


CURVATURES = [0.01, 0.3, 1.0, 2.0, 5.0] * 40


@pytest.mark.parametrize("fraction", [0.4, 1.6])
def test_euler_chain_returns_the_closed_form_at_finite_step_and_localisation(fraction: float) -> None:
    n_beta, gamma = 100.0, 20.0
    lr = fraction / (n_beta * max(CURVATURES) + gamma)
    chosen = settings(sampler="sgld", n_beta=n_beta, gamma=gamma, lr=lr, burn_in=1500, draws=1500)
    found = llc_statistics(quadratic(CURVATURES), chosen)
    truth = euler_quadratic_llc(CURVATURES, n_beta, gamma, lr)

    assert found.mcse < 0.01 * truth
    assert abs(found.mean - truth) < 4 * found.mcse


@pytest.mark.parametrize("fraction", [0.4, 1.6, 3.0])
@pytest.mark.parametrize("name", ["sgld-lm", "baoab"])
def test_leimkuhler_matthews_chains_return_the_exact_value_at_any_stable_step(name: str, fraction: float) -> None:
    n_beta, gamma = 100.0, 20.0
    lr = fraction / (n_beta * max(CURVATURES) + gamma)
    chosen = settings(sampler=name, n_beta=n_beta, gamma=gamma, lr=lr, burn_in=600, draws=1200)
    found = llc_statistics(quadratic(CURVATURES), chosen)
    truth = quadratic_llc(CURVATURES, n_beta, gamma)

    assert found.mcse < 0.01 * truth
    assert abs(found.mean - truth) < 4 * found.mcse


def test_without_momentum_baoab_walks_as_leimkuhler_matthews_does() -> None:
    chosen = settings(n_beta=100.0, gamma=20.0, lr=1e-3, momentum=0.0, burn_in=0, draws=50)
    ours, theirs = (traces(quadratic(CURVATURES), replace(chosen, sampler=name))[0] for name in ("baoab", "sgld-lm"))
    assert ours.deltas == pytest.approx(theirs.deltas, rel=1e-9, abs=1e-15)


def test_momentum_relaxes_a_flat_direction_faster() -> None:
    """Distance from w* after few steps, in units of its final one, on a loss that is flat."""
    reached = {}
    for name in ("sgld-lm", "baoab"):
        chosen = settings(sampler=name, n_beta=1.0, gamma=100.0, lr=1e-3, momentum=0.8, burn_in=9, draws=4, thin=1)
        squared = traces(quadratic([1e-9] * 2000), chosen)[0].squared_distances[0]
        reached[name] = squared * 100 / 2000
    assert reached["sgld-lm"] == pytest.approx(1 - math.exp(-100.0 * 1e-3 * 10), abs=0.1)
    assert reached["baoab"] > reached["sgld-lm"] + 0.2


def test_an_unknown_sampler_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(SettingsError, match="choose one of auto, sgld, sgld-lm, baoab"):
        choose_sampler("nuts")


def test_auto_names_a_sampler_that_exists() -> None:
    name, why = choose_sampler(AUTO)
    assert name in SAMPLERS
    assert why
