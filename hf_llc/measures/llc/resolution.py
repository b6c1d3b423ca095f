"""From settings that were not given to numbers, each measured at w* and each with its reason."""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

from hf_llc.errors import listed
from hf_llc.execution.assemble import assembled
from hf_llc.execution.loaded_model import LoadedModel
from hf_llc.execution.plan import Plan
from hf_llc.execution.thoroughness import allowance_of
from hf_llc.results.estimate import finite_or_none
from hf_llc.sampling.gradients import as_noisy
from hf_llc.sampling.objective import dimension
from hf_llc.sampling.tuning.cached import CachedMeasurements
from hf_llc.sampling.tuning.choose_chains import requested_dynamics
from hf_llc.sampling.tuning.gamma import TARGET_RISE, choose_gamma, rise
from hf_llc.sampling.tuning.gradient_noise import predicted_heating
from hf_llc.sampling.tuning.measure import GeometryReport, measure_geometry, noise_around
from hf_llc.sampling.tuning.measurements import LocalGeometry
from hf_llc.sampling.tuning.proportion import Allowance
from hf_llc.sampling.tuning.step_size import HOT, check_lr
from hf_llc.sampling.tuning.temperature import default_n_beta
from hf_llc.settings.resolved import ResolvedSettings
from hf_llc.settings.sampler import SamplerSettings

ROUNDING_MAX = 0.05
"""Error of differences of the loss, as a share of them, above which 16 bits are advised against."""


@dataclass(frozen=True, kw_only=True)
class ResolvedRun:
    """The resolved settings, one sentence per choice, and the measurements behind them.

    Attributes:
        curvature, trace_hessian: largest |h| and tr H on the probe batch, nats per weight². typical: the curvature that
            most of tr H comes from.
        dimension: d, weights that move. heating: what gradient noise is predicted to add to λ̂, at most.
        rise: mean rise of the loss at draws of the localizing prior, nats per token; None if it is not known.
        routers: the model's modules that choose between experts, joined by commas.
        load_seconds, seconds: wall time of loading the model and of these measurements.
    """

    settings: ResolvedSettings
    choices: Mapping[str, str]
    curvature: float
    trace_hessian: float
    dimension: int
    load_seconds: float
    seconds: float
    heating: float = 0.0
    typical: float = 0.0
    rise: float | None = None
    routers: str = ""

    @property
    def starts_hot(self) -> bool:
        """True if draws of the localizing prior are far above the loss at equilibrium."""
        return self.settings.n_beta * self.typical > HOT * self.settings.gamma

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready mapping; a trace that is inf or NaN becomes None."""
        return {**asdict(self), "trace_hessian": finite_or_none(self.trace_hessian)}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Self:
        """The resolution that `to_dict` wrote."""
        trace = math.nan if stored["trace_hessian"] is None else stored["trace_hessian"]
        return cls(**{**stored, "settings": ResolvedSettings(**stored["settings"]), "trace_hessian": trace})


def resolve_settings(plan: Plan, bench: LoadedModel) -> ResolvedRun:
    """Every setting as a number: those the user gave, and for the others what was measured on a probe batch.

    What the plan knows from the choice of settings for a series is not measured again.

    Raises:
        SettingsError: the step size given is past the stability limit at the measured curvature, or the sampler needs
            whole batches.
    """
    asked, objective = plan.sampler, bench.objective
    started = time.monotonic()
    n_beta, choices = temperature(asked.n_beta, plan.corpus.n, plan.items)
    choices |= sentences_on(plan, bench)
    gamma = asked.gamma
    if gamma is None:
        gamma, choices["gamma"] = measure_gamma(bench, asked.seed)
    known = CachedMeasurements.from_dict(plan.known) if plan.known is not None else None
    if known is not None and known.serves(asked.start):
        measured, start = _completed(known, bench, asked), asked.start
    else:
        allowance = allowance_of(plan, bench.meter, bench.extent, n_beta=n_beta, gamma=gamma)
        measured, start, why, *_ = measure_around(bench, asked, n_beta, gamma, allowance)
        if asked.start != start:
            choices["start"] = why
    settings, reasons = assembled(
        plan, measured, n_beta=n_beta, gamma=gamma, start=start, micro_batch=bench.micro_batch
    )
    choices |= reasons
    check_lr(settings.lr, n_beta, measured.curvature, gamma)
    if plan.dtype == "bfloat16" and gamma > 0:
        choices["dtype"] = rounding_sentence(_rise_as_sampled(bench, asked.seed, gamma), measured.rise, bench.unit)
    return ResolvedRun(
        settings=settings,
        choices=choices,
        curvature=measured.curvature,
        trace_hessian=measured.trace,
        dimension=dimension(objective.parameters, objective.shards),
        load_seconds=bench.load_seconds,
        seconds=time.monotonic() - started,
        heating=predicted_heating(settings.lr, n_beta, measured.noise, settings.momentum),
        typical=measured.typical_curvature,
        rise=finite_or_none(measured.rise),
        routers=", ".join(bench.routers),
    )


def _completed(known: CachedMeasurements, bench: LoadedModel, asked: SamplerSettings) -> LocalGeometry:
    """What would be measured around w*, of which all is known but the noise of a gradient that was chosen since."""
    if known.gradient == asked.gradient:
        return known.measured
    noise = noise_around(
        bench.in_full,
        as_noisy(asked.gradient, bench.in_full),
        sigma=known.sigma,
        batch_size=asked.chain_batch_size,
        seed=asked.seed,
        extent=bench.extent,
    )
    return replace(known.measured, noise=noise)


def measure_gamma(bench: LoadedModel, seed: int) -> tuple[float, str]:
    """γ at which the localizing prior alone raises the loss by TARGET_RISE, and the sentence that says so."""
    objective, batch = bench.in_full, bench.probe_batch()
    gamma, rise, share = choose_gamma(
        objective, batch, objective.losses(batch), seed, bench.extent.evaluations, bench.extent.directions
    )
    return gamma, gamma_sentence(gamma, rise, share, bench.unit)


def gamma_sentence(gamma: float, rise: float, share: float, unit: str) -> str:
    """Why γ is as large as it is: the rise of the loss at draws of the prior, and 1/√γ over the root mean square
    weight."""
    return (
        f"gamma = {gamma:.2g}: draws from the localizing prior alone (1/√γ is {share:.1%} of the root mean square "
        f"weight) change the loss by {rise:+.2g} {unit}; the target is {TARGET_RISE:g}. "
        "Keep γ fixed when comparing checkpoints."
    )


def measure_around(
    bench: LoadedModel,
    asked: SamplerSettings,
    n_beta: float,
    gamma: float,
    allowance: Allowance,
    others: Sequence[GeometryReport] = (),
) -> GeometryReport:
    """Curvature, gradient noise and more around w*, and where chains start; see `measure`."""
    report = measure_geometry(
        bench.in_full,
        bench.gradient,
        bench.probe_batch(),
        requested_dynamics(asked),
        n_beta=n_beta,
        gamma=gamma,
        start=asked.start,
        batch_size=asked.chain_batch_size,
        seed=asked.seed,
        others=others,
        probe=bench.probe,
        allowance=allowance if bench.in_proportion else None,
    )
    if not bench.routers:
        return report
    return report._replace(measured=replace(report.measured, jumps=True), first=replace(report.first, jumps=True))


def _rise_as_sampled(bench: LoadedModel, seed: int, gamma: float) -> float:
    """How far the localizing prior alone raises the loss, in the precision of the chains; nats per token."""
    objective, batch = bench.objective, bench.probe_batch()
    return rise(objective, batch, objective.losses(batch), seed, gamma**-0.5, bench.extent.directions)


def rounding_sentence(rounded: float, exact: float, unit: str) -> str:
    """What 16 bits do to differences of the loss, by the rise at the same draws of the localizing prior in both
    precisions."""
    share = abs(rounded / exact - 1) if exact else math.inf
    sentence = (
        f"dtype = bfloat16: a draw w* + ξ/√γ changes the loss by {rounded:+.4g} {unit}, in float32 by {exact:+.4g}"
    )
    if share > ROUNDING_MAX:
        return f"{sentence}: λ̂ may be off by as much; use float32, or lower `gamma`."
    return f"{sentence}: the two agree to {share:.1%}."


def sentences_on(plan: Plan, bench: LoadedModel) -> dict[str, str]:
    """What a reader must know of the model that was loaded, by what it is about."""
    sentences = {}
    if plan.source.code is not None:
        sentences["code"] = f"code = {plan.source.code}: the model's Python code comes from another repository."
    if bench.left_out:
        sentences["weights"] = left_out_sentence(bench.left_out)
    if bench.still:
        sentences["params"] = stillness_sentence(bench.still)
    if bench.component:
        sentences["component"] = bench.component
    if bench.batch_norm:
        sentences["batch_norm"] = bench.batch_norm
    if bench.prior:
        sentences["prior"] = bench.prior
    return sentences


def left_out_sentence(names: Sequence[str]) -> str:
    """Which weights of the files the loss has no use for."""
    return f"weights = without {listed(names)}: the loss does not depend on them."


def stillness_sentence(names: Sequence[str]) -> str:
    """Which tensors stay at w* since the loss gives them no gradient."""
    return (
        f"params = without {listed(names)}: they have no gradient, so they stay at w* and do not count in "
        "the dimension."
    )


def temperature(asked: float | None, n: int, items: str) -> tuple[float, dict[str, str]]:
    """nβ, and the sentence on it by the setting's name if it was not given."""
    if asked is not None:
        return asked, {}
    chosen = default_n_beta(n)
    return chosen, {"n_beta": f"n_beta = {chosen:.4g}: n / log n for n = {n} {items}."}
