"""The Bayesian influence function and the loss kernel, from losses at draws of one posterior.

With the weights 1 + ε_i of the items in L_n = (1/n) Σ (1 + ε_i) ℓ_i the posterior's mean of a loss answers by

    BIF(i, j) = dE[ℓ_j]/dε_i = −(nβ/n) Cov(ℓ_i, ℓ_j)

(Giordano, Broderick and Jordan 2018; Kreer et al. 2025, arXiv 2509.26544, there without the factor nβ/n). Where the
loss is quadratic and nβ large at fixed γ/nβ it is the damped classical influence −(1/n) ∇ℓ_iᵀ (H + γ/nβ)⁻¹ ∇ℓ_j. The
loss kernel is the correlation of ℓ_i and ℓ_j (arXiv 2509.26537).
"""

from collections.abc import Sequence

import numpy
from torch import Tensor

from hf_llc.measures.matrix_verdict import judge_matrix
from hf_llc.results.influence import Influence
from hf_llc.results.matrix import Matrix, MatrixQuality
from hf_llc.sampling.covariance import covariances, covariances_alone
from hf_llc.sampling.loss_draws import LossDraws


def influence(draws: LossDraws, names: Sequence[str]) -> Influence:
    """Influences and loss kernel of the items; of classes of them with `draws.classes(…)` and the classes' names."""
    if len(names) != draws.items:
        raise ValueError(f"there must be a name for each of the {draws.items} items, got {len(names)}")
    whole, parts = covariances(draws), draws.halves()
    scale = -draws.n_beta / draws.n
    of_halves = [covariances_alone(part) for part in parts] if parts else []
    halves = [(covariance * scale, correlation) for covariance, correlation in of_halves]
    values, errors = _matrix(whole.covariance * scale), _matrix(whole.covariance_stderr * abs(scale))
    kernel, kernel_errors = _matrix(whole.correlation), _matrix(whole.correlation_stderr)
    above = numpy.triu_indices(len(names), k=1)

    def quality(matrix: Matrix, stderr: Matrix, place: int) -> MatrixQuality:
        both = [_matrix(half[place])[above] for half in halves]
        return judge_matrix(
            matrix[above],
            stderr[above],
            effective=whole.effective,
            pareto_k=whole.pareto_k,
            halves=(both[0], both[1]) if both else None,
        )

    return Influence(
        names=tuple(names),
        influence=values,
        influence_stderr=errors,
        kernel=kernel,
        kernel_stderr=kernel_errors,
        quality=quality(values, errors, 0),
        kernel_quality=quality(kernel, kernel_errors, 1),
        n_beta=draws.n_beta,
        gamma=draws.gamma,
        n=draws.n,
        draws=draws.loss_rises.numel(),
    )


def _matrix(values: Tensor) -> Matrix:
    array: Matrix = values.cpu().double().numpy()
    return array
