"""Ranks and norm of the weight matrices; needs no data.

Of each weight matrix W (convolutions as output channels × all else, each expert by itself) with singular values σ:

- stable rank ‖W‖_F² / ‖W‖₂² (Rudelson & Vershynin 2007), effective rank exp H(σ/Σσ) (Roy & Vetterli 2007);
- beside them those of a matrix of independent Gaussian numbers of the same shape, which is what an untrained layer has.
"""

from collections.abc import Sequence
from typing import Any

import torch

from hf_llc.measures import spectral_ranks as ranks
from hf_llc.measures.base import ExactAnswer, MeasureContext, NotApplicableError
from hf_llc.measures.weight_matrices import weight_matrices
from hf_llc.results.columns import Column


class WeightRanks:
    """Means over the matrices, and each by itself."""

    needs = ()
    columns = (
        Column("stable_rank", "number", "", "‖W‖_F²/‖W‖₂², mean over weight matrices", "stable_rank_null", True),
        Column("stable_rank_null", "number", "", "`stable_rank` of Gaussian matrices of these shapes"),
        Column("effective_rank", "number", "", "exp H(σ/Σσ), mean over weight matrices", "effective_rank_null", True),
        Column("effective_rank_null", "number", "", "`effective_rank` of Gaussian matrices of these shapes"),
        Column("weight_norm", "number", "weight", "‖w‖ over all parameters", has_panel=True),
        Column("rank_matrices", "texts", "", "names of the weight matrices"),
        Column(
            "stable_ranks",
            "numbers",
            "",
            "stable rank of each of `rank_matrices`",
            entries="rank_matrices",
            panel="stable_rank",
        ),
        Column(
            "effective_ranks",
            "numbers",
            "",
            "effective rank of each of `rank_matrices`",
            entries="rank_matrices",
            panel="effective_rank",
        ),
    )

    def run(self, context: MeasureContext) -> dict[str, Any]:
        """Singular values of every matrix."""
        matrices = [each for weight in weight_matrices(context.model) for each in weight.matrices()]
        spectra = {name: (ranks.singular_values(each), each.shape) for name, each in matrices}
        if not spectra:
            raise NotApplicableError("the model has no weight matrix")
        stable = [ranks.stable_rank(values) for values, _ in spectra.values()]
        effective = [ranks.effective_rank(values) for values, _ in spectra.values()]
        shapes = [shape for _, shape in spectra.values()]
        return {
            "stable_rank": _mean(stable),
            "stable_rank_null": _mean([ranks.random_stable_rank(*shape) for shape in shapes]),
            "effective_rank": _mean(effective),
            "effective_rank_null": _mean([ranks.random_effective_rank(*shape) for shape in shapes]),
            "weight_norm": sum(float(each.detach().double().square().sum()) for each in context.model.parameters())
            ** 0.5,
            "rank_matrices": list(spectra),
            "stable_ranks": stable,
            "effective_ranks": effective,
        }

    def exact_answers(self) -> Sequence[ExactAnswer]:
        """diag(2, 1, 1), an identity, and a matrix of rank one."""
        cases = {
            "diag(2,1,1)": (torch.diag(torch.tensor([2.0, 1.0, 1.0], dtype=torch.float64)), 1.5, 2 * 2**0.5),
            "identity of 5": (torch.eye(5, dtype=torch.float64), 5.0, 5.0),
            "rank one, 4 × 6": (torch.ones((4, 6), dtype=torch.float64), 1.0, 1.0),
        }
        answers = []
        for case, (matrix, stable, effective) in cases.items():
            values = ranks.singular_values(matrix)
            answers += [
                ExactAnswer(case=f"stable rank, {case}", truth=stable, value=ranks.stable_rank(values), tolerance=1e-9),
                ExactAnswer(
                    case=f"effective rank, {case}",
                    truth=effective,
                    value=ranks.effective_rank(values),
                    tolerance=1e-9,
                ),
            ]
        return answers


MEASURE = WeightRanks()


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
