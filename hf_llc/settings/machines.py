"""The machines that one command is started on, as Accelerate's options of those names say them."""

from dataclasses import dataclass

from hf_llc.errors import SettingsError

PORT = 29500


@dataclass(frozen=True, kw_only=True)
class Machines:
    """Several machines that share one run, none of them needing to see another's disk.

    Attributes:
        count: how many. rank: which of them this is, from 0; the first one prints the result.
        ip, port: where the first one can be reached by all.
        processes: on all of them together.

    Raises:
        SettingsError: what is given contradicts itself, or is not enough.
    """

    count: int = 1
    rank: int | None = None
    ip: str | None = None
    port: int = PORT
    processes: int | None = None

    def __post_init__(self) -> None:
        if self.count < 1:
            raise SettingsError(f"--num-machines must be ≥ 1, got {self.count}.")
        if self.rank is not None and not 0 <= self.rank < self.count:
            raise SettingsError(
                f"--machine-rank is {self.rank}, but with --num-machines {self.count} "
                f"{'it can only be 0' if self.count == 1 else f'ranks are 0 to {self.count - 1}'}: "
                "--num-machines says how many there are, --machine-rank which of them this is."
            )
        if not 1 <= self.port <= 65535:
            raise SettingsError(f"--main-process-port must be 1 to 65535, the same on all machines, got {self.port}.")
        if self.count > 1:
            self._check_several()

    def _check_several(self) -> None:
        if self.rank is None:
            raise SettingsError(f"--num-machines {self.count} needs --machine-rank, the number of this machine from 0.")
        if not self.ip:
            raise SettingsError(
                f"--num-machines {self.count} needs --main-process-ip, the address of the machine with "
                "rank 0, the same on every machine."
            )
        if set(self.ip) & set(",= "):
            raise SettingsError(f"--main-process-ip must be one address or host name, got {self.ip!r}.")
        if self.processes is None:
            raise SettingsError(
                f"--num-machines {self.count} needs --num-processes, the number of processes on all "
                "machines together, the same on every machine."
            )
        if self.processes % self.count:
            raise SettingsError(
                f"--num-processes must be a multiple of --num-machines {self.count}, got {self.processes}; "
                "it counts the processes of all machines."
            )
