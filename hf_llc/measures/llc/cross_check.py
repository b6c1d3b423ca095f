"""The number once more by a way that shares nothing with the chains but the model and the text."""

import time
from dataclasses import asdict
from typing import Any

from hf_llc.errors import SettingsError
from hf_llc.execution.loaded_model import LoadedModel
from hf_llc.measures.llc.resolution import ResolvedRun
from hf_llc.results.progress import Observer
from hf_llc.sampling.draws.prior import PriorDraws
from hf_llc.sampling.draws.statistics import summarise_draws
from hf_llc.sampling.tuning.lanczos import ITERATIONS, PROBES, quadratic_llc_of

SEQUENCES = 64
"""Sequences whose loss Lanczos looks at, at least: each of PROBES × ITERATIONS products takes two gradients of all."""


PAIRS = 32
"""Pairs of draws whose losses are taken, each on a minibatch of its own."""
GRADIENT_PAIRS = 6
"""Pairs of draws whose gradients are taken: on trained transformers their terms are then known to about a tenth."""


def part_name(method: str) -> str:
    """The part of a run that holds the cross-check by that method."""
    return f"cross-check/{method}"


def cross_check(method: str, bench: LoadedModel, resolution: ResolvedRun, observer: Observer) -> dict[str, Any]:
    """`Estimate.cross_check`, JSON-ready.

    Args:
        method: a name in `requested.CROSS_CHECKS`.

    Raises:
        SettingsError: nβ or γ is 0, so that there is no resolution γ/nβ.
    """
    if resolution.settings.n_beta == 0 or resolution.settings.gamma == 0:
        raise SettingsError(f"`cross_check={method}` needs `n_beta` and `gamma` above 0.")
    started = time.monotonic()
    result = _draws(bench, resolution, observer) if method == "draws" else _lanczos(bench, resolution, observer)
    return {"method": method, **result, "seconds": time.monotonic() - started}


def _lanczos(bench: LoadedModel, resolution: ResolvedRun, observer: Observer) -> dict[str, Any]:
    """½ tr[H(H+γ/nβ)⁻¹] of the loss's quadratic part at w*, without sampling."""
    settings = resolution.settings
    observer.begin("cross-check without sampling", PROBES * ITERATIONS)
    used = min(bench.objective.n, max(SEQUENCES, settings.batch_size))
    quadrature = quadratic_llc_of(
        bench.in_full, bench.probe.items(used), settings.n_beta, settings.gamma, settings.seed
    )
    observer.end()
    return {**asdict(quadrature), "sequences": used}


def _draws(bench: LoadedModel, resolution: ResolvedRun, observer: Observer) -> dict[str, Any]:
    """λ̂ from independent draws of the localizing prior, in float32."""
    settings, objective = resolution.settings, bench.in_full
    draws = PriorDraws(objective, objective, gamma=settings.gamma, batch_size=settings.batch_size, seed=settings.seed)
    observer.begin("cross-check by independent draws", PAIRS + GRADIENT_PAIRS)
    losses, gradients = [], []
    for pair in range(PAIRS):
        losses.append(draws.losses(pair))
        observer.advance(pair + 1)
    for pair in range(GRADIENT_PAIRS):
        gradients.append(draws.gradients(pair))
        observer.advance(PAIRS + pair + 1)
    observer.end()
    stiffness = settings.n_beta * resolution.curvature / settings.gamma
    result = summarise_draws(
        losses,
        gradients,
        n=objective.n,
        n_beta=settings.n_beta,
        gamma=settings.gamma,
        largest=stiffness,
        jumps=bool(resolution.routers),
    )
    size = min(settings.batch_size, objective.n)
    return {
        "llc": result.llc,
        "stderr": result.stderr,
        "prior_mean": result.prior_mean.mean,
        "prior_mean_stderr": result.prior_mean.stderr,
        "narrowing": result.narrowing.mean,
        "slope": result.slope.mean,
        "open": result.open if result.llc is not None else None,
        "pairs": PAIRS + GRADIENT_PAIRS,
        "sequences": min(objective.n, size * (PAIRS + 2 * GRADIENT_PAIRS)),
    }
