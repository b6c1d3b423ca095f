"""Independent draws or chains: the draws say which, where that is not given, after the first round and at the end."""

from hf_llc.execution.distributed.world import ProcessWorld
from hf_llc.execution.loaded_model import LoadedModel
from hf_llc.execution.plan import Plan
from hf_llc.execution.store import RunStore
from hf_llc.execution.work_queue import Steps
from hf_llc.measures.llc.draws.amounts import LEAST, first_amount
from hf_llc.measures.llc.draws.rounds import (
    PRIOR,
    Prior,
    collected,
    deadline_of,
    first_round,
    is_drawn,
    is_over,
    sample_of,
    summary_of,
)
from hf_llc.results.progress import Observer
from hf_llc.sampling.draws.statistics import OVERCOUNTED, TINY, DrawSummary

SERVES = 0.05
"""Share of λ̂ that the draws may leave open where the choice between them and chains is open; of LEAST where λ̂ is
below."""


def tried(plan: Plan, store: RunStore, bench: LoadedModel, fleet: ProcessWorld, observer: Observer) -> Steps[Plan]:
    """The plan to go on with: independent draws where the first of them say that these serve, else chains."""
    deadline = deadline_of(plan)
    yield from first_round(plan.of_draws(), store, bench, fleet, observer, deadline)
    return gone_on(plan, fleet, observer)


def gone_on(plan: Plan, fleet: ProcessWorld, observer: Observer) -> Plan:
    """The plan to go on with by the draws that there are; the observer is told why it is chains."""
    going_on = decided(plan)
    if going_on is None:
        # The time was up before the first round.
        return plan.of_draws()
    if fleet.is_main and not going_on.sampler.by_draws:
        observer.tell(f"{plan.title}: {why_chains(plan)['draws']}")
    return going_on


def decided(plan: Plan) -> Plan | None:
    """The plan by which the number is made; None where that is to be seen from draws that are not there yet."""
    if not plan.sampler.tries_draws:
        return plan
    store = RunStore(plan.run_dir, lambda message: None)
    serves, _ = _decision(plan, store)
    if serves is None:
        return plan.of_draws() if is_over(plan.deadline) else None
    return plan.of_draws() if serves else plan.of_chains(Prior(**(store.read(PRIOR) or {})).gamma)


def why_chains(plan: Plan) -> dict[str, str]:
    """What a reader of a number by chains must know of the draws that were tried first, by the settings concerned."""
    if not plan.sampler.tries_draws:
        return {}
    store = RunStore(plan.run_dir, lambda message: None)
    gamma = Prior(**(store.read(PRIOR) or {})).choices.get("gamma")
    return {"draws": _decision(plan, store)[1], **({"gamma": gamma} if gamma else {})}


def _decision(plan: Plan, store: RunStore) -> tuple[bool | None, str]:
    """Whether independent draws serve, by the first round of them, and why not; None as long as that is not there."""
    draws = plan.of_draws()
    stored, sample = store.read(PRIOR), sample_of(store, first_amount(draws))
    if stored is None or sample.amount != first_amount(draws):
        return None, ""
    reason = why_not(summary_of(draws, Prior(**stored), sample))
    if reason is None and is_drawn(draws):
        reason = why_not_in_the_end(summary_of(draws, *collected(draws, store)))
    return reason is None, f"Chains are sampled, since independent draws do not apply here: {reason}"


def why_not_in_the_end(summary: DrawSummary) -> str | None:
    """Why all draws together do not serve, of which the first ones looked as if they did; None if they do.

    Where they leave open less than λ̂ itself, the number stays with its verdict: chains take many times as long.
    """
    if summary.llc is None or summary.open <= max(abs(summary.llc), LEAST):
        return None
    return f"all of them together determine λ̂ = {summary.llc:.3g} only to ± {summary.open:.2g}."


def why_not(summary: DrawSummary) -> str | None:
    """Why independent draws do not serve; None if they do."""
    if summary.llc is None:
        return "the loss is inf or NaN at some of them."
    # What the slope leaves open a bend closes, which is not measured where gradients miss jumps.
    unresolved = summary.open if summary.by_losses else summary.open - summary.open_slope
    beyond = abs(summary.beyond.mean)
    if unresolved > SERVES * max(abs(summary.llc), LEAST):
        return f"they determine λ̂ = {summary.llc:.3g} only to ± {unresolved:.2g}, where {SERVES:.0%} is needed."
    share = beyond / max(abs(summary.prior_mean.mean), TINY)
    correction = OVERCOUNTED * share * (max(summary.narrowing.mean, 0.0) + max(summary.slope.mean, 0.0))
    if not summary.by_losses and correction > SERVES * max(abs(summary.llc), LEAST):
        return (
            f"of the rise of the loss there {share:.0%} is not quadratic, so that what curvature and slope "
            f"take from λ̂ = {summary.llc:.3g} is known to ± {correction:.2g}, where {SERVES:.0%} is needed."
        )
    return None
