"""All open settings of chains, from what was asked for and what was measured around w*: the one order of choices."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hf_llc.errors import SettingsError
from hf_llc.sampling.samplers import SAMPLERS
from hf_llc.sampling.tuning.choose_baseline import Run, choose_baseline
from hf_llc.sampling.tuning.choose_sampler import choose_dynamics, choose_start, settled_start
from hf_llc.sampling.tuning.measurements import LocalGeometry, RequestedDynamics, combine_worst_case
from hf_llc.sampling.tuning.step_size import RELAXED, choose_burn_in, relaxation_rate
from hf_llc.settings.resolved import chain_gradients
from hf_llc.settings.sampler import SamplerSettings


@dataclass(frozen=True, kw_only=True)
class ChainChoice:
    """How chains move, with nothing left open.

    Attributes:
        settings: fields of `ResolvedSettings` by name: `lr`, `burn_in_lr`, `sampler`, `momentum`, `gradient`,
            `batches`, `baseline`, `start`, `burn_in`. reasons: one sentence for each that was left open, by its name.
    """

    settings: Mapping[str, Any]
    reasons: Mapping[str, str]


def choose_chains(
    asked: SamplerSettings,
    measured: Sequence[LocalGeometry],
    *,
    n_beta: float,
    gamma: float,
    n: int,
    dtype: str,
    start: str | None = None,
    longest_burn_in: int | None = None,
) -> ChainChoice:
    """How chains move at all of these checkpoints: the sharpest and the noisiest of them decide.

    Args:
        n: items of the loss. dtype: in which losses and gradients are computed.
        start: where chains would start if the burn-in were as long as it takes; None chooses it.
        longest_burn_in: steps, where there is no time for more.

    Raises:
        SettingsError: nothing limits the step size, or the sampler needs whole batches.
    """
    sharpest, reasons = combine_worst_case(measured), dict[str, str]()
    if start is None:
        start, reason = choose_start(asked.start, gamma, sharpest.rise)
        reasons |= {"start": reason} if start != asked.start else {}
    dynamics = choose_dynamics(requested_dynamics(asked), n_beta, gamma, sharpest)
    reasons |= dynamics.why
    check_batch(dynamics.sampler, asked.chain_batch_size, n)
    burn_in, rate = asked.burn_in, relaxation_rate(dynamics.lr, gamma, dynamics.sampler, dynamics.momentum)
    typical = sharpest.typical_stiffness(n_beta, gamma)
    if burn_in is None:
        burn_in = choose_burn_in(rate, asked.chain_draws, asked.thin, start, typical)
        burn_in = burn_in if longest_burn_in is None else min(burn_in, longest_burn_in)
        reasons["burn_in"] = burn_in_sentence(burn_in, rate, start)
    start, changed = settled_start(asked.start, start, rate, burn_in, typical, dtype)
    reasons |= {"start": changed} if changed is not None else {}
    steps = burn_in + asked.chain_draws * asked.thin
    run = Run(
        n_beta=n_beta,
        gamma=gamma,
        n=n,
        batch_size=asked.chain_batch_size,
        draws=asked.chain_draws,
        gradients=chain_gradients(steps, asked.chain_draws, dynamics.gradient, dynamics.batches, "paired"),
        forgets=relaxation_rate(dynamics.lr, 1.0, dynamics.sampler, dynamics.momentum) * asked.thin,
        start=start,
        dtype=dtype,
    )
    baseline, slope = choose_baseline(asked.baseline, run, measured)
    reasons |= {"baseline": slope} if slope is not None else {}
    settings = {
        "lr": dynamics.lr,
        "burn_in_lr": asked.burn_in_lr or dynamics.burn_in_lr,
        "sampler": dynamics.sampler,
        "momentum": dynamics.momentum,
        "gradient": dynamics.gradient,
        "batches": dynamics.batches,
        "baseline": baseline,
        "start": start,
        "burn_in": burn_in,
    }
    return ChainChoice(settings=settings, reasons=reasons)


def requested_dynamics(asked: SamplerSettings) -> RequestedDynamics:
    """The part of the settings that decides sampler, momentum, step size and gradient noise."""
    return RequestedDynamics(asked.sampler, asked.momentum, asked.lr, asked.gradient, asked.batches)


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
