"""Samplers of the localised posterior, one a file, each with the names `init` and `step` in that order.

A sampler moves the parameters in place by one step of the law below, given what was seen at w before it.
To add one: write its file, and its line in SAMPLERS.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from hf_llc.errors import SettingsError
from hf_llc.sampling.samplers import badodab, baoab, mala, rmsprop_sgld, sgld, sgld_lm, sgnht
from hf_llc.sampling.samplers.base import ChainState, GradientSample
from hf_llc.settings.bounds import shown


class Sampler(NamedTuple):
    """`init` makes the state of a chain; `step` moves w once and changes the state in place.

    Attributes:
        step_fraction: ε(nβh+γ) that the step size is chosen for when --lr is left out.
        why: one clause on that choice, for the person who reads it.
        momentum: True if the state has momenta, so that time goes as √ε and not as ε.
        coupled: True if a chain of finer steps with refined noise retraces the coarse one.
        whole: True if it needs the loss of all items at each step.
        neighbours: True if a step takes its own noise and that of the next one, tensor by tensor.
    """

    init: Callable[[ChainState], Any]
    step: Callable[[ChainState, GradientSample, Any, int], None]
    step_fraction: float
    why: str
    momentum: bool = False
    coupled: bool = True
    whole: bool = False
    neighbours: bool = False


EXACT = "this sampler is exact on a quadratic at any stable step"
SAMPLERS: dict[str, Sampler] = {
    "sgld": Sampler(sgld.init, sgld.step, 0.1, "the Euler step widens a direction's variance by εA/4: at most 2.6 %"),
    "sgld-lm": Sampler(sgld_lm.init, sgld_lm.step, 1.0, EXACT, neighbours=True),
    "rmsprop-sgld": Sampler(
        rmsprop_sgld.init,
        rmsprop_sgld.step,
        1.0 / rmsprop_sgld.LARGEST,
        f"{EXACT}, and the preconditioner enlarges a weight's step at most {rmsprop_sgld.LARGEST:g} times",
        neighbours=True,
    ),
    "baoab": Sampler(baoab.init, baoab.step, 0.25, f"{EXACT}; momentum makes up for the smaller one", momentum=True),
    "badodab": Sampler(badodab.init, badodab.step, 0.25, EXACT, momentum=True, coupled=False),
    "sgnht": Sampler(
        sgnht.init, sgnht.step, 0.1, "this sampler is off by a part of order εA", momentum=True, coupled=False
    ),
    "mala": Sampler(
        mala.init, mala.step, 0.1, "larger steps would be taken back more often", coupled=False, whole=True
    ),
}

AUTO = "auto"
"""The name that leaves the choice to `sampling.tuning.choose_sampler`."""


def check_sampler(name: str, others: Sequence[str] = ()) -> None:
    """Raise SettingsError unless there is a sampler of that name, or it leaves the choice open.

    Args:
        others: names that are as good, of what is no chain.
    """
    names = [AUTO, *others, *SAMPLERS]
    if name not in names:
        raise SettingsError(f"sampler must be one of {', '.join(names)}, got {shown(name)}")
