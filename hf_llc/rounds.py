"""Independent draws of the localizing prior, in rounds until λ̂ is known as well as was asked for or the time is up.

Each pair of draws is a part of the run by itself. A round doubles the work done so far. What it draws follows from the
numbers of the rounds before it: any number of processes make the same draws, and a later command goes on with them.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

import torch

from hf_llc import queue
from hf_llc.adapters.fleet import Fleet
from hf_llc.adapters.store import INPUTS, RunStore
from hf_llc.core.localisation import choose_gamma
from hf_llc.core.objective import dimension
from hf_llc.core.prior_draws import GRADIENT_SHARE, GradientPair, LossPair, PriorDraws
from hf_llc.draw_statistics import UNIFORM, DrawSummary, summarise_draws
from hf_llc.errors import ResourceError, UnusableError
from hf_llc.observer import Observer, duration
from hf_llc.plan import Plan
from hf_llc.queue import Steps
from hf_llc.resolution import gamma_sentence, sentences_on, temperature
from hf_llc.results import finite_or_none
from hf_llc.settings import TARGET_STDERR
from hf_llc.workbench import Workbench

PRIOR = "prior"
"""The part that holds what is fixed before the first draw."""
STOPPED = "stopped"
"""The part that says which deadline ended the draws: of a series a checkpoint's share of the time is up before that."""
LEAST = 1.0
"""λ̂ below which the wanted error is a share of this."""
FIRST_LOSSES, FIRST_GRADIENTS, FIRST_BENDS = 8, 4, 4
"""Pairs of the first round, and bends of the first round that takes some: as few as leave an error to go by."""
FEWEST = (4, 2)
"""Pairs of either kind without which there is no number."""
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
GAMMA_TOKENS, GAMMA_SEQUENCES = 4096, (4, 32)
"""Of the first sequences, on which γ is looked for where it is open."""
GAMMA_EVALUATIONS, MANY_WEIGHTS = 5, 10**6
"""Displacements at which the rise of the loss is looked at for it, and weights from which on one direction is like any
other."""
SERVES = 0.05
"""Share of λ̂ that the draws may leave open where the choice between them and chains is open; of LEAST where λ̂ is
below."""
QUADRATIC = 0.2
"""Share of κ₁ up to which the loss may rise other than as a quadratic does."""
SLOWEST = 1.4
"""How many times more draws of each kind a round takes at least."""
OPEN_SHARE = 0.25
"""Share of the wanted error from which on what the slope's bend leaves open is worth measuring."""


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


@dataclass(frozen=True, kw_only=True)
class Prior:
    """What is fixed before the first draw.

    Attributes:
        choices: a sentence for each setting that was left open. dimension: d, weights that move. routers: modules that
            choose between experts, joined by commas. micro_batch_size: sequences per forward pass.
    """

    n_beta: float
    gamma: float
    choices: dict[str, str]
    dimension: int
    routers: str
    micro_batch_size: int
    load_seconds: float
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Sample:
    """The draws of a run, in order, and the seconds that they took."""

    losses: Sequence[LossPair]
    gradients: Sequence[GradientPair]
    bends: Sequence[float]
    seconds: float

    @property
    def amount(self) -> Amount:
        """How many there are."""
        return Amount(len(self.losses), len(self.gradients), len(self.bends))


def tried(plan: Plan, store: RunStore, bench: Workbench, fleet: Fleet, observer: Observer) -> Steps[Plan]:
    """The plan to go on with: independent draws where the first of them say that these serve, else chains."""
    deadline = _deadline(plan)
    yield from first_round(plan.of_draws(), store, bench, fleet, observer, deadline)
    going_on = decided(plan)
    if going_on is None:
        # The time was up before the first round.
        return plan.of_draws()
    if fleet.is_main and not going_on.sampler.by_draws:
        length = "" if plan.deadline is None else " --budget does not end them: they are as long as --draws says."
        observer.tell(f"{plan.source.id}: {_decision(plan, store)[1]}{length}")
    return going_on


def first_round(
    plan: Plan, store: RunStore, bench: Workbench, fleet: Fleet, observer: Observer, deadline: float | None = None
) -> Steps[None]:
    """Makes the first round of a plan of draws."""
    prior = yield from _prior(plan, store, bench, fleet, observer)
    maker = _Maker(plan, bench, prior, observer)
    yield from _round(store, first_amount(plan), maker, observer, _watch(fleet, deadline))


def decided(plan: Plan) -> Plan | None:
    """The plan by which the number is made; None where that is to be seen from draws that are not there yet."""
    if not plan.sampler.tries_draws:
        return plan
    store = RunStore(plan.run_dir, lambda message: None)
    serves, _ = _decision(plan, store)
    if serves is None:
        return plan.of_draws() if _is_over(plan.deadline) else None
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
    reason = _misfit(summary_of(draws, Prior(**stored), sample))
    return reason is None, f"Chains are sampled, since independent draws do not serve here: {reason}"


def misfit(plan: Plan, store: RunStore) -> str | None:
    """Why the first round of a plan of draws says that they do not serve; None if they do, or are not there yet."""
    serves, reason = _decision(plan, store)
    return None if serves is not False else reason


def forget(plan: Plan) -> None:
    """Removes the first round of a plan of draws, so that chains may take its folder."""
    store = RunStore(plan.run_dir, lambda message: None)
    for name in [*first_amount(plan).names(), PRIOR, INPUTS]:
        store.path(name).unlink(missing_ok=True)


def measured_gamma(plan: Plan, bench: Workbench) -> tuple[float, str]:
    """γ at which the prior alone raises the loss by about TARGET_RISE, and the sentence that says so."""
    batch = torch.arange(gamma_sequences(plan.corpus.context_length, plan.corpus.n))
    objective = bench.in_full
    directions = 1 if dimension(objective.parameters, objective.shards) >= MANY_WEIGHTS else 2
    gamma, rise, share = choose_gamma(
        objective, batch, objective.losses(batch), plan.sampler.seed, GAMMA_EVALUATIONS, directions
    )
    return gamma, gamma_sentence(gamma, rise, share)


def gamma_sequences(context_length: int, n: int) -> int:
    """How many sequences γ is looked for on."""
    least, most = GAMMA_SEQUENCES
    return min(n, most, max(least, GAMMA_TOKENS // context_length))


def _misfit(summary: DrawSummary) -> str | None:
    """Why independent draws do not serve; None if they do."""
    if summary.llc is None:
        return "the loss is inf or NaN at some of them."
    # What the slope leaves open a bend closes, which is not measured where gradients miss jumps.
    left = summary.open if summary.by_losses else summary.open - summary.open_slope
    beyond = abs(summary.beyond.mean)
    if left > SERVES * max(abs(summary.llc), LEAST):
        return f"they leave λ̂ = {summary.llc:.3g} open by ± {left:.2g}, where {SERVES:.0%} is asked for."
    if not summary.by_losses and beyond > QUADRATIC * max(abs(summary.prior_mean.mean), LEAST):
        return f"of the rise of the loss there {beyond / abs(summary.prior_mean.mean):.0%} is not quadratic."
    return None


def steps(
    plan: Plan, store: RunStore, bench: Workbench, fleet: Fleet, observer: Observer, keep: Callable[[], None]
) -> Steps[None]:
    """Makes what is missing of the draws, one part at a time.

    Args:
        keep: called in one process after each round, to write down the number so far.
    """
    is_over = _watch(fleet, _deadline(plan))
    prior = yield from _prior(plan, store, bench, fleet, observer)
    maker = _Maker(plan, bench, prior, observer)
    amount: Amount | None = first_amount(plan)
    while amount is not None:
        yield from _round(store, amount, maker, observer, is_over)
        sample = sample_of(store, amount)
        if not _suffices(sample):
            return
        summary = summary_of(plan, prior, sample)
        if sample.amount == amount:
            amount, why = next_amount(plan, summary, amount)
        else:
            amount, why = None, "the time is up"
            store.write(STOPPED, {"deadline": plan.deadline})
        if fleet.is_main:
            if _fixed(plan) is None:
                observer.tell(f"{plan.source.id}: {said(summary, sample)}; {why}")
            keep()


def _round(
    store: RunStore, amount: Amount, maker: "_Maker", observer: Observer, is_over: Callable[[], bool]
) -> Steps[None]:
    names = amount.names()
    observer.begin("independent draws", len(names))
    parts = queue.parts(store, names, maker, found=lambda done: observer.advance(len(done)), last=True)
    try:
        while not is_over():
            yield next(parts)
    except StopIteration:
        pass
    observer.end()


def is_drawn(plan: Plan) -> bool:
    """True if all is there that the plan's draws ask for, whatever the time."""
    return is_finished(replace(plan, deadline=None))


def is_finished(plan: Plan) -> bool:
    """True if nothing is left to draw, or no time to do it."""
    store = RunStore(plan.run_dir, lambda message: None)
    stored = store.read(PRIOR)
    if stored is None:
        return False
    amount: Amount | None = first_amount(plan)
    while amount is not None:
        if not all(store.path(name).exists() for name in amount.names()) and not _was_stopped(plan, store):
            return False
        sample = sample_of(store, amount)
        if sample.amount != amount:
            return _was_stopped(plan, store) and _suffices(sample)
        amount, _ = next_amount(plan, summary_of(plan, Prior(**stored), sample), amount)
    return True


def _was_stopped(plan: Plan, store: RunStore) -> bool:
    """True if the time that this plan's draws had is up."""
    if plan.deadline is None or _is_over(plan.deadline):
        return plan.deadline is not None
    return (store.read(STOPPED) or {}).get("deadline") == plan.deadline


def collected(plan: Plan, store: RunStore) -> tuple[Prior, Sample]:
    """What a run has drawn: all that its settings ask for, or what there was time for.

    Raises:
        ResourceError: that is too little for a number, or was changed since.
    """
    stored = store.read(PRIOR)
    if stored is None:
        raise ResourceError(f"{store.path(PRIOR)} is gone since it was made; run the same command again.")
    prior = Prior(**stored)
    amount: Amount | None = first_amount(plan)
    sample = sample_of(store, first_amount(plan))
    while amount is not None:
        sample = sample_of(store, amount)
        if sample.amount != amount:
            break
        amount, _ = next_amount(plan, summary_of(plan, prior, sample), amount)
    if not _suffices(sample):
        raise ResourceError(
            f"{sample.amount.losses} pairs of draws with their losses and {sample.amount.gradients} with their "
            f"gradients are there, and {FEWEST[0]} and {FEWEST[1]} make a number: give more --budget; the same command "
            "goes on."
        )
    return prior, sample


def _suffices(sample: Sample) -> bool:
    return len(sample.losses) >= FEWEST[0] and len(sample.gradients) >= FEWEST[1]


def sample_of(store: RunStore, amount: Amount) -> Sample:
    """The draws that are there of so many, up to the first that is missing of each kind."""

    def there(kind: str, count: int) -> list[dict[str, Any]]:
        payloads = []
        for index in range(count):
            payload = store.read(f"{kind}/{index:05d}")
            if payload is None:
                break
            payloads.append(payload)
        return payloads

    losses, gradients, bends = (
        there(kind, count) for kind, count in zip(("draws", "gradients", "bends"), amount, strict=True)
    )
    return Sample(
        losses=[LossPair.from_dict(each["pair"]) for each in losses],
        gradients=[GradientPair.from_dict(each["pair"]) for each in gradients],
        bends=[math.nan if each["bend"] is None else float(each["bend"]) for each in bends] if len(bends) > 1 else [],
        seconds=sum(each["seconds"] for each in [*losses, *gradients, *bends]),
    )


def summary_of(plan: Plan, prior: Prior, sample: Sample) -> DrawSummary:
    """What the draws say."""
    return summarise_draws(
        sample.losses,
        sample.gradients,
        sample.bends,
        n=plan.corpus.n,
        n_beta=prior.n_beta,
        gamma=prior.gamma,
        jumps=bool(prior.routers),
    )


def first_amount(plan: Plan) -> Amount:
    """Draws of the first round."""
    if _fixed(plan) is not None:
        return Amount(_fixed(plan) or 0, FIRST_GRADIENTS, 0)
    return Amount(plan.sampler.chains * math.ceil(FIRST_LOSSES / plan.sampler.chains), FIRST_GRADIENTS, 0)


def _fixed(plan: Plan) -> int | None:
    """Pairs with losses where the settings give their number."""
    sampler = plan.sampler
    return None if sampler.draws is None else sampler.chains * sampler.draws


def wanted_stderr(plan: Plan, value: float) -> float:
    """The standard error at which a run ends, where λ̂ is about `value`."""
    return (plan.sampler.target_stderr or TARGET_STDERR) * max(abs(value), LEAST)


def target_of(plan: Plan, summary: DrawSummary, amount: Amount) -> float | None:
    """The share of λ̂ that the standard error was to reach, if it was that which ended the draws; None if their number
    or the time did."""
    sampler = plan.sampler
    if _fixed(plan) is not None and sampler.target_stderr is None:
        return None
    return (sampler.target_stderr or TARGET_STDERR) if next_amount(plan, summary, amount)[0] is None else None


def next_amount(plan: Plan, summary: DrawSummary, amount: Amount) -> tuple[Amount | None, str]:
    """The draws to have after another round, None if there is to be none, and a clause why."""
    if summary.llc is None or summary.stderr is None:
        return None, "there is no number, so more draws would not make it more precise"
    fixed = _fixed(plan)
    if fixed is not None and plan.sampler.target_stderr is None:
        # The pairs are given: what corrects their mean is to be known twice as well as that.
        wanted = max(summary.errors[0], 1e-9 * abs(summary.llc))
        grown = _grown_corrections(summary, amount, wanted, plan)
        return grown, f"{fixed} pairs were asked for" if grown is None else "going on for what corrects their mean"
    wanted = wanted_stderr(plan, summary.llc)
    if summary.stderr <= wanted:
        return None, f"{wanted:.2g} was asked for: done"
    if summary.open_slope > OPEN_SHARE * wanted and amount.bends == 0 and not summary.by_losses:
        return amount._replace(bends=FIRST_BENDS), "measuring how the loss bends along its slope"
    # What is left open is a part of the standard error that more draws do not lessen; the rest they do.
    measured = amount.bends > 0 or summary.by_losses
    left = (summary.open if measured else summary.open - summary.open_slope) / UNIFORM
    # From products of losses it is as noisy as λ̂ itself.
    enough = left / 3 if summary.by_losses else left
    if left >= wanted and (summary.sampling_stderr or 0.0) <= enough:
        return None, (
            f"{wanted:.2g} was asked for, and more draws would not get there: they leave λ̂ open by {summary.open:.2g}"
        )
    if max(amount) >= MOST:
        return None, f"{wanted:.2g} was asked for, and there are {max(amount)} draws of a kind already"
    return _grown(summary, amount, plan.sampler.chains), f"{wanted:.2g} is asked for: going on"


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


def _grown_corrections(summary: DrawSummary, amount: Amount, wanted: float, plan: Plan) -> Amount | None:
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


def said(summary: DrawSummary, sample: Sample) -> str:
    """The number so far, in words."""
    pairs, amount = sum(sample.amount[:2]), sample.amount
    from_ = f"{pairs} pairs of draws{f' and {amount.bends} bends' if amount.bends else ''}"
    if summary.llc is None or summary.stderr is None:
        return f"no number from {from_}"
    return f"λ̂ = {summary.llc:.4g} ± {summary.stderr:.2g} from {from_} in {duration(sample.seconds)}"


def _deadline(plan: Plan) -> float | None:
    """When this plan's draws end: what is left until the deadline is shared with those that follow."""
    if plan.deadline is None:
        return None
    now = time.time()
    return now + max(0.0, plan.deadline - now) / (1 + plan.followers)


def _watch(fleet: Fleet, deadline: float | None) -> Callable[[], bool]:
    """Says whether the time is up: processes that hold one model together have clocks of their own, and must end with
    the same part."""
    return lambda: fleet.lead(lambda: _is_over(deadline))


def _is_over(deadline: float | None) -> bool:
    return deadline is not None and time.time() >= deadline


def _prior(plan: Plan, store: RunStore, bench: Workbench, fleet: Fleet, observer: Observer) -> Steps[Prior]:
    def make(name: str) -> dict[str, Any]:
        with observer.part("loading"):
            bench.load()
        with observer.part("measuring"):
            return asdict(_fixed_before(plan, bench))

    (payload,) = yield from queue.parts(store, [PRIOR], make)
    prior = Prior(**payload)
    if fleet.is_main:
        for sentence in prior.choices.values():
            observer.tell(sentence)
    return prior


def _fixed_before(plan: Plan, bench: Workbench) -> Prior:
    started, sampler, objective = time.monotonic(), plan.sampler, bench.objective
    n_beta, choices = temperature(sampler.n_beta, plan.corpus.n)
    choices |= sentences_on(plan, bench)
    gamma = sampler.gamma
    if gamma is None:
        gamma, choices["gamma"] = measured_gamma(plan, bench)
    return Prior(
        n_beta=n_beta,
        gamma=gamma,
        choices=choices,
        dimension=dimension(objective.parameters, objective.shards),
        routers=", ".join(bench.routers),
        micro_batch_size=bench.micro_batch,
        load_seconds=bench.load_seconds,
        seconds=time.monotonic() - started,
    )


class _Maker:
    """Makes the parts of draws, on one process's workbench."""

    def __init__(self, plan: Plan, bench: Workbench, prior: Prior, observer: Observer) -> None:
        self._plan, self._bench, self._prior, self._observer = plan, bench, prior, observer
        self._draws: PriorDraws | None = None

    def __call__(self, name: str) -> dict[str, Any]:
        started = time.monotonic()
        kind, _, number = name.partition("/")
        draws = self._at_anchor()
        with self._observer.part("forward_backward"):
            if kind == "bends":
                return {"bend": finite_or_none(draws.bend(int(number))), "seconds": time.monotonic() - started}
            pair: LossPair | GradientPair = (
                draws.losses(int(number)) if kind == "draws" else draws.gradients(int(number))
            )
        if isinstance(pair, LossPair):
            self._require_finite(pair.anchor)
        return {"pair": pair.to_dict(), "seconds": time.monotonic() - started}

    def _at_anchor(self) -> PriorDraws:
        with self._observer.part("loading"):
            objective = self._bench.load()
        if self._draws is None or self._draws.objective is not objective:
            self._draws = PriorDraws(
                objective,
                self._bench.in_full,
                gamma=self._prior.gamma,
                batch_size=self._plan.batch_size,
                seed=self._plan.sampler.seed,
                keep_on=self._bench.spare_device(),
            )
        return self._draws

    def _require_finite(self, value: float) -> None:
        if not math.isfinite(value):
            raise UnusableError(
                f"The loss of {self._plan.source.id} is inf or NaN on this text: its weights are broken."
            )
