"""Files of inputs and targets as two tensors with a row an item (safetensors)."""

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from hf_llc.errors import SettingsError, SourceError
from hf_llc.settings.bounds import shown
from hf_llc.settings.files import write_atomically
from hf_llc.tasks.regression.columns import Columns, chosen_columns

SUFFIX = ".safetensors"
INPUTS, TARGETS = "inputs", "targets"
"""Names of the two tensors of items, (n, inputs) and (n, outputs) float32."""


def save_data(path: Path | str, inputs: Any, targets: Any) -> Path:
    """Save inputs and targets to a .safetensors file, which `--dataset` takes.

    Args:
        inputs, targets: tensors or arrays with a row an item; of one dimension where an item is a single number.

    Raises:
        SettingsError: they are something else, or have not the same number of rows. OSError: it cannot be written.
    """
    place = Path(path)
    if place.suffix.lower() != SUFFIX:
        raise SettingsError(f"path must end in {SUFFIX}, got {shown(str(path))}.")
    place.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(place, content_of(inputs, targets))
    return place


def content_of(inputs: Any, targets: Any) -> bytes:
    """The bytes of the file that `save_data` writes.

    Raises:
        SettingsError: see `save_data`.
    """
    tensors = {INPUTS: as_rows(inputs, INPUTS), TARGETS: as_rows(targets, TARGETS)}
    if len(tensors[INPUTS]) != len(tensors[TARGETS]):
        raise SettingsError(
            f"inputs and targets must have the same number of rows, got {len(tensors[INPUTS])} and "
            f"{len(tensors[TARGETS])}."
        )
    for name, tensor in tensors.items():
        if not tensor.isfinite().all():
            row = int(tensor.isfinite().logical_not().any(dim=1).nonzero()[0])
            raise SettingsError(f"{name} must be finite, got {tensor[row][~tensor[row].isfinite()][0]:g} in row {row}.")
    return save({name: each.detach().cpu().to(torch.float32).contiguous() for name, each in tensors.items()})


def as_rows(values: Any, name: str) -> Tensor:
    """A tensor or array of numbers with a row an item, (n, numbers).

    Raises:
        SettingsError: it is something else.
    """
    try:
        tensor = torch.as_tensor(values)
    except (TypeError, ValueError, RuntimeError):
        raise SettingsError(f"{name} must be a tensor or array of numbers, got {shown(values)}.") from None
    if tensor.dim() not in {1, 2} or 0 in tensor.shape:
        raise SettingsError(
            f"{name} must have a row an item, of shape (n,) or (n, numbers), got {tuple(tensor.shape)}."
        )
    if tensor.dtype == torch.bool or tensor.is_complex() or tensor.layout != torch.strided or tensor.is_meta:
        raise SettingsError(f"{name} must hold real numbers, got a tensor of {tensor.dtype}, {tensor.layout}.")
    return tensor[:, None] if tensor.dim() == 1 else tensor


def read_data_file(path: Path, asked_inputs: str | None, asked_targets: str | None) -> tuple[Columns, Tensor, Tensor]:
    """The names of the tensors of inputs and of targets, and both, (n, numbers), in the type of the file.

    Args:
        asked_inputs, asked_targets: names, which commas join; None takes usual ones.

    Raises:
        SourceError: the file cannot be read. NotFoundError: it has no such tensor. SettingsError: one is no table of
            numbers, or they have not the same number of rows.
    """
    try:
        with safe_open(path, framework="pt") as file:
            columns = chosen_columns(list(file.keys()), asked_inputs, asked_targets, str(path))
            tensors = {name: as_rows(file.get_tensor(name), name) for name in {*columns.inputs, *columns.targets}}
    except (SafetensorError, OSError, ValueError) as error:
        raise SourceError(f"{path} cannot be read as safetensors ({type(error).__name__}).") from error
    if len({len(tensor) for tensor in tensors.values()}) > 1:
        counts = ", ".join(f"{name} {len(tensor)}" for name, tensor in sorted(tensors.items()))
        raise SettingsError(f"{path} must hold tensors with the same number of rows, got {counts}.")
    inputs, targets = (
        torch.cat([tensors[name].double() for name in names], dim=1) for names in (columns.inputs, columns.targets)
    )
    return columns, inputs, targets
