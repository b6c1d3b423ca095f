"""What a calibration says: λ̂ over resolutions and over step sizes, and the settings that follow.

The JSON of `hf-llc calibrate` is `Calibration.to_dict()`.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from hf_llc.results.estimate import SCHEMA, DatasetRecord, jsonable

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Finding(StrEnum):
    """Is there a plateau?"""

    FOUND = "found"
    NONE = "none"
    UNDECIDED = "undecided"


@dataclass(frozen=True, kw_only=True)
class SweepPoint:
    """λ̂ at one γ, from pilot chains.

    Attributes:
        resolution: γ/nβ. gamma, lr, sampler, momentum, start, burn_in: what the chains ran with.
        llc, stderr: λ̂ and its Monte Carlo standard error, the step size not looked at; None without two finite chains.
        delta_loss: E[L(w)] − L(w*), nats per token.
        slope, slope_stderr: d log λ̂ / d log γ from this point to the next one that counts, at common random numbers.
        quadratic, quadratic_stderr: what the quadratic part of the loss alone gives there; None where it gives nothing.
        n_beta_slope: d log λ̂ / d log nβ from the variance of the draws, see `sampling.estimator.n_beta_slope`.
        excluded: why the point does not count in the search for a plateau; None if it does. open: True if it might
            count with longer chains or less gradient noise: what is not seen there may exist all the same.
    """

    resolution: float
    gamma: float
    lr: float
    sampler: str
    momentum: float
    start: str
    burn_in: int
    llc: float | None
    stderr: float | None
    delta_loss: float | None
    slope: float | None = None
    slope_stderr: float | None = None
    quadratic: float | None = None
    quadratic_stderr: float | None = None
    n_beta_slope: float | None = None
    excluded: str | None = None
    open: bool = False


@dataclass(frozen=True, kw_only=True)
class StepPoint:
    """λ̂ at one step size, from pilot chains at the chosen γ.

    Attributes:
        lr: ε. stability: ε(nβh+γ), unstable from 4. llc, stderr: as in SweepPoint.
        excluded: why the point is not compared; None if it is.
        log_ratio, log_ratio_stderr: log of λ̂ over that at the smallest step that counts, at common batches and noise.
        agrees: True if that is 0 within its error, and at every smaller step that counts as well.
    """

    lr: float
    stability: float
    llc: float | None
    stderr: float | None
    excluded: str | None = None
    log_ratio: float | None = None
    log_ratio_stderr: float | None = None
    agrees: bool = False


@dataclass(frozen=True, kw_only=True)
class Flat:
    """A stretch of γ/nβ over which λ̂ hardly changes: its ends, the slope over it and the λ̂ at its ends."""

    low: float
    high: float
    slope: float
    slope_stderr: float
    llc_low: float
    llc_high: float


@dataclass(frozen=True, kw_only=True)
class Pilot:
    """A short estimate at the chosen settings, its checks included.

    Attributes:
        llc, stderr, verdict, verdict_reason: as in `estimate.Estimate`.
        autocorrelation: steps per effective draw. burn_in_error: how far its first draws lie from later ones, in
            standard errors.
    """

    llc: float
    stderr: float
    verdict: str
    verdict_reason: str
    autocorrelation: float
    burn_in_error: float


@dataclass(frozen=True, kw_only=True, repr=False)
class Calibration:
    """The settings for a wanted standard error, and everything they rest on.

    Attributes:
        plateau, plateau_reason: whether λ̂ has a plateau in γ/nβ, and in words; flat: where, if it has.
        steps_reason: the same of ε, in words.
        target_stderr, expected_stderr: wanted and to be expected, as a share of |λ̂|; met: whether the second is at
            most the first. precision: that in words.
        base_model, base_sha: of an adapter the model that it was put on, and its commit or content hash; else None.
            subfolder: the folder inside the repository, None for itself.
        budget: gradients that the estimate may take. gradients: those it will take, checks included;
            pilot_gradients: those that were taken to find out.
        settings: of the settings file, by the names of the command line. reasons: where each came from.
    """

    schema: int = SCHEMA
    model: str
    revision: str | None
    sha: str
    step: int | None
    dataset: DatasetRecord
    dimension: int
    curvature: float
    trace_hessian: float
    sweep: tuple[SweepPoint, ...]
    plateau: Finding
    plateau_reason: str
    flat: Flat | None
    steps: tuple[StepPoint, ...]
    steps_reason: str
    pilot: Pilot
    target_stderr: float
    expected_stderr: float | None
    met: bool
    precision: str
    budget: int
    gradients: int
    pilot_gradients: int
    settings: Mapping[str, Any]
    reasons: Mapping[str, str]
    settings_file: str
    run_dir: str
    versions: Mapping[str, str]
    seconds: float
    base_model: str | None = None
    base_sha: str | None = None
    subfolder: str | None = None

    def __str__(self) -> str:
        return str(_views().calibration_line(self))

    def __repr__(self) -> str:
        return f"<Calibration {self}>"

    def _repr_html_(self) -> str:
        return str(_views().calibration_html(self))

    def plot(self) -> "Figure":
        """λ̂ over γ/nβ and over the step size, as a matplotlib figure."""
        figure: Figure = _views().calibration_figure(self)
        return figure

    def to_dict(self) -> dict[str, Any]:
        """The documented JSON object; non-finite numbers become None."""
        return {key: jsonable(value) for key, value in asdict(self).items()}


def _views() -> ModuleType:
    """The views on results, on first use: they know results, and not the other way round."""
    return import_module("hf_llc.results.views")
