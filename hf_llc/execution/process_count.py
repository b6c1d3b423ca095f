"""How many processes to start for models that several devices hold together: whole groups of them."""

from collections.abc import Sequence

from hf_llc.errors import LaunchError, SettingsError
from hf_llc.execution import devices
from hf_llc.execution.plan import Plan


def processes_for(plans: Sequence[Plan], asked: int | None) -> int:
    """Processes to start where several hold one model together.

    Raises:
        SettingsError: they do not make whole groups of devices, or the device cannot be one of several.
        LaunchError: there are not as many devices as hold one model.
    """
    plan, group = plans[0], plans[0].sampler.devices_per_chain
    if plan.device not in {"cpu", "cuda"}:
        raise SettingsError(f"`devices_per_chain` works on cuda and cpu, not on {plan.device}; leave it out.")
    if asked is None:
        return default_groups(plans) * group
    if asked % group:
        raise SettingsError(f"num_processes must be a multiple of `devices_per_chain` = {group}, got {asked}.")
    return asked


def default_groups(plans: Sequence[Plan]) -> int:
    """Groups of devices to start when the user left it open: all GPUs, or on a CPU, where they save no memory, one.

    Raises:
        LaunchError: the GPUs of this machine do not make one.
    """
    plan, group = plans[0], plans[0].sampler.devices_per_chain
    if plan.device == "cpu":
        return 1
    count = devices.device_count(plan.device)
    if count < group:
        raise LaunchError(f"devices_per_chain must be ≤ {count}, the GPUs of this machine, got {group}.")
    return min(count // group, plan.sampler.chain_count * len(plans))
