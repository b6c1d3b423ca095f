"""How often the truth lies within one, two and three standard errors, by verdict, at several efforts.

The chains of an effort are the first ones of those at the largest, and their first draws: neither depends on how many
more there are.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace

from hf_llc.measures.llc.soundness import Sampled
from hf_llc.measures.llc.summarise import judged
from hf_llc.measures.llc.validation.validate import ValidationSettings, sampled
from hf_llc.results.estimate import Verdict
from hf_llc.sampling.variations import VARIATIONS
from tests.benchmarks.kinds import kinds
from tests.benchmarks.truths import Kind

SEEDS = range(3)
EFFORTS = ((4, 200), (4, 100), (4, 50), (4, 20), (2, 200), (2, 50))
"""Chains and draws of each; the first ones are those of `estimate` with nothing said."""
LEAST = (0.62, 0.88, 0.97)
"""Share of regular runs called converged within one, two and three standard errors at the first effort."""


@dataclass(frozen=True)
class Outcome:
    """One run: the effort, the kind, and how far its number is from the truth, in standard errors and as a share."""

    effort: tuple[int, int]
    kind: Kind
    seed: int
    verdict: Verdict
    reason: str
    llc: float
    truth: float
    stderr: float

    @property
    def z(self) -> float:
        """(λ̂ − λ) / stderr; infinite for an error of 0 that does not cover it."""
        apart = self.llc - self.truth
        return apart / self.stderr if self.stderr > 0 else math.copysign(math.inf, apart)


def cut(whole: Sampled, chains: int, draws: int) -> Sampled:
    """The first chains and their first draws."""
    settings = replace(whole.resolution.settings, chains=chains, draws=draws)
    variations = {variation.name: variation.settings(settings) for variation in VARIATIONS}
    traces = [replace(each, squared_distances=each.squared_distances[:draws]) for each in whole.traces[:chains]]
    varied = {
        (name, chain): replace(each, squared_distances=each.squared_distances[: variations[name].draws])
        for (name, chain), each in whole.varied.items()
        if chain < chains
    }
    return Sampled(replace(whole.resolution, settings=settings), traces, varied)


def outcomes(kind: Kind, seed: int) -> list[Outcome]:
    """The kind sampled once, judged at every effort; efforts without a number are left out."""
    chains, draws = EFFORTS[0]
    case = kind.case()
    whole = sampled(case, ValidationSettings(chains=chains, draws=draws, seed=seed, **kind.effort))
    results = []
    for effort in EFFORTS:
        judgement = judged(*cut(whole, *effort))
        if judgement.llc is not None and judgement.stderr is not None:
            results.append(
                Outcome(
                    effort, kind, seed, judgement.verdict, judgement.reason, judgement.llc, case.truth, judgement.stderr
                )
            )
    return results


def line(name: str, of: Sequence[Outcome]) -> str:
    """A row of the table that is printed."""
    apart = [abs(each.z) for each in of]
    within = " / ".join(f"{sum(z <= k for z in apart) / len(apart):.0%}" for k in (1, 2, 3))
    root = math.sqrt(statistics.fmean(z**2 for z in apart))
    errors = statistics.median(abs(each.llc / each.truth - 1) for each in of)
    stated = statistics.median(abs(each.stderr / each.truth) for each in of)
    return f"| {name} | {len(of)} | {within} | {root:.2f} | {errors:.1%} | {stated:.1%} |"


def test_the_stated_error_covers_the_truth_as_often_as_it_says() -> None:
    results = []
    print()
    for kind in kinds():
        for seed in SEEDS:
            of_kind = outcomes(kind, seed)
            results += of_kind
            print(
                f"{kind.name}, seed {seed}: λ = {of_kind[0].truth:.4g}, λ̂ = {of_kind[0].llc:.4g} ± "
                f"{of_kind[0].stderr:.2g} ({of_kind[0].z:+.1f}), {of_kind[0].verdict}: {of_kind[0].reason}",
                flush=True,
            )
    print("\n| chains × draws, verdict | runs | within 1 / 2 / 3 | rms z | median error | median stated |")
    print("|---|---|---|---|---|---|")
    for effort in EFFORTS:
        for verdict in Verdict:
            rows = [
                each for each in results if (each.effort, each.verdict, each.kind.regular) == (effort, verdict, True)
            ]
            if rows:
                print(line(f"{effort[0]} × {effort[1]}, `{verdict}`", rows))
    print("\nBuilt so that chains miss the stated posterior:")
    for each in results:
        if not each.kind.regular and each.effort == EFFORTS[0]:
            print(f"{each.kind.name}, seed {each.seed}: {each.z:+.1f} standard errors, {each.verdict}")
    relied = [
        abs(each.z)
        for each in results
        if each.kind.regular and each.verdict is Verdict.CONVERGED and each.effort == EFFORTS[0]
    ]
    assert len(relied) > 0.4 * len(kinds()) * len(SEEDS)
    for errors, least in enumerate(LEAST, 1):
        assert sum(z <= errors for z in relied) >= least * len(relied)
    assert not any(each.verdict is Verdict.CONVERGED for each in results if each.effort[0] < 4)
