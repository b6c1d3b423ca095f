"""How a user wants the pictures of curves."""

from dataclasses import dataclass

from hf_llc.errors import SettingsError

AUTO, LOG, LINEAR = "auto", "log", "linear"


@dataclass(frozen=True, kw_only=True)
class View:
    """The x axis of a picture.

    Attributes:
        scale: `log`, `linear`, or `auto`: whichever spreads the checkpoints more evenly.
        tokens: training tokens along x in place of steps, where every checkpoint says them.
    """

    scale: str = AUTO
    tokens: bool = False

    def __post_init__(self) -> None:
        if self.scale not in {AUTO, LOG, LINEAR}:
            raise SettingsError(f"There is no --x {self.scale}; choose {AUTO}, {LOG} or {LINEAR}.")
