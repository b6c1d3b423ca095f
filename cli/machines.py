"""Options for one command on several machines, and its start there."""

import sys
from typing import TYPE_CHECKING

import typer

from hf_llc.errors import SettingsError
from hf_llc.settings.machines import Machines

if TYPE_CHECKING:
    from hf_llc.settings.sampler import SamplerSettings


def machines_of(context: typer.Context) -> Machines:
    """What the options of a command say.

    Raises:
        SettingsError: they contradict each other.
    """
    parameters = context.params
    for name in ("machine_rank", "main_process_ip"):
        if parameters["num_machines"] is None and parameters[name] is not None:
            option = "--" + name.replace("_", "-")
            raise SettingsError(f"{option} needs --num-machines: give both, or neither.")
    return Machines(
        count=1 if parameters["num_machines"] is None else parameters["num_machines"],
        rank=parameters["machine_rank"],
        ip=parameters["main_process_ip"],
        port=parameters["main_process_port"],
        processes=parameters["num_processes"],
    )


def run_on_this_machine(machines: Machines, sampler: "SamplerSettings", device: str | None) -> bool:
    """True if the command was for several machines: this one's share of it has been started, and is done.

    The processes of this machine run the very command that was typed, each as one of all.
    """
    if machines.count == 1:
        return False
    from hf_llc.execution.machine import launched

    if launched():
        return False
    from hf_llc.execution.distributed.machines import run_here

    run_here(sys.argv[1:], machines, sampler, device)
    return True
