"""How many independent draws a run takes: the first round, each after it, and when it is enough."""

import math
from typing import NamedTuple, Protocol

from hf_llc.sampling.draws.prior import GRADIENT_SHARE
from hf_llc.sampling.draws.statistics import UNIFORM, DrawSummary
from hf_llc.settings.sampler import SamplerSettings
from hf_llc.settings.stopping import TARGET_STDERR

LEAST = 1.0
"""λ̂ below which the wanted error is a share of this."""
FIRST_LOSSES, FIRST_GRADIENTS, FIRST_BENDS = 8, 4, 4
"""Pairs of the first round, and bends of the first round that takes some: as few as leave an error to go by."""
MOST = 10**5
"""Pairs of a kind beyond which no round goes."""
COSTS = (3.0, 14 * GRADIENT_SHARE, 12 * GRADIENT_SHARE)
"""What a pair with its losses, a pair with its gradients and a bend take, in losses of a minibatch: a gradient is
three, and pairs have their losses at w*."""
GROWTH = 2.0
"""How many times more work there is after a round: looking at the error more often than that would choose among moments
those at which it happens to look small."""
STEEPEST = 4.0
"""How many times more draws of one kind a round may take, unless the work would not be GROWTH times as much then."""
SLOWEST = 1.4
"""How many times more draws of each kind a round takes at least."""
OPEN_SHARE = 0.25
"""Share of the wanted error from which on what the slope's bend leaves open is worth measuring."""


class DrawRequest(Protocol):
    """What a number of draws follows from: a plan, or as much of one."""

    @property
    def sampler(self) -> SamplerSettings: ...


class Amount(NamedTuple):
    """How many pairs with losses, pairs with gradients, and bends along the slope."""

    losses: int
    gradients: int
    bends: int

    @property
    def cost(self) -> float:
        """In losses of a minibatch."""
        return sum(cost * count for cost, count in zip(COSTS, self, strict=True))

    def names(self) -> list[str]:
        """Of the parts, in the order in which they are made: kinds side by side."""
        kinds = zip(("draws", "gradients", "bends"), self, strict=True)
        places = [((index + 0.5) / count, kind, index) for kind, count in kinds for index in range(count)]
        return [f"{kind}/{index:05d}" for _, kind, index in sorted(places)]


def first_amount(plan: DrawRequest) -> Amount:
    """Draws of the first round."""
    if fixed_pairs(plan) is not None:
        return Amount(fixed_pairs(plan) or 0, FIRST_GRADIENTS, 0)
    return Amount(plan.sampler.chain_count * math.ceil(FIRST_LOSSES / plan.sampler.chain_count), FIRST_GRADIENTS, 0)


def fixed_pairs(plan: DrawRequest) -> int | None:
    """Pairs with losses where the settings give their number."""
    sampler = plan.sampler
    return None if sampler.draws is None else sampler.chain_count * sampler.draws


def wanted_stderr(plan: DrawRequest, value: float) -> float:
    """The standard error at which a run ends, where λ̂ is about `value`."""
    return (plan.sampler.target_stderr or TARGET_STDERR) * max(abs(value), LEAST)


def target_of(plan: DrawRequest, summary: DrawSummary, amount: Amount) -> float | None:
    """The share of λ̂ that the standard error was to reach, if it was that which ended the draws; None if their number
    or the time did."""
    sampler = plan.sampler
    if fixed_pairs(plan) is not None and sampler.target_stderr is None:
        return None
    return (sampler.target_stderr or TARGET_STDERR) if next_amount(plan, summary, amount)[0] is None else None


def next_amount(plan: DrawRequest, summary: DrawSummary, amount: Amount) -> tuple[Amount | None, str]:
    """The draws to have after another round, None if there is to be none, and a clause why."""
    if summary.llc is None or summary.stderr is None:
        return None, "there is no number, so more draws would not help"
    fixed = fixed_pairs(plan)
    if fixed is not None and plan.sampler.target_stderr is None:
        # The pairs are given: what corrects their mean is to be known twice as well as that.
        wanted = max(summary.errors[0], 1e-9 * abs(summary.llc))
        grown = _grown_corrections(summary, amount, wanted, plan)
        return (
            grown,
            f"the number of pairs, {fixed}, was given"
            if grown is None
            else "continuing with the draws that correct their mean",
        )
    wanted = wanted_stderr(plan, summary.llc)
    if summary.stderr <= wanted:
        return None, f"{wanted:.2g} was wanted: done"
    if summary.open_slope > OPEN_SHARE * wanted and amount.bends == 0 and not summary.by_losses:
        return amount._replace(bends=FIRST_BENDS), "measuring how the loss bends along its slope"
    # What is left open is a part of the standard error that more draws do not lessen; the rest they do.
    measured = amount.bends > 0 or summary.by_losses
    unresolved = (summary.open if measured else summary.open - summary.open_slope) / UNIFORM
    # From products of losses it is as noisy as λ̂ itself.
    enough = unresolved / 3 if summary.by_losses else unresolved
    if unresolved >= wanted and (summary.sampling_stderr or 0.0) <= enough:
        return None, (
            f"{wanted:.2g} was wanted, and more draws would not reach it: they leave ± "
            f"{summary.open:.2g} of λ̂ undetermined"
        )
    if max(amount) >= MOST:
        return None, f"{wanted:.2g} was wanted, and the largest number of draws of a kind, {max(amount)}, is reached"
    return _grown(summary, amount, plan.sampler.chain_count), f"{wanted:.2g} is wanted: continuing"


def _grown(summary: DrawSummary, amount: Amount, chains: int) -> Amount:
    """GROWTH times the work, dealt out so that the error is the least: the draws of a kind go as its spread by the root
    of its cost (Neyman 1934). Each grows by SLOWEST at least: a few draws that agree by chance would stay few."""
    errors = _errors(summary)
    spreads = [error * math.sqrt(count) for error, count in zip(errors, amount, strict=True)]
    total = GROWTH * amount.cost
    unit = sum(spread * math.sqrt(cost) for spread, cost in zip(spreads, COSTS, strict=True))
    if unit == 0:
        return amount._replace(losses=int(GROWTH * amount.losses))
    best = [total * spread / math.sqrt(cost) / unit for spread, cost in zip(spreads, COSTS, strict=True)]
    steepest, most = STEEPEST, max(MOST, *amount)
    while True:
        counts = [
            math.ceil(min(max(wanted, SLOWEST * count if spread > 0 else count), steepest * count, most))
            for wanted, count, spread in zip(best, amount, spreads, strict=True)
        ]
        grown = Amount(chains * math.ceil(counts[0] / chains), counts[1], counts[2])
        if grown.cost >= total or most in counts:
            return grown
        # Little depends on the kind that grows, so far.
        steepest *= STEEPEST


def _grown_corrections(summary: DrawSummary, amount: Amount, wanted: float, plan: DrawRequest) -> Amount | None:
    """More gradients and bends, until these add little to an error `wanted` or are as many as pairs; then None."""
    if summary.by_losses:
        return None
    _, gradients, bends = _errors(summary)
    more = amount
    if gradients > wanted / 2 and amount.gradients < amount.losses:
        more = more._replace(gradients=min(2 * amount.gradients, amount.losses))
    if summary.open_slope > OPEN_SHARE * wanted and amount.bends == 0:
        more = more._replace(bends=FIRST_BENDS)
    elif bends > wanted / 2 and amount.bends < amount.losses:
        more = more._replace(bends=min(2 * amount.bends, amount.losses))
    return None if more == amount else more


def _errors(summary: DrawSummary) -> tuple[float, float, float]:
    """What each kind of draw leaves of the standard error of λ̂."""
    errors = [*summary.errors, 0.0][:4]
    if summary.by_losses:
        return math.hypot(*errors[:3]), 0.0, 0.0
    return errors[0], math.hypot(*errors[1:3]), errors[3]
