"""Estimates and traces made up for tests of what is drawn and written about them."""

import math
from dataclasses import replace
from typing import Any

from hf_llc.results.estimate import ChainSummary, ChainTrace, DatasetRecord, Diagnostics, Estimate, Status, Verdict
from hf_llc.settings.resolved import ResolvedSettings

SETTINGS = ResolvedSettings(
    n_beta=268.6,
    gamma=7800.0,
    lr=8.3e-5,
    momentum=0.0,
    gradient="minibatch",
    sampler="sgld-lm",
    chains=2,
    draws=20,
    burn_in=10,
    thin=2,
    batch_size=8,
    micro_batch_size=8,
    context_length=64,
    n=2048,
    seed=0,
    threads=1,
    device="cpu",
    dtype="float32",
)
DIAGNOSTICS = Diagnostics(
    r_hat=1.012,
    ess=120.0,
    delta_loss=0.08,
    distance=3.7,
    free_distance=3.7,
    dimension=1000,
    curvature=17.5,
    stability=0.98,
    resolution=29.04,
    equilibration=0.999,
    drift=0.4,
    monte_carlo_stderr=0.2,
    step_size_stderr=0.3,
    step_bias=0.1,
    cold_llc=-0.1,
    gamma_slope=-0.93,
    gamma_slope_stderr=0.02,
    n_beta_slope=0.95,
    n_beta_slope_stderr=0.02,
    trace_hessian=4e5,
)


def estimate(step: int | None = 512, llc: float | None = 13.93, **changes: Any) -> Estimate:
    """A converged estimate of `org/model@step<step>` on a Hub dataset, with the changes named."""
    result = Estimate(
        model="org/model",
        revision=None if step is None else f"step{step}",
        sha="a" * 40,
        step=step,
        llc=llc,
        stderr=None if llc is None else 0.42,
        verdict=Verdict.DIVERGED if llc is None else Verdict.CONVERGED,
        verdict_reason="R-hat 1.012",
        settings=SETTINGS,
        diagnostics=DIAGNOSTICS,
        dataset=DatasetRecord(
            id="org/text",
            revision="b" * 40,
            config=None,
            split="train",
            text_column="text",
            fingerprint="sha256:" + "c" * 64,
        ),
        chains=(ChainSummary(chain=0, llc=llc, status=Status.HEALTHY),),
        init_loss=2.8594,
        tokens=1000,
        versions={"hf-llc": "0.1.0"},
        seconds={"total": 1.0},
        run_dir="/home/someone/hf-llc-runs/x",
    )
    return replace(result, **changes)


def trace(chain: int, *, level: float = 0.05, failed_at: int | None = None) -> ChainTrace:
    """A chain whose paired difference is `level` at every step, and whose loss is that above 2.8594."""
    steps = SETTINGS.steps + 1 if failed_at is None else failed_at
    tail = () if failed_at is None else (math.nan,)
    return ChainTrace(
        chain=chain,
        status=Status.HEALTHY if failed_at is None else Status.NONFINITE,
        failed_at=failed_at,
        losses=(2.8594 + level,) * steps + tail,
        deltas=(level,) * steps + tail,
        squared_distances=(13.7,) * SETTINGS.draws,
        seconds=1.0,
    )
