"""How many chains a wanted error takes, and when none will do."""

from dataclasses import replace

import pytest

from hf_llc.measures.llc.chains.target import next_chains
from hf_llc.measures.llc.summarise import Judged
from hf_llc.results.estimate import Verdict
from tests.helpers.estimates import estimate

TARGET, MOST = 0.02, 256


def result(
    stderr: float, *, correction: float | None = None, llc: float | None = 10.0, ess: float | None = 120.0
) -> Judged:
    diagnostics = replace(estimate().diagnostics, step_correction=correction, ess=ess)
    verdict = Verdict.CONVERGED if llc is not None else Verdict.DIVERGED
    return Judged(llc, stderr if llc is not None else None, verdict, "", diagnostics)


@pytest.mark.parametrize(
    ("judgement", "chains", "wanted", "message"),
    [
        (result(0.1), 16, None, "done"),
        # The total doubles at least, and grows at once to what the error asks for.
        (result(0.21), 16, 32, "continuing with 32"),
        (result(0.8), 16, 256, "continuing with 256"),
        (result(0.5), 16, 110, "continuing with 110"),
        (result(4.0), 16, MOST, "continuing with 256"),
        (result(4.0), MOST, None, "`max_chains` = 256 is reached"),
        # What was subtracted for the step size leaves a third of itself, which more chains do not lessen.
        (result(0.4, correction=0.3), 16, 88, "continuing with 88"),
        (result(0.4, correction=0.9), 16, None, "the step size alone contributes 3.00%. Lower `lr`"),
        (result(0.1, llc=None), 16, None, "no number"),
        # A few chains end no run by their error, be it as small as it may.
        (result(0.001), 4, 8, "the spread of so few chains is unreliable: continuing with 8"),
        (result(0.001), 5, 10, "continuing with 10"),
        (result(0.001), 8, 16, "continuing with 16"),
        (result(0.001), 12, 16, "continuing with 16"),
        (result(0.1, ess=19.0), 16, 43, "but that error is itself unreliable: continuing with 43"),
        (result(0.1, ess=49.0), 16, 32, "but that error is itself unreliable: continuing with 32"),
        (result(0.1, ess=19.0), MOST, None, "done"),
        (result(0.1, llc=0.0), 16, 32, "continuing"),
    ],
)
def test_the_next_look(judgement: Judged, chains: int, wanted: int | None, message: str) -> None:
    count, why = next_chains(judgement, chains, TARGET, MOST)
    assert count == wanted
    assert message in why


def test_the_most_chains_are_fewer_than_it_takes_to_end() -> None:
    assert next_chains(result(0.1), 4, TARGET, 6) == (
        6,
        "The standard error is 1.00% of the LLC with 4 chains, where 2.00% is wanted, but the spread of so few chains "
        "is unreliable: continuing with 6.",
    )
    assert next_chains(result(0.1), 6, TARGET, 6)[0] is None
