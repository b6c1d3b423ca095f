"""Covariances of items' losses under the posterior, each with its standard error.

From chains every covariance is about each chain's own mean, so that chains which do not mix invent none, and what that
takes from it is put back by the number of effective draws. From independent antithetic pairs w± it is a self-normalised
mean. Where both weigh the same, that is Cov(e_i, e_j) + E[o_i o_j] with the even parts e = (ℓ(w+) + ℓ(w−))/2 − ℓ(w*)
and the odd parts o = (ℓ(w+) − ℓ(w−))/2: no even part is multiplied with an odd one, which would only be noise.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from hf_llc.sampling.autocorrelation import INDEPENDENT, Autocorrelation, autocorrelation
from hf_llc.sampling.averages import Averages, chunks, excess
from hf_llc.sampling.loss_draws import LossDraws

ROOM = 2**22
"""Entries of a matrix that are worked on at once."""
SHORT = 16
"""Draws of a block up to which products of matrices are faster than a sum over blocks."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Covariances:
    """Covariances of all pairs of items; every matrix has the shape (items, items).

    Attributes:
        covariance, covariance_stderr: Cov(ℓ_i, ℓ_j) in nats², and its standard error.
        correlation, correlation_stderr: Cov(ℓ_i, ℓ_j) / √(Var ℓ_i Var ℓ_j), 0 where a loss does not vary.
        effective: independent draws (or pairs of them) that the draws are worth for a product of two losses.
        pareto_k: see `Averages`.
    """

    covariance: Tensor
    covariance_stderr: Tensor
    correlation: Tensor
    correlation_stderr: Tensor
    effective: float
    pareto_k: float | None


def covariances(draws: LossDraws) -> Covariances:
    """Cov(ℓ_i, ℓ_j) and the correlation of all pairs of items.

    The errors are those of sums over blocks of draws: of Z_ij = Σ w (a_i a_j − Cov_ij) with the weights w and the
    centred losses a, and for a correlation R of Z_ij/(s_i s_j) − R (Z_ii/s_i² + Z_jj/s_j²)/2 (the delta method).
    """
    averages = Averages(draws)
    deviations = averages.centred(draws.rises)
    means = _means(averages, deviations)
    units = deviations / means.units
    products = _of_products(averages, units, means.correlation)
    errors, correlation_errors = _errors(averages, units, means.correlation, products)
    return Covariances(
        covariance=means.covariance,
        covariance_stderr=errors * means.units * means.units[:, None] / means.shrunk,
        correlation=means.correlation,
        correlation_stderr=correlation_errors,
        effective=averages.effective(products),
        pareto_k=averages.pareto_k,
    )


def covariances_alone(draws: LossDraws) -> tuple[Tensor, Tensor]:
    """Cov(ℓ_i, ℓ_j) and the correlation of all pairs of items, as in `covariances`, which takes longer."""
    averages = Averages(draws)
    means = _means(averages, averages.centred(draws.rises))
    return means.covariance, means.correlation


@dataclass(frozen=True, kw_only=True, eq=False)
class Products:
    """Cov(φ_k, f_k) of quantities one by one.

    Attributes:
        value: the covariances, shape (quantities,). influence: of them, shape (groups, draws, quantities), see
            `Averages`. of_means: the covariances of the means of φ_k and f_k.
    """

    value: Tensor
    influence: Tensor
    of_means: Tensor


def covariance_with(averages: Averages, phi: Tensor, values: Tensor) -> Products:
    """Cov(φ, f_k) for φ of shape (groups, draws) and f of shape (groups, draws, quantities), or Cov(φ_k, f_k) where φ
    has that shape too: variances where they are the same."""
    left, right = averages.centred(phi), averages.centred(values)
    left = left if left.ndim == right.ndim else left[..., None]
    products = left * right
    plain = averages.mean(products)
    influence = products - plain
    if averages.is_chains:
        shrunk = _shrunk(averages, left)
        value = plain / shrunk
        return Products(value=value, influence=influence / shrunk, of_means=value * (1 - shrunk) / averages.groups)
    own = averages.weights[..., None]
    groups = (own * left).sum(dim=1) * (own * right).sum(dim=1)
    of_means = groups.sum(dim=0) * averages.groups / (averages.groups - 1)
    return Products(value=averages.expectation(products) + of_means, influence=influence, of_means=of_means)


class _Means(NamedTuple):
    """Covariances and correlations, the standard deviations of the losses, 1 for one that does not vary, and the share
    of a covariance that centring leaves."""

    covariance: Tensor
    correlation: Tensor
    units: Tensor
    shrunk: float


def _means(averages: Averages, deviations: Tensor) -> _Means:
    plain = torch.einsum("gd,gdi,gdj->ij", averages.weights, deviations, deviations)
    scale = plain.diagonal().clamp(min=0).sqrt()
    units = torch.where(scale > 0, scale, torch.ones_like(scale))
    shrunk = _shrunk(averages, deviations)
    covariance = plain / shrunk if averages.is_chains else plain + _missing(averages, deviations, plain)
    return _Means(covariance, plain / units / units[:, None], units, shrunk)


def _shrunk(averages: Averages, deviations: Tensor) -> float:
    """The share of a covariance that is left about each chain's own mean: 1 − τ/T."""
    if not averages.is_chains:
        return 1.0
    return 1 - min(0.5, averages.autocorrelation(deviations).time / averages.length)


def _missing(averages: Averages, deviations: Tensor, plain: Tensor) -> Tensor:
    """What a self-normalised covariance falls short of on average: the covariance of the two means, and the bias of a
    self-normalised mean, see `Averages.expectation`."""
    own = averages.weights.sum(dim=1, keepdim=True) * averages.weights
    ratio = torch.einsum("gd,gdi,gdj->ij", own, deviations, deviations) - own.sum() * plain
    groups = (averages.weights[..., None] * deviations).sum(dim=1)
    return groups.T @ groups * (averages.groups / (averages.groups - 1)) + ratio


def _of_products(averages: Averages, deviations: Tensor, correlation: Tensor) -> Autocorrelation:
    """The autocorrelation of the products of all pairs: Σ_ij a_i(t) a_j(t) a_i(t') a_j(t') is (a(t)·a(t'))²."""
    if not averages.is_chains:
        return INDEPENDENT
    along = torch.einsum("gdi,ij,gdj->gd", deviations, correlation, deviations)
    square = correlation.square().sum()
    length = averages.length

    def at(lag: int) -> float:
        inner = (deviations[:, lag:] * deviations[:, : length - lag]).sum(-1).square()
        return float((inner - along[:, lag:] - along[:, : length - lag] + square).mean())

    return autocorrelation(at, length, length * averages.groups)


def _errors(
    averages: Averages, deviations: Tensor, correlation: Tensor, products: Autocorrelation
) -> tuple[Tensor, Tensor]:
    """Standard errors of the mean products and of the correlations, for deviations in units of their spread."""
    blocks = averages.blocks(products)
    weights = averages.weights.flatten()
    rows = deviations.flatten(0, 1)
    groups = [slice(each * averages.length, (each + 1) * averages.length) for each in range(averages.groups)]
    errors, of_correlations = torch.empty_like(correlation), torch.empty_like(correlation)
    ratios: list[tuple[Tensor, Tensor]] = []
    for part in chunks(len(correlation), ROOM // len(correlation)):
        within, within_r = _squares(rows, weights, correlation, part, blocks)
        within, within_r = (each * averages.factor(blocks, products) for each in (within, within_r))
        if averages.is_chains and averages.groups > 1:
            apart, _ = _squares(rows, weights, correlation, part, groups)
            ratios.append((apart * averages.groups / (averages.groups - 1), within))
        errors[part], of_correlations[part] = within, within_r
    spread = excess(*(torch.cat(each).flatten() for each in zip(*ratios, strict=True))) if ratios else 1.0
    widening = averages.widening(products) * spread**0.5
    return errors.sqrt() * widening, of_correlations.sqrt() * widening


def _squares(
    rows: Tensor, weights: Tensor, correlation: Tensor, part: slice, blocks: list[slice]
) -> tuple[Tensor, Tensor]:
    """Sums of squares of what each block contributes to these rows of the mean products, and of the correlations."""
    known = correlation[part]
    if max(block.stop - block.start for block in blocks) <= SHORT:
        return _squares_of_short(rows, weights, known, part, blocks)
    errors, of_correlations = torch.zeros_like(known), torch.zeros_like(known)
    for block in blocks:
        weighted = rows[block] * weights[block, None]
        product = weighted[:, part].T @ rows[block]
        own = (weighted * rows[block]).sum(dim=0) / 2
        of_correlations += (product - known * (own[part, None] + own)).square_()
        errors += (product - float(weights[block].sum()) * known).square_()
    return errors, of_correlations


def _squares_of_short(
    rows: Tensor, weights: Tensor, known: Tensor, part: slice, blocks: list[slice]
) -> tuple[Tensor, Tensor]:
    """`_squares` of many short blocks by products of matrices: Σ_k (Σ_t w a_i a_j)² over draws t of a block k is a sum
    over two draws of it, w_t w_s (a_i(t) a_i(s)) (a_j(t) a_j(s))."""
    owner = torch.repeat_interleave(
        torch.arange(len(blocks), device=rows.device),
        torch.tensor([block.stop - block.start for block in blocks], device=rows.device),
    )
    squares = torch.zeros_like(known)
    for lag in range(max(block.stop - block.start for block in blocks)):
        kept = owner[lag:] == owner[: len(owner) - lag]
        both = (rows[lag:] * rows[: len(rows) - lag])[kept]
        weight = (weights[lag:] * weights[: len(weights) - lag])[kept] * (2 if lag else 1)
        squares += (both[:, part] * weight[:, None]).T @ both
    weighted = rows * weights[:, None]

    def summed(values: Tensor) -> Tensor:
        return values.new_zeros(len(blocks), *values.shape[1:]).index_add_(0, owner, values)

    whole = summed(weights)
    by_weight = (weighted[:, part] * whole[owner, None]).T @ rows
    errors = squares - 2 * known * by_weight + known.square() * whole.square().sum()
    own = summed(weighted * rows) / 2
    spread = weighted * own[owner]
    crossed = spread[:, part].T @ rows + rows[:, part].T @ spread
    own_squares = own.square().sum(dim=0)
    pairs = own_squares[part, None] + own_squares + 2 * own[:, part].T @ own
    of_correlations = squares - 2 * known * crossed + known.square() * pairs
    return errors.clamp(min=0), of_correlations.clamp(min=0)
