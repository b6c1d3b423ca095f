"""Both parts of susceptibilities against closed forms of quadratics."""

import math
from fractions import Fraction
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor

from hf_llc.measures.susceptibility.control import control
from hf_llc.measures.susceptibility.parts import Components, MeansOfItems, Standardised, two_chain_total
from hf_llc.sampling import averages
from hf_llc.sampling.loss_draws import LossDraws

N_BETA, GAMMA, SIZE, ITEMS = 40.0, 60.0, 20, 12
INSIDE = torch.arange(SIZE) < 8


def curvatures() -> tuple[Tensor, Tensor]:
    """h of L, shape (SIZE,), and of every item, shape (ITEMS, SIZE)."""
    stream = torch.Generator().manual_seed(0)
    mean = torch.rand(SIZE, generator=stream, dtype=torch.float64) * 2
    apart = torch.rand(ITEMS, SIZE, generator=stream, dtype=torch.float64)
    # Some items are sharper than the mean in all directions, some flatter.
    return mean, mean * (0.5 + apart) * torch.linspace(0.3, 2.0, ITEMS)[:, None]


def losses(weights: Tensor, log_weights: Tensor | None, n_beta: float = N_BETA) -> LossDraws:
    """Of weights of shape (groups, draws, SIZE), at draws of the prior where there are no log weights to come."""
    mean, items = curvatures()
    squares = weights.square() / 2
    loss_rises = squares @ mean
    return LossDraws(
        rises=squares @ items.T,
        anchors=torch.zeros(ITEMS),
        loss_rises=loss_rises,
        log_weights=None if log_weights is None else -n_beta * loss_rises * log_weights,
        n_beta=n_beta,
        gamma=GAMMA,
        n=100,
    )


def spread(restricted: bool, n_beta: float = N_BETA) -> Tensor:
    mean, _ = curvatures()
    values = (n_beta * mean + GAMMA) ** -0.5
    return values * INSIDE if restricted else values


def pairs(count: int, restricted: bool, seed: int) -> LossDraws:
    """Antithetic draws of the prior with their weights."""
    noise = torch.randn(count, 1, SIZE, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    steps = noise * GAMMA**-0.5 * (INSIDE if restricted else 1.0)
    return losses(torch.cat([steps, -steps], dim=1), torch.ones(()))


def chains(count: int, restricted: bool, seed: int, correlation: float = 0.8) -> LossDraws:
    noise = torch.randn(4, count, SIZE, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    for place in range(1, count):
        noise[:, place] = correlation * noise[:, place - 1] + math.sqrt(1 - correlation**2) * noise[:, place]
    return losses(noise * spread(restricted), None)


def exact_parts(n_beta: float = N_BETA) -> tuple[Tensor, Tensor]:
    """−½ Σ_C h d/A² and ¼ (Σ_C h/A)(Σ_{not C} d/A)."""
    mean, items = curvatures()
    apart, total = items - mean, n_beta * mean + GAMMA
    covariance = -(mean * apart / total**2)[:, INSIDE].sum(1) / 2
    shift = (mean / total)[INSIDE].sum() * (apart / total)[:, ~INSIDE].sum(1) / 4
    return covariance, shift


@pytest.mark.parametrize("kind", ["pairs", "chains"])
def test_two_standard_errors_hold_both_parts_and_the_total(kind: str) -> None:
    make, count = (pairs, 150) if kind == "pairs" else (chains, 400)
    covariance, shift = exact_parts()
    exact = {"covariance": covariance, "shift": shift, "total": covariance + shift}
    exact |= {
        name: (exact[part] - exact[part].mean()) / exact[part].std(unbiased=False)
        for name, part in (("standardised", "covariance"), ("standardised_total", "total"))
    }
    covered: dict[str, list[float]] = {name: [] for name in exact}
    for seed in range(60):
        parts = Components(make(count, False, 2 * seed)).parts(make(count, True, 2 * seed + 1))
        for name, values in exact.items():
            part = getattr(parts, name)
            covered[name].append(float(((part.value - values).abs() < 1.96 * part.stderr).double().mean()))
    for name, shares in covered.items():
        # The errors of few draws are wider than their spread; items have much of their noise in common.
        error = float(torch.tensor(shares).std()) / len(shares) ** 0.5
        assert 0.92 - 2 * error < sum(shares) / len(shares) < 0.99, name


def test_many_draws_give_both_parts() -> None:
    covariance, shift = exact_parts()
    parts = Components(pairs(10_000, False, 0)).parts(pairs(10_000, True, 1))
    assert float((parts.covariance.value - covariance).norm() / covariance.norm()) < 0.02
    assert float((parts.shift.value - shift).norm() / shift.norm()) < 0.02
    # Where an item is sharper than the mean everywhere, the parts have opposite signs.
    assert float(parts.covariance.value[-1]) < 0 < float(parts.shift.value[-1])


def test_the_four_points_have_their_exact_parts() -> None:
    """ℓ_k = ½(y_k − x_k·w)² at nβ = 8, γ = 1, and C the first weight, by nodes exact up to degree five."""
    matrix = torch.tensor([[1, 0], [0, 1], [1, 1], [1, -1]], dtype=torch.float64)
    residuals = torch.tensor([0, 2 / 3, -1 / 3, 1 / 3], dtype=torch.float64)
    size = math.sqrt(3 / 7)
    axis = [-size, 0.0, 0.0, 0.0, 0.0, size]
    nodes = torch.tensor([*product(axis, axis)], dtype=torch.float64).repeat(1024, 1)

    def at(weights: Tensor) -> LossDraws:
        weights = torch.stack([weights, -weights], dim=1)
        rises = ((residuals - weights @ matrix.T).square() - residuals.square()) / 2
        return LossDraws(
            rises=rises, anchors=residuals.square() / 2, loss_rises=rises.mean(-1),
            log_weights=torch.zeros(rises.shape[:2]), n_beta=8.0, gamma=1.0, n=4,
        )  # fmt: skip

    parts = Components(at(nodes)).parts(at(nodes * torch.tensor([1.0, 0.0])))
    exact = {
        "covariance": [Fraction(-3, 1568), Fraction(9, 1568), Fraction(-3, 1568), Fraction(-3, 1568)],
        "shift": [Fraction(-9, 3136), Fraction(3, 3136), Fraction(3, 3136), Fraction(3, 3136)],
    }
    for name, values in exact.items():
        expected = torch.tensor([float(value) for value in values], dtype=torch.float64)
        torch.testing.assert_close(getattr(parts, name).value, expected, atol=1e-6, rtol=0)


def test_the_product_of_means_is_that_of_different_groups() -> None:
    """Σ φ_p y_q over p ≠ q has no term of the covariance in it, which Σ φ_p Σ y_q has."""
    draws = pairs(7, True, 0).equally_weighted()
    draws = LossDraws(**{**vars(draws), "rises": draws.rises + torch.linspace(0, 1, ITEMS)})
    full = pairs(9, False, 1).equally_weighted()
    phi, values = draws.loss_rises.mean(1), (draws.rises - draws.loss_rises[..., None]).mean(1)
    of_full = (full.rises - full.loss_rises[..., None]).mean((0, 1))
    different = sum(phi[p] * values[q] for p in range(7) for q in range(7) if p != q) / 42
    expected = -(different - phi.mean() * of_full)
    torch.testing.assert_close(Components(full).parts(draws).shift.value, expected)


@pytest.mark.parametrize("groups", [1, 4])
def test_the_total_of_other_tools_is_had_from_the_same_draws(groups: int) -> None:
    """`devinterp.slt.susceptibilities` 2.0.1: E[φ L] − E[φ ℓ_k] − E[φ] (E_full[L] − E_full[ℓ_k]), all draws alike."""
    restricted, full = chains(200, True, 0), chains(200, False, 1)
    restricted, full = (
        LossDraws(**{**vars(each), "rises": each.rises[:groups], "loss_rises": each.loss_rises[:groups]})
        for each in (restricted, full)
    )
    phi, of_items = restricted.loss_rises, restricted.rises
    with_loss = (phi * phi).mean() - (phi[..., None] * of_items).mean((0, 1))
    theirs = with_loss - phi.mean() * (full.loss_rises.mean() - full.rises.mean((0, 1)))
    torch.testing.assert_close(two_chain_total(restricted, full), theirs, atol=1e-12, rtol=1e-6)
    total = Components(full).parts(restricted).total
    assert float(((total.value - theirs) / total.stderr).abs().max()) < 1


def test_chains_of_a_component_that_do_not_mix_invent_no_covariance() -> None:
    restricted, full = chains(400, True, 0), chains(400, False, 1)
    away = torch.tensor([-3.0, -1.0, 1.0, 3.0])[:, None, None] * restricted.rises.std()
    apart = LossDraws(**{**vars(restricted), "rises": restricted.rises + away})
    apart = LossDraws(**{**vars(apart), "loss_rises": restricted.loss_rises + away[..., 0]})
    torch.testing.assert_close(
        Components(full).parts(apart).covariance.value, Components(full).parts(restricted).covariance.value
    )
    errors = [Components(full).parts(each).shift.stderr for each in (apart, restricted)]
    assert float((errors[0] / errors[1]).max()) > 3


def test_the_control_is_the_covariance_without_the_loss() -> None:
    result, (exact, _) = control(pairs(20_000, True, 3).equally_weighted()), exact_parts(n_beta=0.0)
    assert float(((result.value - exact) / result.stderr).abs().max()) < 4
    assert float(result.stderr.max()) < 0.1 * float(exact.abs().max())
    squares = []
    for seed in range(20):
        few = control(pairs(1000, True, seed).equally_weighted())
        squares.append(float(((few.value - exact) / few.stderr).square().mean()))
    # One z of 12 entries that move together has a mean square of 1 ± 0.5; errors twice as large give 0.25.
    assert 0.45 < sum(squares) / 20 < 1.5
    with pytest.raises(ValueError, match="needs draws of the localizing prior"):
        control(chains(100, True, 0).equally_weighted())


def test_errors_of_standardised_values_are_those_of_the_jackknife() -> None:
    stream = torch.Generator().manual_seed(0)
    values = torch.randn(1, 40, 9, generator=stream, dtype=torch.float64) + 3 * torch.arange(9)

    def psi(rows: Tensor) -> Tensor:
        mean = rows.mean(0)
        return (mean - mean.mean()) / mean.std(unbiased=False)

    left_out = torch.stack([psi(torch.cat([values[0, :i], values[0, i + 1 :]])) for i in range(40)])
    jackknife = (39 / 40 * (left_out - left_out.mean(0)).square().sum(0)).sqrt()
    mean = values.mean((0, 1))
    means = MeansOfItems(9)
    for part in (slice(0, 4), slice(4, 9)):
        means.add(mean[part], (values - mean)[..., part])
    result = Standardised(mean, means)
    torch.testing.assert_close(result.value, psi(values[0]))
    moved = torch.cat([result.moved(part, (values - mean)[..., part]) for part in (slice(0, 4), slice(4, 9))], dim=-1)
    delta = moved[0].square().sum(0).sqrt() / 40
    assert float((delta / jackknife - 1).abs().max()) < 0.05


def test_items_all_alike_have_no_standardised_value() -> None:
    means = MeansOfItems(3)
    means.add(torch.ones(3), torch.ones(1, 4, 3))
    result = Standardised(torch.ones(3), means)
    assert not result.value.any()
    assert not result.moved(slice(0, 3), torch.ones(1, 4, 3)).any()


@pytest.mark.parametrize("make", [pairs, chains])
def test_blocks_of_items_give_the_numbers_of_all_items_at_once(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    full, restricted = make(60, False, 0), make(60, True, 1)
    whole = Components(full).parts(restricted)
    monkeypatch.setattr(averages, "ROOM", 5 * full.loss_rises.numel())
    assert len([*averages.Averages(full).parts(ITEMS)]) == 3
    blocks = Components(full).parts(restricted)
    assert blocks.effective == pytest.approx(whole.effective)
    for mine, other in zip(blocks[:-1], whole[:-1], strict=True):
        torch.testing.assert_close(mine, other)
