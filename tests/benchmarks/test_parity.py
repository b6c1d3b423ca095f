"""The same chain in an independent implementation: devinterp 2.0.1's `sgmcmc_sgld` on a small trained model.

Install it with `pip install -e '.[bench]'`; `make bench` does.
"""

import math
import warnings
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from arviz_stats.base.array import array_stats
from datasets.arrow_dataset import Dataset
from numpy.typing import NDArray

from hf_llc.sampling.chain import run_chain
from hf_llc.sampling.statistics import summarise
from hf_llc.settings.resolved import ResolvedSettings
from tests.benchmarks.trained import Trained, demo_model

N_BETA, GAMMA, LR = 100.0, 2000.0, 1e-4
CHAINS, BURN_IN, DRAWS, BATCH = 4, 60, 240, 16


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return demo_model(tmp_path_factory.mktemp("demo"))


def ours(trained: Trained) -> tuple[float, float]:
    """E[L] − L(w*) after the burn-in and its Monte Carlo error, in nats per token."""
    settings = ResolvedSettings(
        n_beta=N_BETA,
        gamma=GAMMA,
        lr=LR,
        momentum=0.0,
        gradient="minibatch",
        sampler="sgld",
        chains=CHAINS,
        draws=DRAWS,
        burn_in=BURN_IN,
        thin=1,
        batch_size=BATCH,
        micro_batch_size=BATCH,
        context_length=trained.tokens.shape[1],
        n=len(trained.tokens),
        seed=0,
        threads=1,
        device="cpu",
        dtype="float32",
    )
    anchors, objective = trained.anchor_losses(), trained.objective(BATCH)
    summary = summarise([run_chain(objective, anchors, settings, chain).draws(settings) for chain in range(CHAINS)])
    return summary.mean, summary.mcse


def theirs(trained: Trained, output: Path) -> tuple[float, float]:
    """The same of devinterp's per-step losses; its chains are given batches of their own, as ours have."""
    from devinterp.slt.sampling import sample

    rows = Dataset.from_dict({"input_ids": trained.tokens.tolist()}).with_format("torch")
    with warnings.catch_warnings():
        # Their own and zarr's deprecations; nothing of ours.
        warnings.simplefilter("ignore")
        sampled = sample(
            trained.model,
            rows,
            {},
            lr=LR,
            n_beta=N_BETA,
            localization=GAMMA,
            num_chains=CHAINS,
            num_draws=DRAWS,
            num_burnin_steps=BURN_IN,
            batch_size=BATCH,
            num_init_loss_batches=1,
            match_sampling_input_ids_across_chains=False,
            init_seed=1,
            device="cpu",
            output_path=output,
        )
        losses = per_step_losses(sampled)[:, BURN_IN:]
        error = float(array_stats.mcse(losses, method="mean"))
    return float(losses.mean() - float(trained.anchor_losses().mean())), error


def per_step_losses(sampled: Any) -> NDArray[numpy.float64]:
    """Mean minibatch loss of every step, shape (chains, steps), from the stored losses per token."""
    stored = numpy.asarray(sampled["sampling_loss_micro"], dtype=float)
    means: NDArray[numpy.float64] = stored.mean(axis=tuple(range(2, stored.ndim)))
    return means


def test_post_burn_in_means_agree_within_four_standard_errors(trained: Trained, tmp_path: Path) -> None:
    with torch.random.fork_rng():
        their_mean, their_error = theirs(trained, tmp_path / "samples.zarr")
    our_mean, our_error = ours(trained)
    together = math.hypot(our_error, their_error)
    print(f"\nE[L] − L(w*), nats per token: hf-llc {our_mean:.5f} ± {our_error:.5f}, ", end="")
    print(f"devinterp 2.0.1 {their_mean:.5f} ± {their_error:.5f} (unpaired)")
    assert together < 0.1 * our_mean
    assert abs(our_mean - their_mean) < 4 * together
