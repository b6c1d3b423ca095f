"""The losses of single items at draws of the localized posterior: what influence and susceptibilities are made of."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class LossDraws:
    """How far the loss of each item lies above its loss at w*, at draws of p(w) ∝ exp(−nβ L_n(w) − γ/2 ‖w−w*‖²).

    The items may be any; they need not be those of L_n. Draws of chains that failed are left out beforehand.

    Attributes:
        rises: ℓ_i(w_t) − ℓ_i(w*), shape (groups, draws, items), in nats.
        anchors: ℓ_i(w*), shape (items,), in nats.
        loss_rises: L_n(w_t) − L_n(w*), shape (groups, draws), in nats: over all n items, or over the same ones at every
            draw. A minibatch of each draw's own would add its noise to every covariance with items that are in it.
        log_weights: None for chains: a group is a chain, its draws in order, which depend on one another and count
            alike. Else the logarithms of importance weights up to a constant, shape (groups, draws): a group is an
            antithetic pair, and groups are independent.
        n_beta, gamma, n: nβ, γ and how many items L_n is the mean of.
    """

    rises: Tensor
    anchors: Tensor
    loss_rises: Tensor
    log_weights: Tensor | None
    n_beta: float
    gamma: float
    n: int

    def __post_init__(self) -> None:
        """Raise ValueError if shapes differ, a number is not finite, or there are too few draws to differ."""
        if self.rises.ndim != 3 or self.rises.shape[0] * self.rises.shape[1] < 2:
            raise ValueError(
                f"rises must have the shape (groups, draws, items) and at least two draws, got {_shape(self.rises)}"
            )
        groups, length, items = self.rises.shape
        if self.is_chains and length < 2:
            raise ValueError(f"a chain must have at least 2 draws, got {length}")
        if not self.is_chains and groups < 2:
            raise ValueError(f"there must be at least 2 independent groups of draws, got {groups}")
        expected = {"anchors": (items,), "loss_rises": (groups, length), "log_weights": (groups, length)}
        for name, shape in expected.items():
            tensor = getattr(self, name)
            if tensor is not None and tuple(tensor.shape) != shape:
                raise ValueError(f"{name} must have the shape {shape}, got {_shape(tensor)}")
        for name in ("rises", *expected):
            tensor = getattr(self, name)
            if tensor is not None and not is_finite(tensor):
                raise ValueError(f"{name} must be finite: leave out the draws that are not")
        for name in ("n_beta", "gamma"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(f"{name} must be ≥ 0, got {value}")

    @property
    def is_chains(self) -> bool:
        """True if a group is a chain, False if groups are independent."""
        return self.log_weights is None

    @property
    def items(self) -> int:
        """How many items there are."""
        return self.rises.shape[2]

    def equally_weighted(self) -> Self:
        """Independent draws of the localizing prior as they are, without the loss: the posterior at nβ = 0.

        Raises:
            ValueError: these are chains, whose draws are those of the posterior.
        """
        if self.log_weights is None:
            raise ValueError("chains sample the posterior at their nβ; nβ = 0 needs draws of the localizing prior")
        return replace(self, log_weights=torch.zeros_like(self.log_weights))

    def classes(self, labels: Sequence[int]) -> Self:
        """The mean losses of classes of items, in place of the items.

        Args:
            labels: the class of each item, 0 to the number of classes − 1, each of which must occur.
        """
        if len(labels) != self.items:
            raise ValueError(f"there must be a label for each of the {self.items} items, got {len(labels)}")
        index = torch.tensor(list(labels), device=self.rises.device)
        counts = torch.bincount(index)
        if bool((counts == 0).any()):
            raise ValueError(f"class {int((counts == 0).nonzero()[0])} has no item")
        means = torch.nn.functional.one_hot(index).double() / counts
        return replace(
            self, rises=self.rises.double() @ means.to(self.rises.device), anchors=self.anchors.double() @ means
        )

    def halves(self) -> tuple[Self, Self] | None:
        """Draws that do not depend on each other; None if there are too few.

        Every other group, or the halves of a single chain.
        """
        groups, length = self.loss_rises.shape
        if groups >= (2 if self.is_chains else 4):
            return self._part(slice(0, None, 2), slice(None)), self._part(slice(1, None, 2), slice(None))
        if self.is_chains and length >= 4:
            half = length // 2
            return self._part(slice(None), slice(0, half)), self._part(slice(None), slice(length - half, None))
        return None

    def _part(self, groups: slice, draws: slice) -> Self:
        weights = self.log_weights
        return replace(
            self,
            rises=self.rises[groups, draws],
            loss_rises=self.loss_rises[groups, draws],
            log_weights=None if weights is None else weights[groups, draws],
        )


def is_finite(tensor: Tensor) -> bool:
    """True if every number is finite; looked at one group of draws after the other, to take little memory."""
    return all(bool(torch.isfinite(each).all()) for each in tensor)


def _shape(tensor: Tensor) -> tuple[int, ...]:
    return tuple(tensor.shape)
