"""hf-llc: the local learning coefficient of language models, with its error and a verdict.

Floors, imports go down only:
    4  hf_llc.cli                     the commands
    3  estimation, series, …          the use cases: the Python API
    2  adapters                       one outside library a file
    1  core                           numerics: torch and math
    0  errors, settings, results, …   nouns: standard library only
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from hf_llc.checkpoints import Checkpoint
from hf_llc.curve import Curve, Point
from hf_llc.errors import HfLlcError
from hf_llc.observer import Observer
from hf_llc.publication import Publication, PublishSettings
from hf_llc.results import Estimate, Verdict
from hf_llc.selector import Selection
from hf_llc.settings import CalibrationSettings, DataSettings, ModelSettings, SamplerSettings
from hf_llc.sharding import Shard
from hf_llc.view import View

if TYPE_CHECKING:
    from hf_llc.calibration import calibrate
    from hf_llc.catalogue import find_checkpoints
    from hf_llc.comparing import compare
    from hf_llc.estimation import estimate
    from hf_llc.merging import merge
    from hf_llc.publishing import publish
    from hf_llc.scanning import scan
    from hf_llc.series import estimate_series
    from hf_llc.tracking import Tracking

__all__ = [
    "CalibrationSettings",
    "Checkpoint",
    "Curve",
    "DataSettings",
    "Estimate",
    "HfLlcError",
    "ModelSettings",
    "Observer",
    "Point",
    "Publication",
    "PublishSettings",
    "SamplerSettings",
    "Selection",
    "Shard",
    "Tracking",
    "Verdict",
    "View",
    "calibrate",
    "compare",
    "estimate",
    "estimate_series",
    "find_checkpoints",
    "merge",
    "publish",
    "scan",
]

_USE_CASES = {
    "Tracking": "hf_llc.tracking",
    "calibrate": "hf_llc.calibration",
    "compare": "hf_llc.comparing",
    "estimate": "hf_llc.estimation",
    "estimate_series": "hf_llc.series",
    "find_checkpoints": "hf_llc.catalogue",
    "publish": "hf_llc.publishing",
    "merge": "hf_llc.merging",
    "scan": "hf_llc.scanning",
}


def __getattr__(name: str) -> Any:
    """Use cases on first use: they import torch, which nothing that only reads settings should wait for."""
    if name in _USE_CASES:
        return getattr(import_module(_USE_CASES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
