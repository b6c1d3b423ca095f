"""`--profile`: print where the time of a command went."""

from collections.abc import Mapping
from typing import Annotated, Any

import typer
from rich.table import Table

from hf_llc.results.profile import PARTS, Profile

from .output import wide_console

Profiled = Annotated[
    bool,
    typer.Option(
        "--profile",
        help="Print where the time went (on stderr, and as profile with --json); results do not change.",
        rich_help_panel="Output",
    ),
]

LABELS = {"forward_backward": "forward, backward", "io": "I/O"}


def with_profile(values: Mapping[str, Any], profile: Profile | None) -> dict[str, Any]:
    """The values, with `profile` among them if there is one."""
    return dict(values) if profile is None else {**values, "profile": profile.to_dict()}


def write_profile(profile: Profile | None) -> None:
    """A table of the parts that took any time on stderr; nothing if there is no profile."""
    if profile is None:
        return
    seconds = profile.to_dict()
    total, processes = seconds["total"], seconds["processes"]
    several = f", sum of {processes:.0f} processes" if processes > 1 else ""
    table = Table(title=f"Where {total:.1f} seconds went{several}", title_justify="left", box=None, pad_edge=False)
    for name, justify in (("part", "left"), ("seconds", "right"), ("share", "right"), ("what it is", "left")):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    for name, meaning in PARTS.items():
        if seconds[name] > 0:
            table.add_row(LABELS.get(name, name), f"{seconds[name]:.2f}", f"{seconds[name] / total:.1%}", meaning)
    wide_console(stderr=True).print(table)
