"""Experiment trackers that points are reported to, one a file: `TRACKER` is the class that reports.

To add one, write its file: see `base.Tracker`.
"""

from typing import TYPE_CHECKING

from hf_llc.settings.registry import Registry

if TYPE_CHECKING:
    from hf_llc.integrations.trackers.base import Tracker

TRACKERS: Registry[type["Tracker"]] = Registry("hf_llc.integrations.trackers", "TRACKER")
