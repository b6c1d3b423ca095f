"""Commands as processes of their own, in a session of their own, so that they can be killed like a user's."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.helpers.command_line import Ran
from tests.helpers.forking import Forked, Prepared, ask, prepared_for, prepared_with
from tests.helpers.tiny_model import jsonl, save_tiny_model
from tests.hub_server.environment import client_environment

SCRIPTS = Path(sys.executable).parent
LONGEST = 120.0
"""Seconds that any of these commands may take; a test that needs more of them hangs."""


class Started:
    """A running command; its output goes to files, so that no pipe can fill up.

    Args:
        listener: forks it; None starts Python for it.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        place: Path,
        environment: dict[str, str],
        log: Path,
        listener: socket.socket | None,
    ) -> None:
        log.mkdir()
        self._out, self._err = log / "out", log / "err"
        self._popen: subprocess.Popen[bytes] | Forked
        with self._out.open("wb") as out, self._err.open("wb") as err, Path(os.devnull).open("rb") as nothing:
            if listener is not None:
                streams = [nothing.fileno(), out.fileno(), err.fileno()]
                self._popen = ask(listener, arguments, environment, place, streams)
                return
            self._popen = subprocess.Popen(
                [sys.executable, *arguments],
                cwd=place,
                env=environment,
                stdin=nothing,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Of the process, and of its group."""
        return self._popen.pid

    @property
    def err(self) -> str:
        """All of stderr so far."""
        return self._err.read_text()

    def wait_until(self, holds: Callable[[], bool]) -> None:
        """Returns once the condition holds; fails if the command ends first."""
        until = time.monotonic() + LONGEST
        while not holds():
            assert self._popen.poll() is None, self.err
            assert time.monotonic() < until, self.err
            time.sleep(0.01)

    def finish(self, longest: float = LONGEST) -> Ran:
        """How it ended."""
        code = self._popen.wait(longest)
        return Ran(code, self._out.read_text(), self.err)

    def family(self) -> list[psutil.Process]:
        """The processes that it started, and theirs."""
        ours = self._popen.listener if isinstance(self._popen, Forked) else None
        return [each for each in psutil.Process(self.pid).children(recursive=True) if each.pid != ours]

    def stop(self) -> None:
        """Ends it and its family, if they are still there."""
        if self._popen.poll() is None:
            for process in [*self.family(), psutil.Process(self.pid)]:
                process.kill()
            self._popen.wait(LONGEST)

    def kill(self) -> int:
        """Its exit code after `kill -9` of its process group."""
        os.killpg(self.pid, signal.SIGKILL)
        return self._popen.wait(LONGEST)


class Starter:
    """Starts one command again and again, with further options, in one working directory and without a Hub.

    Starters without a Hub share a cache beside their directories, so that one process can fork for all of them.
    In that directory are files with names of libraries, which must not be imported.
    """

    def __init__(self, place: Path, command: Sequence[str]) -> None:
        self.place = place
        self._command = command
        self._prepared: Prepared | None = None
        self.started: list[Started] = []
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "COV_", "PYTEST"))}
        self._home = place.parent / "home-of-commands"
        self.environment = kept | client_environment("http://127.0.0.1:9", self._home)
        self.environment |= {"HF_HUB_OFFLINE": "1", "COLUMNS": "200", "OMP_NUM_THREADS": "1", "GOMP_SPINCOUNT": "0"}
        # Else transformers would take the GPUs of the machine.
        self.environment["CUDA_VISIBLE_DEVICES"] = ""

    def __call__(self, *more: object, launcher: Sequence[str] = (), cold: bool = False) -> Started:
        """The command, started; by that launcher, with its options, if there is one.

        Args:
            cold: by Python itself, as a user's; otherwise forked from a process that has imported everything, with the
                environment of the first command.
        """
        launched_by = [str(SCRIPTS / launcher[0]), *launcher[1:]] if launcher else []
        arguments = [*launched_by, str(SCRIPTS / "hf-llc"), *self._command, *map(str, more)]
        log = self.place / f"log-{len(self.started)}"
        listener = None if cold else self._listening(arguments)
        self.started.append(Started(arguments, self.place, self.environment, log, listener))
        return self.started[-1]

    def _listening(self, arguments: Sequence[str]) -> socket.socket | None:
        """Where to ask for the command, if a process that has imported everything can run it."""
        if self._prepared is None:
            self._prepared = prepared_with(self.environment)
        suits = prepared_for(arguments, self.environment, self._prepared.environment)
        return self._prepared.listener if suits else None

    def stop(self) -> None:
        """Ends what a failed test leaves running."""
        for running in self.started:
            running.stop()

    @contextmanager
    def inside(self) -> Iterator[None]:
        """This process, which has everything imported already, in the folder and with the cache of the commands."""
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(self.place)
            patch.setattr("huggingface_hub.constants.HF_HOME", str(self._home))
            yield


@contextmanager
def starting(place: Path, command: Sequence[str]) -> Iterator[Starter]:
    """A starter in a folder with `model` and `text.jsonl`; what a failed test leaves running is ended."""
    save_tiny_model(place / "model")
    (place / "text.jsonl").write_text(jsonl(200))
    (place / "hf_llc").mkdir()
    for name in ("hf_llc/__init__", "torch", "datasets"):
        (place / f"{name}.py").write_text("raise SystemExit('imported from the working folder')\n")
    starter = Starter(place, command)
    try:
        yield starter
    finally:
        starter.stop()
