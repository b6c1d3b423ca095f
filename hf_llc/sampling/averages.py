"""Means over the draws of a posterior with their standard errors, of many quantities at once."""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from hf_llc.sampling.autocorrelation import INDEPENDENT, Autocorrelation, autocorrelation
from hf_llc.sampling.loss_draws import LossDraws
from hf_llc.sampling.statistics import ENOUGH_WEIGHTS, PER_FREEDOM, smoothed_weights, widened_at_two

BATCH = 2.0
"""Autocorrelation times in a batch of a chain's draws."""
MOST_BLOCKS = 128
"""Batches of all chains from which on more of them make a standard error hardly better known."""
ROUNDING = 1e-13
"""Of a value, below which its deviations are errors of rounding."""
ROOM = 2**19
"""Numbers of a block of columns at all draws, so that the memory for what is computed of them is bounded."""

Columns = Callable[[slice], Sequence[Tensor]]
"""Several quantities at all draws, each of shape (groups, draws, columns), for these of their columns."""


class Errors(NamedTuple):
    """Standard errors of a quantity's columns, and the autocorrelation pooled over them."""

    stderr: Tensor
    correlation: Autocorrelation


class Averages:
    """The weights of draws, and errors of what is averaged with them.

    A standard error is that of a mean of independent blocks: of batches of a chain's draws, whose length follows from
    their autocorrelation, or of antithetic pairs. A quantity that is no mean is given by its influence: what each draw
    contributes to it to first order (Hampel 1974), which is the delta method, and the infinitesimal jackknife.

    Attributes:
        weights: of sum 1, shape (groups, draws); those of importance draws are smoothed in their tail (PSIS).
        pareto_k: the shape k̂ of that tail, above 0.7 of which nothing is to be relied on; None where all weights are
            equal or too few.
    """

    def __init__(self, draws: LossDraws) -> None:
        self.groups, self.length = draws.loss_rises.shape
        self.is_chains = draws.is_chains
        self.weights, self.pareto_k = _weights(draws)

    def mean(self, values: Tensor) -> Tensor:
        """The weighted mean of values of shape (groups, draws, …)."""
        mean: Tensor = torch.tensordot(self.weights, values.double(), dims=2)
        return mean

    def expectation(self, values: Tensor) -> Tensor:
        """The mean less the bias of a self-normalised one, which is minus the covariance of a group's weight with what
        the group contributes (Hesterberg 1995)."""
        mean = self.mean(values)
        if self.is_chains:
            return mean
        own = self.weights.sum(dim=1, keepdim=True) * self.weights
        missing: Tensor = torch.tensordot(own, values.double() - mean, dims=2)
        return mean + missing

    def centred(self, values: Tensor) -> Tensor:
        """Deviations of values (groups, draws, …) from their mean; in chains from that of each chain.

        How far chains lie apart that do not mix is no covariance of the posterior.
        """
        values = values.double()
        deviations = values - (values.mean(dim=1, keepdim=True) if self.is_chains else self.mean(values))
        # What rounding leaves of a constant would count as much as any other variable in units of its own spread.
        rounding = ROUNDING * values.abs().amax(dim=(0, 1))
        return torch.where(deviations.abs().amax(dim=(0, 1)) > rounding, deviations, 0.0)

    def influence(self, values: Tensor) -> Tensor:
        """The influence of each draw on the mean of values of shape (groups, draws, …)."""
        return values.double() - self.mean(values)

    def autocorrelation(self, values: Tensor) -> Autocorrelation:
        """Pooled over variables (groups, draws, variables), each in units of its standard deviation."""
        return self.autocorrelations(lambda part: [values[..., part]], values.shape[-1])[0]

    def autocorrelations(self, columns: Columns, count: int) -> list[Autocorrelation]:
        """`autocorrelation` of several quantities, of which only a block of the columns is in memory at a time."""
        lagged: list[Tensor] = []
        for part in self.parts(count):
            values = columns(part)
            if not self.is_chains:
                return [INDEPENDENT] * len(values)
            added = [_lagged(standardised(each - each.mean(dim=1, keepdim=True))) for each in values]
            lagged = [known + more for known, more in zip(lagged, added, strict=True)] if lagged else added

        def of(sums: Tensor) -> Autocorrelation:
            def at(lag: int) -> float:
                return float(sums[lag]) / (self.groups * (self.length - lag))

            return autocorrelation(at, self.length, self.length)

        return [of(each) for each in lagged]

    def parts(self, count: int) -> Iterator[slice]:
        """Blocks of so many columns, which together are all of them."""
        return chunks(count, ROOM // (self.groups * self.length))

    def stderr(self, influence: Tensor) -> Tensor:
        """The standard errors of quantities with this influence, of shape (groups, draws, quantities)."""
        return self.errors(lambda part: [influence[..., part]], influence.shape[-1])[0].stderr

    def errors(self, columns: Columns, count: int) -> list[Errors]:
        """The standard errors of several quantities whose influences these are.

        So large that as many results lie within two of it as within two standard deviations of a normal variable, and
        never less than what the spread of chains says of all columns together.
        """
        correlations = self.autocorrelations(columns, count)
        squares = [
            [self._squares(each, correlation) for each, correlation in zip(columns(part), correlations, strict=True)]
            for part in self.parts(count)
        ]
        results = []
        for correlation, of_parts in zip(correlations, zip(*squares, strict=True), strict=True):
            within, apart = (torch.cat(each) for each in zip(*of_parts, strict=True))
            if self.is_chains and self.groups > 1:
                within = within * excess(apart * (self.groups / (self.groups - 1)), within)
            results.append(Errors(within.sqrt() * self.widening(correlation), correlation))
        return results

    def _squares(self, influence: Tensor, correlation: Autocorrelation) -> tuple[Tensor, Tensor]:
        """The variances of means by blocks of draws, and sums of squares of the means of groups."""
        blocks = self.blocks(correlation)
        within = self.sums(influence, blocks).square().sum(dim=0) * self.factor(blocks, correlation)
        if not self.is_chains:
            return within, within
        return within, (self.weights[..., None] * influence).sum(dim=1).square().sum(dim=0)

    def blocks(self, correlation: Autocorrelation) -> list[slice]:
        """Places of the draws of each block, all groups one after the other."""
        total = self.groups * self.length
        if not self.is_chains:
            return [slice(group * self.length, (group + 1) * self.length) for group in range(self.groups)]
        size = max(BATCH * correlation.time, total / MOST_BLOCKS)
        count = max(1 if self.groups > 1 and self.length < 4 else 2, math.floor(self.length / size))
        places = torch.arange(self.length).tensor_split(min(count, self.length))
        return [
            slice(group * self.length + int(one[0]), group * self.length + int(one[-1]) + 1)
            for group in range(self.groups)
            for one in places
        ]

    def factor(self, blocks: list[slice], correlation: Autocorrelation) -> float:
        """What a sum of squares over blocks is multiplied by to be the variance of a mean."""
        unseen = correlation.unseen(min(block.stop - block.start for block in blocks)) if self.is_chains else 1.0
        return unseen * len(blocks) / max(1, len(blocks) - 1)

    def widening(self, correlation: Autocorrelation) -> float:
        """What a standard error is multiplied by, since it is itself an estimate.

        The variance of N products of two normal variables is known as well as that of N/8 to N/4 normal ones, since
        their fourth moment is larger; an autocorrelation time leaves no more, see `sampling.statistics.student`.
        """
        return widened_at_two(max(1.0, self.effective(correlation) / PER_FREEDOM))

    def effective(self, correlation: Autocorrelation) -> float:
        """Independent draws, or pairs of them, that the draws are worth (of weighted ones: Kong 1992)."""
        if self.is_chains:
            return self.groups * self.length / correlation.time
        return float(1 / self.weights.sum(dim=1).square().sum())

    def sums(self, values: Tensor, blocks: list[slice]) -> Tensor:
        """Weighted sums of values (groups, draws, quantities) over each block, of shape (blocks, quantities)."""
        weighted = (self.weights[..., None] * values).flatten(0, 1)
        owner = torch.empty(len(weighted), dtype=torch.long)
        for number, block in enumerate(blocks):
            owner[block] = number
        return weighted.new_zeros(len(blocks), weighted.shape[1]).index_add_(0, owner.to(weighted.device), weighted)


def excess(apart: Tensor, within: Tensor) -> float:
    """How many times larger the variances of means between chains are than those from within them, at least 1.

    Pooled over quantities: that of a single one is known from a few chains only.
    """
    usable = within > 0
    return max(1.0, float((apart[usable] / within[usable]).mean())) if bool(usable.any()) else 1.0


def standardised(deviations: Tensor) -> Tensor:
    """Deviations (groups, draws, variables) in units of each one's standard deviation; 0 for one that is constant."""
    scale = deviations.square().mean(dim=(0, 1), keepdim=True).sqrt()
    return deviations / torch.where(scale > 0, scale, torch.ones_like(scale))


def _lagged(deviations: Tensor) -> Tensor:
    """Σ a(t) a(t + lag) over groups, draws t and variables of a (groups, draws, variables), for each lag."""
    length = deviations.shape[1]
    spectrum = torch.fft.rfft(deviations, n=2 * length, dim=1)
    power = (spectrum.real.square() + spectrum.imag.square()).sum(dim=(0, 2))
    lagged: Tensor = torch.fft.irfft(power, n=2 * length)[:length]
    return lagged


def chunks(total: int, size: int) -> Iterator[slice]:
    """Slices of at most that size that cover the total."""
    for start in range(0, total, max(1, size)):
        yield slice(start, min(total, start + max(1, size)))


def _weights(draws: LossDraws) -> tuple[Tensor, float | None]:
    shape = draws.loss_rises.shape
    logs = draws.log_weights
    equal = torch.full(shape, 1 / shape.numel(), dtype=torch.float64, device=draws.rises.device)
    if logs is None or float(logs.max() - logs.min()) == 0.0:
        return equal, None
    logs = logs.double()
    if logs.numel() < ENOUGH_WEIGHTS:
        return torch.softmax(logs.flatten(), dim=0).reshape(shape), None
    smoothed, tail = smoothed_weights(logs.cpu().numpy())
    return torch.from_numpy(smoothed).to(equal), tail
