"""Starting several processes on this machine, alone or as its part of a launch over several (accelerate)."""

import json
import logging
import os
import time
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from hf_llc.adapters.rendezvous import GATHERING, absent
from hf_llc.errors import LaunchError, RankError
from hf_llc.machines import Machines

INTERRUPTED = 130
FAILURE_FILE = "TORCHELASTIC_ERROR_FILE"
"""Where the launcher looks for a failed rank's message; it names the file in this variable of the rank."""


def launch(
    module: str,
    arguments: Sequence[str],
    *,
    processes: int,
    device: str,
    threads: int,
    machines: Machines | None = None,
) -> None:
    """Runs `python -m module arguments` as that many ranks and returns when all have ended well.

    Args:
        processes: on all machines together. machines: None starts all of them here.

    Raises:
        RankError: a rank ended with an error of its own.
        LaunchError: a rank was killed from outside, or the machines have not met.
        KeyboardInterrupt: the user stopped it.
    """
    from accelerate.commands import launch as accelerate_launch
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    # Without it the launcher picks a number and says so on stderr.
    os.environ["OMP_NUM_THREADS"] = str(threads)
    options = ["--num_processes", str(processes), *_machine_options(machines or Machines())]
    options += ["--mixed_precision", "no", "--dynamo_backend", "no", "--multi_gpu"]
    if device == "cpu":
        os.environ["ACCELERATE_USE_CPU"] = "true"
    # The agent logs what ranks hand over, with a traceback of its own, and every signal.
    logging.disable(logging.CRITICAL)
    try:
        command: Any = accelerate_launch
        with absent(_address(machines), processes, GATHERING) if machines else nullcontext():
            command.launch_command(command.launch_command_parser().parse_args([*options, "-m", module, *arguments]))
    except SignalException as error:
        raise KeyboardInterrupt from error
    except ChildFailedError as error:
        # The agent stops the others once one has failed; what stopped them is not the cause.
        failure = max(
            error.failures.values(), key=lambda failure: (failure.exitcode, "told" in failure.error_file_data)
        )
        if failure.exitcode == INTERRUPTED:
            raise KeyboardInterrupt from error
        if failure.exitcode >= 0:
            raise RankError(failure.error_file_data.get("told", ""), failure.exitcode) from error
        raise LaunchError(
            f"Process {failure.local_rank} was killed by signal {-failure.exitcode}, as happens when memory runs out. "
            "Finished chains are kept: run the same command with fewer --num-processes."
        ) from error
    finally:
        logging.disable(logging.NOTSET)


def _machine_options(machines: Machines) -> list[str]:
    if machines.count == 1:
        return ["--num_machines", "1", "--main_process_port", "0"]
    options = ["--num_machines", str(machines.count), "--machine_rank", str(machines.rank), "--same_network"]
    options += ["--main_process_ip", str(machines.ip), "--main_process_port", str(machines.port)]
    return [*options, "--rdzv_conf", f"timeout={GATHERING.total_seconds():.0f}"]


def _address(machines: Machines) -> str:
    return f"{machines.ip}:{machines.port}"


def hand_over(line: str) -> None:
    """Leaves a rank's last words for the `launch` that started it."""
    words = {"message": line, "told": line, "timestamp": int(time.time())}
    Path(os.environ[FAILURE_FILE]).write_text(json.dumps(words), encoding="utf-8")
