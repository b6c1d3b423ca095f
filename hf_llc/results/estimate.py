"""What an estimate says: numbers with their provenance. The JSON of the command line is `Estimate.to_dict()`.

Non-finite numbers never leave this module: they are written as null, and `llc` is null unless two chains stayed finite.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from enum import StrEnum
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any, Self

from hf_llc.settings.component import moves_all
from hf_llc.settings.data import SEPARATOR
from hf_llc.settings.resolved import ResolvedSettings
from hf_llc.settings.strict_json import DamagedError
from hf_llc.settings.typed import build

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SCHEMA = 1
OUTLYING = 8.0
"""Robust standard deviations from the median of its chain beyond which a draw may count as an outlier."""


class Status(StrEnum):
    """How a chain ended."""

    HEALTHY = "healthy"
    NONFINITE = "nonfinite"

    @property
    def sentence(self) -> str:
        """The status in words."""
        return {
            Status.HEALTHY: "every loss and weight stayed finite",
            Status.NONFINITE: "a loss or a weight became inf or NaN",
        }[self]


class Verdict(StrEnum):
    """Do the chains or draws sample the stated posterior, and is the number known well enough?"""

    CONVERGED = "converged"
    NOT_EQUILIBRATED = "not-equilibrated"
    STEP_TOO_LARGE = "step-too-large"
    HEATED = "heated"
    NOT_A_MINIMUM = "not-a-minimum"
    UNDERSAMPLED = "undersampled"
    IMPRECISE = "imprecise"
    JUMPS = "jumps"
    NOT_LOCAL = "not-local"
    DIVERGED = "diverged"


def finite_or_none(value: float | None) -> float | None:
    """The number, or None where it is inf, NaN or absent."""
    return value if value is not None and math.isfinite(value) else None


def _floats(values: Any) -> tuple[float, ...]:
    return tuple(math.nan if value is None else float(value) for value in values)


@dataclass(frozen=True, kw_only=True)
class ChainTrace:
    """What one chain leaves behind.

    Attributes:
        chain: its number, from 0. status: how it ended; failed_at: the step of the first non-finite number.
        losses: minibatch loss before update t = 0 … steps, nats per token, shorter if the chain failed.
        deltas: the same batch's loss minus its loss at w*, nats per token; at draws less what a linear baseline takes.
        squared_distances: ‖w−w*‖² at each draw.
        seconds: wall time of the chain.
        paired: with a linear baseline `deltas` before the slope was taken out, else empty.
        broken_slopes: draws at which the slope was found to be none, since the loss jumps beside w*.
        jumps: at a few draws what the gradient along the way from w* leaves of the draw's paired difference, nats per
            token: the jumps of the loss between them, see `sampling.jumps`. beside: the differences of other items.
        noise: at each draw the variance of its difference that the choice of its items makes, see
            `sampling.estimator.batch_noise`; empty where it is not known.
    """

    chain: int
    status: Status
    failed_at: int | None
    losses: tuple[float, ...]
    deltas: tuple[float, ...]
    squared_distances: tuple[float, ...]
    seconds: float
    paired: tuple[float, ...] = ()
    broken_slopes: int = 0
    jumps: tuple[float, ...] = ()
    beside: tuple[float, ...] = ()
    noise: tuple[float, ...] = ()

    def draws(self, settings: ResolvedSettings) -> tuple[float, ...]:
        """The paired differences at the draws: every thin-th step after the burn-in, shape (draws,)."""
        first = settings.burn_in + settings.thin
        return self.deltas[first : settings.steps + 1 : settings.thin]

    def uncorrected(self) -> Self:
        """The trace as the paired baseline has it: what a linear one has taken is given back at every draw."""
        return replace(self, deltas=self.paired, paired=(), broken_slopes=0, noise=()) if self.paired else self

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready mapping; non-finite numbers become None."""
        return {key: jsonable(value) for key, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Self:
        """The trace that `to_dict` wrote; None becomes NaN again."""
        names = ("losses", "deltas", "squared_distances", "paired", "jumps", "beside")
        # Traces of runs that began before there was such a record go on without it.
        arrays = {key: _floats(stored[key]) for key in names} | {"noise": _floats(stored.get("noise", ()))}
        return cls(**{**stored, **arrays, "status": Status(stored["status"])})


@dataclass(frozen=True, kw_only=True)
class ChainSummary:
    """One chain's own λ̂, None if it failed, and how it ended."""

    chain: int
    llc: float | None
    status: Status
    failed_at: int | None = None


def pinned_name(id_: str, revision: str) -> str:
    """A dataset as `--dataset` takes it where there are several: `org/name@commit`, or a local path."""
    return id_ if revision.startswith("sha256:") else f"{id_}@{revision}"


@dataclass(frozen=True, kw_only=True)
class DatasetRecord:
    """The items behind L_n.

    Attributes:
        revision: a commit SHA or content hash. fingerprint: the hash of the packed tokens, or of other items.
        task: what the model does with an item, by the Hub's name. unit: of the loss. label_column: that of classes or
            targets, where there is one.
        loss_on: which tokens count where a row is a sequence by itself, `all`, `assistant`, `completion` or those with
            `labels`; None of packed text. bos: whether packed sequences begin with the token that begins a text, as it
            was asked for.

    Of several datasets `id` and `revision` are joined by ` + `.
    """

    id: str
    revision: str
    config: str | None
    split: str
    text_column: str
    fingerprint: str
    task: str = "text-generation"
    unit: str = "nats per token"
    loss_on: str | None = None
    bos: str = "auto"
    label_column: str | None = None

    @property
    def parts(self) -> list[tuple[str, str]]:
        """Id and revision of each dataset."""
        ids, revisions = self.id.split(SEPARATOR), self.revision.split(SEPARATOR)
        # A path may have the separator in its name.
        return list(zip(ids, revisions, strict=True)) if len(ids) == len(revisions) else [(self.id, self.revision)]

    @property
    def is_local(self) -> bool:
        """True if a part of it is a folder or file of the user's own."""
        return any(revision.startswith("sha256:") for _, revision in self.parts)

    @property
    def items(self) -> str:
        """What the loss is a mean over, in the plural: sequences where it is one of tokens, else images, texts, …."""
        item = self.unit.removeprefix("nats per ")
        return "sequences" if item.endswith("token") else f"{item}s"


@dataclass(frozen=True, kw_only=True)
class Diagnostics:
    """What to look at before believing the number.

    Attributes:
        r_hat: split rank-normalised R-hat of the draws; r_hat_chance: what it stays below in 99 of 100 runs with as few
            effective draws whose chains do not differ. moved: how far a chain moves from half to half of its draws,
            see `sampling.statistics.DrawStatistics`. ess: effective sample size of their mean, all chains.
        delta_loss: E[L(w)] − L(w*), nats per token.
        distance: root mean ‖w−w*‖² over draws; free_distance: √(d(1−e^(−εγt))/γ), the localizing prior alone, same t.
        dimension: d, weights that move.
        curvature: largest curvature h met on a probe batch, nats per weight²; stability: ε(nβh+γ), unstable from 4.
        resolution: γ/nβ: curvatures below it are not seen.
        equilibration: the share of a flat direction's variance reached when draws began; 1 for chains that start there,
            unless they start so far up that the way down moves it.
        distance_drift: relative growth of the mean ‖w−w*‖² from the first half of the draws to the second, with its
            error; distance_drift_free: the same for free diffusion from w*.
        drift: (mean of the second half − mean of the first) in units of its Monte Carlo error.
        monte_carlo_stderr, step_size_stderr: the two parts of `stderr`; the second is None if it was not measured.
        raw_llc: λ̂ at the step size used, the plain mean of the draws.
        step_bias, step_bias_stderr: λ̂ at the step size used minus λ̂ extrapolated to ε → 0, with its Monte Carlo
            error.
        step_correction: the part of `step_bias` that is more than chance: `llc` is `raw_llc` − `step_correction`.
        cold_llc: nβΔL where the drift alone leads: the slope at w* pulls it below 0, gradient noise lifts it.
        gamma_slope: d log λ̂ / d log γ between γ and 1.5 γ: near 0 a plateau, near −1 the number of the localizing
            prior alone; with its error.
        gamma_slope_covariance: the same from the main draws alone, a noisier figure that no verdict rests on.
        level_near, level_far, level_changes: root mean ‖w−w*‖² of draws near w* and of draws farther away, where they
            lie at two such levels, and how often chains change between them; None if they do not.
        start_gap: λ̂ of chains that began at draws of the localizing prior minus λ̂ of those that began at w*, with its
            error; None where all began alike.
        n_beta_slope: d log λ̂ / d log nβ from the variance of the draws, with its error.
        trace_hessian: tr H of the probe batch's loss at w*, nats per weight², from a few random directions.
        jump_llc: the part of λ̂ that jumps of the loss make, which no gradient knows of, with its error; None if it was
            not measured. jump_spread: its standard deviation over draws. jump_shift: by how much λ̂ is too large since
            chains do not feel them, to first order, with its error.
        routers: the model's modules that choose between experts, joined by commas; None without any.
        outliers: draws more than OUTLYING robust standard deviations from the median of their chain and set apart from
            its other draws; outlier_llc: λ̂ of the draws less λ̂ without them; outlier_rest_stderr: the Monte Carlo
            error of the latter.
        prior_llc: nβ times the mean rise of the loss at draws of the localizing prior, which λ̂ cannot exceed; None
            without one. Of independent draws with its error.
        narrowing_llc, slope_llc, bend_llc: of independent draws the other moments of `sampling.draws.cumulants`,
            Var e, E[o²] and Σ s x, with their errors; open_llc: how far λ̂ may lie to either side for what these leave
            open.
        beyond_llc: what the loss rises at draws of the prior beyond its slope there, with its error: 0 if it is
            quadratic, below 0 for terms of degree four, above 0 where it jumps.
        weighted_llc: λ̂ of the same draws by importance weights, with its error; effective_draws: how many the weights
            leave; pareto_k: shape of their tail. None where a draw's loss is that of a minibatch.
        gradient_pairs, bends: pairs of draws at which gradients were taken, and gradients along the slope.
    """

    r_hat: float | None
    ess: float | None
    delta_loss: float | None
    distance: float | None
    free_distance: float
    dimension: int
    curvature: float
    stability: float
    resolution: float | None
    equilibration: float
    drift: float | None
    monte_carlo_stderr: float | None
    step_size_stderr: float | None
    step_bias: float | None
    cold_llc: float | None
    gamma_slope: float | None
    gamma_slope_stderr: float | None
    n_beta_slope: float | None
    n_beta_slope_stderr: float | None
    trace_hessian: float
    distance_drift: float | None = None
    distance_drift_stderr: float | None = None
    distance_drift_free: float | None = None
    gamma_slope_covariance: float | None = None
    gamma_slope_covariance_stderr: float | None = None
    start_gap: float | None = None
    start_gap_stderr: float | None = None
    r_hat_chance: float | None = None
    moved: float | None = None
    raw_llc: float | None = None
    step_bias_stderr: float | None = None
    step_correction: float | None = None
    level_near: float | None = None
    level_far: float | None = None
    level_changes: int | None = None
    jump_llc: float | None = None
    jump_llc_stderr: float | None = None
    jump_shift: float | None = None
    jump_shift_stderr: float | None = None
    jump_spread: float | None = None
    routers: str | None = None
    outliers: int | None = None
    outlier_llc: float | None = None
    outlier_rest_stderr: float | None = None
    prior_llc: float | None = None
    prior_llc_stderr: float | None = None
    narrowing_llc: float | None = None
    narrowing_llc_stderr: float | None = None
    slope_llc: float | None = None
    slope_llc_stderr: float | None = None
    bend_llc: float | None = None
    bend_llc_stderr: float | None = None
    open_llc: float | None = None
    beyond_llc: float | None = None
    beyond_llc_stderr: float | None = None
    weighted_llc: float | None = None
    weighted_llc_stderr: float | None = None
    effective_draws: float | None = None
    pareto_k: float | None = None
    gradient_pairs: int | None = None
    bends: int | None = None


@dataclass(frozen=True, kw_only=True, repr=False)
class Estimate:
    """A local learning coefficient with its error, its verdict and everything it depends on.

    Attributes:
        llc: λ̂, no unit; None when fewer than two chains stayed finite. stderr: its standard error, Monte Carlo and
            step size together.
        verdict, verdict_reason: whether the chains sampled the stated posterior, and the numbers behind that.
        choices: for each setting that was not given, what was chosen and why; for `text`, what was left out of it or
            read otherwise than one may think.
        init_loss: L_n(w*), nats per token; init_loss_stderr: its standard error where not all n sequences were used.
            tokens: tokens that went through the model while sampling.
        seconds: wall time of `load`, `anchor`, `sampling` and `total`.
        cross_check: `method`, `llc` and `stderr` by another way, the `sequences` used, and `seconds`; None if it was
            not asked for. Of `lanczos` also the `lowest` and `highest` curvature met; of `draws` the number's parts
            as in `sampling.draws.prior.PriorDraws`.
        subfolder: the folder inside the repository that the checkpoint is in, None for itself.
        base_model, base_sha: of an adapter the model that it was put on, and its commit or content hash; else None.
    """

    schema: int = SCHEMA
    model: str
    revision: str | None
    sha: str
    step: int | None
    llc: float | None
    stderr: float | None
    verdict: Verdict
    verdict_reason: str
    settings: ResolvedSettings
    choices: Mapping[str, str] = field(default_factory=dict)
    diagnostics: Diagnostics
    dataset: DatasetRecord
    chains: tuple[ChainSummary, ...]
    init_loss: float
    tokens: int
    versions: Mapping[str, str]
    seconds: Mapping[str, float]
    run_dir: str
    cross_check: Mapping[str, Any] | None = None
    init_loss_stderr: float | None = None
    subfolder: str | None = None
    base_model: str | None = None
    base_sha: str | None = None

    def __str__(self) -> str:
        return str(_views().estimate_line(self))

    def __repr__(self) -> str:
        return f"<Estimate {self}>"

    def _repr_html_(self) -> str:
        return str(_views().estimate_html(self))

    @property
    def interpretation(self) -> str:
        """What λ̂ says beyond the localizing prior, in one sentence: what it may be compared with."""
        sentence = str(import_module("hf_llc.results.interpretation").interpret(self.diagnostics))
        component = self.settings.component
        return sentence if moves_all(component) else f"of {component} alone, given the rest of the model: {sentence}"

    @property
    def reasons(self) -> Mapping[str, str]:
        """Why each setting that was not given is what it is, by its name: `choices`."""
        return self.choices

    def traces(self) -> Any:
        """The draws as ArviZ's own type, an `xarray.DataTree` with the group `posterior`: dimensions chain and draw.

        `llc` is nβ(L(w) − L(w*)), `delta_loss` is in nats per token, `distance` is ‖w − w*‖. Of independent draws a
        draw is an antithetic pair, dealt out to `settings.chains` groups.

        Raises:
            UnusableError: ArviZ is not installed, or no chain stayed finite. NotFoundError: the run's folder is not on
                this disk.
        """
        return _views().arviz_traces(self)

    def plot(self) -> "Figure":
        """The picture of the chains or draws, as a matplotlib figure.

        Raises:
            NotFoundError: the run's folder is not on this disk.
        """
        figure: Figure = _views().estimate_figure(self)
        return figure

    def to_dict(self) -> dict[str, Any]:
        """The documented JSON object; non-finite numbers become None."""
        return {key: jsonable(value) for key, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any], where: str = "") -> Self:
        """The estimate that `to_dict` wrote.

        Args:
            where: what messages call it.

        Raises:
            DamagedError: if a field is missing, unknown, of another type, or negative where that has no meaning.
        """
        estimate = build(cls, stored, where, nan_in=Diagnostics)
        refuse_negative(estimate.settings, where, [field.name for field in fields(ResolvedSettings)])
        refuse_negative(estimate.diagnostics, where, [name for name in DIAGNOSED if name.endswith("stderr")])
        refuse_negative(estimate, where, ["stderr", "tokens"])
        return estimate


DIAGNOSED = tuple(field.name for field in fields(Diagnostics))


def refuse_negative(record: object, where: str, names: Iterable[str]) -> None:
    """Raise DamagedError if one of these numbers of a record, called `where` in messages, is below 0."""
    for name in names:
        value = getattr(record, name)
        if isinstance(value, int | float) and value < 0:
            raise DamagedError(f"{where}{'.' if where else ''}{name} is {value}, below 0")


def jsonable(value: Any) -> Any:
    """The value as JSON has it: inf and NaN become None, enumerations their text, tuples lists."""
    if isinstance(value, float):
        return finite_or_none(value)
    if isinstance(value, StrEnum):
        return str(value)
    if isinstance(value, Mapping):
        return {key: jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [jsonable(item) for item in value]
    return value


def _views() -> ModuleType:
    """The views on results, on first use: they know results, and not the other way round."""
    return import_module("hf_llc.results.views")
