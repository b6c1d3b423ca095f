"""The number once more without sampling, from the quadratic part of the loss at w*."""

import time
from dataclasses import asdict
from typing import Any

import torch

from hf_llc.core.lanczos import ITERATIONS, PROBES, quadratic_llc_of
from hf_llc.errors import SettingsError
from hf_llc.observer import Observer
from hf_llc.resolved import ResolvedSettings
from hf_llc.workbench import Workbench

CROSS_CHECK = "cross-check/lanczos"
SEQUENCES = 64
"""Sequences whose loss is looked at, at least: each of PROBES × ITERATIONS products takes two gradients of all."""


def cross_check(bench: Workbench, settings: ResolvedSettings, observer: Observer) -> dict[str, Any]:
    """`Estimate.cross_check`, JSON-ready.

    Raises:
        SettingsError: nβ or γ is 0, so that there is no resolution γ/nβ.
    """
    if settings.n_beta == 0 or settings.gamma == 0:
        raise SettingsError("--cross-check lanczos needs --n-beta and --gamma above 0.")
    started = time.monotonic()
    observer.begin("cross-check without sampling", PROBES * ITERATIONS)
    used = min(bench.objective.n, max(SEQUENCES, settings.batch_size))
    found = quadratic_llc_of(bench.in_full, torch.arange(used), settings.n_beta, settings.gamma, settings.seed)
    observer.end()
    return {"method": "lanczos", **asdict(found), "sequences": used, "seconds": time.monotonic() - started}
