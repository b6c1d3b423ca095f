"""Which modules of a model choose between experts."""

import re

import torch

from hf_llc.checkpoints.loading.config import whole_numbers

EXPERTS = re.compile(r"(n|num)_(\w+_)?experts$")
"""Configurations say how many there are: num_experts, num_local_experts, n_routed_experts, moe_num_experts."""
CHOSEN = re.compile(r"((n|num)_(experts_per_tok(en)?|selected_experts|activated_experts)|(moe_)?(router_)?top_?k)$")
ROUTERS = {"gate", "router", "gating", "wg"}


def routers(model: torch.nn.Module) -> list[str]:
    """Names of the modules that send a token to some of several experts; none if all experts take every token.

    Where none goes by a usual name, but the configuration speaks of experts, "a choice of experts".
    """
    config = getattr(model, "config", None)
    settings = config.to_dict() if config is not None else {}
    numbers = list(whole_numbers(settings))
    experts = max((value for name, value in numbers if EXPERTS.search(name) and "shared" not in name), default=0)
    chosen = max((value for name, value in numbers if CHOSEN.search(name)), default=0)
    if experts < 2 or chosen >= experts:
        return []
    return [name for name, _ in model.named_modules() if name.rpartition(".")[2] in ROUTERS] or ["a choice of experts"]
