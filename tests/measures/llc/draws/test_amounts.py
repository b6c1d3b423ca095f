"""How many draws the next round takes, and when there is none: from a summary alone."""

import math
from itertools import pairwise
from types import SimpleNamespace
from typing import Any, cast

import pytest

from hf_llc import SamplerSettings
from hf_llc.execution.plan import Plan
from hf_llc.measures.llc.draws.amounts import (
    COSTS,
    FIRST_BENDS,
    FIRST_GRADIENTS,
    GROWTH,
    MOST,
    Amount,
    first_amount,
    next_amount,
)
from hf_llc.sampling.draws.statistics import UNIFORM, DrawSummary, Value

FIRST = Amount(8, 3, 0)


def asked(**settings: Any) -> Plan:
    """As much of a plan as the rounds look at."""
    return cast(Plan, SimpleNamespace(sampler=SamplerSettings(sampler="importance", **settings)))


def summary(
    errors: tuple[float, ...] = (0.5, 0.1, 0.1),
    *,
    llc: float | None = 10.0,
    open_: float = 0.0,
    open_slope: float = 0.0,
    by_losses: bool = False,
) -> DrawSummary:
    """A summary with these errors of λ̂, and this left open."""
    sampling, nothing = math.hypot(*errors), Value(0.0, 0.0, 7)
    return DrawSummary(
        llc=llc,
        stderr=None if llc is None else math.hypot(sampling, open_ / UNIFORM),
        sampling_stderr=sampling,
        prior_mean=nothing,
        narrowing=nothing,
        slope=nothing,
        bend=None,
        slope_taken=0.0,
        open=open_,
        open_slope=open_slope,
        beyond=nothing,
        gamma_slope=None,
        n_beta_slope=None,
        weighted=None,
        by_losses=by_losses,
        errors=errors,
    )


def test_it_ends_once_the_error_is_the_share_that_was_asked_for() -> None:
    for llc, target, error, ends in (
        (10.0, None, 0.49, True), (10.0, None, 0.51, False), (10.0, 0.01, 0.11, False), (-10.0, 0.01, 0.09, True),
        (0.1, None, 0.049, True), (0.1, None, 0.051, False), (0.1, 0.2, 0.19, True),
    ):  # fmt: skip
        amount, why = next_amount(asked(target_stderr=target), summary((error, 0.0, 0.0), llc=llc), FIRST)
        assert (amount is None) is ends, (llc, target, error)
        assert ("done" in why) is ends
    assert next_amount(asked(), summary(llc=None), FIRST)[0] is None


@pytest.mark.parametrize(
    "errors",
    [(0.5, 0.1, 0.1), (0.1, 0.5, 0.5), (0.1, 0.1, 0.1, 0.9), (0.0, 0.0, 0.6), (0.0, 0.0, 0.0, 0.7), (9, 9, 9, 9)],
)
@pytest.mark.parametrize("amount", [FIRST, Amount(8, 3, 3), Amount(800, 3, 3), Amount(12, 300, 40)])
@pytest.mark.parametrize("chains", [2, 3, 4, 64])
def test_a_round_is_twice_the_work_and_takes_nothing_back(
    errors: tuple[float, ...], amount: Amount, chains: int
) -> None:
    if amount.bends == 0:
        errors = errors[:3] if any(errors[:3]) else (0.6, 0.0, 0.0)
    after, why = next_amount(asked(chains=chains, target_stderr=1e-3), summary(errors), amount)
    assert after is not None
    assert why.endswith("is wanted: continuing")
    assert after.cost >= GROWTH * amount.cost
    assert after.losses % chains == 0
    assert all(more >= fewer for fewer, more in zip(amount, after, strict=True))
    # A kind that is bought in whole draws, or whole rows of chains, costs no more than that above twice the work.
    assert after.cost <= GROWTH * amount.cost + COSTS[0] * chains + sum(COSTS) + amount.cost


def test_the_work_is_dealt_out_as_the_errors_are_the_least() -> None:
    """Neyman: draws of a kind go as its spread by the root of its cost."""
    amount, errors = Amount(100, 20, 20), (0.3, 0.2, 0.2, 0.2)
    after, _ = next_amount(asked(chains=2, target_stderr=1e-3), summary(errors), amount)
    assert after is not None
    spreads = [0.3 * math.sqrt(100), math.hypot(0.2, 0.2) * math.sqrt(20), 0.2 * math.sqrt(20)]

    def left(counts: Amount) -> float:
        return math.hypot(*(spread / math.sqrt(count) for spread, count in zip(spreads, counts, strict=True)))

    for kind in range(3):
        for other in set(range(3)) - {kind}:
            moved = list(after)
            moved[kind] += round(12 / COSTS[kind])
            moved[other] -= math.ceil(12 / COSTS[other])
            if moved[other] >= amount[other]:
                assert left(Amount(*moved)) > left(after) * (1 - 0.005)


def test_draws_that_agree_by_chance_do_not_stay_few() -> None:
    amount = FIRST
    for _ in range(6):
        after, _ = next_amount(asked(), summary((1e-4, 5.0, 5.0)), amount)
        assert after is not None
        assert after.losses >= 1.4 * amount.losses
        amount = after
    assert amount.losses > 50


def test_bends_are_measured_where_the_slope_leaves_much_open() -> None:
    wide = summary((0.6, 0.1, 0.1), open_=0.3, open_slope=0.2)
    assert next_amount(asked(), wide, FIRST)[0] == Amount(8, 3, FIRST_BENDS)
    little = summary((0.6, 0.1, 0.1), open_=0.3, open_slope=0.1)
    assert next_amount(asked(), little, FIRST)[0] not in {None, Amount(8, 3, FIRST_BENDS)}
    by_losses = summary((0.6, 0.1, 0.1), open_=0.3, open_slope=0.2, by_losses=True)
    after = next_amount(asked(), by_losses, FIRST)[0]
    assert after is not None
    assert (after.gradients, after.bends) == (3, 0)


@pytest.mark.parametrize(
    ("open_", "open_slope", "sampling", "amount", "by_losses", "ends"),
    [
        # λ̂ is 10, and 0.5 is asked for: an interval of ± 0.87 leaves a standard error of that.
        (0.9, 0.0, 0.5, FIRST, False, True),
        (0.8, 0.0, 0.5, FIRST, False, False),
        # More draws lessen the rest of the error, however little is asked for.
        (0.9, 0.0, 0.6, FIRST, False, False),
        (0.9, 0.9, 0.4, Amount(8, 3, 3), False, True),
        (0.9, 0.9, 0.4, FIRST, False, False),
        # From products of losses what is open is noisy too.
        (0.9, 0.9, 0.4, FIRST, True, False),
        (0.9, 0.9, 0.17, FIRST, True, True),
    ],
)
def test_it_ends_where_more_draws_would_not_get_there(
    open_: float, open_slope: float, sampling: float, amount: Amount, by_losses: bool, ends: bool
) -> None:
    stuck = summary((sampling, 0.0, 0.0), open_=open_, open_slope=open_slope, by_losses=by_losses)
    after, why = next_amount(asked(), stuck, amount)
    assert (after is None) is ends
    assert ("would not reach it: they leave ± 0.9 of λ̂ undetermined" in why) is ends


@pytest.mark.parametrize("by_losses", [False, True])
def test_every_run_ends(by_losses: bool) -> None:
    """With errors that no draws lessen, at MOST draws of a kind."""
    amount: Amount | None = FIRST
    seen = [FIRST]
    while amount is not None:
        errors = (5.0, 1.0, 1.0, 1.0) if amount.bends else (5.0, 1.0, 1.0)
        amount, why = next_amount(asked(), summary(errors, open_=0.2, open_slope=0.2, by_losses=by_losses), amount)
        seen += [amount] if amount else []
        assert len(seen) < 40
    assert max(seen[-1]) == MOST
    assert f"the largest number of draws of a kind, {MOST}, is reached" in why
    assert all(after.cost >= GROWTH * before.cost for before, after in pairwise(seen[1:-1]))


def test_an_interval_without_sampling_error_ends_too() -> None:
    amount: Amount | None = FIRST
    for _ in range(30):
        if amount is None:
            break
        # What is open keeps the error above the target, and what no bend was asked for keeps it from being final.
        amount, _ = next_amount(asked(), summary((0.0, 0.0, 0.0), open_=0.9, open_slope=0.12), amount)
    assert amount is None


def test_a_given_number_of_pairs_is_kept_and_corrections_reach_half_its_error() -> None:
    plan = asked(chains=3, draws=5)
    assert first_amount(plan) == Amount(15, FIRST_GRADIENTS, 0)
    amount: Amount | None = first_amount(plan)
    last = amount
    while amount is not None:
        last = amount
        error = 0.7 / math.sqrt(amount.gradients * 4 / FIRST_GRADIENTS)
        amount, why = next_amount(plan, summary((0.5, error, 0.0)), amount)
        assert amount is None or amount.losses == 15
    assert last == Amount(15, 2 * FIRST_GRADIENTS, 0)
    assert why == "the number of pairs, 15, was given"
    # With a target too they are the first round of more.
    both = asked(chains=3, draws=5, target_stderr=0.01)
    after, _ = next_amount(both, summary((0.5, 0.1, 0.0)), first_amount(both))
    assert after is not None
    assert after.losses > 15
    assert next_amount(both, summary((0.05, 0.0, 0.0)), first_amount(both))[0] is None
