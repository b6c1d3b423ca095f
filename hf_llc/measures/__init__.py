"""What is computed at a checkpoint: measures, one a file or folder, of which `MEASURE` says what it needs and gives.

To add one, write its file: see `base.Measure`.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hf_llc.errors import SettingsError
from hf_llc.settings.registry import Registry

if TYPE_CHECKING:
    from hf_llc.measures.base import Measure

LLC, ALL = "llc", "all"
"""The measure that is λ̂; the name that stands for every measure."""
MEASURES: Registry["Measure"] = Registry("hf_llc.measures", "MEASURE")


def asked_measures(beside: Sequence[str], without: Sequence[str] = ()) -> tuple[str, ...]:
    """Measures by the lists of names that `--with` and `--without` are given, λ̂ first unless it is left out.

    Raises:
        SettingsError: there is no such measure, or none is left.
    """
    added, removed = ([name.strip() for each in names for name in each.split(",")] for names in (beside, without))
    for name in added:
        MEASURES.check("with", name, [ALL])
    for name in removed:
        MEASURES.check("without", name)
    chosen = dict.fromkeys(each for name in [LLC, *added] for each in (MEASURES if name == ALL else [name]))
    kept = tuple(name for name in chosen if name not in removed)
    if not kept:
        raise SettingsError("without leaves no measure; name one with --with.")
    return kept
