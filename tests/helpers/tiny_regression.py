"""Deep linear networks of some ten weights, and data of them."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor

from hf_llc.measures.llc.validation.problems import aligned, sampled_data
from hf_llc.tasks.regression import DeepLinearConfig, DeepLinearModel


def make_model(widths: Sequence[int], seed: int = 0, scale: float = 1.0) -> DeepLinearModel:
    """A network with normal weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return DeepLinearModel(DeepLinearConfig(widths=list(widths), initializer_scale=scale))


def aligned_model(widths: Sequence[int], rank: int) -> DeepLinearModel:
    """A network all of whose factors are diag(1, …, 1, 0, …) with that many ones."""
    model = make_model(widths)
    with torch.no_grad():
        for factor, (columns, rows) in zip(model.factors, pairwise(widths), strict=True):
            factor.copy_(aligned(rows, columns, rank, torch.float32))
    return model


def data_of(widths: Sequence[int], count: int, rank: int | None = None) -> tuple[Tensor, Tensor]:
    """White inputs, and targets of the network `aligned_model` gives, with unit noise; w* is the empirical minimum."""
    return sampled_data(list(widths), min(widths) if rank is None else rank, count)


def save_checkpoint(folder: Path, model: DeepLinearModel, step: int) -> Path:
    """One checkpoint of a training run."""
    model.save_pretrained(folder / f"checkpoint-{step}")
    return folder
