"""hf-llc: the local learning coefficient of language models, with its error and a verdict.

`ls` shows what a user thinks about; imports go down this list:

    scans          measures over many checkpoints
    integrations   trackers, Hugging Face Jobs
    measures       what is computed at a checkpoint: llc
    execution      durable runs: plan, store, queue, processes
    tasks          model and data as a loss per item
    checkpoints    which checkpoints there are, and their weights
    components     parts of a model: heads, MLPs, layers
    report         figures, model card, comparison, publishing
    hub            the Hub's client
    sampling       the localized posterior, pure torch
    results        what comes back
    settings       what is asked for
    errors         what goes wrong
"""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from hf_llc.checkpoints.checkpoint import Checkpoint
from hf_llc.checkpoints.selection import Selection
from hf_llc.errors import HfLlcError
from hf_llc.hub.publication import Publication, PublishSettings
from hf_llc.results.calibration import Calibration
from hf_llc.results.component_curves import ComponentCurves
from hf_llc.results.curve import Curve, Point
from hf_llc.results.estimate import Estimate, Verdict
from hf_llc.results.figures.axis_options import View
from hf_llc.results.progress import Observer
from hf_llc.scans.shard import Shard
from hf_llc.settings.calibration import CalibrationSettings
from hf_llc.settings.data import DataSettings
from hf_llc.settings.model import ModelSettings
from hf_llc.settings.resolved import ResolvedSettings
from hf_llc.settings.sampler import SamplerSettings

if TYPE_CHECKING:
    from hf_llc.checkpoints.find import find_checkpoints
    from hf_llc.integrations.tracking import Tracking
    from hf_llc.measures.fluctuation.of_run import fluctuation, loss_gain
    from hf_llc.measures.influence.of_run import influence
    from hf_llc.measures.llc.calibration.calibrate import calibrate
    from hf_llc.measures.llc.estimate import estimate
    from hf_llc.measures.llc.paired import PairedDifference, compare_paired
    from hf_llc.measures.measure import measure
    from hf_llc.measures.susceptibility.of_runs import susceptibilities
    from hf_llc.report.compare import Comparison, compare
    from hf_llc.report.load import load
    from hf_llc.report.page.render import write_report
    from hf_llc.report.publish import publish
    from hf_llc.results.fluctuation import Fluctuation, LossGain
    from hf_llc.results.influence import Influence
    from hf_llc.results.susceptibility import Susceptibility
    from hf_llc.scans.components import estimate_components, scan_components
    from hf_llc.scans.merge import merge
    from hf_llc.scans.scan import scan
    from hf_llc.scans.shared_settings import estimate_series
    from hf_llc.tasks.components import find_components

__all__ = [
    "Calibration",
    "CalibrationSettings",
    "Checkpoint",
    "Comparison",
    "ComponentCurves",
    "Curve",
    "DataSettings",
    "Estimate",
    "Fluctuation",
    "HfLlcError",
    "Influence",
    "LossGain",
    "ModelSettings",
    "Observer",
    "PairedDifference",
    "Point",
    "Publication",
    "PublishSettings",
    "ResolvedSettings",
    "SamplerSettings",
    "Selection",
    "Shard",
    "Susceptibility",
    "Tracking",
    "Verdict",
    "View",
    "calibrate",
    "compare",
    "compare_paired",
    "estimate",
    "estimate_components",
    "estimate_series",
    "find_checkpoints",
    "find_components",
    "fluctuation",
    "influence",
    "load",
    "loss_gain",
    "measure",
    "merge",
    "publish",
    "scan",
    "scan_components",
    "susceptibilities",
    "write_report",
]

_USE_CASES = {
    "Comparison": "hf_llc.report.compare",
    "Fluctuation": "hf_llc.results.fluctuation",
    "Influence": "hf_llc.results.influence",
    "LossGain": "hf_llc.results.fluctuation",
    "Susceptibility": "hf_llc.results.susceptibility",
    "Tracking": "hf_llc.integrations.tracking",
    "calibrate": "hf_llc.measures.llc.calibration.calibrate",
    "PairedDifference": "hf_llc.measures.llc.paired",
    "compare": "hf_llc.report.compare",
    "compare_paired": "hf_llc.measures.llc.paired",
    "estimate": "hf_llc.measures.llc.estimate",
    "estimate_components": "hf_llc.scans.components",
    "scan_components": "hf_llc.scans.components",
    "estimate_series": "hf_llc.scans.shared_settings",
    "find_checkpoints": "hf_llc.checkpoints.find",
    "find_components": "hf_llc.tasks.components",
    "load": "hf_llc.report.load",
    "measure": "hf_llc.measures.measure",
    "publish": "hf_llc.report.publish",
    "merge": "hf_llc.scans.merge",
    "scan": "hf_llc.scans.scan",
    "fluctuation": "hf_llc.measures.fluctuation.of_run",
    "influence": "hf_llc.measures.influence.of_run",
    "loss_gain": "hf_llc.measures.fluctuation.of_run",
    "susceptibilities": "hf_llc.measures.susceptibility.of_runs",
    "write_report": "hf_llc.report.page.render",
}


def __getattr__(name: str) -> Any:
    """Use cases on first use: they import torch, which nothing that only reads settings should wait for."""
    if name in _USE_CASES:
        return getattr(import_module(_USE_CASES[name]), name)
    if name == "__version__":
        return version("hf-llc")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
