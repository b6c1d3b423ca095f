"""A progress bar on stderr with the loss, λ̂ so far and the time left; plain lines where stderr is no terminal."""

import math
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from hf_llc.results.profile import Profile
from hf_llc.results.progress import Observer

from .flags import with_flags
from .printable import printable


class ProgressBar(Observer):
    """An Observer for people. Quiet ones tell nothing and draw nothing."""

    def __init__(self, *, quiet: bool = False, profile: Profile | None = None) -> None:
        self._quiet, self.profile = quiet, profile
        self._console = Console(stderr=True, highlight=False, soft_wrap=True)
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}", markup=False),
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
            # What is written to stdout meanwhile is data, and stays there.
            redirect_stdout=False,
            disable=quiet or not self._console.is_terminal,
        )
        self._told: set[str] = set()
        self._task: TaskID | None = None
        self._finished = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def tell(self, message: str) -> None:
        if not self._quiet and message not in self._told:
            self._told.add(message)
            self._console.print(printable(with_flags(message)), markup=False)

    def begin(self, phase: str, total: int) -> None:
        self._finished = 0
        self.end()
        # Not before: processes that this one starts may have a bar of their own.
        self._bar.start()
        self._task = self._bar.add_task(printable(phase), total=total, note="")

    def advance(self, done: int) -> None:
        self._finished = done
        if self._task is not None:
            self._bar.update(self._task, completed=done)

    def chain(self, name: str, step: int, loss: float, llc: float) -> None:
        if self._task is not None:
            so_far = "" if math.isnan(llc) else f" llc {llc:.4g}"
            self._bar.update(
                self._task, completed=self._finished + step, note=f"chain {printable(name)} loss {loss:.4f}{so_far}"
            )

    def end(self) -> None:
        if self._task is not None:
            self._bar.remove_task(self._task)
            self._task = None
