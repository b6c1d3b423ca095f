"""The law of each step, term by term, and the stationary law on a Gaussian target against closed forms."""

import math
from dataclasses import replace

import pytest
import torch
from scipy import stats
from torch import Tensor

from hf_llc.errors import SettingsError
from hf_llc.measures.llc.validation.exact import euler_quadratic_llc, quadratic_llc
from hf_llc.measures.llc.validation.problems import FunctionObjective, quadratic
from hf_llc.sampling.randomness import ChainRandomness, HalfStepRandomness, Noise, Randomness
from hf_llc.sampling.samplers import SAMPLERS, badodab, check_sampler, rmsprop_sgld
from hf_llc.sampling.samplers.base import ChainState, GradientSample, Posterior
from tests.helpers.chains import llc_statistics, settings, traces

CPU = torch.device("cpu")


def random_numbers(seed: int = 0, chain: int = 0) -> ChainRandomness:
    return ChainRandomness(seed, chain, 1, 1, CPU)


def normal(randomness: Randomness, index: int, like: Tensor) -> Tensor:
    """The noise ξ that `index` addresses, for a single tensor."""
    drawn = torch.zeros_like(like)
    randomness.noise(index).add_to(drawn, 1.0)
    return drawn


BATCH = torch.zeros(1, dtype=torch.int64)


def walk_from(w: Tensor, anchor: Tensor, law: Posterior, randomness: Randomness) -> ChainState:
    """A chain at w whose gradient is never asked for a second time."""

    def evaluate(batch: Tensor) -> tuple[Tensor, list[Tensor]]:
        raise AssertionError("a second look")

    return ChainState([w], [anchor], law, randomness, evaluate)


def moved(name: str, w: Tensor, anchor: Tensor, gradient: Tensor, law: Posterior, index: int, seed: int = 0) -> Tensor:
    """w after one step of the named sampler."""
    after = w.clone()
    sampler, walk = SAMPLERS[name], walk_from(after, anchor, law, random_numbers(seed))
    sampler.step(walk, GradientSample(BATCH, torch.zeros(1), [gradient]), sampler.init(walk), index)
    return after


class Later:
    """A chain's noise one step ahead, its first one as the noise that momenta start with."""

    def __init__(self, whole: ChainRandomness) -> None:
        self._whole = whole

    def batch(self, step: int) -> Tensor:
        return self._whole.batch(step)

    def measured(self, step: int) -> Tensor | None:
        return self._whole.measured(step)

    def first(self) -> Tensor:
        return self._whole.first()

    def noise(self, step: int) -> Noise:
        return self._whole.noise(step + 1)

    def start(self, purpose: str) -> Noise:
        return self._whole.noise(0)


@pytest.mark.parametrize("name", ["sgld", "sgld-lm"])
def test_without_its_noise_the_step_is_the_exact_drift(name: str) -> None:
    stream = torch.Generator().manual_seed(1)
    w, anchor, gradient = (torch.randn(50, generator=stream, dtype=torch.float64) for _ in range(3))
    law = Posterior(n_beta=7.0, gamma=3.0, lr=0.02)
    noise = random_numbers()
    xi = normal(noise, 5, w) if name == "sgld" else (normal(noise, 5, w) + normal(noise, 6, w)) / 2

    drifted = moved(name, w, anchor, gradient, law, 5) - math.sqrt(law.lr) * xi

    expected = w - law.lr / 2 * (law.n_beta * gradient + law.gamma * (w - anchor))
    torch.testing.assert_close(drifted, expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize(("name", "variance"), [("sgld", 1.0), ("sgld-lm", 0.5)])
def test_without_gradient_and_gamma_the_increment_is_normal_with_the_stated_variance(
    name: str, variance: float
) -> None:
    count = 200_000
    start = torch.zeros(count, dtype=torch.float64)
    law = Posterior(n_beta=0.0, gamma=0.0, lr=0.09)

    increments = moved(name, start, start, start, law, 3) / math.sqrt(law.lr * variance)

    assert abs(float(increments.var()) - 1) < 4 * math.sqrt(2 / count)
    assert stats.kstest(increments.numpy(), "norm").pvalue > 1e-3


def test_neighbouring_increments_of_leimkuhler_matthews_share_half_their_noise() -> None:
    count = 200_000
    start = torch.zeros(count, dtype=torch.float64)
    law = Posterior(n_beta=0.0, gamma=0.0, lr=1.0)
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
    refined = HalfStepRandomness(random_numbers())
    first, second = normal(refined, 6, like), normal(refined, 7, like)

    torch.testing.assert_close((first + second) / math.sqrt(2), normal(random_numbers(), 3, like))
    assert abs(float(first.var()) - 1) < 4 * math.sqrt(2 / 100_000)
    assert abs(float((first * second).mean())) < 4 / math.sqrt(100_000)


@pytest.mark.parametrize("kept", [0.0, 0.5, 0.9])
def test_two_half_step_noises_act_on_a_momentum_like_the_whole_noise(kept: float) -> None:
    """Two half steps that keep √c each: √c √(1−c) ξ₁ + √(1−c) ξ₂ is √(1−c²) ξ plus nothing else."""
    like = torch.empty(100_000, dtype=torch.float64)
    refined = HalfStepRandomness(random_numbers(), kept)
    first, second = normal(refined, 6, like), normal(refined, 7, like)

    together = math.sqrt(kept * (1 - kept)) * first + math.sqrt(1 - kept) * second

    torch.testing.assert_close(together, math.sqrt(1 - kept**2) * normal(random_numbers(), 3, like))
    assert abs(float((first * second).mean())) < 4 / math.sqrt(100_000)


CURVATURES = [0.01, 0.3, 1.0, 2.0, 5.0] * 40


@pytest.mark.parametrize("fraction", [0.4, 1.6])
def test_euler_chain_returns_the_closed_form_at_finite_step_and_gamma(fraction: float) -> None:
    n_beta, gamma = 100.0, 20.0
    lr = fraction / (n_beta * max(CURVATURES) + gamma)
    chosen = settings(sampler="sgld", n_beta=n_beta, gamma=gamma, lr=lr, burn_in=1500, draws=1500)
    statistics = llc_statistics(quadratic(CURVATURES), chosen)
    truth = euler_quadratic_llc(CURVATURES, n_beta, gamma, lr)

    assert statistics.mcse < 0.01 * truth
    assert abs(statistics.mean - truth) < 4 * statistics.mcse


@pytest.mark.parametrize("fraction", [0.4, 1.6, 3.0])
@pytest.mark.parametrize("name", ["sgld-lm", "baoab", "rmsprop-sgld"])
def test_leimkuhler_matthews_chains_return_the_exact_value_at_any_stable_step(name: str, fraction: float) -> None:
    n_beta, gamma = 100.0, 20.0
    # A weight's own step is up to LARGEST times that of a typical one.
    lr = fraction / (n_beta * max(CURVATURES) + gamma) / (rmsprop_sgld.LARGEST if name == "rmsprop-sgld" else 1)
    chosen = settings(sampler=name, n_beta=n_beta, gamma=gamma, lr=lr, burn_in=600, draws=1200)
    statistics = llc_statistics(quadratic(CURVATURES), chosen)
    truth = quadratic_llc(CURVATURES, n_beta, gamma)

    assert statistics.mcse < 0.012 * truth
    assert abs(statistics.mean - truth) < 4 * statistics.mcse


@pytest.mark.parametrize(("name", "fraction"), [("badodab", 0.4), ("sgnht", 0.04), ("mala", 0.1)])
def test_thermostats_and_metropolis_return_the_exact_value_at_a_small_step(name: str, fraction: float) -> None:
    n_beta, gamma = 100.0, 100.0
    lr = fraction / (n_beta * max(CURVATURES) + gamma)
    chosen = settings(sampler=name, n_beta=n_beta, gamma=gamma, lr=lr, start="localiser", burn_in=200, draws=1500)
    statistics = llc_statistics(quadratic(CURVATURES), chosen)
    truth = quadratic_llc(CURVATURES, n_beta, gamma)

    assert statistics.mcse < 0.015 * truth
    assert abs(statistics.mean - truth) < 4 * statistics.mcse


def test_metropolis_takes_back_what_euler_would_let_pass() -> None:
    """At a step where Euler's variance is two thirds too large, the accepted chain has the exact one."""
    n_beta, gamma, curvatures = 100.0, 20.0, [1.0] * 3
    chosen = settings(n_beta=n_beta, gamma=gamma, lr=1.6 / 120, burn_in=100, draws=4000)
    truth = quadratic_llc(curvatures, n_beta, gamma)
    euler = llc_statistics(quadratic(curvatures), replace(chosen, sampler="sgld"))
    accepted = llc_statistics(quadratic(curvatures), replace(chosen, sampler="mala"))

    assert euler.mean == pytest.approx(truth / 0.6, abs=5 * euler.mcse)
    assert accepted.mcse < 0.03 * truth
    assert abs(accepted.mean - truth) < 4 * accepted.mcse


@pytest.mark.parametrize("name", ["baoab", "badodab", "sgnht"])
def test_only_a_thermostat_takes_isotropic_gradient_noise_out(name: str) -> None:
    """Items whose gradients differ by noise of one size in every direction widen what does not answer."""
    count, n_beta, gamma = 100, 100.0, 20.0
    stream = torch.Generator().manual_seed(0)
    slopes = torch.randn(200, count, generator=stream, dtype=torch.float64)
    slopes = 0.4 * (slopes - slopes.mean(dim=0))
    w = torch.zeros(count, dtype=torch.float64)
    noisy = FunctionObjective([w], 200, lambda indices: w.square().sum() / 2 + slopes[indices] @ w)
    lr = 0.05 / (n_beta + gamma)
    chosen = settings(
        sampler=name, n_beta=n_beta, gamma=gamma, lr=lr, momentum=0.9, n=200, batch_size=4, burn_in=300, draws=1500
    )
    distances = [sum(trace.squared_distances) / len(trace.squared_distances) for trace in traces(noisy, chosen)]
    ratio = sum(distances) / len(distances) / (count / (n_beta + gamma))
    if name == "baoab":
        assert ratio > 1.6
    else:
        assert ratio == pytest.approx(1.0, abs=0.1)


def test_the_thermostat_of_a_quiet_gradient_stays_where_it_began() -> None:
    law = Posterior(n_beta=100.0, gamma=20.0, lr=1e-3, momentum=0.8)
    w = torch.zeros(2000, dtype=torch.float64)
    walk = walk_from(w, w.clone(), law, random_numbers())
    state = badodab.init(walk)
    for index in range(300):
        badodab.step(walk, GradientSample(BATCH, torch.zeros(1), [w.clone()]), state, index)
    assert float(state.friction) == pytest.approx(-math.log(0.8), rel=0.1)


def test_the_preconditioner_does_not_see_the_scale_of_the_gradient_and_rests_after_the_burn_in() -> None:
    stream = torch.Generator().manual_seed(1)
    gradient = torch.randn(50, generator=stream, dtype=torch.float64)
    roots = []
    for scale in (1e-6, 1.0):
        w = torch.zeros(50, dtype=torch.float64)
        walk = walk_from(w, w.clone(), Posterior(n_beta=0.0, gamma=1.0, lr=1e-3, burn_in=5), random_numbers())
        state = rmsprop_sgld.init(walk)
        for index in range(9):
            rmsprop_sgld.step(walk, GradientSample(BATCH, torch.zeros(1), [scale * gradient]), state, index)
        assert state.updates == 5
        roots.append(state.roots[0])
    expected = 1.5 / (gradient.abs() / gradient.square().mean().sqrt() + 0.5)
    torch.testing.assert_close(roots[0], roots[1])
    torch.testing.assert_close(roots[1].square(), expected)


def test_a_tensor_without_gradient_is_not_preconditioned() -> None:
    w = torch.zeros(5)
    walk = walk_from(w, w.clone(), Posterior(n_beta=1.0, gamma=1.0, lr=1e-3, burn_in=5), random_numbers())
    state = rmsprop_sgld.init(walk)
    rmsprop_sgld.step(walk, GradientSample(BATCH, torch.zeros(1), [torch.zeros(5)]), state, 0)
    assert torch.equal(state.roots[0], torch.ones(5))


def test_without_momentum_baoab_walks_as_leimkuhler_matthews_does() -> None:
    law = Posterior(n_beta=7.0, gamma=3.0, lr=0.02)
    start, anchor = torch.ones(40, dtype=torch.float64), torch.zeros(40, dtype=torch.float64)
    ours, theirs = start.clone(), start.clone()
    for name, w, randomness in (("baoab", ours, Later(random_numbers())), ("sgld-lm", theirs, random_numbers())):
        walk = walk_from(w, anchor, law, randomness)
        state = SAMPLERS[name].init(walk)
        for index in range(20):
            SAMPLERS[name].step(walk, GradientSample(BATCH, torch.zeros(1), [w.clone() ** 3]), state, index)
    torch.testing.assert_close(ours, theirs)


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
    with pytest.raises(SettingsError, match="sampler must be one of auto, badodab, baoab, mala, rmsprop-sgld, sgld"):
        check_sampler("nuts")
