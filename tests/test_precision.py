"""How many chains a wanted error takes, and when none will do."""

from dataclasses import replace

import pytest

from hf_llc.precision import next_chains
from hf_llc.results import Estimate
from tests.adapters.estimates import estimate


def found(mc: float, step: float | None, llc: float | None = 10.0, chains: int = 4, ess: float = 120.0) -> Estimate:
    made = estimate(llc=llc)
    total = None if llc is None else (mc**2 + (step or 0.0) ** 2) ** 0.5
    return replace(
        made,
        stderr=total,
        settings=replace(made.settings, chains=chains),
        diagnostics=replace(made.diagnostics, monte_carlo_stderr=mc, step_size_stderr=step, ess=ess),
    )


@pytest.mark.parametrize(
    ("made", "wanted", "words"),
    [
        (found(0.1, 0.1), None, "done"),
        (found(0.4, 0.0), 18, "going on with 18"),
        (found(0.4, None), 18, "going on with 18"),
        (found(0.4, 0.1), 24, "going on with 24"),
        (found(0.4, 0.3), None, "step-size part alone is 3.00%"),
        (found(4.0, 0.0), 64, "going on with 64"),
        (found(4.0, 0.0, chains=64), None, "above --max-chains 64"),
        (found(4.0, 0.0, llc=None), None, "no number"),
        (found(0.1, 0.1, chains=2), 4, "but that error is itself too rough: going on with 4"),
        (found(0.1, 0.1, ess=19.0), 11, "but that error is itself too rough: going on with 11"),
        (found(0.1, 0.1, chains=64, ess=19.0), None, "done"),
    ],
)
def test_the_next_round(made: Estimate, wanted: int | None, words: str) -> None:
    count, why = next_chains(made, 0.02, 64)
    assert count == wanted
    assert words in why
