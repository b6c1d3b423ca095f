"""From what a user left open to numbers, each measured at w* and each with its reason."""

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from hf_llc.core.curvature import largest_curvature
from hf_llc.core.localisation import TARGET_RISE, choose_gamma, trace_of_hessian
from hf_llc.core.objective import dimension
from hf_llc.core.samplers import SAMPLERS, choose_sampler
from hf_llc.core.stepsize import RELAXED, check_lr, choose_burn_in, choose_lr, stability
from hf_llc.core.temperature import default_n_beta
from hf_llc.plan import Plan
from hf_llc.settings import ResolvedSettings
from hf_llc.workbench import Workbench


@dataclass(frozen=True, kw_only=True)
class Resolution:
    """The resolved settings, one sentence per choice, and the measurements behind them.

    Attributes:
        curvature, trace_hessian: largest |h| and tr H on the probe batch, nats per weight².
        dimension: d, weights that move.
        load_seconds, seconds: wall time of loading the model and of these measurements.
    """

    settings: ResolvedSettings
    choices: Mapping[str, str]
    curvature: float
    trace_hessian: float
    dimension: int
    load_seconds: float
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready mapping."""
        return asdict(self)

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Self:
        """The resolution that `to_dict` wrote."""
        return cls(**{**stored, "settings": ResolvedSettings(**stored["settings"])})


def resolve(plan: Plan, bench: Workbench) -> Resolution:
    """Every setting as a number: those the user gave, and for the others what was measured on a probe batch.

    Raises:
        SettingsError: the step size given is past the stability limit at the measured curvature.
    """
    asked, objective = plan.sampler, bench.objective
    started = time.monotonic()
    choices: dict[str, str] = {}
    sampler, why = choose_sampler(asked.sampler)
    if sampler != asked.sampler:
        choices["sampler"] = f"sampler = {sampler}: {why}."
    n_beta = asked.n_beta
    if n_beta is None:
        n_beta = default_n_beta(plan.corpus.n)
        choices["n_beta"] = f"n_beta = {n_beta:.4g}: n / log n for n = {plan.corpus.n} packed sequences."
    gamma = asked.gamma
    if gamma is None:
        gamma, choices["gamma"] = measure_gamma(bench, asked.seed)
    curvature = measure_curvature(bench, asked.seed)
    lr = asked.lr
    if lr is None:
        lr = choose_lr(sampler, n_beta, curvature, gamma)
        choices["lr"] = (
            f"lr = {lr:.2g}: ε(nβh+γ) = {stability(lr, n_beta, curvature, gamma):.2g} at the measured curvature "
            f"h = {curvature:.3g} (unstable from 4); {SAMPLERS[sampler].why}."
        )
    else:
        check_lr(lr, n_beta, curvature, gamma)
    burn_in = asked.burn_in
    if burn_in is None:
        burn_in = choose_burn_in(lr, gamma, asked.draws, asked.thin)
        choices["burn_in"] = (
            f"burn_in = {burn_in} steps: a flat direction forgets w* as e^(−εγt), and {1 - RELAXED:.0%} is asked for."
        )
    settings = ResolvedSettings(
        n_beta=n_beta,
        gamma=gamma,
        lr=lr,
        momentum=asked.momentum,
        gradient=asked.gradient,
        sampler=sampler,
        chains=asked.chains,
        draws=asked.draws,
        burn_in=burn_in,
        thin=asked.thin,
        batch_size=asked.batch_size,
        micro_batch_size=bench.micro_batch,
        context_length=plan.corpus.context_length,
        n=plan.corpus.n,
        seed=asked.seed,
        threads=plan.threads,
        device=plan.device,
        dtype=plan.dtype,
        params=",".join(asked.params),
    )
    return Resolution(
        settings=settings,
        choices=choices,
        curvature=curvature,
        trace_hessian=measure_trace(bench, asked.seed),
        dimension=dimension(objective.parameters),
        load_seconds=bench.load_seconds,
        seconds=time.monotonic() - started,
    )


def measure_gamma(bench: Workbench, seed: int) -> tuple[float, str]:
    """γ at which the localiser alone raises the loss by TARGET_RISE, and the sentence that says so."""
    objective, batch = bench.objective, bench.probe_batch()
    gamma, rise, share = choose_gamma(objective, batch, objective.losses(batch), seed)
    return gamma, (
        f"gamma = {gamma:.2g}: weights drawn from the localiser alone (1/√γ is {share:.1%} of their root mean square) "
        f"change the loss by {rise:+.2g} nats per token, where {TARGET_RISE:g} is aimed at. Keep it fixed when "
        "comparing checkpoints."
    )


def measure_curvature(bench: Workbench, seed: int) -> float:
    """The largest |h| on the probe batch, in nats per weight²."""
    return largest_curvature(bench.objective, bench.probe_batch(), seed)


def measure_trace(bench: Workbench, seed: int) -> float:
    """tr H on the probe batch, in nats per weight²."""
    objective, batch = bench.objective, bench.probe_batch()
    return trace_of_hessian(objective, batch, objective.losses(batch), seed)
