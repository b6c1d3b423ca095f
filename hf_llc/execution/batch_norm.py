"""Batch norm whose statistics are those of the n items at w*: estimated anew once, then fixed as the checkpoint's are.

A layer's mean and variance are those that it would see if all n items were one minibatch in training. Layers are done
in the order of a forward pass, each with those before it done: so they do not depend on how items are dealt out to
forward passes, which an average over minibatches (`torch.optim.swa_utils.update_bn`) does. That is one pass over the
items for each layer, up to that layer.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from hf_llc.errors import SettingsError, UnusableError
from hf_llc.execution.tensors import read_tensors, write_tensors
from hf_llc.tasks.base import TaskObjective

FILE = "batch-norm.safetensors"


class Change(NamedTuple):
    """The mean loss at w*, in the unit of the task, with the statistics of the checkpoint and with those estimated."""

    before: float
    after: float


def reestimate(model: torch.nn.Module, objective: TaskObjective, run_dir: Path) -> Change:
    """Put the mean and variance over all items into every batch norm of the model; what a process has left in the run's
    folder is taken from there, so that all processes and a resumed run have the same numbers.

    Args:
        objective: of the loss over the items, through this model.

    Raises:
        SettingsError: the model has no batch norm. UnusableError: a layer is used twice in a forward pass, or sees
            numbers that are not finite.
    """
    layers = layers_of(model)
    buffers = [buffer for each in layers.values() for buffer in (each.running_mean, each.running_var)]
    stored = read_tensors(run_dir / FILE)
    if stored is not None and [each.shape for each in stored[1:]] == [
        each.shape for each in buffers if each is not None
    ]:
        _fill(buffers, stored[1:])
        return Change(*stored[0].tolist())
    full = objective.in_full()
    before = _mean_loss(full)
    for name in _in_order(layers, full):
        mean, variance = _moments(name, layers[name], full)
        _fill([layers[name].running_mean, layers[name].running_var], [mean, variance])
    change = Change(before, _mean_loss(full))
    kept = [each.detach() for each in buffers if each is not None]
    write_tensors(run_dir / FILE, [torch.tensor(change, dtype=torch.float64), *kept])
    return change


def layers_of(model: torch.nn.Module) -> dict[str, Any]:
    """The batch norms of the model that have running statistics, by name.

    Raises:
        SettingsError: there are none.
    """
    layers = {name: each for name, each in model.named_modules() if isinstance(each, _BatchNorm)}
    layers = {name: each for name, each in layers.items() if each.running_mean is not None}
    if not layers:
        raise SettingsError(
            f"batch_norm is reestimated, but the {type(model).__name__} has no batch norm with running statistics; "
            "leave it out."
        )
    return layers


def frozen_sentence(count: int) -> str:
    """What a reader must know of the statistics of a checkpoint."""
    return (
        f"batch_norm = frozen: {_layers(count)} by the running statistics of the checkpoint, which do not "
        "move; training minimized the loss under statistics of minibatches, so that w* may be no minimum of this one."
    )


def sentence(count: int, change: Change, n: int, items: str, unit: str) -> str:
    """What a reader must know of statistics that were estimated anew."""
    return (
        f"batch_norm = reestimated: {_layers(count)} by mean and variance over the n = {n} {items} at "
        f"w*, which do not move with the weights; with them the loss at w* is {change.after:.4g} {unit}, with the "
        f"running statistics of the checkpoint {change.before:.4g}."
    )


def _layers(count: int) -> str:
    return "1 layer normalizes" if count == 1 else f"{count} layers normalize"


class _EndOfPass(Exception):  # noqa: N818
    """Ends a forward pass at the layer that is looked at."""


def _in_order(layers: dict[str, Any], objective: TaskObjective) -> list[str]:
    """The names of the layers that a forward pass uses, in its order."""
    used: list[str] = []
    with _hooked(layers, lambda name: lambda module, inputs: used.append(name)):
        objective.losses(torch.arange(1))
    if twice := sorted({name for name in used if used.count(name) > 1}):
        raise UnusableError(
            f"batch_norm cannot be reestimated: a forward pass uses the layer {twice[0]} {used.count(twice[0])} times, "
            "and its statistics would depend on themselves; use `batch_norm=frozen`."
        )
    return used


def _moments(name: str, layer: Any, objective: TaskObjective) -> tuple[Tensor, Tensor]:
    """Mean and variance of what a layer sees of all items, by channel, float64.

    The variance is the one that training normalizes by, over the number of values and not over one less.
    """
    sums: list[Tensor] = []
    count = 0

    def see(module: Any, inputs: tuple[Tensor, ...]) -> None:
        nonlocal count
        values = inputs[0].detach()
        values = values.cpu().double() if values.device.type == "mps" else values.double()
        values = values.transpose(0, 1).flatten(1)
        count += values.shape[1]
        parts = torch.stack([values.sum(dim=1), values.square().sum(dim=1)])
        sums[:] = [sums[0] + parts] if sums else [parts]
        raise _EndOfPass

    with _hooked({name: layer}, lambda _: see):
        # As many as one forward pass takes: it ends at the layer.
        for items in torch.arange(objective.n).split(objective.micro_batch):
            try:
                objective.losses(items)
            except _EndOfPass:
                continue
    mean, square = (sums[0] / count).unbind()
    if not sums[0].isfinite().all():
        raise UnusableError(f"batch_norm cannot be reestimated: {name} sees numbers that are not finite.")
    return mean, (square - mean.square()).clamp_min(0.0)


@contextmanager
def _hooked(layers: dict[str, Any], hook_of: Callable[[str], Callable[..., None]]) -> Iterator[None]:
    hooks = [layer.register_forward_pre_hook(hook_of(name)) for name, layer in layers.items()]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _mean_loss(objective: TaskObjective) -> float:
    parts = torch.arange(objective.n).split(objective.micro_batch)
    return float(torch.cat([objective.losses(part) for part in parts]).double().mean())


@torch.no_grad()
def _fill(buffers: Sequence[Tensor | None], values: Sequence[Tensor]) -> None:
    for buffer, value in zip(buffers, values, strict=True):
        if buffer is not None:
            buffer.copy_(value)
