"""Up to which curvature the training of a checkpoint was stable, where it was gradient descent.

On ½ h w² gradient descent with learning rate η, momentum μ and dampening τ, as torch has them, is stable where
(h + weight decay) · η (1 − τ) < 2 + 2μ, and with Nesterov's momentum where it is below (2 + 2μ)/(1 + 2μ) (Cohen et al.
2021, arXiv 2103.00065, appendix B). Adam and others divide steps by a scale of each weight: what they limit is the
curvature in those scales, (2 + 2β₁)/(1 − β₁)/η or 38/η at β₁ = 0.9 (Cohen et al. 2022, arXiv 2207.14484), which says
nothing about the largest eigenvalue of H itself.
"""

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from hf_llc.report.card.trainer_state import learning_rate

OPTIMIZER = "optimizer.pt"
"""The optimizer's state in a folder that the Trainer wrote."""
OF_SGD = ("lr", "momentum", "dampening", "weight_decay", "nesterov")
STEP = ("lr", "momentum", "dampening", "nesterov")
"""Of these all groups of weights must have the same, or there is no one limit."""


def stability_limit(folder: Path) -> float | None:
    """The curvature in nats per weight², by what the Trainer left in the checkpoint's folder; None where that is not
    known, or the optimizer was not SGD.

    Where the optimizer was not kept it is 2/η, whatever it was, and None unless η at that step is known.
    """
    if not (folder / OPTIMIZER).is_file():
        rate = learning_rate(folder)
        return 2 / rate if rate else None
    try:
        # Nothing but tensors and plain values is unpickled, and tensors stay on the disk.
        state = torch.load(folder / OPTIMIZER, map_location="cpu", weights_only=True, mmap=True)
        return _limit(state["param_groups"])
    except (RuntimeError, OSError, ValueError, LookupError, TypeError, EOFError, pickle.UnpicklingError):
        return None


def _limit(groups: list[Mapping[str, Any]]) -> float | None:
    """The limit of these groups of weights; None if they are not of SGD, or differ."""
    if not groups or any(name not in group for group in groups for name in OF_SGD):
        return None
    if len({tuple(float(group[name]) for name in STEP) for group in groups}) > 1:
        return None
    rate, momentum, dampening, nesterov = (float(groups[0][name]) for name in STEP)
    if rate <= 0:
        return None
    factor = (2 + 2 * momentum) / (1 + 2 * momentum) if nesterov else (2 + 2 * momentum)
    # Without momentum torch leaves dampening out.
    step = rate * (1 - dampening) if momentum else rate
    return factor / step - max(float(group["weight_decay"]) for group in groups)
