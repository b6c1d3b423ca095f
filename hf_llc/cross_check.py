"""The number once more by a way that shares nothing with the chains but the model and the text."""

import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import torch

from hf_llc.core.lanczos import ITERATIONS, PROBES, quadratic_llc_of
from hf_llc.core.prior_draws import GRADIENT_PAIRS, PAIRS, prior_draws
from hf_llc.errors import SettingsError
from hf_llc.observer import Observer
from hf_llc.resolution import Resolution
from hf_llc.workbench import Workbench

SEQUENCES = 64
"""Sequences whose loss Lanczos looks at, at least: each of PROBES × ITERATIONS products takes two gradients of all."""


def part_name(method: str) -> str:
    """The part of a run that holds the cross-check by that method."""
    return f"cross-check/{method}"


def cross_check(
    method: str, bench: Workbench, anchors: Sequence[float], resolution: Resolution, observer: Observer
) -> dict[str, Any]:
    """`Estimate.cross_check`, JSON-ready.

    Args:
        method: a name in `settings.CROSS_CHECKS`. anchors: ℓ_i(w*) of all sequences, nats per token.

    Raises:
        SettingsError: nβ or γ is 0, so that there is no resolution γ/nβ.
    """
    if resolution.settings.n_beta == 0 or resolution.settings.gamma == 0:
        raise SettingsError(f"--cross-check {method} needs --n-beta and --gamma above 0.")
    started = time.monotonic()
    result = (
        _draws(bench, anchors, resolution, observer) if method == "draws" else _lanczos(bench, resolution, observer)
    )
    return {"method": method, **result, "seconds": time.monotonic() - started}


def _lanczos(bench: Workbench, resolution: Resolution, observer: Observer) -> dict[str, Any]:
    """½ tr[H(H+γ/nβ)⁻¹] of the loss's quadratic part at w*, without sampling."""
    settings = resolution.settings
    observer.begin("cross-check without sampling", PROBES * ITERATIONS)
    used = min(bench.objective.n, max(SEQUENCES, settings.batch_size))
    quadrature = quadratic_llc_of(
        bench.in_full, bench.probe.items(used), settings.n_beta, settings.gamma, settings.seed
    )
    observer.end()
    return {**asdict(quadrature), "sequences": used}


def _draws(bench: Workbench, anchors: Sequence[float], resolution: Resolution, observer: Observer) -> dict[str, Any]:
    """λ̂ from independent draws of the localizing prior, in float32."""
    settings, objective = resolution.settings, bench.in_full
    device = objective.parameters[0].device
    losses = torch.tensor(anchors, device=device)
    if settings.dtype != "float32":
        # Losses at w* that are rounded otherwise than those of the draws would not cancel in their difference.
        losses = objective.losses(torch.arange(objective.n)).to(device)
    observer.begin("cross-check by independent draws", PAIRS + GRADIENT_PAIRS)
    result = prior_draws(
        objective,
        losses,
        n_beta=settings.n_beta,
        gamma=settings.gamma,
        curvature=resolution.curvature,
        batch_size=settings.batch_size,
        seed=settings.seed,
        progress=observer.advance,
    )
    observer.end()
    size = min(settings.batch_size, objective.n)
    return {
        "llc": result.llc,
        "stderr": result.stderr,
        "prior_mean": result.prior_mean.mean,
        "prior_mean_stderr": result.prior_mean.stderr,
        "narrowing": result.narrowing.mean,
        "slope": result.slope.mean,
        "open": result.open if result.llc is not None else None,
        "pairs": result.pairs,
        "sequences": min(objective.n, size * (PAIRS + 2 * GRADIENT_PAIRS)),
    }
