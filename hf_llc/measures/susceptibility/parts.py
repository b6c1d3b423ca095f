"""The two parts of a component's susceptibility to each item, from draws of two posteriors.

With the mixture q_h = (1−h) q + h q′ of data the posterior's mean of an observable answers by

    χ(φ) = (1/nβ) dE_h[φ]/dh at h = 0 = −Cov[φ, L_{q′} − L]

(Baker et al. 2025, arXiv 2504.18274), which has no factor nβ; q′ is a single item k here, L_{q′} = ℓ_k. The observable
of a component C is φ_C(w) = δ(u − u*) (L(w) − L(w*)), u the weights outside C. Its estimate from a chain of C's weights
alone, the others at w*, and one of all weights is (appendix C.4 there)

    −( E_C[φ y] − E_C[φ] E_full[y] ) = −Cov_C(φ, y) − E_C[φ] (E_C − E_full)[y],   φ = L − L*,   y = ℓ_k − L

On a quadratic with curvatures h_i of L, h_i + d_i of ℓ_k and A_i = nβh_i + γ, these parts are −½ Σ_C h_i d_i/A_i² and
¼ (Σ_C h_i/A_i) (Σ_{i∉C} d_i/A_i): the second one is a product of sums over C and over the rest, so that it grows with
both and depends on C hardly but by a factor.
"""

from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from hf_llc.sampling.averages import Averages, Errors
from hf_llc.sampling.covariance import covariance_with
from hf_llc.sampling.loss_draws import LossDraws


class Part(NamedTuple):
    """Numbers and standard errors, of shape (items,)."""

    value: Tensor
    stderr: Tensor


class Parts(NamedTuple):
    """The parts of the susceptibilities of one component.

    Attributes:
        covariance, shift, total: −Cov_C(φ, y), the rest, and their sum. standardised, standardised_total: the first and
            the last less their mean over items, in units of their standard deviation over items.
        effective: draws that the restricted ones are worth for the covariance.
    """

    covariance: Part
    shift: Part
    total: Part
    standardised: Part
    standardised_total: Part
    effective: float


class Influence(NamedTuple):
    """Results, and what each draw contributes to them to first order: (items,) and (groups, draws, items)."""

    value: Tensor
    of_draws: Tensor


def relative_losses(draws: LossDraws, part: slice = slice(None)) -> Tensor:
    """y = ℓ_k − L of these items less its value at w*, of shape (groups, draws, items)."""
    return draws.rises[..., part].double() - draws.loss_rises.double()[..., None]


class Components:
    """Susceptibilities of components against one full posterior.

    Draws of a component and of the full posterior count as independent. What is computed at all draws is computed of a
    block of items at a time: losses of many tokens fill the memory themselves.
    """

    def __init__(self, full: LossDraws) -> None:
        self.averages, self.draws = Averages(full), full
        parts = self.averages.parts(full.items)
        self.mean = torch.cat([self.averages.expectation(relative_losses(full, part)) for part in parts])

    def influence(self, part: slice) -> Tensor:
        """The influence of draws on the mean of y of these items."""
        return self.averages.influence(relative_losses(self.draws, part))

    @cached_property
    def errors(self) -> Errors:
        """Of the mean of y."""
        return self.averages.errors(lambda part: [self.influence(part)], self.draws.items)[0]

    @property
    def effective(self) -> float:
        """Draws that those of the full posterior are worth for a mean."""
        return self.averages.effective(self.errors.correlation)

    def parts(self, restricted: LossDraws) -> Parts:
        """The parts of the component that these draws are restricted to, and their errors."""
        return _Component(self, restricted).parts()

    def values(self, restricted: LossDraws) -> tuple[Tensor, Tensor]:
        """The covariance and the total of `parts`, without errors."""
        component = _Component(self, restricted)
        both = [component.influences(part) for part in component.averages.parts(restricted.items)]
        covariance, shift = (torch.cat([each[place].value for each in both]) for place in range(2))
        return covariance, covariance + shift


class _Component:
    """What the draws of one component say of blocks of items."""

    def __init__(self, components: Components, draws: LossDraws) -> None:
        self.averages, self._components, self._draws = Averages(draws), components, draws
        self._phi = draws.loss_rises.double()
        self._height, self._of_height = self.averages.expectation(self._phi), self.averages.influence(self._phi)

    def influences(self, part: slice) -> tuple[Influence, Influence]:
        """The covariance and the shift of these items, and what the restricted draws contribute to them."""
        averages, values = self.averages, relative_losses(self._draws, part)
        products = covariance_with(averages, self._phi, values)
        apart = averages.expectation(values) - self._components.mean[part]
        # The product of two means has their covariance beside the product of what they estimate.
        shift = products.of_means - self._height * apart
        of_shift = -(self._of_height[..., None] * apart + self._height * averages.influence(values))
        return Influence(-products.value, -products.influence), Influence(shift, of_shift)

    def _of_full(self, part: slice) -> Tensor:
        """What the draws of the full posterior contribute to the shift."""
        return self._height * self._components.influence(part)

    def parts(self) -> Parts:
        """The results of all items with their errors."""
        items, averages, full = self._draws.items, self.averages, self._components
        values, means = [], (MeansOfItems(items), MeansOfItems(items), MeansOfItems(items))
        for part in averages.parts(items):
            covariance, shift = self.influences(part)
            values.append((covariance.value, shift.value))
            means[0].add(covariance.value, covariance.of_draws)
            means[1].add(covariance.value + shift.value, covariance.of_draws + shift.of_draws)
        covariances, shifts = (torch.cat(each) for each in zip(*values, strict=True))
        totals = covariances + shifts
        for part in full.averages.parts(items):
            means[2].add(totals[part], self._of_full(part))
        of_covariance, of_total = Standardised(covariances, means[0]), Standardised(totals, means[1])
        beside_total = Standardised(totals, means[2])

        def columns(part: slice) -> list[Tensor]:
            covariance, shift = (each.of_draws for each in self.influences(part))
            total = covariance + shift
            return [covariance, shift, total, of_covariance.moved(part, covariance), of_total.moved(part, total)]

        def beside(part: slice) -> list[Tensor]:
            return [beside_total.moved(part, self._of_full(part))]

        errors = averages.errors(columns, items)
        stderrs = [each.stderr for each in errors]
        of_mean = self._height.abs() * full.errors.stderr
        return Parts(
            covariance=Part(covariances, stderrs[0]),
            shift=Part(shifts, torch.hypot(stderrs[1], of_mean)),
            total=Part(totals, torch.hypot(stderrs[2], of_mean)),
            standardised=Part(of_covariance.value, stderrs[3]),
            standardised_total=Part(
                of_total.value, torch.hypot(stderrs[4], full.averages.errors(beside, items)[0].stderr)
            ),
            effective=averages.effective(errors[0].correlation),
        )


class MeansOfItems:
    """Means over items of what draws contribute to their results, and of its products with these, block by block."""

    def __init__(self, items: int) -> None:
        self._items, self.plain, self.by_value = items, torch.zeros(()), torch.zeros(())

    def add(self, values: Tensor, of_draws: Tensor) -> None:
        """Adds a block of items: their results, and the contributions to them."""
        self.plain = self.plain + of_draws.sum(dim=-1) / self._items
        self.by_value = self.by_value + of_draws @ values / self._items


class Standardised:
    """ψ_k = (χ_k − mean χ) / s, s the standard deviation over items; 0 where all items are alike.

    To first order dψ = (dχ − mean dχ)/s − ψ mean(ψ (dχ − mean dχ))/s (the infinitesimal jackknife).

    Attributes:
        value: ψ, of shape (items,).
    """

    def __init__(self, values: Tensor, means: MeansOfItems) -> None:
        apart = values - values.mean()
        scale = apart.square().mean().sqrt()
        self._scale = torch.where(scale > 0, scale, torch.inf)
        self.value = apart / self._scale
        self._mean = means.plain
        self._of_scale = (means.by_value - values.mean() * means.plain) / self._scale

    def moved(self, part: slice, of_draws: Tensor) -> Tensor:
        """What draws contribute to ψ of these items, by what they contribute to χ."""
        change = of_draws - self._mean[..., None] - self.value[part] * self._of_scale[..., None]
        return change / self._scale


def two_chain_total(restricted: LossDraws, full: LossDraws) -> Tensor:
    """−( E_C[φ y] − E_C[φ] E_full[y] ) with plain means over all draws, as other tools have it.

    It is `Parts.total` but for what that corrects: covariances are about each chain's own mean there, and terms of the
    order of one over the draws are taken off.
    """
    averages = Averages(restricted)
    phi, values = restricted.loss_rises.double(), relative_losses(restricted)
    products = averages.mean(phi[..., None] * values)
    return averages.mean(phi) * Averages(full).mean(relative_losses(full)) - products
