"""Exact answers on board: the chain code of `estimate` on models whose coefficient is known in closed form."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from hf_llc.checks import checked_chains
from hf_llc.core import exact, problems
from hf_llc.core.chain import run_chain
from hf_llc.core.gradients import full_gradient
from hf_llc.core.objective import Objective, dimension
from hf_llc.core.stepsize import choose_burn_in
from hf_llc.errors import NotFoundError, SettingsError
from hf_llc.observer import Observer
from hf_llc.resolution import Resolution
from hf_llc.results import finite_or_none
from hf_llc.settings import ResolvedSettings
from hf_llc.summary import judged
from hf_llc.workbench import cpu_threads


@dataclass(frozen=True, kw_only=True)
class Case:
    """A model with a known answer.

    Attributes:
        truth: what a perfect sampler returns; params: what defines the model, for the reader.
        momentum: overrides the effort's.
        curvature: the largest at w*, which the step size is chosen for. stiffness: ε(nβh+γ) to choose.
    """

    name: str
    params: Mapping[str, Any]
    objective: Objective
    truth: float
    n_beta: float
    gamma: float
    curvature: float
    stiffness: float = 0.5
    batch_size: int = 1
    burn_in: int | None = None
    momentum: float | None = None
    dtype: str = "float64"


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

    sampler: str = "baoab"
    momentum: float = 0.9
    gradient: str = "minibatch"
    chains: int = 4
    draws: int = 1500
    seed: int = 0


def gaussian() -> Case:
    """A quadratic at finite γ, where λ̂ is known exactly: ½ Σ nβh/(nβh+γ)."""
    curvatures = [10 ** (-3 + index / 20) for index in range(80)]
    n_beta, gamma = 200.0, 20.0
    return Case(
        name="gaussian",
        params={"dimension": len(curvatures), "n_beta": n_beta, "gamma": gamma},
        objective=problems.quadratic(curvatures),
        truth=exact.quadratic_llc(curvatures, n_beta, gamma),
        n_beta=n_beta,
        gamma=gamma,
        curvature=max(curvatures),
    )


def quartic() -> Case:
    """L = Σ w⁴ in 20 dimensions: λ = d/4, here at finite nβ and γ by quadrature."""
    n_beta, gamma, count = 1e4, 1.0, 20
    return Case(
        name="quartic",
        params={"dimension": count, "n_beta": n_beta, "gamma": gamma, "limit": exact.separable_power_llc([2] * count)},
        objective=problems.separable(4, count),
        truth=count * exact.power_llc(4, n_beta, gamma),
        n_beta=n_beta,
        gamma=gamma,
        # The typical curvature 12 w² at w = nβ^(−1/4); it is 0 at w* itself.
        curvature=12 * n_beta**-0.5,
        stiffness=0.1,
        burn_in=500,
    )


def normal_crossing() -> Case:
    """L = w₁² w₂²: λ = ½ with multiplicity 2, here at finite nβ and γ by quadrature."""
    n_beta, gamma = 1e4, 100.0
    return Case(
        name="normal-crossing",
        params={"n_beta": n_beta, "gamma": gamma, "limit": exact.normal_crossing_llc([1, 1])},
        objective=problems.normal_crossing(),
        truth=exact.crossing_llc(n_beta, gamma),
        n_beta=n_beta,
        gamma=gamma,
        curvature=2 * 4 / gamma,
        stiffness=0.3,
    )


def linear_regression() -> Case:
    """Least squares on real samples with unit noise, minibatches of 50: half the dimension as γ/nβ → 0."""
    samples, count, gamma = 2000, 20, 5.0
    objective, curvatures = problems.linear_regression(samples, count, seed=0)
    n_beta = samples / 40
    return Case(
        name="linear-regression",
        params={"samples": samples, "dimension": count, "n_beta": n_beta, "gamma": gamma, "batch_size": 50},
        objective=objective,
        truth=exact.quadratic_llc(curvatures, n_beta, gamma),
        n_beta=n_beta,
        gamma=gamma,
        curvature=max(curvatures),
        stiffness=0.05,
        batch_size=50,
        # Momentum would gather the noise of the minibatches.
        momentum=0.0,
    )


def reduced_rank(second: int, first: int) -> Case:
    """‖BA‖² of 20 × 20 factors at a minimum where B and A have the ranks given: one model, local values 200 and 150."""
    n_beta, gamma = 1e6, 100.0
    return Case(
        name=f"reduced-rank-{second}-{first}",
        params={"widths": [20, 20, 20], "ranks": [second, first], "n_beta": n_beta, "gamma": gamma},
        objective=problems.zero_product(20, second, first),
        truth=exact.zero_product_llc(20, second, first),
        n_beta=n_beta,
        gamma=gamma,
        curvature=1.0 if second == 0 or first == 0 else 2.0,
        stiffness=0.15,
        burn_in=800,
        dtype="float32",
    )


def deep_linear(
    widths: Sequence[int] = (20, 20, 20),
    rank: int = 10,
    n_beta: float | None = None,
    samples: int = 0,
    batch_size: int = 64,
) -> Case:
    """A deep linear net at aligned factors of its true rank (Aoyagi's λ is the local one there).

    Args:
        samples: 0 takes the population loss; else that many white inputs with unit label noise, in minibatches.

    Raises:
        SettingsError: fewer than two widths, a rank above the smallest, or too few samples.
    """
    if len(widths) < 2 or not 0 <= rank <= min(widths):
        raise SettingsError(f"--rank {rank} does not fit --widths {','.join(map(str, widths))}: 0 to the smallest.")
    if samples and not max(widths[0], batch_size - 1) < samples:
        raise SettingsError(f"--samples is {samples}; it must exceed the {widths[0]} inputs and hold a --batch-size.")
    n_beta = n_beta if n_beta is not None else (samples / 20 if samples else 1e5)
    gamma = n_beta * 1e-4
    objective = problems.sampled_deep_linear(widths, rank, samples) if samples else problems.deep_linear(widths, rank)
    return Case(
        name="dln",
        params={"widths": list(widths), "rank": rank, "n_beta": n_beta, "gamma": gamma, "samples": samples},
        objective=objective,
        truth=exact.deep_linear_llc(widths, rank),
        n_beta=n_beta,
        gamma=gamma,
        curvature=float(len(widths) - 1),
        stiffness=0.15,
        batch_size=batch_size if samples else 1,
        burn_in=500,
        dtype="float32",
    )


CASES: dict[str, Callable[[], Case]] = {
    "gaussian": gaussian,
    "quartic": quartic,
    "normal-crossing": normal_crossing,
    "linear-regression": linear_regression,
    "reduced-rank-20-0": lambda: reduced_rank(20, 0),
    "reduced-rank-10-10": lambda: reduced_rank(10, 10),
    "dln": deep_linear,
}


def case_of(name: str) -> Case:
    """The case of that name, with its default parameters.

    Raises:
        NotFoundError: there is none; names those there are.
    """
    if name not in CASES:
        raise NotFoundError(f"There is no case {name!r}; choose from {', '.join(CASES)}.")
    return CASES[name]()


def validate(case: Case, effort: Effort, observer: Observer | None = None) -> Validation:
    """λ̂ of one case with its error and verdict, beside the truth."""
    observer = observer or Observer()
    settings, started = _settings(case, effort), time.monotonic()
    objective = case.objective
    anchors = objective.losses(torch.arange(objective.n))
    slope = full_gradient(objective, 1000) if effort.gradient == "control-variate" else None
    checks = checked_chains(effort.chains)
    observer.begin(case.name, effort.chains + len(checks))
    with cpu_threads(1):
        traces, varied = [], {}
        for chain in range(effort.chains):
            traces.append(run_chain(objective, anchors, settings, chain, anchor_gradient=slope))
            observer.advance(len(traces))
        for variation, chain in checks:
            chosen = variation.settings(settings)
            varied[variation.name, chain] = run_chain(
                objective, anchors, chosen, chain, anchor_gradient=slope, variation=variation
            )
            observer.advance(len(traces) + len(varied))
    observer.end()
    resolution = Resolution(
        settings=settings,
        choices={},
        curvature=case.curvature,
        trace_hessian=0.0,
        dimension=dimension(objective.parameters),
        load_seconds=0.0,
        seconds=0.0,
    )
    found = judged(resolution, traces, varied)
    steps = sum(len(trace.losses) for trace in [*traces, *varied.values()])
    return Validation(
        case=case.name,
        params=case.params,
        truth=case.truth,
        llc=found.llc,
        stderr=found.stderr,
        error_in_stderr=(found.llc - case.truth) / found.stderr if found.llc is not None and found.stderr else None,
        verdict=found.verdict,
        verdict_reason=found.reason,
        sampler=settings.sampler,
        gradient_evaluations=steps * (2 if effort.gradient == "control-variate" else 1),
        seconds=time.monotonic() - started,
    )


def _settings(case: Case, effort: Effort) -> ResolvedSettings:
    lr = case.stiffness / (case.n_beta * case.curvature + case.gamma)
    burn_in = case.burn_in if case.burn_in is not None else choose_burn_in(lr, case.gamma, effort.draws, 1)
    return ResolvedSettings(
        n_beta=case.n_beta,
        gamma=case.gamma,
        lr=lr,
        momentum=effort.momentum if case.momentum is None else case.momentum,
        gradient=effort.gradient,
        sampler=effort.sampler,
        chains=effort.chains,
        draws=effort.draws,
        burn_in=burn_in,
        thin=1,
        batch_size=case.batch_size,
        micro_batch_size=case.batch_size,
        context_length=1,
        n=case.objective.n,
        seed=effort.seed,
        threads=1,
        device="cpu",
        dtype=case.dtype,
    )
