"""Starting several processes on this machine, alone or as its part of a launch over several (accelerate)."""

import json
import logging
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from hf_llc.errors import LaunchError, RankError
from hf_llc.execution.distributed.listening import LOOPBACK
from hf_llc.execution.distributed.rendezvous import GATHERING, absent
from hf_llc.execution.distributed.secret import VARIABLE, random_secret, shared_secret
from hf_llc.settings.machines import Machines

INTERRUPTED = 130
HANDLED = [number for number in signal.Signals if number.name in {"SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT"}]
"""Signals that the launcher gives handlers of its own."""
CONFIGURATION = {
    "compute_environment": "LOCAL_MACHINE",
    "distributed_type": "MULTI_GPU",
    "mixed_precision": "no",
    "use_cpu": False,
    "debug": False,
}
"""For accelerate, in place of the file that `accelerate config` has written for other work."""
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

    The ranks do not import from the working folder (`python -P`): a clone of this project, or a file there that is
    called torch.py, is not taken for the installed library.

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

    from hf_llc.execution.distributed.agent import register

    register()
    options = ["--num_processes", str(processes), *_machine_options(machines or Machines())]
    options += ["--mixed_precision", "no", "--dynamo_backend", "no", "--multi_gpu"]
    # Without it the launcher picks a number and says so on stderr.
    environment = {"OMP_NUM_THREADS": str(threads)} | ({"ACCELERATE_USE_CPU": "true"} if device == "cpu" else {})
    environment[VARIABLE] = shared_secret() if machines else random_secret()
    # The agent logs what ranks hand over, with a traceback of its own, and every signal.
    logging.disable(logging.CRITICAL)
    try:
        command: Any = accelerate_launch
        met = absent(_address(machines), processes, GATHERING) if machines else nullcontext()
        with _put_back(environment), met, _configuration() as file:
            launcher_arguments = ["--config_file", str(file), *options, *_python(module, arguments)]
            command.launch_command(command.launch_command_parser().parse_args(launcher_arguments))
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
            f"Process {failure.local_rank} was killed by signal {-failure.exitcode}, as happens when "
            "memory runs out. Finished work is kept: run the same command with a smaller `num_processes`."
        ) from error
    finally:
        logging.disable(logging.NOTSET)


@contextmanager
def _put_back(environment: Mapping[str, str]) -> Iterator[None]:
    """With these variables set; afterwards the process hears signals as before, which the launcher does not see to."""
    handlers = {number: signal.getsignal(number) for number in HANDLED}
    variables = {name: os.environ.get(name) for name in environment}
    os.environ.update(environment)
    try:
        yield
    finally:
        for name, value in variables.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
        if threading.current_thread() is threading.main_thread():
            for number, handler in handlers.items():
                signal.signal(number, signal.SIG_DFL if handler is None else handler)


@contextmanager
def _configuration() -> Iterator[Path]:
    """A file with CONFIGURATION while the block runs."""
    with tempfile.TemporaryDirectory(prefix="hf-llc-") as folder:
        path = Path(folder) / "accelerate.json"
        path.write_text(json.dumps(CONFIGURATION), encoding="utf-8")
        yield path


def _python(module: str, arguments: Sequence[str]) -> list[str]:
    """The command of a rank, as the launcher takes it that otherwise would start Python in its own way."""
    return ["--no_python", sys.executable, "-u", "-P", "-m", module, *arguments]


def _machine_options(machines: Machines) -> list[str]:
    from hf_llc.execution.distributed.agent import BACKEND

    place: dict[str, Any] = {"address": LOOPBACK, "port": 0, "rank": 0, "timeout": GATHERING.total_seconds()}
    options = ["--num_machines", str(machines.count), "--main_process_port", "0"]
    if machines.count > 1:
        place |= {"address": machines.ip, "port": machines.port, "rank": machines.rank}
        options = ["--num_machines", str(machines.count), "--machine_rank", str(machines.rank), "--same_network"]
        options += ["--main_process_ip", str(machines.ip), "--main_process_port", str(machines.port)]
    configuration = ",".join(f"{name}={value}" for name, value in place.items())
    return [*options, "--rdzv_backend", BACKEND, "--rdzv_conf", configuration]


def _address(machines: Machines) -> str:
    return f"{machines.ip}:{machines.port}"


def hand_over(line: str) -> None:
    """Leaves a rank's last words for the `launch` that started it."""
    failure = {"message": line, "told": line, "timestamp": int(time.time())}
    Path(os.environ[FAILURE_FILE]).write_text(json.dumps(failure), encoding="utf-8")
