"""A localizing prior that knows the scale of each tensor: the isotropic one in the coordinates u_j = w_j / s_j.

With s_j the root mean square of tensor W_j of w*, the prior exp(−γ/2 ‖u − u*‖²) is

    exp(−½ Σ_j γ_j ‖w_j − w*_j‖²),   γ_j = γ / s_j² = γ d_j / ‖W_j‖²,   d_j the weights of tensor j.

A draw moves each tensor by the same share 1/√γ of its own size, ‖ΔW_j‖ ≈ ‖W_j‖/√γ, whatever its scale. Multiplying one
tensor by c and dividing another by it, which leaves the function of a ReLU net as it is, leaves the posterior over
functions as it is too, at the same γ. That is why γ has no unit here and γ_j is not divided by its mean over weights:
this mean changes with c, and with it λ̂ would.

Everything that samples, from step sizes to curvatures and distances, works in u and needs to know nothing of it.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from hf_llc.sampling.gradient_reach import LOOKED_AT
from hf_llc.sampling.objective import clear_gradients
from hf_llc.sampling.shards import WHOLE, Shards
from hf_llc.sampling.wrapped_objective import Inner, WrappedObjective

SMALLEST = 1e-30
"""Scale below which a tensor counts as zero: it would not move in float32."""


def scales_of(parameters: Sequence[Tensor], shards: Shards = WHOLE) -> list[float]:
    """s_j, the root mean square of each tensor, whichever process holds it; 0 for a tensor of zeros."""
    whole = [each.detach().cpu() if each.device.type == "mps" else each.detach() for each in parameters]
    squares = torch.stack([torch.linalg.vector_norm(each, dtype=torch.float64).square() for each in whole])
    sizes = shards.sizes(parameters)
    return [math.sqrt(total / size) for total, size in zip(shards.total(squares).tolist(), sizes, strict=True)]


class ScaledObjective(WrappedObjective):
    """An objective as a function of u, at u* = w*/s now; its weights follow u and are w*, bit for bit, at u*.

    Beside the weights there are u and w* in memory.

    Args:
        inner: over the weights. scales: s_j > 0 of each of its parameters.
    """

    def __init__(self, inner: Inner, scales: Sequence[float]) -> None:
        self._scales = list(scales)
        self._centers = [parameter.detach().clone() for parameter in inner.parameters]
        super().__init__(inner, [center / scale for center, scale in zip(self._centers, scales, strict=True)])

    def losses(self, indices: Tensor) -> Tensor:
        self.place()
        return self._inner.losses(indices)

    def losses_and_gradient(self, indices: Tensor) -> Tensor:
        self.place()
        losses = self._inner.losses_and_gradient(indices)
        for own, weight, scale in zip(self._parameters, self._inner.parameters, self._scales, strict=True):
            own.grad = None if weight.grad is None else weight.grad.mul_(scale)
        clear_gradients(self._inner.parameters)
        return losses

    @torch.no_grad()
    def is_constant(self) -> bool:
        """Whether the losses of a few items stay bit by bit the same when every tensor moves by its own size."""
        items, stars = torch.arange(min(self.n, LOOKED_AT)), [own.clone() for own in self._parameters]
        before = self.losses(items).clone()
        stream = torch.Generator().manual_seed(0)
        for own in self._parameters:
            own.add_(torch.randn(own.shape, generator=stream).to(own))
        after = self.losses(items).clone()
        for own, star in zip(self._parameters, stars, strict=True):
            own.copy_(star)
        self.place()
        return torch.equal(before, after)

    @torch.no_grad()
    def place(self) -> None:
        """Moves the weights to where u is, w ← w* + s (u − w*/s): s·u alone would round w* at u*."""
        for weight, own, center, scale in zip(
            self._inner.parameters, self._parameters, self._centers, self._scales, strict=True
        ):
            weight.copy_(center).add_((center / scale).neg_().add_(own), alpha=scale)
