"""How often the truth lies within two and three standard errors where chains end by their error, by the product's rule.

Exact processes in equilibrium first, then chains on losses with exact answers: each run begins with the first chains of
the rule, adds those that it asks for, and is judged where it ends.
"""

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy

from hf_llc.measures.llc.chains.target import next_chains
from hf_llc.measures.llc.resolution import ResolvedRun
from hf_llc.measures.llc.summarise import Judged, judged
from hf_llc.measures.llc.validation.validate import ValidationSettings, sampled
from hf_llc.results.estimate import ChainTrace, Status, Verdict
from hf_llc.sampling.statistics import MANY_CHAINS
from hf_llc.settings.sampler import SHORT_DRAWS
from hf_llc.settings.stopping import MAX_CHAINS
from tests.benchmarks.kinds import kinds
from tests.benchmarks.truths import Kind
from tests.helpers.estimates import estimate

REPLICATES, SEEDS = 200, 20
LEAST = (0.92, 0.98)
"""Share of runs called converged within two and three standard errors."""
KINDS = ("20 curvatures", "2 curvatures", "product valley", "regression, 20 inputs", "product at 0")


@dataclass(frozen=True)
class Process:
    """½ Σ x² + noise over directions x that are AR(1), each of variance 1.

    Attributes:
        times: integrated autocorrelation times of the squares, one a direction. noise: standard deviation of what a
            minibatch adds to each draw. target: the standard error asked for, as a share of the mean.
    """

    name: str
    times: tuple[float, ...]
    noise: float = 0.0
    target: float = 0.05

    @property
    def mean(self) -> float:
        return len(self.times) / 2

    def chain(self, replicate: int, number: int, draws: int) -> tuple[float, ...]:
        stream = numpy.random.default_rng((replicate, number))
        squares = numpy.array([(time - 1) / (time + 1) for time in self.times])
        place = stream.standard_normal(len(squares))
        values = []
        for _ in range(draws):
            step = stream.standard_normal(len(squares))
            place = numpy.sqrt(squares) * place + numpy.sqrt(1 - squares) * step
            values.append(float(place @ place) / 2 + self.noise * float(stream.standard_normal()))
        return tuple(values)


PROCESSES = (
    Process("fast", (2.0,) * 20),
    Process("mixed rates", (1.5,) * 10 + (8.0,) * 10 + (40.0,) * 4),
    Process("slow", (40.0,) * 20),
    Process("few dimensions", (4.0, 12.0), target=0.1),
    Process("batch noise over slow", (40.0,) * 40, noise=3.0),
)


@dataclass(frozen=True)
class End:
    """Where a run ended: how far from the truth in standard errors, its verdict, chains and looks."""

    z: float
    verdict: Verdict
    chains: int
    looks: int
    steps: int


def ended(look: Callable[[int], tuple[ResolvedRun, Judged]], truth: float, target: float, first: int) -> End:
    """The run that begins with so many chains.

    Args:
        look: the settings and what is judged of so many chains.
    """
    chains: int | None = first
    looks = 0
    while chains is not None:
        resolution, results = look(chains)
        looks += 1
        count, (chains, _) = chains, next_chains(results, chains, target, MAX_CHAINS)
    assert results.llc is not None
    assert results.stderr is not None
    return End((results.llc - truth) / results.stderr, results.verdict, count, looks, count * resolution.settings.steps)


def of_process(process: Process, replicate: int, first: int = MANY_CHAINS, draws: int = SHORT_DRAWS) -> End:
    whole: dict[int, tuple[float, ...]] = {}
    settings = replace(
        estimate().settings,
        n_beta=1.0,
        gamma=1.0,
        lr=0.1,
        momentum=0.0,
        sampler="sgld-lm",
        chains=first,
        draws=draws,
        burn_in=100,
        thin=1,
        start="localiser",
    )
    resolution = ResolvedRun(
        settings=settings, choices={}, curvature=0.1, trace_hessian=1.0, dimension=20, load_seconds=0.0, seconds=0.0
    )

    def trace(number: int) -> ChainTrace:
        values = whole.setdefault(number, ()) or process.chain(replicate, number, draws)
        whole[number] = values
        return ChainTrace(
            chain=number,
            status=Status.HEALTHY,
            failed_at=None,
            losses=(1.0,) * (101 + draws),
            deltas=(0.0,) * 101 + values,
            squared_distances=values,
            seconds=0.0,
        )

    def look(chains: int) -> tuple[ResolvedRun, Judged]:
        of = replace(resolution, settings=replace(settings, chains=chains))
        return of, judged(of, [trace(number) for number in range(chains)], {})

    return ended(look, process.mean, process.target, first)


def of_kind(kind: Kind, seed: int, first: int = MANY_CHAINS, draws: int = SHORT_DRAWS) -> End:
    case = kind.case()

    def look(chains: int) -> tuple[ResolvedRun, Judged]:
        whole = sampled(case, ValidationSettings(chains=chains, draws=draws, seed=seed, **kind.effort))
        return whole.resolution, judged(*whole)

    return ended(look, case.truth, 0.05, first)


def line(name: str, ends: Sequence[End]) -> str:
    """A row of the table that is printed."""
    relied = [abs(each.z) for each in ends if each.verdict is Verdict.CONVERGED]
    every = [abs(each.z) for each in ends]

    def shares(z: Sequence[float]) -> str:
        return " / ".join(f"{sum(each <= k for each in z) / max(1, len(z)):.1%}" for k in (1, 2, 3))

    root = math.sqrt(statistics.fmean(z**2 for z in relied)) if relied else math.nan
    chains = statistics.median(each.chains for each in ends)
    steps = statistics.median(each.steps for each in ends)
    return (
        f"| {name} | {len(ends)} | {len(relied)} | {shares(relied)} | {root:.2f} | {shares(every)} | {chains:g} | "
        f"{steps:g} |"
    )


HEAD = (
    "\n| case | runs | converged | of these within 1 / 2 / 3 | rms z | of all | chains, median | steps, median |\n"
    "|---|---|---|---|---|---|---|---|"
)


def held(ends: Sequence[End]) -> None:
    """Asserts that those called converged cover the truth as often as is asked for."""
    relied = [abs(each.z) for each in ends if each.verdict is Verdict.CONVERGED]
    for errors, least in zip((2, 3), LEAST, strict=True):
        assert sum(z <= errors for z in relied) >= least * len(relied)


def test_runs_that_end_by_their_error_cover_the_truth_of_exact_processes() -> None:
    print(HEAD)
    ends = []
    for process in PROCESSES:
        of_process_ends = [of_process(process, replicate) for replicate in range(REPLICATES)]
        print(line(process.name, of_process_ends), flush=True)
        ends += of_process_ends
    print(line("all", ends))
    held(ends)


def test_runs_that_end_by_their_error_cover_the_truth_of_losses() -> None:
    print(HEAD)
    ends = []
    for kind in kinds():
        if kind.name in KINDS:
            of_kind_ends = [of_kind(kind, seed) for seed in range(SEEDS)]
            print(line(kind.name, of_kind_ends), flush=True)
            ends += of_kind_ends
    print(line("all", ends))
    held(ends)
