"""What is computed at a checkpoint: measures, one a file or folder, of which `MEASURE` says what it needs and gives.

To add one, write its file: see `base.Measure`.
"""

from typing import TYPE_CHECKING

from hf_llc.settings.registry import Registry

if TYPE_CHECKING:
    from hf_llc.measures.base import Measure

MEASURES: Registry["Measure"] = Registry("hf_llc.measures", "MEASURE")
