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

from typing import NamedTuple

import torch
from torch import Tensor

from hf_llc.sampling.averages import Averages
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
    """A result and what each draw of the restricted and of the full posterior contributes to it to first order."""

    value: Tensor
    restricted: Tensor
    full: Tensor | None


def relative_losses(draws: LossDraws) -> Tensor:
    """y = ℓ_k − L less its value at w*, of shape (groups, draws, items)."""
    return draws.rises.double() - draws.loss_rises.double()[..., None]


class Components:
    """Susceptibilities of components against one full posterior.

    Draws of a component and of the full posterior count as independent.
    """

    def __init__(self, full: LossDraws) -> None:
        self.averages, self._values = Averages(full), relative_losses(full)
        self._mean = self.averages.expectation(self._values)
        self._influence = self.averages.influence(self._values)

    def parts(self, restricted: LossDraws) -> Parts:
        """The parts of the component that these draws are restricted to, and their errors."""
        averages = Averages(restricted)
        covariance, shift = self._parts(averages, restricted)
        assert shift.full is not None
        total = Influence(covariance.value + shift.value, covariance.restricted + shift.restricted, shift.full)
        return Parts(
            covariance=self._part(averages, covariance),
            shift=self._part(averages, shift),
            total=self._part(averages, total),
            standardised=self._part(averages, standardised(covariance)),
            standardised_total=self._part(averages, standardised(total)),
            effective=averages.effective(averages.autocorrelation(covariance.restricted)),
        )

    @property
    def effective(self) -> float:
        """Draws that those of the full posterior are worth for a mean."""
        return self.averages.effective(self.averages.autocorrelation(self._values))

    def values(self, restricted: LossDraws) -> tuple[Tensor, Tensor]:
        """The covariance and the total of `parts`, without errors."""
        covariance, shift = self._parts(Averages(restricted), restricted)
        return covariance.value, covariance.value + shift.value

    def _parts(self, averages: Averages, restricted: LossDraws) -> tuple[Influence, Influence]:
        phi, values = restricted.loss_rises.double(), relative_losses(restricted)
        products = covariance_with(averages, phi, values)
        height, apart = averages.expectation(phi), averages.expectation(values) - self._mean
        covariance = Influence(-products.value, -products.influence, None)
        shift = Influence(
            # The product of two means has their covariance beside the product of what they estimate.
            products.of_means - height * apart,
            -(averages.influence(phi)[..., None] * apart + height * averages.influence(values)),
            height * self._influence,
        )
        return covariance, shift

    def _part(self, averages: Averages, result: Influence) -> Part:
        error = averages.stderr(result.restricted)
        if result.full is not None:
            error = torch.hypot(error, self.averages.stderr(result.full))
        return Part(result.value, error)


def control(draws: LossDraws) -> Part:
    """−Cov_C(φ, y) at nβ = 0, from draws of the localizing prior: what there is of it without the loss."""
    averages = Averages(draws)
    products = covariance_with(averages, draws.loss_rises, relative_losses(draws))
    return Part(-products.value, averages.stderr(products.influence))


def standardised(result: Influence) -> Influence:
    """ψ_k = (χ_k − mean χ) / s, s the standard deviation over items; 0 where all items are alike.

    To first order dψ = (dχ − mean dχ)/s − ψ mean(ψ (dχ − mean dχ))/s (the infinitesimal jackknife).
    """
    apart = result.value - result.value.mean()
    scale = apart.square().mean().sqrt()
    if not float(scale) > 0:
        nothing = torch.zeros_like
        return Influence(
            nothing(apart), nothing(result.restricted), None if result.full is None else nothing(result.full)
        )
    value = apart / scale

    def moved(influence: Tensor) -> Tensor:
        change = (influence - influence.mean(-1, keepdim=True)) / scale
        return change - value * (value * change).mean(-1, keepdim=True)

    return Influence(value, moved(result.restricted), None if result.full is None else moved(result.full))


def two_chain_total(restricted: LossDraws, full: LossDraws) -> Tensor:
    """−( E_C[φ y] − E_C[φ] E_full[y] ) with plain means over all draws, as other tools have it.

    It is `Parts.total` but for what that corrects: covariances are about each chain's own mean there, and terms of the
    order of one over the draws are taken off.
    """
    averages = Averages(restricted)
    phi, values = restricted.loss_rises.double(), relative_losses(restricted)
    products = averages.mean(phi[..., None] * values)
    return averages.mean(phi) * Averages(full).mean(relative_losses(full)) - products
