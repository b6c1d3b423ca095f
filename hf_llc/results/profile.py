"""Where the time of a command goes: every second belongs to one part, and unnamed ones to `other`."""

import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

PARTS = {
    "loading": "libraries, checkpoints found, downloaded and read",
    "data": "the text, and minibatches drawn from it",
    "measuring": "curvature, gradient noise and γ before chains begin",
    "measures": "measures beside λ̂",
    "forward_backward": "the model's own work",
    "update": "the sampler's steps but for their noise",
    "noise": "random numbers drawn and added",
    "io": "parts of the run read and written",
    "waiting": "for other processes and for downloads",
    "results": "statistics, verdicts and pictures",
    "starting": "processes until they work, and until they have ended",
    "other": "all else",
}
"""The meaning of each part, in the order of the table."""


class Profile:
    """The seconds by part since it was made, in the thread that made it.

    A part within another one takes its time from it. On a GPU each border of a part waits until the device has done
    what it was asked for, so that the time is counted where it is spent; that changes no number.

    Args:
        clock: seconds, rising. settle: waits for the device.
    """

    def __init__(
        self, clock: Callable[[], float] = time.perf_counter, settle: Callable[[], None] | None = None
    ) -> None:
        self._clock, self._settle = clock, settle or settle_devices
        self._seconds = dict.fromkeys(PARTS, 0.0)
        self._open: list[str] = []
        self._thread = threading.get_ident()
        self._since = clock()
        self.processes = 1

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """The time inside the block is this part's; in another thread nothing is counted."""
        if threading.get_ident() != self._thread:
            yield
            return
        self._lap()
        self._open.append(name)
        try:
            yield
        finally:
            self._lap()
            self._open.pop()

    @contextmanager
    def handed_over(
        self, processes: int, profiles_of_others: Callable[[], Sequence[Mapping[str, float]]]
    ) -> Iterator[None]:
        """In place of the block's time, that of processes which work meanwhile; what they do not tell is `starting`.

        Args:
            profiles_of_others: what each of them has left of `to_dict`.
        """
        self._lap()
        before = self._since
        try:
            yield
        finally:
            self._settle()
            self._since = self._clock()
            profiles = profiles_of_others()
            for profile in profiles:
                for name in self._seconds:
                    self._seconds[name] += profile[name]
            whole = processes * (self._since - before)
            self._seconds["starting"] += max(0.0, whole - sum(profile["total"] for profile in profiles))
            self.processes = max(self.processes, processes)

    def to_dict(self) -> dict[str, float]:
        """Seconds of every part and their `total`, summed over processes, and how many `processes` there were."""
        if threading.get_ident() == self._thread:
            self._lap()
        return {**self._seconds, "total": sum(self._seconds.values()), "processes": self.processes}

    def _lap(self) -> None:
        self._settle()
        now = self._clock()
        self._seconds[self._open[-1] if self._open else "other"] += now - self._since
        self._since = now


def settle_devices() -> None:
    """Returns once the GPU, if this process has used one, has done all that was asked of it."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.synchronize()
