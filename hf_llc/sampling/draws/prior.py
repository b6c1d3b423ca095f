"""Losses and gradients at independent draws of the localizing prior: no chain, no step size, no warm-up.

The prior is π = N(w*, I/γ). Draws come in antithetic pairs w± = w* ± Δ, Δ = ξ/√γ, ξ standard normal, each on a
minibatch of its own. ξ and the minibatch depend on (seed, purpose, pair) alone, so that any number of processes make
the same draws, and checkpoints of a series see common random numbers.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor

from hf_llc.results.estimate import jsonable
from hf_llc.sampling import seeds
from hf_llc.sampling.objective import Objective, clear_gradients, gradients, restore
from hf_llc.sampling.tuning.curvature import RELATIVE_PROBE, root_mean_square

GRADIENT_SHARE = 0.25
"""Of a minibatch, of whose items gradients are taken: four of them and their losses then cost what three losses of it
do. What they correct is mostly small."""


@dataclass(frozen=True, kw_only=True)
class LossPair:
    """What the losses of a pair show, in nats per token.

    Attributes:
        counts: items of each half of the minibatch; of the whole where it has fewer than two items or all there are.
        anchor, anchor_square: mean of ℓ_i(w*) and of its square over the minibatch.
        up, down: mean rise of the loss from w* to w+ and to w−, of each half. squared_distance: ‖Δ‖².
    """

    counts: tuple[int, ...]
    anchor: float
    anchor_square: float
    up: tuple[float, ...]
    down: tuple[float, ...]
    squared_distance: float

    @property
    def even(self) -> tuple[float, ...]:
        """The even part (L(w+) + L(w−))/2 − L(w*) of each half."""
        return tuple((up + down) / 2 for up, down in zip(self.up, self.down, strict=True))

    @property
    def odd(self) -> tuple[float, ...]:
        """The odd part (L(w+) − L(w−))/2 of each half."""
        return tuple((up - down) / 2 for up, down in zip(self.up, self.down, strict=True))

    @property
    def rise(self) -> float:
        """The even part over the whole minibatch."""
        return sum(count * even for count, even in zip(self.counts, self.even, strict=True)) / sum(self.counts)

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready mapping."""
        return {key: jsonable(value) for key, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Self:
        """The pair that `to_dict` wrote."""
        numbers: dict[str, Any] = {key: _numbers(value) for key, value in stored.items()}
        return cls(**numbers)


@dataclass(frozen=True, kw_only=True)
class GradientPair:
    """What the gradients of a pair show, on two disjoint minibatches A and B of G items.

    The mean of a_A·a_B over minibatches without a common item is ‖a_n‖² − S²/n, S² the variance of a over the n items,
    and that of ‖a_A‖² is ‖a_n‖² + S²/G − S²/n. So (1 − G/n) a_A·a_B + (G/n) ‖a_A‖² has the mean ‖a_n‖² (sampling
    without replacement, Cochran 1977, section 2.5).

    Attributes:
        even, odd: that of a = (∇L(w+) − ∇L(w−))/2 and of a = (∇L(w+) + ∇L(w−))/2, in (nats per weight)².
        radial: Δ·(∇L(w+) − ∇L(w−))/4 over both minibatches, nats per token: the even part of the loss as its slope has
            it, which is the even part itself where that is quadratic, and twice it where it is of degree four.
        rise: the even part itself over both, nats per token.
    """

    even: float
    odd: float
    radial: float
    rise: float

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready mapping."""
        return {key: jsonable(value) for key, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Self:
        """The pair that `to_dict` wrote."""
        return cls(**{key: _numbers(value) for key, value in stored.items()})


def _numbers(value: Any) -> Any:
    """What JSON has, with NaN for null."""
    if isinstance(value, list):
        return tuple(map(_numbers, value))
    return math.nan if value is None else value


class _Products(NamedTuple):
    """Of two gradients at w+ and two at w−: those of equal signs, and the sum of both of unequal ones."""

    plus: float
    minus: float
    mixed: float

    @property
    def even(self) -> float:
        return (self.plus + self.minus - self.mixed) / 4

    @property
    def odd(self) -> float:
        return (self.plus + self.minus + self.mixed) / 4


class _AlongGradient(NamedTuple):
    """The product of a gradient with w − w*, and the mean loss there, both in nats per token."""

    radial: float
    loss: float


class PriorDraws:
    """Pairs of draws of the prior around the weights as they are when this is made: w*.

    Beside w there are w* and, while gradients are taken, at most three of them in memory; all but one of these may be
    kept elsewhere than w.

    Args:
        objective: of losses. in_full: of gradients, at the same tensors.
        batch_size: items of a minibatch; n where that is less. Gradients are of GRADIENT_SHARE of them.
        keep_on: device of w* and of gradients that wait; None is that of w.
    """

    def __init__(
        self,
        objective: Objective,
        in_full: Objective,
        *,
        gamma: float,
        batch_size: int,
        seed: int,
        keep_on: torch.device | None = None,
    ) -> None:
        self.objective, self._in_full = objective, in_full
        self._sigma: float = gamma**-0.5
        self._size, self._seed = min(batch_size, objective.n), seed
        whole = self._size == objective.n
        self._gradient_size = self._size if whole else max(1, int(GRADIENT_SHARE * self._size))
        self._keep_on = keep_on
        self._center = [self._kept(parameter) for parameter in objective.parameters]

    def losses(self, pair: int) -> LossPair:
        """The losses of pair number `pair`; the weights are w* again afterwards."""
        items = minibatch(self.objective.n, self._size, self._seed, pair)
        # Two halves tell what minibatches make of a product; all items at once make nothing of it.
        parts = 1 if len(items) in {1, self.objective.n} else 2
        try:
            anchors = self.objective.losses(items).double()
            rises = []
            for sign in (1.0, -1.0):
                distance = self.move("prior draw", pair, sign)
                rises.append((self.objective.losses(items).double() - anchors).tensor_split(parts))
        finally:
            restore(self.objective.parameters, self._center)
        up, down = (tuple(float(half.mean()) for half in each) for each in rises)
        return LossPair(
            counts=tuple(map(len, rises[0])),
            anchor=float(anchors.mean()),
            anchor_square=float(anchors.square().mean()),
            up=up,
            down=down,
            squared_distance=distance,
        )

    def gradients(self, pair: int) -> GradientPair:
        """The gradients of pair number `pair`, drawn apart from those of `losses`; the weights are w* afterwards."""
        n, purpose = self._in_full.n, "prior draw with gradients"
        one, other = minibatches(n, self._gradient_size, 2, self._seed, "prior draw items with gradients", pair)
        share = len(one) / n
        along_gradients: list[_AlongGradient] = []

        def slope_of(items: Tensor) -> list[Tensor]:
            slope, values = self._gradient(items)
            along_gradients.append(values)
            return slope

        try:
            anchor = self._mean(one, other)
            self.move(purpose, pair, 1.0)
            up = [self._kept(each) for each in slope_of(one)]
            self.move(purpose, pair, -1.0)
            down = [self._kept(each) for each in slope_of(one)]
            alone = _Products(self._dot(up, up), self._dot(down, down), 2 * self._dot(up, down))
            crossed = alone
            if share < 1:
                slope = slope_of(other)
                down_down, down_up = self._dot(slope, down), self._dot(slope, up)
                del slope
                self.move(purpose, pair, 1.0)
                slope = slope_of(other)
                crossed = _Products(self._dot(slope, up), down_down, self._dot(slope, down) + down_up)
        finally:
            restore(self._in_full.parameters, self._center)
            clear_gradients(self._in_full.parameters)
        return GradientPair(
            even=(1 - share) * crossed.even + share * alone.even,
            odd=(1 - share) * crossed.odd + share * alone.odd,
            # At w− the way from w* is −Δ, so that both signs count alike.
            radial=sum(each.radial for each in along_gradients) / len(along_gradients) / 2,
            rise=sum(each.loss for each in along_gradients) / len(along_gradients) - anchor,
        )

    def bend(self, number: int) -> float:
        """g·Hg of L_n at w* from three disjoint minibatches, nats per token times (nats per weight²)².

        H g of the second one is the central difference of two gradients along g of the first one. Minibatches without a
        common item are not quite independent, which biases the product by a term of order 1/n.
        """
        parameters, shards = self._in_full.parameters, self._in_full.shards
        one, other, third = minibatches(self._in_full.n, self._gradient_size, 3, self._seed, "items of a bend", number)
        try:
            slope, _ = self._gradient(one)
            along = [self._kept(each) for each in slope]
            length = math.sqrt(self._dot(along, along))
            if length == 0:
                return 0.0
            step = RELATIVE_PROBE * root_mean_square(parameters, shards) / length
            products = []
            for sign in (step, -step):
                with torch.no_grad():
                    for parameter, center, direction in zip(parameters, self._center, along, strict=True):
                        parameter.copy_(center).add_(direction.to(parameter.device), alpha=sign)
                slope, _ = self._gradient(other)
                products.append([self._kept(each) for each in slope])
            restore(parameters, self._center)
            slope, _ = self._gradient(third)
            return (self._dot(slope, products[0]) - self._dot(slope, products[1])) / (2 * step)
        finally:
            restore(parameters, self._center)
            clear_gradients(parameters)

    @torch.no_grad()
    def move(self, purpose: str, pair: int, sign: float) -> float:
        """w ← w* ± Δ of the pair of that purpose; returns ‖Δ‖²."""
        parameters, shards = self.objective.parameters, self.objective.shards
        stream = seeds.generator(self._seed, purpose, pair, device=parameters[0].device)
        squares: list[Tensor] = []
        for parameter, center, xi in zip(parameters, self._center, shards.normals(parameters, stream), strict=True):
            parameter.copy_(center).add_(xi, alpha=sign * self._sigma)
            squares.append(torch.linalg.vector_norm(xi).square())
        total: Tensor = shards.total(torch.stack(squares).sum())
        return float(total) * self._sigma**2

    def _gradient(self, items: Tensor) -> tuple[list[Tensor], _AlongGradient]:
        """∇L at w of these items, its product with w − w*, and their mean loss."""
        parameters = self._in_full.parameters
        clear_gradients(parameters)
        losses = self._in_full.losses_and_gradient(items)
        slope = gradients(parameters)
        products = [
            ((parameter.detach() - center.to(parameter.device)) * gradient).sum()
            for parameter, center, gradient in zip(parameters, self._center, slope, strict=True)
        ]
        radial = float(self._in_full.shards.total(torch.stack(products).sum()))
        return slope, _AlongGradient(radial, float(losses.double().mean()))

    def _mean(self, one: Tensor, other: Tensor) -> float:
        """The loss at w over two minibatches of the same size."""
        return float((self._in_full.losses(one).double().mean() + self._in_full.losses(other).double().mean()) / 2)

    def _dot(self, tensors: Sequence[Tensor], kept: Sequence[Tensor]) -> float:
        products = torch.stack([(a * b.to(a.device)).sum() for a, b in zip(tensors, kept, strict=True)])
        total: Tensor = self._in_full.shards.total(products.sum().to(self._in_full.parameters[0].device))
        return float(total)

    def _kept(self, tensor: Tensor) -> Tensor:
        """A copy of it where w* is."""
        return tensor.detach().to(self._keep_on or tensor.device, copy=True)


def minibatch(n: int, size: int, seed: int, pair: int) -> Tensor:
    """The items of a pair, shape (size,): in turn from a random order of all, a new order once too few are left."""
    epoch, place = divmod(pair, n // size)
    order = torch.randperm(n, generator=seeds.generator(seed, "prior draw items", epoch))
    return order[place * size : (place + 1) * size]


def minibatches(n: int, size: int, count: int, seed: int, purpose: str, number: int) -> list[Tensor]:
    """Disjoint minibatches, each of shape (size,); all items each, on which there is no noise, if those are too few."""
    if n < count * size:
        return [torch.arange(n)] * count
    order = torch.randperm(n, generator=seeds.generator(seed, purpose, number))
    return list(order[: count * size].split(size))
