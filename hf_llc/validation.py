"""Exact answers on board: the chain code of `estimate` on models whose coefficient is known in closed form."""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from hf_llc.cases import Case
from hf_llc.checks import checked_chains
from hf_llc.core.chain import run_chain
from hf_llc.core.dynamics import choose_dynamics
from hf_llc.core.gradients import full_gradient, gradient_of
from hf_llc.core.measurement import measure
from hf_llc.core.objective import copy_of, dimension
from hf_llc.core.stepsize import check_lr, choose_burn_in, relaxation_rate
from hf_llc.observer import Observer
from hf_llc.resolution import Resolution, check_batch
from hf_llc.results import ChainTrace, finite_or_none
from hf_llc.settings import ResolvedSettings
from hf_llc.summary import Judged, judged
from hf_llc.workbench import cpu_threads

PROBE = 512
"""Items that curvature is measured on, at least."""


@dataclass(frozen=True, kw_only=True)
class Validation:
    """One case's outcome.

    Attributes:
        error_in_stderr: (llc − truth) / stderr. gradient_evaluations: of all chains, checks included.
    """

    case: str
    params: Mapping[str, Any]
    truth: float
    llc: float | None
    stderr: float | None
    error_in_stderr: float | None
    verdict: str
    verdict_reason: str
    sampler: str
    gradient_evaluations: int
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready mapping; non-finite numbers become None."""
        return {key: finite_or_none(v) if isinstance(v, float) else v for key, v in asdict(self).items()}


@dataclass(frozen=True, kw_only=True)
class Effort:
    """How every case is sampled: the settings that are not the model's."""

    sampler: str = "auto"
    momentum: float | None = None
    lr: float | None = None
    burn_in: int | None = None
    gradient: str = "minibatch"
    chains: int = 4
    draws: int = 1500
    seed: int = 0


def validate(case: Case, effort: Effort, observer: Observer | None = None) -> Validation:
    """λ̂ of one case with its error and verdict, beside the truth.

    What the effort leaves open is measured and chosen as `estimate` does.

    Raises:
        SettingsError: the step size given is unstable, or the sampler cannot do with the case's minibatches.
    """
    observer = observer or Observer()
    started = time.monotonic()
    objective = case.objective
    with cpu_threads(1):
        anchors = objective.losses(torch.arange(objective.n))
        slope = full_gradient(objective, 1000) if effort.gradient == "control-variate" else None
        resolution = _resolution(case, effort, slope)
        traces, varied = _chains(case, resolution.settings, anchors, slope, observer)
    found = judged(resolution, traces, varied)
    stderr = found.stderr
    if case.limit and stderr is not None:
        stderr = math.hypot(stderr, _distance_to_limit(found))
    steps = sum(len(trace.losses) for trace in [*traces, *varied.values()])
    return Validation(
        case=case.name,
        params=case.params,
        truth=case.truth,
        llc=found.llc,
        stderr=stderr,
        error_in_stderr=(found.llc - case.truth) / stderr if found.llc is not None and stderr else None,
        verdict=found.verdict,
        verdict_reason=found.reason,
        sampler=resolution.settings.sampler,
        gradient_evaluations=steps * (2 if effort.gradient == "control-variate" else 1),
        seconds=time.monotonic() - started,
    )


def _distance_to_limit(found: Judged) -> float:
    """How far λ̂ at this γ/nβ may be from its limit at 0: what it changes over a factor of four in γ, no unit.

    The slope's own Monte Carlo error is taken out of it.
    """
    slope, error = found.diagnostics.gamma_slope, found.diagnostics.gamma_slope_stderr
    if found.llc is None or slope is None or error is None:
        return 0.0
    return abs(found.llc) * math.sqrt(max(slope**2 - error**2, 0.0)) * math.log(4)


def _chains(
    case: Case, settings: ResolvedSettings, anchors: Tensor, slope: Sequence[Tensor] | None, observer: Observer
) -> tuple[list[ChainTrace], dict[tuple[str, int], ChainTrace]]:
    """The main chains, and the varied ones by (variation, chain)."""
    checks = checked_chains(settings.chains)
    observer.begin(case.name, settings.chains + len(checks))
    traces: list[ChainTrace] = []
    varied: dict[tuple[str, int], ChainTrace] = {}
    for chain in range(settings.chains):
        traces.append(run_chain(case.objective, anchors, settings, chain, anchor_gradient=slope))
        observer.advance(len(traces))
    for variation, chain in checks:
        chosen = variation.settings(settings)
        varied[variation.name, chain] = run_chain(
            case.objective, anchors, chosen, chain, anchor_gradient=slope, variation=variation
        )
        observer.advance(len(traces) + len(varied))
    observer.end()
    return traces, varied


def _resolution(case: Case, effort: Effort, slope: Sequence[Tensor] | None) -> Resolution:
    objective, n = case.objective, case.objective.n
    measured, start, _ = measure(
        objective,
        gradient_of(effort.gradient, objective, copy_of(objective.parameters), slope),
        torch.arange(min(n, max(case.batch_size, PROBE))),
        n_beta=case.n_beta,
        gamma=case.gamma,
        start=case.start,
        batch_size=case.batch_size,
        seed=effort.seed,
    )
    found = choose_dynamics(effort.sampler, effort.momentum, effort.lr, case.n_beta, case.gamma, measured)
    check_lr(found.lr, case.n_beta, measured.curvature, case.gamma)
    check_batch(found.sampler, case.batch_size, n)
    burn_in = effort.burn_in
    if burn_in is None:
        rate = relaxation_rate(found.lr, case.gamma, found.sampler, found.momentum)
        burn_in = choose_burn_in(rate, effort.draws, 1, start)
    settings = ResolvedSettings(
        n_beta=case.n_beta,
        gamma=case.gamma,
        lr=found.lr,
        momentum=found.momentum,
        start=start,
        gradient=effort.gradient,
        sampler=found.sampler,
        chains=effort.chains,
        draws=effort.draws,
        burn_in=burn_in,
        thin=1,
        batch_size=case.batch_size,
        micro_batch_size=case.batch_size,
        context_length=1,
        n=n,
        seed=effort.seed,
        threads=1,
        device=str(objective.parameters[0].device),
        dtype=case.dtype,
    )
    return Resolution(
        settings=settings,
        choices={},
        curvature=measured.curvature,
        trace_hessian=measured.trace,
        dimension=dimension(objective.parameters),
        load_seconds=0.0,
        seconds=0.0,
    )
