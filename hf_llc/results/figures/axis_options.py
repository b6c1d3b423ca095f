"""How a user wants the pictures of curves."""

from dataclasses import dataclass
from typing import Annotated

from hf_llc.settings.bounds import OneOf, check_fields

AUTO, LOG, LINEAR = "auto", "log", "linear"


@dataclass(frozen=True, kw_only=True)
class View:
    """The x axis of a picture.

    Attributes:
        scale: `log`, `linear`, or `auto`: whichever spreads the checkpoints more evenly.
        tokens: training tokens along x in place of steps, where every checkpoint says them.
    """

    scale: Annotated[str, OneOf((AUTO, LOG, LINEAR))] = AUTO
    tokens: bool = False

    def __post_init__(self) -> None:
        check_fields(self)
