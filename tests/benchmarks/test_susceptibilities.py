"""Susceptibilities: the same draws given to devinterp, and how many forward passes chains and pairs take."""

import math
from typing import Any, NamedTuple

import numpy
import pytest
import torch
from torch import Tensor

from hf_llc.measures.susceptibility.parts import two_chain_total
from hf_llc.sampling.averages import Averages
from hf_llc.sampling.covariance import covariance_with
from hf_llc.sampling.loss_draws import LossDraws
from tests.measures.susceptibility.test_parts import chains

N_BETA, ITEMS = 37.7, 200
STEP = 3
"""Forward passes that a step of a chain costs."""


def test_devinterp_gives_the_total_of_two_chains() -> None:
    xarray: Any = pytest.importorskip("xarray")
    devinterp: Any = pytest.importorskip("devinterp.slt.susceptibilities")
    restricted, full = chains(200, True, 0), chains(200, False, 1)
    anchors = torch.linspace(0.5, 3, restricted.items, dtype=torch.float64)
    loss = float(anchors.mean())
    ids = numpy.zeros((restricted.items, 2), dtype=int)

    def tree(draws: LossDraws) -> Any:
        axes = ("chain", "draw", "batch_{}", "token_pos")
        values = {
            name: (tuple(axis.format(name) for axis in axes), array.numpy())
            for name, array in (
                ("pile", (draws.loss_rises + loss)[..., None, None]),
                ("probe", (draws.rises + anchors)[..., None]),
            )
        }
        tokens = {
            f"input_ids_{name}": ((f"batch_{name}", "pos"), each) for name, each in (("pile", ids[:1]), ("probe", ids))
        }
        losses = {f"loss_{name}": each for name, each in values.items()}
        return xarray.DataTree(xarray.Dataset({**losses, **tokens, "init_loss": (("chain",), numpy.full(4, loss))}))

    trees = {"full": tree(full), "c": tree(restricted)}
    theirs = devinterp.compute_susceptibilities(trees, "pile", ["probe"])["susceptibilities"]["sus"].values[:, 0]
    numpy.testing.assert_allclose(two_chain_total(restricted, full).numpy(), theirs, rtol=1e-6)


class Problem(NamedTuple):
    """Least squares at its minimum, nβh/γ of the sharpest direction given."""

    rows: Tensor
    residuals: Tensor
    hessian: Tensor
    gamma: float

    @property
    def spread(self) -> Tensor:
        identity = torch.eye(len(self.hessian), dtype=torch.float64)
        inverse: Tensor = torch.linalg.inv(N_BETA * self.hessian + self.gamma * identity)
        return inverse

    def exact(self) -> Tensor:
        """χ_k = −Cov(L, ℓ_k − L), Cov(L, ℓ_k) = ½ x_kᵀ Σ H Σ x_k."""
        middle = self.spread @ self.hessian @ self.spread
        of_items = ((self.rows @ middle) * self.rows).sum(1) / 2
        return of_items.mean() - of_items

    def draws(self, weights: Tensor, weigh: bool | None) -> LossDraws:
        """Weighted as draws of the prior, alike, or as chains where `weigh` is None."""
        rises = ((self.residuals - weights @ self.rows.T).square() - self.residuals.square()) / 2
        loss_rises = rises.mean(-1)
        return LossDraws(
            rises=rises,
            anchors=self.residuals.square() / 2,
            loss_rises=loss_rises,
            log_weights=None if weigh is None else -N_BETA * loss_rises * weigh,
            n_beta=N_BETA,
            gamma=self.gamma,
            n=ITEMS,
        )


def problem(size: int, sharpest: float) -> Problem:
    stream = torch.Generator().manual_seed(0)
    rows = torch.randn(ITEMS, size, generator=stream, dtype=torch.float64)
    rows *= torch.arange(1, size + 1, dtype=torch.float64) ** -0.5
    values = torch.randn(ITEMS, generator=stream, dtype=torch.float64)
    residuals = values - rows @ torch.linalg.lstsq(rows, values[:, None]).solution[:, 0]
    hessian = rows.T @ rows / ITEMS
    return Problem(rows, residuals, hessian, N_BETA * float(torch.linalg.eigvalsh(hessian).max()) / sharpest)


def pairs(case: Problem, passes: int, seed: int) -> LossDraws:
    noise = torch.randn(
        passes // 2, 1, len(case.hessian), generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )
    steps = noise / case.gamma**0.5
    return case.draws(torch.cat([steps, -steps], dim=1), True)


def four_chains(case: Problem, passes: int, seed: int) -> LossDraws:
    """The draws of equilibrated Leimkuhler–Matthews chains with ε(nβh + γ) = 1 in the sharpest direction."""
    count = max(2, passes // STEP // 4)
    curvatures, directions = torch.linalg.eigh(torch.linalg.inv(case.spread))
    noise = torch.randn(4, count, len(curvatures), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    correlation = 1 - curvatures / curvatures.max() / 2
    for place in range(1, count):
        noise[:, place] = correlation * noise[:, place - 1] + (1 - correlation**2).sqrt() * noise[:, place]
    return case.draws((noise / curvatures.sqrt()) @ directions.T, None)


def error(draws: list[LossDraws], exact: Tensor) -> float:
    """Root mean square deviation of χ from the exact one, in units of its spread over items."""
    squares = []
    for each in draws:
        products = covariance_with(Averages(each), each.loss_rises, each.rises - each.loss_rises[..., None])
        squares.append(float((-products.value - exact).square().mean()))
    return math.sqrt(sum(squares) / len(squares)) / float(exact.std())


@pytest.mark.parametrize(("size", "sharpest"), [(10, 0.3), (100, 0.3), (100, 1.0), (100, 3.0)])
def test_antithetic_pairs_take_fewer_passes_than_chains(size: int, sharpest: float) -> None:
    case = problem(size, sharpest)
    for passes, repeats in ((100, 16), (800, 16), (6400, 6)):
        of_pairs, of_chains = (
            error([make(case, passes, seed) for seed in range(repeats)], case.exact()) for make in (pairs, four_chains)
        )
        print(f"d {size}, nβh/γ ≤ {sharpest}, {passes} passes: pairs {of_pairs:.2f}, chains {of_chains:.2f}")
    # Both fall with the root of the passes by now.
    assert of_pairs < 0.5 * of_chains
    if sharpest <= 1:
        assert of_pairs < 0.2 * of_chains
