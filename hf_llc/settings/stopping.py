"""When sampling ends and what checks its number: `StoppingSettings`."""

import re
from dataclasses import dataclass
from typing import Annotated

from hf_llc.settings.bounds import Bounds, OneOf, check_fields
from hf_llc.settings.limits import LONGEST, MOST_CHAINS
from hf_llc.settings.option import Option

CROSS_CHECKS = ("lanczos", "draws", "sgld")
TARGET_STDERR = 0.05
MAX_CHAINS = 256
"""Chains up to which rounds add some: as many draws as 64 chains of 200."""

UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


def seconds_in(text: str) -> float:
    """Seconds from `90s`, `15m`, `1.5h` or `300`.

    Raises:
        ValueError: the text is not a time above 0.
    """
    read = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([smhd]?)\s*", text.lower())
    seconds = float(read[1]) * UNITS[read[2]] if read else 0.0
    if not 0 < seconds <= LONGEST:
        raise ValueError(f"must be a time above 0 such as 15m, got {text!r}")
    return seconds


@dataclass(frozen=True, kw_only=True)
class StoppingSettings:
    """When sampling ends, and by which other method its number is checked.

    The first draws are the same whatever these are: they decide how small the error gets.

    Attributes:
        cross_check: the number in another way: `lanczos` from the quadratic part of the loss without sampling, `draws`
            from independent draws beside chains, `sgld` from a few short chains of plain SGLD beside independent draws.
        target_stderr: standard error of λ̂ at which independent draws end, as a share of λ̂, or of 1 if that is less,
            and chains, as a share of λ̂; None means 0.05 if their number is open, else as many as were asked for.
        budget_seconds: time after which they end in any case, but for chains whose number was given.
        max_chains: the most chains that are added.
    """

    cross_check: Annotated[
        str | None,
        OneOf(CROSS_CHECKS),
        Option(
            help="Cross-check by another method: sgld (short chains beside independent draws), draws "
            "(independent draws beside chains) or lanczos (the quadratic part of the loss, without "
            "sampling).",
            panel="Sampling",
        ),
    ] = None
    target_stderr: Annotated[
        float | None,
        Bounds(above=0, high=1e3, why="0.02 asks for 2 % of the LLC"),
        Option(
            help="Continue until the standard error is this share of the LLC, or report why it is not "
            "reached. (default: 0.05 with --budget or importance; else --chains chains)",
            panel="Sampling",
            common=True,
        ),
    ] = None
    budget_seconds: Annotated[
        float | None,
        Bounds(above=0, high=LONGEST),
        Option(
            help=(
                "Stop sampling after this time (90s, 15m, 2h) from the start of the command, and report "
                "the number so far."
            ),
            panel="Sampling",
            common=True,
            flag="--budget",
            metavar="TIME",
        ),
    ] = None
    max_chains: Annotated[
        int,
        Bounds(low=2, high=MOST_CHAINS),
        Option(help="Largest number of chains, with --target-stderr or --budget.", panel="Sampling"),
    ] = MAX_CHAINS

    def __post_init__(self) -> None:
        check_fields(self)
