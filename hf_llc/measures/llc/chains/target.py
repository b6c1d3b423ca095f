"""When chains are enough: how many more λ̂ takes to be as precise as was asked for, or why more will not do."""

import math

from hf_llc.measures.llc.sufficiency import ESS_MIN
from hf_llc.measures.llc.summarise import Judged
from hf_llc.sampling.statistics import MANY_CHAINS

MARGIN = 1.1
"""More chains than the error so far asks for, since it is itself an estimate."""
GROWTH = 2
"""How many times more chains there are at the next look at least: looking at the error more often than that would
choose among moments those at which it happens to look small."""
CORRECTED = 3
"""Of a step bias that was subtracted, this part of it stays in the error, however many chains there are."""


def next_chains(judgement: Judged, chains: int, target: float, max_chains: int) -> tuple[int | None, str]:
    """How many chains there are to be at the next look, None if this was the last one, and one sentence why.

    A run ends by its error from MANY_CHAINS on, whose spread is an error to go by, and with ESS_MIN effective draws.
    R-hat and the verdict have no say: runs that they let pass are those whose chains agree by chance, and with them the
    errors that are too small (`tests/benchmarks/test_stopping.py`).

    Args:
        judgement: what so many chains say. target: standard error as a share of λ̂.
    """
    if judgement.llc is None or judgement.stderr is None:
        return None, "There is no number, so more chains would not help."
    value, fixed = abs(judgement.llc), abs(judgement.diagnostics.step_correction or 0.0) / CORRECTED
    reached = judgement.stderr / value if value > 0 else math.inf
    status = f"The standard error is {reached:.2%} of the LLC with {chains} chains, where {target:.2%} is wanted"
    fewest = _fewest_chains(judgement, chains)
    if reached <= target and chains >= min(fewest, max_chains):
        return None, f"{status}: done."
    if chains >= max_chains:
        return None, f"{status}: `max_chains` = {max_chains} is reached; raise it or `draws`."
    if chains < MANY_CHAINS:
        wanted = min(max(GROWTH * chains, MANY_CHAINS // GROWTH), MANY_CHAINS, max_chains)
        return wanted, f"{status}, but the spread of so few chains is unreliable: continuing with {wanted}."
    if fixed > 0 and reached > target and fixed >= target * value:
        return None, (
            f"{status}: more chains will not reach it, since the step size alone contributes "
            f"{fixed / value:.2%}. Lower `lr`."
        )
    needed = fewest
    if reached > target:
        free = judgement.stderr**2 - fixed**2
        needed = max(
            fewest, math.ceil(MARGIN * chains * free / ((target * value) ** 2 - fixed**2)) if value else chains
        )
    wanted = min(max(needed, GROWTH * chains), max_chains)
    rough = ", but that error is itself unreliable" if reached <= target else ""
    return wanted, f"{status}{rough}: continuing with {wanted}."


def _fewest_chains(judgement: Judged, chains: int) -> int:
    """Chains with which a standard error is one to go by: MANY_CHAINS, or as many as have ESS_MIN effective draws."""
    ess = judgement.diagnostics.ess or ESS_MIN
    return max(MANY_CHAINS, math.ceil(chains * ESS_MIN / ess))
