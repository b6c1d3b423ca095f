"""Which kinds of device this machine has, and what they can do (torch)."""

import torch

from hf_llc.errors import SettingsError
from hf_llc.settings.bounds import shown


def device_kind(asked: str | None) -> str:
    """The kind of device asked for, or the first of `cuda`, `mps` and `cpu` that this machine has.

    Raises:
        SettingsError: this machine has no such device.
    """
    kinds = ["cuda"] * torch.cuda.is_available() + ["mps"] * torch.backends.mps.is_available() + ["cpu"]
    if asked is not None and asked not in kinds:
        raise SettingsError(f"device must be one of {', '.join(kinds)} on this machine, got {shown(asked)}.")
    return asked or kinds[0]


def computes_bfloat16(kind: str) -> bool:
    """True unless this kind of device is a GPU that would have to imitate bfloat16."""
    return kind != "cuda" or torch.cuda.is_bf16_supported(including_emulation=False)


def device_count(kind: str) -> int:
    """Devices of this kind that processes can have to themselves; 1 for mps and cpu."""
    return torch.cuda.device_count() if kind == "cuda" else 1
