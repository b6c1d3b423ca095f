"""Samplers of the localized posterior, one a file: `init` and `step`, and `SAMPLER` that says what they are.

To add one, write its file: see `base.Sampler`.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hf_llc.settings.registry import Registry

if TYPE_CHECKING:
    from hf_llc.sampling.samplers.base import Sampler

SAMPLERS: Registry["Sampler"] = Registry("hf_llc.sampling.samplers", "SAMPLER")
AUTO = "auto"
"""The name that leaves the choice to `sampling.tuning.choose_sampler`."""


def check_sampler(name: str, others: Sequence[str] = ()) -> None:
    """Raise SettingsError unless there is a sampler of that name, or it leaves the choice open.

    Args:
        others: names that are as good, of what is no chain.
    """
    SAMPLERS.check("sampler", name, [AUTO, *others])
