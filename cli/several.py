"""Options for one command on several machines, and its start there."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from hf_llc.errors import SettingsError
from hf_llc.settings.machines import PORT, Machines

if TYPE_CHECKING:
    from hf_llc.settings.requested import SamplerSettings

_WHERE = "Machine"

NumMachines = Annotated[
    int | None,
    typer.Option(
        "--num-machines",
        help="Machines that share the work, each by this command; they need no shared disk, and --num-processes counts "
        "the processes of all. (default: 1)",
        rich_help_panel=_WHERE,
    ),
]
MachineRank = Annotated[
    int | None,
    typer.Option(
        "--machine-rank", help="Which of them this is, from 0; rank 0 prints the result.", rich_help_panel=_WHERE
    ),
]
MainProcessIp = Annotated[
    str | None,
    typer.Option(
        "--main-process-ip", help="Address of the machine of rank 0, the same on all.", rich_help_panel=_WHERE
    ),
]
MainProcessPort = Annotated[
    int,
    typer.Option("--main-process-port", help="Free port there, the same on all.", rich_help_panel=_WHERE),
]
FIRST_PORT = PORT


def machines_of(context: typer.Context) -> Machines:
    """What the options of a command say.

    Raises:
        SettingsError: they contradict each other.
    """
    given = context.params
    for name in ("machine_rank", "main_process_ip"):
        if given["num_machines"] is None and given[name] is not None:
            option = "--" + name.replace("_", "-")
            raise SettingsError(f"{option} is given without --num-machines; say both, or neither.")
    return Machines(
        count=1 if given["num_machines"] is None else given["num_machines"],
        rank=given["machine_rank"],
        ip=given["main_process_ip"],
        port=given["main_process_port"],
        processes=given["num_processes"],
    )


def started(machines: Machines, sampler: "SamplerSettings", device: str | None) -> bool:
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
