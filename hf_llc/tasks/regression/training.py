"""Training a deep linear network by gradient descent, with checkpoints to scan."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from hf_llc.checkpoints.loading.errors import quiet
from hf_llc.errors import SettingsError, UnusableError
from hf_llc.settings.bounds import shown
from hf_llc.tasks.regression.data_file import as_rows, save_data
from hf_llc.tasks.regression.deep_linear import DeepLinearModel, squared_errors

DATA = "data.safetensors"
KEPT = 12
"""Checkpoints where it is not said which: the first, the last, and others evenly spaced in log step."""


def train(
    model: DeepLinearModel,
    inputs: Any,
    targets: Any,
    folder: Path | str,
    *,
    steps: int,
    learning_rate: float,
    momentum: float = 0.0,
    save_at: Sequence[int] | None = None,
) -> dict[int, float]:
    """Train a network by gradient descent on the mean of ½ ‖y − f(x)‖² over all items, and keep its checkpoints.

    The folder then holds `checkpoint-0`, `checkpoint-1`, … and the data as `data.safetensors`:
    `hf-llc scan FOLDER --dataset FOLDER/data.safetensors` estimates the LLC of each.

    Args:
        inputs, targets: tensors or arrays with a row an item.
        momentum: of heavy-ball gradient descent.
        save_at: steps after which to save; None takes about KEPT of them, 0 and the last one among them.

    Returns:
        The loss at each step that was saved.

    Raises:
        SettingsError: an argument makes no sense. UnusableError: the loss is not finite any more.
    """
    if steps < 1 or not 0 < learning_rate < math.inf or not 0 <= momentum < 1:
        raise SettingsError(
            f"steps must be ≥ 1, learning_rate > 0 and momentum in [0, 1), got {steps}, {learning_rate} and {momentum}."
        )
    kept = sorted(set(_spread(steps) if save_at is None else save_at))
    if not kept or not 0 <= kept[0] <= kept[-1] <= steps:
        raise SettingsError(f"save_at must hold steps from 0 to {steps}, got {shown(save_at)}.")
    weight = next(model.parameters())
    x, y = (as_rows(each, name).to(weight) for each, name in ((inputs, "inputs"), (targets, "targets")))
    if (x.shape[1], y.shape[1]) != (model.config.widths[0], model.config.widths[-1]) or len(x) != len(y):
        raise SettingsError(
            f"inputs and targets must have the shapes (n, {model.config.widths[0]}) and "
            f"(n, {model.config.widths[-1]}), got {tuple(x.shape)} and {tuple(y.shape)}."
        )
    save_data(Path(folder) / DATA, x, y)
    optimizer = torch.optim.SGD(model.parameters(), lr=learning_rate, momentum=momentum)
    losses: dict[int, float] = {}
    for step in range(steps + 1):
        optimizer.zero_grad()
        loss = squared_errors(model(inputs=x).predictions, y).mean()
        if step in kept:
            losses[step] = float(loss.detach())
            if not math.isfinite(losses[step]):
                raise UnusableError(f"The loss is {losses[step]} after {step} steps; lower learning_rate.")
            with quiet():
                model.save_pretrained(Path(folder) / f"checkpoint-{step}")
        if step < steps:
            loss.backward()
            optimizer.step()
    return losses


def _spread(steps: int) -> list[int]:
    return [0, *(round(steps ** (index / (KEPT - 2))) for index in range(KEPT - 1))]
