"""How the library talks while it works: an Observer gets the events and decides what a person sees."""

from contextlib import AbstractContextManager, nullcontext

from hf_llc.results.profile import Profile


class Observer:
    """Silent by default; the command line shows a progress bar instead.

    `profile` counts where the time goes, None nothing.
    """

    profile: Profile | None = None

    def tell(self, message: str) -> None:
        """One line worth reading: what was chosen and why, what was found broken and is made again."""

    def begin(self, phase: str, total: int) -> None:
        """A phase of `total` equal parts starts."""

    def advance(self, done: int) -> None:
        """`done` parts of the phase are finished."""

    def chain(self, name: str, step: int, loss: float, llc: float) -> None:
        """The chain of that name has made `step` steps; `llc` is λ̂ so far, NaN before the first draw."""

    def end(self) -> None:
        """The phase is over."""

    def part(self, name: str) -> AbstractContextManager[object]:
        """A block whose time belongs to that part of the profile."""
        return self.profile.part(name) if self.profile else nullcontext()


def duration(seconds: float) -> str:
    """Seconds, minutes or hours, two digits."""
    for limit, divisor, unit in ((90, 1, "seconds"), (5400, 60, "minutes")):
        if seconds < limit:
            return f"{seconds / divisor:.2g} {unit}"
    return f"{seconds / 3600:.3g} hours"


def size(count: int) -> str:
    """Bytes in the largest unit that leaves at least 1."""
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:.3g} TB"
