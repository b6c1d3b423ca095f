"""Commands without the seconds that their imports take: a process that has imported everything forks for each of them.

`python -P forking.py FD` imports what commands use and then listens at a socket. For each request it forks twice; the
first child ends at once, and the kernel gives the second to whoever asked, who waits for it and kills it as if it had
started it. Before the command runs, it forks a second listener, from which torch's launcher has its ranks.

What libraries read from the environment when they are imported is as the listener was started. A command with another
environment is a real process, and so is one of a kind that is not known here: `prepared_for` says which.
"""

import atexit
import ctypes
import gc
import json
import os
import pkgutil
import runpy
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

READ_AT_IMPORT = ("HF_", "HUGGING", "TRANSFORMERS_", "OMP_", "GOMP_", "MKL_", "CUDA_", "PYTHON", "LD_", "TMPDIR")
"""How the names of variables begin that libraries may have read when they were imported."""
SET_BY_COMMANDS = {"TORCH_CPP_LOG_LEVEL": "FATAL", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
"""What `hf-llc` itself sets before it imports the libraries."""
READ_LATER = {*SET_BY_COMMANDS, "HF_LLC_SECRET"}
"""What a command may have of its own although its name begins like that."""
LIBRARIES = (
    "accelerate.commands.launch",
    "arviz_stats.base.array",
    "datasets",
    "matplotlib.pyplot",
    "torch.distributed.elastic.multiprocessing.api",
    "torch.distributed.run",
    "transformers.models.gpt_neox.modeling_gpt_neox",
)
LARGEST = 1 << 17
ADOPTS_ORPHANS = 36
"""PR_SET_CHILD_SUBREAPER of <sys/prctl.h>."""
SUPPORTED = sys.platform == "linux"


class Forked:
    """A process that a listener has forked for this one: what is used of `subprocess.Popen`."""

    def __init__(self, pid: int, listener: int | None) -> None:
        self.pid = pid
        self.listener = listener
        """Its own listener, a child of it that does nothing of what was asked for."""
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """The exit code, once it has ended."""
        until = None if timeout is None else time.monotonic() + timeout
        while self.poll() is None:
            if until is not None and time.monotonic() > until:
                raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0)
            time.sleep(0.005)
        assert self.returncode is not None
        return self.returncode


def prepared_for(arguments: Sequence[str], environment: Mapping[str, str], prepared: Mapping[str, str]) -> bool:
    """Whether a listener with the environment `prepared` can run `python *arguments` as a real process would."""
    names = {name for name in environment.keys() | prepared.keys() if name.startswith(READ_AT_IMPORT)}
    alike = all(environment.get(name) == prepared.get(name) for name in names - READ_LATER)
    return SUPPORTED and alike and (_is_script(arguments[0]) or tuple(arguments[:3]) == ("-u", "-P", "-m"))


def _is_script(path: str) -> bool:
    return Path(path).parent == Path(sys.executable).parent and Path(path).name in {"hf-llc", "torchrun", "accelerate"}


def ask(
    listener: socket.socket, arguments: Sequence[str], environment: Mapping[str, str], place: Path, streams: list[int]
) -> Forked:
    """`python *arguments` in a session of its own, its stdin, stdout and stderr those descriptors."""
    ctypes.CDLL(None).prctl(ADOPTS_ORPHANS, 1, 0, 0, 0)
    request = {"arguments": list(arguments), "environment": dict(environment), "place": str(place)}
    socket.send_fds(listener, [json.dumps(request).encode()], streams)
    return Forked(**json.loads(listener.recv(LARGEST)))


class Prepared(NamedTuple):
    """A process that has imported everything: with which environment, and the socket at which to ask it."""

    environment: dict[str, str]
    listener: socket.socket


_PREPARED: dict[frozenset[tuple[str, str]], Prepared] = {}


def prepared_with(environment: Mapping[str, str]) -> Prepared:
    """The process that has imported everything with that environment, until this one ends."""
    key = frozenset((name, value) for name, value in environment.items() if name.startswith(READ_AT_IMPORT))
    if key not in _PREPARED:
        ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with its:
            command = [sys.executable, "-P", __file__, str(its.fileno())]
            process = subprocess.Popen(command, env=environment, pass_fds=[its.fileno()], start_new_session=True)
        atexit.register(process.wait, 10)
        atexit.register(ours.close)
        _PREPARED[key] = Prepared(dict(environment), ours)
    return _PREPARED[key]


def _prepare() -> None:
    """Imports what commands use, with what they set before they do."""
    kept = {name: os.environ.get(name) for name in SET_BY_COMMANDS}
    os.environ.update(SET_BY_COMMANDS)
    import hf_llc

    for module in pkgutil.walk_packages(hf_llc.__path__, "hf_llc."):
        if not module.name.endswith("__main__"):
            import_module(module.name)
    for name in LIBRARIES:
        import_module(name)
    for name, value in kept.items():
        if value is None:
            del os.environ[name]
        else:
            os.environ[name] = value
    # A collection in a fork would look at all of this, and the system would copy it.
    gc.collect()
    gc.freeze()


def _listen(listening: socket.socket) -> dict[str, Any]:
    """What is asked for, in the process that is to do it; the listener itself does not come back."""
    while True:
        message, streams, _, _ = socket.recv_fds(listening, LARGEST, 3)
        if not message:
            os._exit(0)
        _require_one_thread()
        child = os.fork()
        if child:
            os.waitpid(child, 0)
            for stream in streams:
                os.close(stream)
            continue
        first = os.getpid()
        if os.fork():
            os._exit(0)
        while os.getppid() == first:
            time.sleep(0.0002)
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
            os.close(stream)
        return dict(json.loads(message))


def _require_one_thread() -> None:
    """A lock that another thread holds would be held in the fork for ever; jemalloc sees to its own when forked."""
    names = [task.joinpath("comm").read_text().strip() for task in Path("/proc/self/task").iterdir()]
    names = [name for name in names if name != "jemalloc_bg_thd"]
    assert len(names) == 1, f"an imported library has started threads: {names}"


def _run(request: Mapping[str, Any], listening: socket.socket, *, launches: bool) -> None:
    """Does in this process what `python *arguments` does."""
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["place"])
    second = _ranks_from_a_listener(listening) if launches else None
    listening.send(json.dumps({"pid": os.getpid(), "listener": second}).encode())
    listening.close()
    first, *more = request["arguments"]
    if first == "-u":
        module = more[2]
        sys.argv = [module, *more[3:]]
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    else:
        sys.argv = [first, *more]
        sys.path.insert(0, str(Path(first).parent))
        runpy.run_path(first, run_name="__main__")


def _ranks_from_a_listener(listening: socket.socket) -> int:
    """Forks a listener, from which torch's launcher in this process has its ranks; its process id."""
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener = os.fork()
    if listener == 0:
        listening.close()
        ours.close()
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        _run(_listen(its), its, launches=False)
        sys.exit()
    its.close()
    handlers: Any = import_module("torch.distributed.elastic.multiprocessing.subprocess_handler.subprocess_handler")
    prepared, popen = dict(os.environ), handlers.Popen

    def start(args: Sequence[str], env: Mapping[str, str], stdout: Any, stderr: Any, start_new_session: bool) -> Any:
        given = list(args[1:] if args[0] == sys.executable else args)
        known = prepared_for(given, env, prepared) and stdout is stderr is None and start_new_session
        if not known:
            return popen(args=args, env=env, stdout=stdout, stderr=stderr, start_new_session=start_new_session)
        return ask(ours, given, env, Path.cwd(), [0, 1, 2])

    handlers.Popen = start
    return listener


if __name__ == "__main__":
    at = socket.socket(fileno=int(sys.argv[1]))
    _prepare()
    _run(_listen(at), at, launches=True)
