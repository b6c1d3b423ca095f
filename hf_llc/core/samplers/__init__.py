"""Samplers of the localised posterior, one a file, each with the names `init` and `step` in that order.

A sampler moves the parameters in place by one step of the law below, given the gradient of the loss in `.grad`.
To add one: write its file, and its line in SAMPLERS.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from torch import Tensor

from hf_llc.core.randomness import Randomness
from hf_llc.core.samplers import baoab, sgld, sgld_lm
from hf_llc.core.samplers.law import Law
from hf_llc.errors import SettingsError


class Sampler(NamedTuple):
    """`init` makes the state of a chain; `step` moves w once and changes the state in place.

    Attributes:
        step_fraction: ε(nβh+γ) that the step size is chosen for when --lr is left out.
        why: one clause on that choice, for the person who reads it.
    """

    init: Callable[[Sequence[Tensor]], Any]
    step: Callable[[Sequence[Tensor], Sequence[Tensor], Sequence[Tensor], Any, Law, Randomness, int], None]
    step_fraction: float
    why: str


SAMPLERS: dict[str, Sampler] = {
    "sgld": Sampler(sgld.init, sgld.step, 0.1, "the Euler step widens a direction's variance by εA/4: at most 2.6 %"),
    "sgld-lm": Sampler(sgld_lm.init, sgld_lm.step, 1.0, "this sampler is exact on a quadratic at any stable step"),
    "baoab": Sampler(baoab.init, baoab.step, 1.0, "this sampler is exact on a quadratic at any stable step"),
}

AUTO = "auto"
"""The name that leaves the choice to `choose_sampler`."""


def choose_sampler(requested: str) -> tuple[str, str]:
    """The name of the sampler to use and one line why.

    Raises:
        SettingsError: there is no sampler of that name.
    """
    if requested in SAMPLERS:
        return requested, "as asked"
    if requested != AUTO:
        raise SettingsError(f"--sampler is {requested!r}; choose one of {', '.join([AUTO, *SAMPLERS])}.")
    return "sgld-lm", "its stationary law is exact on a quadratic loss at any stable step size"
