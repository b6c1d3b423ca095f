"""Susceptibilities at nβ = 0, and whether those of the posterior are others.

At nβ = 0 the posterior is its localizing prior, and −Cov_C(L, ℓ_k − L) there is what perturbations of the weights by
their own say of the loss around w*. It is not 0: on a quadratic with curvatures h of L and h + d of ℓ_k it is
−½ Σ h d/γ², where the posterior has −½ Σ h d/(nβh + γ)². Where γ is far above nβh both are alike, and a susceptibility
says nothing that noise of the size of the prior would not.
"""

import math
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from hf_llc.measures.susceptibility.parts import Part, relative_losses
from hf_llc.results.matrix import MatrixQuality, MatrixVerdict
from hf_llc.results.susceptibility import ControlQuality, ControlVerdict
from hf_llc.sampling.averages import Averages, Errors
from hf_llc.sampling.covariance import covariance_with
from hf_llc.sampling.loss_draws import LossDraws

FLIPS = 999
"""Random signs of the draws by which a difference is judged."""
LEVEL = 0.05
"""Share of them that may differ by as much, lest the difference be chance."""
DIFFERENCE_MIN = 0.1
"""Of the size of the entries, below which a difference changes nothing that is read off them."""
TWO_SIDED = 2.0
"""Standard errors from 0 beyond which 5 % of entries lie by chance."""


class Comparison(NamedTuple):
    """A component's susceptibilities at nβ = 0 beside those of its posterior.

    Attributes:
        control: −Cov_C(φ, y) at nβ = 0. difference: what the posterior has more, and its error: both are of the same
            draws with other weights, and have most of their noise in common.
        distances: sums over items of the squared difference in units of its error, for the draws as they are and for
            FLIPS random choices of the sign of what each group of draws contributes.
    """

    control: Part
    difference: Part
    distances: Tensor


class _AtDraws:
    """−Cov_C(φ, y) at some draws, a block of items at a time."""

    def __init__(self, draws: LossDraws) -> None:
        self.averages, self._draws = Averages(draws), draws

    def at(self, part: slice) -> tuple[Tensor, Tensor]:
        """The covariances of these items, and what draws contribute to them."""
        products = covariance_with(self.averages, self._draws.loss_rises, relative_losses(self._draws, part))
        return -products.value, -products.influence

    @cached_property
    def errors(self) -> Errors:
        """Of the covariances."""
        return self.averages.errors(lambda part: [self.at(part)[1]], self._draws.items)[0]

    def sums(self, of_draws: Tensor) -> Tensor:
        """What blocks of draws that are independent of each other contribute, of shape (blocks, items), whose squares
        add up to the variances."""
        blocks = self.averages.blocks(self.errors.correlation)
        return self.averages.sums(of_draws, blocks) * math.sqrt(self.averages.factor(blocks, self.errors.correlation))


def control(draws: LossDraws) -> Part:
    """−Cov_C(φ, y) at nβ = 0, from draws of the localizing prior: what there is of it without the loss."""
    at_zero = _AtDraws(draws)
    values = torch.cat([at_zero.at(part)[0] for part in at_zero.averages.parts(draws.items)])
    return Part(values, at_zero.errors.stderr)


def compared(draws: LossDraws, at_zero: LossDraws, covariance: Part) -> Comparison:
    """The control of the component, and how far the covariance lies from it.

    Args:
        at_zero: the losses at draws of the localizing prior: these draws with other weights, or others.
    """
    ours, theirs = _AtDraws(draws), _AtDraws(at_zero)
    are_same = draws.loss_rises.shape == at_zero.loss_rises.shape and torch.equal(draws.loss_rises, at_zero.loss_rises)
    of_prior = control(at_zero)
    widening = max(each.averages.widening(each.errors.correlation) for each in (ours, theirs))
    signs, stderrs, distances = torch.empty(0), [], torch.zeros(FLIPS + 1, dtype=torch.float64)
    difference = covariance.value - of_prior.value
    for part in ours.averages.parts(draws.items):
        sums = ours.sums(ours.at(part)[1]), theirs.sums(theirs.at(part)[1])
        both = sums[0] - sums[1] if are_same else torch.cat([sums[0], -sums[1]])
        if not len(signs):
            stream = torch.Generator().manual_seed(0)
            signs = torch.randint(0, 2, (FLIPS, len(both)), generator=stream).double() * 2 - 1
        stderr = both.square().sum(dim=0).sqrt() * widening
        units = torch.where(stderr > 0, stderr, torch.inf)
        distances += (torch.cat([difference[None, part], signs @ both]) / units).square().sum(dim=1)
        stderrs.append(stderr)
    return Comparison(of_prior, Part(difference, torch.cat(stderrs)), distances)


def judged(covariances: list[Part], comparisons: list[Comparison], quality: MatrixQuality) -> ControlQuality:
    """Whether the susceptibilities of all components are others than their controls.

    The entries of a matrix have noise in common. How far all of them lie from their controls is therefore compared with
    how far they would by chance, which random signs of the draws' contributions tell (the wild bootstrap, Liu 1988).
    Signs are the same for all components, whose draws may be of common random numbers.
    """
    distances = torch.stack([each.distances for each in comparisons]).sum(dim=0)
    chance = float((1 + (distances[1:] >= distances[0]).sum()) / (FLIPS + 1))
    difference, correlation = _size(covariances, comparisons), _correlation(covariances, comparisons)
    values, errors = (torch.cat([getattr(each.difference, name) for each in comparisons]) for name in Part._fields)
    beyond = float((values.abs() > TWO_SIDED * errors).double().mean())
    reason = f"{beyond:.0%} of the entries lie more than {TWO_SIDED:g} errors from those at nβ = 0, 5% would by chance"
    if quality.verdict is MatrixVerdict.NOISE or difference is None:
        verdict = ControlVerdict.NOISE
        reason = f"the covariances are noise, and cannot be told from those at nβ = 0; {reason}"
    else:
        is_other = chance <= LEVEL and difference >= DIFFERENCE_MIN
        verdict = ControlVerdict.DIFFERS if is_other else ControlVerdict.SAME
        alike = "" if correlation is None else f", correlation over items {correlation:.2f}"
        size = f"the difference from those at nβ = 0 has {difference:.0%} of their size"
        reason = f"{size} (p = {chance:.2g}{alike}); {reason}"
    return ControlQuality(
        verdict=verdict,
        reason=reason,
        difference=difference,
        correlation=correlation,
        beyond=beyond,
        chance=chance,
    )


def _size(covariances: list[Part], comparisons: list[Comparison]) -> float | None:
    """The root mean square of the differences over that of the covariances, of which each component counts alike,
    less those of their errors; None where the covariances are not more than their errors."""
    ratios = []
    for covariance, each in zip(covariances, comparisons, strict=True):
        size = _power(covariance)
        if size <= 0:
            return None
        ratios.append(max(_power(each.difference), 0.0) / size)
    return math.sqrt(sum(ratios) / len(ratios))


def _power(part: Part) -> float:
    return float((part.value.square() - part.stderr.square()).mean())


def _correlation(covariances: list[Part], comparisons: list[Comparison]) -> float | None:
    """Of covariances and controls over the items of each component, without what their noise has in common; None where
    either does not vary by more than its noise."""
    total = 0.0
    for covariance, each in zip(covariances, comparisons, strict=True):
        noise = [part.stderr.square() for part in (covariance, each.control, each.difference)]
        left, right = (part.value - part.value.mean() for part in (covariance, each.control))
        shared = float((left * right - (noise[0] + noise[1] - noise[2]) / 2).mean())
        spreads = float((left.square() - noise[0]).mean()), float((right.square() - noise[1]).mean())
        if min(spreads) <= 0:
            return None
        total += shared / math.sqrt(spreads[0] * spreads[1])
    return max(-1.0, min(1.0, total / len(comparisons)))
