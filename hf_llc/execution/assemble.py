"""All settings of the chains, from the given settings and the measurements at w*."""

from typing import NamedTuple

from hf_llc.errors import SettingsError
from hf_llc.execution.plan import Plan
from hf_llc.sampling.samplers import SAMPLERS
from hf_llc.sampling.tuning.choose_baseline import Run, choose_baseline
from hf_llc.sampling.tuning.choose_sampler import choose_dynamics, settled_start
from hf_llc.sampling.tuning.measurements import LocalGeometry, RequestedDynamics
from hf_llc.sampling.tuning.step_size import RELAXED, choose_burn_in, relaxation_rate
from hf_llc.settings.resolved import ResolvedSettings
from hf_llc.settings.sampler import SamplerSettings


class Assembled(NamedTuple):
    """The settings, and one sentence for each that was not given, by its name."""

    settings: ResolvedSettings
    why: dict[str, str]


def assembled(
    plan: Plan, measured: LocalGeometry, *, n_beta: float, gamma: float, start: str, micro_batch: int
) -> Assembled:
    """The settings of the plan's chains at a checkpoint of which that was measured.

    Args:
        start: where chains would start if the burn-in were as long as it takes. micro_batch: sequences per pass.

    Raises:
        SettingsError: nothing limits the step size, or the sampler needs whole batches.
    """
    asked = plan.sampler
    dynamics = choose_dynamics(asked_of(asked), n_beta, gamma, measured)
    why = dict(dynamics.why)
    check_batch(dynamics.sampler, asked.chain_batch_size, plan.corpus.n)
    burn_in, rate = asked.burn_in, relaxation_rate(dynamics.lr, gamma, dynamics.sampler, dynamics.momentum)
    typical = measured.typical_stiffness(n_beta, gamma)
    if burn_in is None:
        burn_in = choose_burn_in(rate, asked.chain_draws, asked.thin, start, typical)
        burn_in = burn_in if plan.longest_burn_in is None else min(burn_in, plan.longest_burn_in)
        why["burn_in"] = burn_in_sentence(burn_in, rate, start)
    start, other = settled_start(asked.start, start, rate, burn_in, typical, plan.dtype)
    if other is not None:
        why["start"] = other

    def settings(baseline: str) -> ResolvedSettings:
        return ResolvedSettings(
            n_beta=n_beta,
            gamma=gamma,
            lr=dynamics.lr,
            momentum=dynamics.momentum,
            gradient=dynamics.gradient,
            batches=dynamics.batches,
            baseline=baseline,
            burn_in_lr=asked.burn_in_lr or dynamics.burn_in_lr,
            sampler=dynamics.sampler,
            chains=asked.chain_count,
            draws=asked.chain_draws,
            burn_in=burn_in,
            thin=asked.thin,
            batch_size=asked.chain_batch_size,
            micro_batch_size=micro_batch,
            context_length=plan.corpus.context_length,
            n=plan.corpus.n,
            seed=asked.seed,
            threads=plan.threads,
            device=plan.device,
            dtype=plan.dtype,
            params=",".join(asked.params),
            start=start,
            devices_per_chain=asked.devices_per_chain,
        )

    baseline, other = choose_baseline(asked.baseline, Run.of(settings("paired")), [measured])
    if other is not None:
        why["baseline"] = other
    return Assembled(settings(baseline), why)


def asked_of(sampler: SamplerSettings) -> RequestedDynamics:
    """The part of the settings that decides how chains move."""
    return RequestedDynamics(sampler.sampler, sampler.momentum, sampler.lr, sampler.gradient, sampler.batches)


def check_batch(sampler: str, batch_size: int, n: int) -> None:
    """Raise SettingsError if the sampler cannot do with minibatches of that size."""
    if SAMPLERS[sampler].whole and batch_size < n:
        raise SettingsError(
            f"`sampler={sampler}` needs the loss of all {n} items at each step, but `batch_size` is "
            f"{batch_size}. Set `batch_size={n}` (and `micro_batch_size={batch_size}` for memory), or "
            "lower `max_sequences`."
        )


def burn_in_sentence(burn_in: int, rate: float, start: str) -> str:
    """Why the burn-in is as long as it is."""
    if rate == 0:
        return (
            f"burn_in = {burn_in} steps: as many as there are draws, since without a localizing prior (γ = "
            "0) there is no relaxation time."
        )
    if start == "localiser":
        return (
            f"burn_in = {burn_in} steps: {burn_in * rate:.2g} relaxation times; chains start from the localizing prior."
        )
    return (
        f"burn_in = {burn_in} steps: a flat direction relaxes at a rate of {rate:.2g} per step, and its "
        f"variance must reach {1 - RELAXED:.0%} of equilibrium."
    )
