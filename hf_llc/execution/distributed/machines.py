"""This machine's share of a command that several run together; imports little, since its processes import the rest."""

from collections.abc import Sequence

from hf_llc.errors import RankError
from hf_llc.execution import machine
from hf_llc.execution.devices import device_kind
from hf_llc.execution.distributed.launcher import INTERRUPTED, launch
from hf_llc.settings.machines import Machines
from hf_llc.settings.sampler import SamplerSettings

COMMAND = "hf_llc.cli"


def run_here(arguments: Sequence[str], machines: Machines, sampler: SamplerSettings, device: str | None) -> None:
    """Runs `hf-llc` with these arguments as this machine's processes, and returns when all have ended well.

    Raises:
        HfLlcError: there is no such device, or see `launcher.launch`.
    """
    try:
        launch(
            COMMAND,
            arguments,
            processes=machines.processes or machines.count,
            device=device_kind(device),
            threads=sampler.threads or machine.default_threads(sampler.side_by_side),
            machines=machines,
        )
    except KeyboardInterrupt as error:
        raise RankError("", INTERRUPTED) from error  # the first process here has said so
