"""Training from scratch: AdamW with warm-up and cosine decay, stopping wherever a checkpoint is wanted."""

import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from hf_llc.sampling import seeds
from hf_llc.sampling.objective import Objective, clear_gradients

FINAL_SHARE = 0.1
"""The cosine ends at this share of the peak step size, as in Pythia."""


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """How a model is trained.

    Attributes:
        steps: updates. batch_size: items per update.
        lr: peak step size, reached after `warm_up` updates.
        weight_decay, clip: of AdamW, and the largest norm of a gradient.
        seed: the batches derive from it.
    """

    steps: int = 1000
    batch_size: int = 32
    lr: float = 3e-3
    warm_up: int = 50
    weight_decay: float = 0.01
    clip: float = 1.0
    seed: int = 0


def learning_rate(settings: TrainingSettings, step: int) -> float:
    """The step size of update `step`, counted from 0: linear warm-up, then a cosine down to FINAL_SHARE of the peak."""
    if step < settings.warm_up:
        return settings.lr * (step + 1) / settings.warm_up
    done = (step - settings.warm_up) / max(1, settings.steps - settings.warm_up)
    return settings.lr * (FINAL_SHARE + (1 - FINAL_SHARE) * (1 + math.cos(math.pi * done)) / 2)


def training_batch(settings: TrainingSettings, step: int, n: int) -> Tensor:
    """Distinct indices below `n` for update `step`: int64, shape (min(batch_size, n),), on the CPU."""
    return torch.randperm(n, generator=seeds.generator(settings.seed, "training", step))[: settings.batch_size]


def train(objective: Objective, settings: TrainingSettings, keep: Collection[int]) -> Iterator[tuple[int, float]]:
    """Trains in place and stops at each step in `keep`, in rising order, while the objective holds its weights.

    Yields (updates made so far, loss in nats of the minibatch that comes next, before it is learnt from).

    Raises:
        ValueError: a step in `keep` is negative or above `requested.steps`.
    """
    if outside := [step for step in keep if not 0 <= step <= settings.steps]:
        raise ValueError(f"steps {outside} lie outside 0 … {settings.steps}.")
    parameters = objective.parameters
    optimizer = torch.optim.AdamW(parameters, lr=settings.lr, betas=(0.9, 0.95), weight_decay=settings.weight_decay)
    for step in range(settings.steps + 1):
        loss = objective.losses_and_gradient(training_batch(settings, step, objective.n)).mean()
        if step in keep:
            yield step, float(loss)
        if step == settings.steps:
            break
        torch.nn.utils.clip_grad_norm_(parameters, settings.clip)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(settings, step)
        optimizer.step()
    clear_gradients(parameters)
