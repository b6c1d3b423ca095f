"""Independent draws near the localized posterior, with importance weights: what is averaged over them is over it.

The proposal is q = N(μ, I/γ) with μ = w* − (nβ/γ) g, g = ∇L_n(w*): the localizing prior, moved as the slope of the loss
moves the posterior, which is exact for a linear loss. The log weight of a draw is, up to a constant,

    log p(w) − log q(w) = −nβ (L_n(w) − L_n(w*) − g·(w − w*)),

and that of the prior alone, nβ = 0, is nβ g·(w − w*). Draws come in antithetic pairs w± = μ ± ξ/√γ.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from hf_llc.sampling import seeds
from hf_llc.sampling.objective import Objective, copy_of, restore


class WeightedDraws:
    """Moves an objective's weights, which are at w* now, to draws of the proposal and back.

    Args:
        slope: g, the gradient of L_n at w*, in nats per weight.
    """

    def __init__(
        self, objective: Objective, slope: Sequence[Tensor], *, n_beta: float, gamma: float, seed: int
    ) -> None:
        self.objective, self._slope = objective, slope
        self._shift, self._sigma, self._seed = n_beta / gamma, gamma**-0.5, seed
        self._center = copy_of(objective.parameters)

    @torch.no_grad()
    def move(self, pair: int, sign: float) -> float:
        """w ← μ ± ξ/√γ of the pair; returns g·(w − w*), in nats.

        ξ depends on the seed and the pair alone, so that checkpoints of a series see common random numbers.
        """
        parameters, shards = self.objective.parameters, self.objective.shards
        stream = seeds.generator(self._seed, "recorded draw", pair, device=parameters[0].device)
        products: list[Tensor] = []
        normals = shards.normals(parameters, stream)
        for weight, center, slope, xi in zip(parameters, self._center, self._slope, normals, strict=True):
            step = (xi * (sign * self._sigma)).sub_(slope, alpha=self._shift)
            weight.copy_(center).add_(step)
            products.append((step.double() * slope).sum() if step.device.type != "mps" else (step * slope).sum())
        total: Tensor = shards.total(torch.stack(products).sum())
        return float(total)

    def restore(self) -> None:
        """w ← w*, bit for bit."""
        restore(self.objective.parameters, self._center)
