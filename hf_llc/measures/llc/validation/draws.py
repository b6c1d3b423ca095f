"""Exact answers by independent draws: the rounds of `estimate`, kept in memory, on losses whose λ̂ is known."""

from dataclasses import dataclass
from typing import NamedTuple

from hf_llc.measures.llc.draws.amounts import Amount, DrawRequest, first_amount, next_amount
from hf_llc.measures.llc.draws.estimate import diagnostics_of
from hf_llc.measures.llc.draws.rounds import Prior, Sample
from hf_llc.measures.llc.draws.verdict import judge_draws
from hf_llc.measures.llc.validation.cases import Case
from hf_llc.results.estimate import Verdict
from hf_llc.results.progress import Observer
from hf_llc.sampling.draws.prior import GradientPair, LossPair, PriorDraws
from hf_llc.sampling.draws.statistics import DrawSummary, summarise_draws
from hf_llc.sampling.objective import Objective, dimension
from hf_llc.settings.posterior import IMPORTANCE
from hf_llc.settings.resolved import LOSS, ResolvedSettings
from hf_llc.settings.sampler import SamplerSettings

TARGET = 0.05
"""Share of λ̂ that the standard error is to reach: that of an estimate."""


@dataclass(frozen=True)
class Request:
    """As much of a plan as says how many draws there are."""

    sampler: SamplerSettings


class Drawn(NamedTuple):
    """What the draws of a case say; gradients are of its minibatches, a loss alone is a third of one."""

    summary: DrawSummary
    verdict: Verdict
    reason: str
    gradients: float
    settings: ResolvedSettings


def drawn(case: Case, seed: int, observer: Observer) -> Drawn:
    """λ̂ of a case by independent draws, in rounds until the standard error is TARGET of it."""
    request = Request(SamplerSettings(sampler=IMPORTANCE, seed=seed, target_stderr=TARGET))
    observer.begin(case.name, 1)
    sample, summary = in_rounds(
        case.objective, request, n_beta=case.n_beta, gamma=case.gamma, batch_size=case.batch_size
    )
    observer.end()
    prior = Prior(
        n_beta=case.n_beta, gamma=case.gamma, choices={}, dimension=dimension(case.objective.parameters), routers="",
        micro_batch_size=case.batch_size, load_seconds=0.0, seconds=0.0,
    )  # fmt: skip
    pairs = len(sample.losses)
    verdict, reason = judge_draws(summary.llc, summary.stderr, diagnostics_of(prior, sample, summary), pairs=pairs)
    return Drawn(summary, verdict, reason, LOSS * sample.amount.cost, _settings(case, request, pairs))


def in_rounds(
    objective: Objective, asked: DrawRequest, *, n_beta: float, gamma: float, batch_size: int
) -> tuple[Sample, DrawSummary]:
    """The draws that are made before their error, or their number, is what was asked for."""
    draws = PriorDraws(objective, objective, gamma=gamma, batch_size=batch_size, seed=asked.sampler.seed)
    losses: list[LossPair] = []
    gradients: list[GradientPair] = []
    bends: list[float] = []
    amount: Amount | None = first_amount(asked)
    while amount is not None:
        losses += [draws.losses(pair) for pair in range(len(losses), amount.losses)]
        gradients += [draws.gradients(pair) for pair in range(len(gradients), amount.gradients)]
        bends += [draws.bend(number) for number in range(len(bends), amount.bends)]
        summary = summarise_draws(losses, gradients, bends, n=objective.n, n_beta=n_beta, gamma=gamma)
        amount, _ = next_amount(asked, summary, amount)
    return Sample(losses=losses, gradients=gradients, bends=bends, seconds=0.0), summary


def _settings(case: Case, request: Request, pairs: int) -> ResolvedSettings:
    sampler = request.sampler
    return ResolvedSettings(
        n_beta=case.n_beta,
        gamma=case.gamma,
        lr=0.0,
        momentum=0.0,
        gradient="minibatch",
        sampler=IMPORTANCE,
        chains=sampler.chain_count,
        draws=pairs // sampler.chain_count,
        burn_in=0,
        thin=1,
        batch_size=case.batch_size,
        micro_batch_size=case.batch_size,
        context_length=1,
        n=case.objective.n,
        seed=sampler.seed,
        threads=1,
        device=str(case.objective.parameters[0].device),
        dtype=case.dtype,
        start="localiser",
        target_stderr=sampler.target_stderr,
    )
