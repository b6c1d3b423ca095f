"""Verdicts on independent draws: each from its own numbers, and what undermines most is named first."""

import re
from dataclasses import replace
from typing import Any

import pytest

from hf_llc.measures.llc.draws.verdict import judge_draws
from hf_llc.results.estimate import Diagnostics, Verdict
from tests.measures.llc.test_verdict import GOOD

HELD: dict[str, Any] = {
    "prior_llc": 10.0, "narrowing_llc": 0.3, "slope_llc": 0.2, "open_llc": 0.1, "cold_llc": -0.2,
    "monte_carlo_stderr": 0.2,
}  # fmt: skip


def of(**changed: Any) -> Diagnostics:
    """Diagnostics of draws that the prior holds, but for what is changed."""
    return replace(GOOD, **{**HELD, **changed})


@pytest.mark.parametrize(
    ("changed", "pairs", "verdict", "reason"),
    [
        ({}, 8, Verdict.CONVERGED, "8 pairs of its draws give 10, from which curvature takes 0.3 and slope 0.2"),
        ({"open_llc": 1.2}, 8, Verdict.NOT_LOCAL, r"determine λ̂ only to ± 1.2; sample chains"),
        # What is left open below the error of the draws says nothing yet.
        ({"open_llc": 1.2, "monte_carlo_stderr": 1.5}, 8, Verdict.CONVERGED, ""),
        ({"open_llc": None}, 8, Verdict.CONVERGED, ""),
        ({"weighted_llc": 8.0, "weighted_llc_stderr": 0.3, "pareto_k": 0.5}, 8, Verdict.NOT_LOCAL, "8 ± 0.3, 3.2"),
        ({"weighted_llc": 8.0, "weighted_llc_stderr": 0.3, "pareto_k": 0.8}, 8, Verdict.CONVERGED, ""),
        ({"weighted_llc": 9.0, "weighted_llc_stderr": 0.3, "pareto_k": 0.5}, 8, Verdict.CONVERGED, ""),
        ({"cold_llc": -1.1}, 8, Verdict.NOT_A_MINIMUM, r"falls below that at w\*, by 1.1"),
        ({}, 7, Verdict.UNDERSAMPLED, "7 pairs of draws, where 8 are needed"),
        ({"open_llc": 1.2, "cold_llc": -1.1}, 7, Verdict.NOT_LOCAL, "; .*not a minimum; 7 pairs"),
    ],
)  # fmt: skip
def test_each_verdict_follows_from_its_numbers(
    changed: dict[str, Any], pairs: int, verdict: Verdict, reason: str
) -> None:
    judged, sentence = judge_draws(9.6, 0.4, of(**changed), pairs=pairs)
    assert judged is verdict
    assert re.search(reason, sentence)


@pytest.mark.parametrize(
    ("llc", "stderr", "verdict", "reason"),
    [
        (None, None, Verdict.DIVERGED, "inf or NaN"),
        (1.0, 0.31, Verdict.IMPRECISE, "31% of λ̂"),
        (0.1, 0.06, Verdict.IMPRECISE, "0 within its error, between -0.02 and 0.22"),
        (-2.0, 0.1, Verdict.NOT_A_MINIMUM, "falls away from w*"),
        (0.0, 0.0, Verdict.UNDERSAMPLED, "does not depend on the weights that move"),
    ],
)
def test_the_number_and_its_error_decide_the_rest(
    llc: float | None, stderr: float | None, verdict: Verdict, reason: str
) -> None:
    judged, sentence = judge_draws(llc, stderr, of(cold_llc=0.0, open_llc=0.0), pairs=8)
    assert judged is verdict
    assert reason in sentence
