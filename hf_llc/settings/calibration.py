"""What is wanted of a calibration: `CalibrationSettings`."""

from dataclasses import dataclass
from typing import Annotated

from hf_llc.settings.bounds import Bounds, check_fields
from hf_llc.settings.limits import LARGEST_INTEGER, LONGEST
from hf_llc.settings.option import Option


@dataclass(frozen=True, kw_only=True)
class CalibrationSettings:
    """What is wanted of a calibration.

    Attributes:
        target_stderr: standard error of λ̂ as a share of it. budget: gradients that the estimate may take for it.
        pilot_draws: draws of a pilot chain.
    """

    target_stderr: Annotated[
        float,
        Bounds(above=0, high=1e3, why="0.02 asks for 2 % of the LLC"),
        Option(help="Standard error of the estimate, as a share of the LLC.", panel="What is wanted", common=True),
    ] = 0.02
    budget: Annotated[
        int,
        Bounds(low=1, high=LARGEST_INTEGER),
        Option(help="Largest number of minibatch gradients of the estimate.", panel="What is wanted", common=True),
    ] = 20_000
    pilot_draws: Annotated[
        int,
        Bounds(low=8, high=LONGEST, why="fewer show nothing"),
        Option(
            help="Draws per pilot chain; more give sharper slopes and allow a longer warm-up.",
            panel="What is wanted",
            common=True,
        ),
    ] = 24

    def __post_init__(self) -> None:
        check_fields(self)
