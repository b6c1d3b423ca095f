"""How transformers spreads a model over devices with FSDP2: which of its modules are made whole at a time."""

from dataclasses import fields

import torch
import transformers
from transformers.distributed.configuration_utils import DistributedConfig

from hf_llc.checkpoints.source import ModelSource
from hf_llc.errors import SettingsError, UnusableError

WHILE_USED = "free_full_weight"


def spread_over(devices: int, source: ModelSource, model: torch.nn.Module) -> DistributedConfig:
    """FSDP2 over that many processes, by the model's own plan and in any case layer by layer: plans name layers as most
    models call them, and one that matches nothing would leave the whole model to be made whole at once.

    Args:
        model: as its code builds it; its weights are not looked at.

    Raises:
        UnusableError: the model has no list of layers, and so no parts that could be made whole one after the other.
        SettingsError: this transformers is too old.
    """
    if not {"fsdp_size", "fsdp_plan"} <= {each.name for each in fields(DistributedConfig)}:
        raise SettingsError(
            f"`devices_per_chain` needs a newer transformers than {transformers.__version__}: pip install "
            "--upgrade transformers"
        )
    lists = {name: module for name, module in model.named_modules() if isinstance(module, torch.nn.ModuleList)}
    outermost = [name for name in lists if not any(name.startswith(f"{other}.") for other in lists)]
    if not outermost:
        raise UnusableError(
            f"{source.id} has no list of layers that could be spread over devices; leave out `devices_per_chain`."
        )
    return DistributedConfig(fsdp_size=devices, fsdp_plan={f"{name}.*": WHILE_USED for name in outermost})
