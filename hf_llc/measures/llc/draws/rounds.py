"""Independent draws of the localizing prior, in rounds until λ̂ is known as well as was asked for or the time is up.

Each pair of draws is a part of the run by itself. A round doubles the work done so far. What it draws follows from the
numbers of the rounds before it: any number of processes make the same draws, and a later command goes on with them.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch

from hf_llc.errors import ResourceError, SettingsError, UnusableError
from hf_llc.execution import work_queue
from hf_llc.execution.distributed.world import ProcessWorld
from hf_llc.execution.loaded_model import LoadedModel
from hf_llc.execution.plan import Plan
from hf_llc.execution.store import RunStore
from hf_llc.execution.work_queue import Steps
from hf_llc.measures.llc.draws.amounts import Amount, first_amount, fixed_pairs, next_amount
from hf_llc.measures.llc.resolution import gamma_sentence, sentences_on, temperature
from hf_llc.results.estimate import finite_or_none
from hf_llc.results.progress import Observer, duration
from hf_llc.sampling.draws.prior import GradientPair, LossPair, PriorDraws
from hf_llc.sampling.draws.statistics import DrawSummary, summarise_draws
from hf_llc.sampling.objective import dimension
from hf_llc.sampling.tuning.gamma import choose_gamma

PRIOR = "prior"
"""The part that holds what is fixed before the first draw."""
STOPPED = "stopped"
"""The part that says which deadline ended the draws: of a series a checkpoint's share of the time is up before that."""
FEWEST = (4, 2)
"""Pairs of either kind without which there is no number."""
GAMMA_TOKENS, GAMMA_SEQUENCES = 4096, (4, 32)
"""Of the first sequences, on which γ is looked for where it is open."""
GAMMA_EVALUATIONS, MANY_WEIGHTS = 5, 10**6
"""Displacements at which the rise of the loss is looked at for it, and weights from which on one direction is like any
other."""


@dataclass(frozen=True, kw_only=True)
class Prior:
    """What is fixed before the first draw.

    Attributes:
        choices: a sentence for each setting that was not given. dimension: d, weights that move. routers: modules that
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


def first_round(
    plan: Plan,
    store: RunStore,
    bench: LoadedModel,
    fleet: ProcessWorld,
    observer: Observer,
    deadline: float | None = None,
) -> Steps[None]:
    """Makes the first round of a plan of draws."""
    prior = yield from _prior(plan, store, bench, fleet, observer)
    maker = _Maker(plan, bench, prior, observer)
    yield from _round(store, first_amount(plan), maker, observer, _watch(fleet, deadline))


def measured_gamma(plan: Plan, bench: LoadedModel) -> tuple[float, str]:
    """γ at which the prior alone raises the loss by about TARGET_RISE, and the sentence that says so."""
    batch = torch.arange(gamma_sequences(plan.corpus.context_length, plan.corpus.n))
    objective = bench.in_full
    directions = 1 if dimension(objective.parameters, objective.shards) >= MANY_WEIGHTS else 2
    gamma, rise, share = choose_gamma(
        objective, batch, objective.losses(batch), plan.sampler.seed, GAMMA_EVALUATIONS, directions
    )
    return gamma, gamma_sentence(gamma, rise, share, bench.unit)


def gamma_sequences(context_length: int, n: int) -> int:
    """How many sequences γ is looked for on."""
    least, most = GAMMA_SEQUENCES
    return min(n, most, max(least, GAMMA_TOKENS // context_length))


def steps(
    plan: Plan, store: RunStore, bench: LoadedModel, fleet: ProcessWorld, observer: Observer, keep: Callable[[], None]
) -> Steps[None]:
    """Makes what is missing of the draws, one part at a time.

    Args:
        keep: called in one process after each round, to write down the number so far.
    """
    time_is_up = _watch(fleet, deadline_of(plan))
    prior = yield from _prior(plan, store, bench, fleet, observer)
    maker = _Maker(plan, bench, prior, observer)
    amount: Amount | None = first_amount(plan)
    while amount is not None:
        yield from _round(store, amount, maker, observer, time_is_up)
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
            if fixed_pairs(plan) is None:
                observer.tell(f"{plan.title}: {describe(summary, sample)}; {why}")
            keep()


def _round(
    store: RunStore, amount: Amount, maker: "_Maker", observer: Observer, time_is_up: Callable[[], bool]
) -> Steps[None]:
    names = amount.names()
    observer.begin("independent draws", len(names))
    parts = work_queue.make_parts(store, names, maker, on_parts=lambda done: observer.advance(len(done)), last=True)
    try:
        while not time_is_up():
            yield next(parts)
    except StopIteration:
        pass
    observer.end()


def prior_of(store: RunStore) -> Prior:
    """What was fixed before the first draw.

    Raises:
        ResourceError: it has disappeared since.
    """
    stored = store.read(PRIOR)
    if stored is None:
        raise ResourceError(f"{store.path(PRIOR)} has disappeared; run the same command again.")
    return Prior(**stored)


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
    if plan.deadline is None or is_over(plan.deadline):
        return plan.deadline is not None
    return (store.read(STOPPED) or {}).get("deadline") == plan.deadline


def collected(plan: Plan, store: RunStore) -> tuple[Prior, Sample]:
    """What a run has drawn: all that its settings ask for, or what there was time for.

    Raises:
        ResourceError: that is too little for a number, or was changed since.
    """
    prior = prior_of(store)
    amount: Amount | None = first_amount(plan)
    sample = sample_of(store, first_amount(plan))
    while amount is not None:
        sample = sample_of(store, amount)
        if sample.amount != amount:
            break
        amount, _ = next_amount(plan, summary_of(plan, prior, sample), amount)
    if not _suffices(sample):
        raise ResourceError(
            f"A number needs {FEWEST[0]} pairs of draws with losses and {FEWEST[1]} with gradients, got "
            f"{sample.amount.losses} and {sample.amount.gradients}: raise `budget_seconds` and run the "
            "same command to resume."
        )
    return prior, sample


def _suffices(sample: Sample) -> bool:
    return len(sample.losses) >= FEWEST[0] and len(sample.gradients) >= FEWEST[1]


def sample_of(store: RunStore, amount: Amount) -> Sample:
    """The draws that are there of so many, up to the first that is missing of each kind."""

    def stored_parts(kind: str, count: int) -> list[dict[str, Any]]:
        payloads = []
        for index in range(count):
            payload = store.read(f"{kind}/{index:05d}")
            if payload is None:
                break
            payloads.append(payload)
        return payloads

    losses, gradients, bends = (
        stored_parts(kind, count) for kind, count in zip(("draws", "gradients", "bends"), amount, strict=True)
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


def describe(summary: DrawSummary, sample: Sample) -> str:
    """The number so far, in words."""
    pairs, amount = sum(sample.amount[:2]), sample.amount
    from_ = f"{pairs} pairs of draws{f' and {amount.bends} bends' if amount.bends else ''}"
    if summary.llc is None or summary.stderr is None:
        return f"no number from {from_}"
    return f"λ̂ = {summary.llc:.4g} ± {summary.stderr:.2g} from {from_} in {duration(sample.seconds)}"


def deadline_of(plan: Plan) -> float | None:
    """When this plan's draws end: what is left until the deadline is shared with those that follow."""
    if plan.deadline is None:
        return None
    now = time.time()
    return now + max(0.0, plan.deadline - now) / (1 + plan.followers)


def _watch(fleet: ProcessWorld, deadline: float | None) -> Callable[[], bool]:
    """Says whether the time is up: processes that hold one model together have clocks of their own, and must end with
    the same part."""
    return lambda: fleet.lead(lambda: is_over(deadline))


def is_over(deadline: float | None) -> bool:
    return deadline is not None and time.time() >= deadline


def _prior(plan: Plan, store: RunStore, bench: LoadedModel, fleet: ProcessWorld, observer: Observer) -> Steps[Prior]:
    def make(name: str) -> dict[str, Any]:
        with observer.part("loading"):
            bench.load()
        with observer.part("measuring"):
            return asdict(_fixed_before(plan, bench))

    (payload,) = yield from work_queue.make_parts(store, [PRIOR], make)
    prior = Prior(**payload)
    if fleet.is_main:
        for sentence in prior.choices.values():
            observer.tell(sentence)
    return prior


def _fixed_before(plan: Plan, bench: LoadedModel) -> Prior:
    started, sampler, objective = time.monotonic(), plan.sampler, bench.objective
    n_beta, choices = temperature(sampler.n_beta, plan.corpus.n, plan.items)
    choices |= sentences_on(plan, bench)
    if bench.routers and plan.batch_size == 1 < plan.corpus.n:
        raise SettingsError(
            f"batch_size must be ≥ 2 for {plan.source.id}, got 1: it chooses between experts "
            f"({', '.join(bench.routers)}), and its discontinuous loss needs minibatches of 2 or more. "
            "Raise `batch_size`."
        )
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

    def __init__(self, plan: Plan, bench: LoadedModel, prior: Prior, observer: Observer) -> None:
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
                f"The loss of {self._plan.source.id} is inf or NaN on this data: check its weights, and the data."
            )
