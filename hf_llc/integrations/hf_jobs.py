"""A command run on rented hardware (Hugging Face Jobs): what a job could not see is refused before it is sent."""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from hf_llc.errors import SettingsError, did_you_mean
from hf_llc.hub.errors import endpoint
from hf_llc.hub.reference import parse_dataset, parse_model
from hf_llc.integrations import hf_jobs_client
from hf_llc.results.estimate import SCHEMA
from hf_llc.results.progress import Observer, duration
from hf_llc.settings.bounds import shown
from hf_llc.settings.limits import LONGEST

MOUNTED = "/results"
"""Where a bucket is in the job."""
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
RATES = {
    "cpu": 3e10, "t4": 2e12, "l4": 6e12, "a10g": 8e12, "l40s": 2e13, "a100": 1e13, "h200": 2e13, "rtx-pro-6000": 2e13,
}  # fmt: skip
"""Floating-point operations per second of float32 that a step may be counted on to reach, by how flavors begin."""
STARTING, MARGIN, LEAST = 1800, 4.0, 3600
"""Seconds for installing and downloading; by how much longer than expected a run may take; seconds at least."""
UNKNOWN = 12 * 3600
"""Seconds where the length of a run is not known beforehand."""


@dataclass(frozen=True, kw_only=True)
class JobSettings:
    """Where the command is to run.

    Attributes:
        flavor: name of the hardware. seconds: after which it is stopped; None is chosen.
        bucket: mounted at MOUNTED. requirement: how the job installs hf-llc; None is where this one came from.
    """

    flavor: str
    seconds: int | None = None
    bucket: str | None = None
    requirement: str | None = None


@dataclass(frozen=True, kw_only=True)
class SentJob:
    """A job that was started: `timeout` in seconds, `command` as it runs there."""

    schema: int = SCHEMA
    job: str
    url: str
    flavor: str
    timeout: int
    command: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """The documented JSON object."""
        return {**asdict(self), "command": list(self.command)}


def seconds_of(text: str) -> int:
    """Seconds from `90m`, `6h`, `1.5d` or `5400`.

    Raises:
        SettingsError: it is no time above 0.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([smhd]?)\s*", text)
    seconds = float(match[1]) * UNITS[match[2] or "s"] if match else 0.0
    if not 1 <= seconds <= LONGEST:
        raise SettingsError(f"--hf-job-timeout must be a time above 0 such as 90m, 6h or 2d, got {shown(text)}.")
    return round(seconds)


def require_visible(model: str, dataset: str, base_model: str | None = None) -> None:
    """Raise if the model, its base or the text is not on the Hub, where a job can see it.

    Raises:
        SettingsError: one is on this disk. NotFoundError: see `references`.
    """
    for name in filter(None, (model, base_model)):
        if parse_model(name, None, endpoint()).kind == "local":
            raise SettingsError(
                f"{name} is local, which a job cannot see; upload it with `hf upload org/name {name}` and "
                "name it org/name."
            )
    if parse_dataset(dataset, None, endpoint()).kind == "local":
        raise SettingsError(
            f"--dataset {dataset} is local, which a job cannot see; upload it with `hf upload org/name "
            f"{dataset} --repo-type dataset` and name it org/name."
        )


def send(
    arguments: Sequence[str], settings: JobSettings, observer: Observer, operations: Callable[[], float] | None
) -> SentJob:
    """Starts the command `hf-llc` with these words as a job.

    Args:
        operations: floating-point operations of the run, asked for if no time is given; None if they are not known.

    Raises:
        SettingsError: there is no such hardware, or a word cannot be sent. HfLlcError: see `hf_jobs_client.start`.
    """
    hf_jobs_client.require_sendable(["hf-llc", *arguments])
    flavors = hf_jobs_client.flavors(observer.tell)
    if flavors and settings.flavor not in flavors:
        raise SettingsError(f"No hardware --hf-job {settings.flavor}{did_you_mean(settings.flavor, flavors)}")
    seconds = settings.seconds or expected(settings.flavor, operations() if operations else None)
    started = hf_jobs_client.start(
        arguments,
        flavor=settings.flavor,
        seconds=seconds,
        requirement=settings.requirement or hf_jobs_client.package(),
        bucket=settings.bucket,
        mounted=MOUNTED,
    )
    if settings.seconds is None:
        observer.tell(f"The job will be stopped after {duration(seconds)}; change that with --hf-job-timeout.")
    return SentJob(
        job=started.id, url=started.url, flavor=settings.flavor, timeout=seconds, command=("hf-llc", *arguments)
    )


def expected(flavor: str, operations: float | None) -> int:
    """Seconds, in whole hours, that a job gets: several times what so many operations take on that hardware."""
    if operations is None:
        return UNKNOWN
    known = [name for name in RATES if flavor.startswith(name)]
    rate = RATES[max(known, key=len)] if known else min(RATES.values())
    return LEAST * math.ceil(max(LEAST, STARTING + MARGIN * operations / rate) / LEAST)
