"""What the last pilot chains say about a longer run at their settings: its number, its error, its burn-in."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from hf_llc.errors import DivergedError
from hf_llc.measures.llc.calibration import budget as effort
from hf_llc.measures.llc.calibration.budget import DrawBudget, Spread
from hf_llc.measures.llc.calibration.pilot_chains import own_burn_in
from hf_llc.measures.llc.resolution import ResolvedRun
from hf_llc.measures.llc.sensitivity import step_shares
from hf_llc.measures.llc.summarise import judged
from hf_llc.measures.llc.verdict import R_HAT_MAX
from hf_llc.results.calibration import Pilot
from hf_llc.results.estimate import ChainTrace, Status, Verdict
from hf_llc.results.interpretation import SIGNIFICANT
from hf_llc.sampling.estimator import llc as llc_of
from hf_llc.sampling.statistics import summarise
from hf_llc.sampling.variations import VARIATIONS
from hf_llc.settings.calibration import CalibrationSettings
from hf_llc.settings.resolved import ResolvedSettings
from hf_llc.settings.sampler import SamplerSettings


@dataclass(frozen=True)
class ErrorForecast:
    """The pilot in numbers, what its draws say about other runs' errors, and the settings with a confirmed burn-in."""

    pilot: Pilot
    spread: Spread
    settings: ResolvedSettings

    @property
    def is_settled(self) -> bool:
        """True if the pilot's chains agree with one another and their first draws with the later ones."""
        return self.pilot.verdict != Verdict.NOT_EQUILIBRATED and not self._drew_too_early

    @property
    def _drew_too_early(self) -> bool:
        return abs(self.pilot.burn_in_error) > effort.SETTLING_ERRORS

    def longer(self, settings: ResolvedSettings) -> ResolvedSettings:
        """The pilot's settings with twice the draws, and where its first draws differ from later ones, burn-in."""
        burn_in = settings.burn_in * (2 if self._drew_too_early else 1)
        return replace(settings, burn_in=burn_in, draws=2 * settings.draws)

    def effort(self, wanted: CalibrationSettings) -> DrawBudget:
        """The draws for the wanted standard error, within the budget."""
        if abs(self.pilot.llc) <= SIGNIFICANT * self.pilot.stderr:
            # A share of nothing is no error to aim at.
            return effort.effort_of(replace(self.settings, draws=SamplerSettings().chain_draws), self.spread, met=False)
        return effort.choose_budget(
            self.settings, self.spread, wanted.target_stderr * abs(self.pilot.llc), wanted.budget
        )


def forecast_error(
    at: ResolvedRun, main: Sequence[ChainTrace], varied: Mapping[tuple[str, int], ChainTrace]
) -> ErrorForecast:
    """From the pilot's main chains, and its varied ones by (variation, chain).

    The burn-in is what the relaxation time asks for, or longer if the pilot's draws show that it is not enough.

    Raises:
        DivergedError: they left no number.
    """
    settings, judgement = at.settings, judged(at, main, varied)
    if judgement.llc is None or judgement.stderr is None:
        raise DivergedError(
            f"No number at gamma {settings.gamma:.3g} and lr {settings.lr:.3g}: fewer than two pilot "
            "chains stayed finite. Lower `lr` or raise `gamma`."
        )
    spread = _spread(settings, main, varied)
    healthy = [trace.deltas for trace in main if trace.status is Status.HEALTHY]
    burn_in, apart = effort.settled_burn_in(healthy, settings.burn_in, spread.autocorrelation)
    pilot = Pilot(
        llc=judgement.llc,
        stderr=judgement.stderr,
        verdict=judgement.verdict,
        verdict_reason=judgement.reason,
        autocorrelation=spread.autocorrelation,
        burn_in_error=apart,
    )
    return ErrorForecast(
        pilot, spread, replace(settings, burn_in=max(burn_in, own_burn_in(settings, at.typical).burn_in))
    )


def _spread(
    settings: ResolvedSettings, main: Sequence[ChainTrace], varied: Mapping[tuple[str, int], ChainTrace]
) -> Spread:
    """Monte Carlo errors per step, of λ̂ and of the step size's share of it.

    The spread of a few chains' means is too rough a figure to plan by, unless R-hat says that it is more than chance.
    """
    draws = [
        [llc_of(settings.n_beta, delta) for delta in trace.draws(settings)]
        for trace in main
        if trace.status is Status.HEALTHY
    ]
    statistics, count = summarise(draws), sum(map(len, draws))
    step, bias = _step_part(settings, main, varied)
    disagree = statistics.r_hat is not None and statistics.r_hat > R_HAT_MAX
    return Spread(
        monte_carlo=max(statistics.mcse if disagree else 0.0, effort.OF_BOTH * _within(draws)) * math.sqrt(count),
        step=step,
        bias=bias,
        autocorrelation=count / statistics.ess,
    )


def _step_part(
    settings: ResolvedSettings, main: Sequence[ChainTrace], varied: Mapping[tuple[str, int], ChainTrace]
) -> tuple[float, float]:
    """`Spread.step` and `Spread.bias`; 0 where a chain at the half step failed."""
    half = VARIATIONS[0]
    fine = [trace for (name, _), trace in sorted(varied.items()) if name == half.name]
    if any(trace.status is not Status.HEALTHY for trace in [*fine, *main[: len(fine)]]):
        return 0.0, 0.0
    shares = step_shares(main, [trace.draws(half.settings(settings)) for trace in fine], settings)
    mean, error = abs(summarise(shares).mean), effort.OF_BOTH * _within(shares)
    return error * math.sqrt(sum(map(len, shares))), mean if mean > SIGNIFICANT * error else 0.0


def _within(draws: Sequence[Sequence[float]]) -> float:
    """The standard error of the mean from autocorrelation alone."""
    values = [value for chain in draws for value in chain]
    mean = sum(values) / len(values)
    variance = sum((value - mean) ** 2 for value in values) / (len(values) - 1)
    return math.sqrt(variance / summarise(draws).ess)
