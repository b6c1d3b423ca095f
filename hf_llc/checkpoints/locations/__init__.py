"""Kinds of places where checkpoints live, one a file: `LOCATION` finds and fetches them.

To add one, write its file `SCHEME.py`, which is asked for every address `SCHEME://…`: see `base.Location`.
"""

from typing import TYPE_CHECKING

from hf_llc.settings.registry import Registry

if TYPE_CHECKING:
    from hf_llc.checkpoints.locations.base import Location

LOCATIONS: Registry["Location"] = Registry("hf_llc.checkpoints.locations", "LOCATION")
