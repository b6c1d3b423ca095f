"""Do independent draws keep their stated error where they end by it? Exact answers, rounds as `estimate` makes them.

Run by `make bench`, or alone with
`pytest tests/benchmarks/test_draws.py -s`, which prints a row for each case.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import pytest

from hf_llc.measures.llc.draws.amounts import Amount
from hf_llc.measures.llc.validation.draws import Request, in_rounds
from hf_llc.measures.llc.validation.exact import quadratic_llc, sloped_quadratic_llc
from hf_llc.measures.llc.validation.problems import linear_regression, quadratic, sloped_quadratic
from hf_llc.sampling.draws.statistics import DrawSummary
from hf_llc.sampling.objective import Objective
from hf_llc.settings.sampler import SamplerSettings

SEEDS = 40
N_BETA = 100.0
WIDE = [8.0, 2.0, *[0.3] * 40, *[0.01] * 200, *[0.0] * 100]


class Loss(NamedTuple):
    """A loss whose λ̂ is known."""

    make: Callable[[], Objective]
    truth: float
    n_beta: float
    gamma: float
    batch_size: int


def sloped(slope: float) -> Loss:
    """The wide quadratic with a slope along all directions."""
    truth = sloped_quadratic_llc(WIDE, slope, N_BETA, 1000.0)
    return Loss(lambda: sloped_quadratic(WIDE, slope), truth, N_BETA, 1000.0, 1)


def wide(gamma: float) -> Loss:
    """The wide quadratic at its minimum."""
    return Loss(lambda: quadratic(WIDE), quadratic_llc(WIDE, N_BETA, gamma), N_BETA, gamma, 1)


def regression() -> Loss:
    """A linear regression on minibatches."""
    _, curvatures = linear_regression(400, 20, seed=1)
    return Loss(lambda: linear_regression(400, 20, seed=1)[0], quadratic_llc(curvatures, 60.0, 600.0), 60.0, 600.0, 16)


LOSSES = {
    "wide, gamma 1000": wide(1000.0),
    "wide, gamma 300": wide(300.0),
    "slope 0.5": sloped(0.5),
    "slope 2": sloped(2.0),
    "linear regression": regression(),
}


def run(loss: Loss, seed: int, target: float) -> tuple[DrawSummary, Amount]:
    """What the rounds end with."""
    asked = Request(SamplerSettings(sampler="importance", seed=seed, target_stderr=target))
    sample, summary = in_rounds(loss.make(), asked, n_beta=loss.n_beta, gamma=loss.gamma, batch_size=loss.batch_size)
    return summary, sample.amount


@pytest.mark.parametrize("target", [0.05, 0.02])
@pytest.mark.parametrize("name", LOSSES)
def test_the_truth_lies_within_the_stated_errors(name: str, target: float) -> None:
    loss, scores, pairs = LOSSES[name], [], []
    for seed in range(SEEDS):
        summary, amount = run(loss, seed, target)
        assert summary.llc is not None
        assert summary.stderr is not None
        scores.append((summary.llc - loss.truth) / summary.stderr)
        pairs.append(amount.losses)
    within = [sum(abs(score) <= limit for score in scores) / SEEDS for limit in (1, 2, 3)]
    rms = math.sqrt(sum(score**2 for score in scores) / SEEDS)
    print(
        f"{name:20s} target {target:.0%}: within 1/2/3 "
        + " ".join(f"{share:.0%}" for share in within)
        + f", rms {rms:.2f}, pairs {sorted(pairs)[SEEDS // 2]}"
    )
    assert within[1] >= 0.87
    assert within[2] >= 0.95
