"""λ̂ at one minimum of a deep linear net minus λ̂ at another, from common noise: is the truth within the error?

The minima are zero products BA = 0 of one model and one target, with factors of other ranks, so that their exact local
coefficients differ (`exact.zero_product_llc`). That difference is the one of γ/nβ → 0, so the truth at these settings
is taken from long runs, and both are stated.
"""

import sys
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

import hf_llc
from hf_llc.measures.llc.validation import exact
from hf_llc.measures.llc.validation.problems import zero_product
from tests.experiments.output import axes, run_script

WIDTH, RANKS = 6, ((3, 3), (6, 0))
"""Size of the factors, and the ranks of B and A at the two minima."""
N_BETA, GAMMA = 1e6, 1e3
SEEDS, DRAWS, BURN_IN = 20, 600, 600
LONG = 6000


class Net(nn.Module):
    """x ↦ BAx."""

    def __init__(self, ranks: tuple[int, int]) -> None:
        super().__init__()
        b, a = zero_product(WIDTH, *ranks, dtype=torch.float64).parameters
        self.b, self.a = nn.Parameter(b.detach()), nn.Parameter(a.detach())

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.a.T @ self.b.T


def loss_of(net: Any, items: tuple[Tensor, Tensor]) -> Tensor:
    """½‖y − f(x)‖² of each item, in nats."""
    loss: Tensor = (net(items[0]) - items[1]).square().sum(1) / 2
    return loss


def estimated(ranks: tuple[int, int], seed: int, draws: int, output: Path) -> hf_llc.Estimate:
    """λ̂ at the minimum of these ranks; its items are inputs whose second moments are those of white ones."""
    x = WIDTH**0.5 * torch.eye(WIDTH, dtype=torch.float64)
    return hf_llc.estimate(
        Net(ranks),
        (x, torch.zeros_like(x)),
        losses=loss_of,
        sampler="baoab",
        momentum=0.98,
        n_beta=N_BETA,
        gamma=GAMMA,
        lr=1 / (10 * N_BETA),
        start="prior",
        gradient="minibatch",
        batches="independent",
        baseline="paired",
        batch_size=WIDTH,
        burn_in=BURN_IN,
        chains=4,
        draws=draws,
        seed=seed,
        checks=False,
        num_processes=1,
        output_dir=output / f"{ranks[0]}-{ranks[1]}-{seed}-{draws}",
    )


def experiment(
    seeds: int = SEEDS, draws: int = DRAWS, long: int = LONG, output: Path = Path("hf-llc-runs/paired")
) -> dict[str, Any]:
    """The exact difference, that of long runs, and a row per seed: difference, error, unpaired error."""
    first, second = RANKS
    exact_difference = exact.zero_product_llc(WIDTH, *first) - exact.zero_product_llc(WIDTH, *second)
    rows = []
    for seed in range(seeds):
        pair = [estimated(ranks, seed, draws, output) for ranks in RANKS]
        difference = hf_llc.compare_paired(*pair)[0]
        rows.append([difference.difference, difference.stderr, difference.unpaired_stderr])
        print(seed, rows[-1], difference.reason, file=sys.stderr, flush=True)
    truth = hf_llc.compare_paired(*(estimated(ranks, 1000, long, output) for ranks in RANKS))[0]
    joint = [(row[1] ** 2 + truth.stderr**2) ** 0.5 for row in rows]
    within = [
        sum(abs(row[0] - truth.difference) <= k * e for row, e in zip(rows, joint, strict=True)) for k in (1, 2, 3)
    ]
    return {
        "exact": exact_difference,
        "long": [truth.difference, truth.stderr],
        "within": within,
        "rows": rows,
    }


def picture(numbers: dict[str, Any]) -> Figure:
    """The difference of each seed with two standard errors, the long run's and the exact one."""
    figure, (axis,) = axes()
    rows = numbers["rows"]
    axis.errorbar(range(len(rows)), [row[0] for row in rows], yerr=[2 * row[1] for row in rows], fmt="o")
    axis.axhline(numbers["long"][0], color="0.5", label="long runs")
    axis.axhline(numbers["exact"], color="k", linestyle=":", label="exact, γ/nβ → 0")
    axis.set(xlabel="seed", ylabel="λ̂ − λ̂ ± 2 standard errors", title="Two minima of a deep linear net")
    axis.legend()
    return figure


if __name__ == "__main__":
    run_script("paired_nets", experiment, picture)
