"""Singular fluctuation and WAIC of the mean of normal values, whose posterior is known."""

import json
import math

import pytest
import torch
from torch import Tensor

from hf_llc.measures.fluctuation.estimate import fluctuation, loss_gain
from hf_llc.results.fluctuation import Fluctuation
from hf_llc.sampling.averages import Averages
from hf_llc.sampling.loss_draws import LossDraws

N, SIZE = 120, 6


def values() -> Tensor:
    return torch.randn(N, SIZE, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def draws_at(steps: Tensor, log_weights: Tensor | None, beta: float, gamma: float = 0.0) -> LossDraws:
    """ℓ_i = ½‖x_i − w‖² at w = x̄ + steps, whose mean is ½‖w − x̄‖² above that at x̄."""
    apart = values() - values().mean(0)
    rises = steps.square().sum(-1)[..., None] / 2 - steps @ apart.T
    return LossDraws(
        rises=rises, anchors=apart.square().sum(-1) / 2, loss_rises=rises.mean(-1), log_weights=log_weights,
        n_beta=N * beta, gamma=gamma, n=N,
    )  # fmt: skip


def noise(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, SIZE, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def exact_draws(beta: float, count: int, seed: int) -> LossDraws:
    return draws_at(noise(count, 2, seed=seed) / (N * beta) ** 0.5, torch.zeros(count, 2), beta)


def importance_draws(beta: float, count: int, seed: int) -> LossDraws:
    """From a localizing prior of γ = nβ, so that the posterior has half its variance."""
    gamma = N * beta
    steps = noise(count, 1, seed=seed) / gamma**0.5
    steps = torch.cat([steps, -steps], dim=1)
    return draws_at(steps, -N * beta * steps.square().sum(-1) / 2, beta, gamma)


def chain_draws(beta: float, count: int, seed: int) -> LossDraws:
    steps = noise(4, count, seed=seed)
    for place in range(1, count):
        steps[:, place] = 0.8 * steps[:, place - 1] + 0.6 * steps[:, place]
    return draws_at(steps / (N * beta) ** 0.5, None, beta)


def exact(beta: float, variance: float) -> dict[str, float]:
    """Under N(x̄, s): Var ℓ_i = s u² + d s²/2 with u = ‖x_i − x̄‖, and E e^(−rise) = (1+s)^(−d/2) e^(s u²/2(1+s))."""
    squares = (values() - values().mean(0)).square().sum(-1)
    total = float((variance * squares + SIZE * variance**2 / 2).sum())
    loss = float(squares.mean()) / 2
    bayes = loss + SIZE / 2 * math.log1p(variance) - variance / (1 + variance) / 2 * float(squares.mean())
    return {
        "functional_variance": total,
        "singular_fluctuation": beta / 2 * total,
        "bayes_loss": bayes,
        "gibbs_loss": loss + SIZE * variance / 2,
        "waic": bayes + beta * total / N,
    }


KINDS = {"exact": exact_draws, "importance": importance_draws, "chains": chain_draws}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("beta", [1.0, 0.1])
def test_two_standard_errors_hold_every_number(kind: str, beta: float) -> None:
    truth = exact(beta, 1 / (N * beta) / (2 if kind == "importance" else 1))
    covered: dict[str, list[bool]] = {name: [] for name in truth}
    apart: dict[str, list[float]] = {name: [] for name in truth}
    for seed in range(80):
        result = fluctuation(KINDS[kind](beta, 300, seed))
        for name, value in truth.items():
            deviation = (getattr(result, name) - value) / getattr(result, f"{name}_stderr")
            covered[name].append(abs(deviation) < 2)
            apart[name].append(deviation)
    for name in truth:
        # 19 of 20 ± 2 of 80 by chance; and no bias, whose z is known to 1/√80.
        assert sum(covered[name]) >= 71, name
        assert abs(sum(apart[name]) / 80) < 0.45, name
        # Errors are no larger than need be: the mean square of 80 z is 1 ± 0.16.
        assert sum(each**2 for each in apart[name]) / 80 > 0.4, name


def test_the_singular_fluctuation_of_a_regular_model_is_half_its_dimension() -> None:
    for beta in (1.0, 0.2):
        result = fluctuation(exact_draws(beta, 20_000, 0))
        assert result.singular_fluctuation == pytest.approx(SIZE / 2, rel=0.06)
        assert result.beta == pytest.approx(beta)


def test_waic_is_the_loss_left_one_out() -> None:
    """At β = 1 the predictive distribution of x_i given the others is N(their mean, 1 + 1/(n−1))."""
    mean, count = values().mean(0), N - 1
    others = (N * mean - values()) / count
    variance = 1 + 1 / count
    loss = (values() - others).square().sum(-1) / 2 / variance + SIZE / 2 * math.log(variance)
    result = fluctuation(exact_draws(1.0, 20_000, 0))
    left_out = float(loss.mean())
    assert abs(result.waic - left_out) < 3 * result.waic_stderr + SIZE / N**2
    assert left_out - result.bayes_loss > 20 * result.waic_stderr


def test_some_of_the_items_say_the_same_with_a_larger_error() -> None:
    whole = exact_draws(1.0, 2000, 0)
    part = LossDraws(**{**vars(whole), "rises": whole.rises[..., :20], "anchors": whole.anchors[:20]})
    of_whole, of_part = fluctuation(whole), fluctuation(part)
    assert of_part.functional_variance_stderr > 3 * of_whole.functional_variance_stderr
    apart = abs(of_part.functional_variance - of_whole.functional_variance)
    assert apart < 3 * of_part.functional_variance_stderr


def test_the_gain_over_all_items_is_the_coefficient() -> None:
    """λ̂ = nβ E[L − L*] to rounding; ½ d nβ/(nβ + γ) where it is exact."""
    draws = importance_draws(0.5, 4000, 0)
    gain = loss_gain(draws)
    averages = Averages(draws)
    assert gain.value == pytest.approx(float(averages.expectation(draws.loss_rises) * draws.n_beta), rel=1e-12)
    assert gain.value == pytest.approx(SIZE / 4, abs=3 * gain.stderr)
    parts = [loss_gain(draws, range(start, start + 40)).value for start in (0, 40, 80)]
    assert sum(parts) / 3 == pytest.approx(gain.value, rel=1e-12)


def test_the_gain_of_some_items_is_covered() -> None:
    covered = [
        abs((gain := loss_gain(chain_draws(1.0, 200, seed), [3, 8])).value - SIZE / 2) < 2 * gain.stderr
        for seed in range(80)
    ]
    assert sum(covered) >= 71


@pytest.mark.parametrize("items", [[], [-1], [120]])
def test_items_that_there_are_not_are_refused(items: list[int]) -> None:
    with pytest.raises(ValueError, match="items must be at least one of 0 to 119"):
        loss_gain(exact_draws(1.0, 10, 0), items)


def test_what_is_written_is_read_back() -> None:
    result = fluctuation(exact_draws(1.0, 50, 0))
    assert Fluctuation.from_dict(json.loads(json.dumps(result.to_dict(), allow_nan=False))) == result
    assert str(result).startswith("ν(β) = ")


def test_weights_with_too_long_a_tail_are_warned_of_with_every_number() -> None:
    """A posterior that is far narrower than what it is drawn from: one draw has all the weight, and no error."""
    steps = noise(200, 1, seed=0)
    steps = torch.cat([steps, -steps], dim=1)
    draws = draws_at(steps, -N * steps.square().sum(-1) / 2, 1.0, 1.0)
    result, gain = fluctuation(draws), loss_gain(draws)
    for each in (result, gain):
        assert each.warning is not None
        assert "too long a tail" in each.warning
        assert f"not to be relied on: {each.warning}" in str(each)
    assert Fluctuation.from_dict(result.to_dict()) == result
    assert fluctuation(exact_draws(1.0, 50, 0)).warning is None
    few = fluctuation(exact_draws(1.0, 8, 0))
    assert few.warning == "8 effective draws, where 16 are needed"
