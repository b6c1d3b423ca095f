"""λ̂ of one run minus λ̂ of another, with the error that their common random numbers leave.

Runs with one seed have the same minibatches, and the same noise or draws. Where their losses are alike, most of the
Monte Carlo error is common to both and cancels in the difference.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from hf_llc.errors import NotFoundError, SettingsError, UnusableError
from hf_llc.execution.store import whole_payload
from hf_llc.measures.llc.draws.rounds import PRIOR, Sample
from hf_llc.report.load import load
from hf_llc.results.curve import Curve, Point
from hf_llc.results.estimate import SCHEMA, ChainTrace, Estimate
from hf_llc.sampling.draws.prior import GradientPair, LossPair
from hf_llc.sampling.draws.statistics import contributions, stderr_with_open, summarise_draws
from hf_llc.sampling.estimator import llc
from hf_llc.sampling.statistics import widened
from hf_llc.settings.bounds import shown

OF_POSTERIOR = ("n_beta", "gamma", "context_length", "n", "params", "component", "prior", "batch_norm")
"""Settings at which alone λ̂ is comparable."""
OF_DRAWS = ("sampler", "seed", "batch_size", "device")
"""Settings without which two runs have no random numbers in common."""
OF_CHAINS = ("lr", "burn_in_lr", "momentum", "gradient", "batches", "baseline", "start", "burn_in", "thin", "draws")
"""Those of chains beside these."""


@dataclass(frozen=True, kw_only=True)
class PairedDifference:
    """λ̂ at one checkpoint minus λ̂ at another one.

    Attributes:
        first, second: names of the two. difference: λ̂ of the first minus λ̂ of the second, from what both have.
        stderr: its standard error. unpaired_stderr: that of the difference of two independent numbers, the root of the
            sum of both squared errors.
        pairs: draws or chains that both have; 0 where they have none in common, and `stderr` is the unpaired one.
        converged: True if both runs are `converged`. reason: why the numbers are not paired; None if they are.
    """

    first: str
    second: str
    difference: float
    stderr: float
    unpaired_stderr: float
    pairs: int
    converged: bool
    reason: str | None = None

    def __str__(self) -> str:
        return (
            f"{self.first} − {self.second}: {self.difference:.4g} ± {self.stderr:.2g} "
            f"(± {self.unpaired_stderr:.2g} unpaired)"
        )

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready mapping."""
        return {"schema": SCHEMA, **asdict(self)}


class _Run(NamedTuple):
    """One number with the folder that holds its parts."""

    name: str
    estimate: Estimate
    folder: Path
    label: str


def compare_paired(first: Any, second: Any = None) -> list[PairedDifference]:
    """Differences of λ̂ between two runs with common random numbers, or along one scan.

    Points of two scans are paired by step, or by name where they have no step; of one scan each is paired with the
    checkpoint before it, and the difference is the later minus the earlier one.

    Args:
        first: the folder of a finished run of estimate or scan, an `Estimate` or a `Curve`. second: another one.

    Runs whose random numbers are not the same, such as draws and chains, have the error of independent numbers.

    Raises:
        SettingsError: the runs have not the same posterior: another γ, nβ or text, or other weights that move.
        NotFoundError: a folder has no finished run, or its parts are gone. UnusableError: there are jumps in a loss.
    """
    runs = _runs(first)
    if second is None:
        if len(runs) < 2:
            raise SettingsError("compare_paired needs two runs, or a scan of two checkpoints or more.")
        return [difference_of(later, earlier) for earlier, later in pairwise(runs)]
    others = _runs(second)
    if len(runs) == len(others) == 1:
        return [difference_of(runs[0], others[0])]
    by_step = {_step(run): run for run in others}
    pairs = [(run, by_step[_step(run)]) for run in runs if _step(run) in by_step]
    if not pairs:
        raise SettingsError(f"{runs[0].label} and {others[0].label} have no step in common.")
    return [difference_of(one, other) for one, other in pairs]


def difference_of(first: _Run, second: _Run) -> PairedDifference:
    """λ̂ of the first minus λ̂ of the second."""
    one, other = first.estimate, second.estimate
    _require_comparable(first, second)
    unpaired, reason = math.hypot(one.stderr or 0.0, other.stderr or 0.0), _unpaired_reason(one, other)
    names = _names(first, second)
    if _have_same_weights(first, second):
        # The same weights: the difference is 0 whatever was drawn.
        difference, stderr, pairs = 0.0, 0.0, min(len(one.chains), len(other.chains))
    elif reason is not None:
        difference, stderr, pairs = (one.llc or 0.0) - (other.llc or 0.0), unpaired, 0
    elif one.settings.by_draws:
        difference, stderr, pairs = _of_draws(first, second)
    else:
        difference, stderr, pairs = _of_chains(first, second)
    return PairedDifference(
        first=names[0],
        second=names[1],
        difference=difference,
        stderr=stderr,
        unpaired_stderr=unpaired,
        pairs=pairs,
        converged=one.verdict == other.verdict == "converged",
        reason=reason,
    )


def _names(first: _Run, second: _Run) -> tuple[str, str]:
    """What tells the two apart: their revisions, or these with what the runs were given as."""
    if first.name != second.name:
        return first.name, second.name
    one, other = f"{first.label}: {first.name}", f"{second.label}: {second.name}"
    return (one, other) if one != other else (str(first.folder), str(second.folder))


def _have_same_weights(first: _Run, second: _Run) -> bool:
    """Whether both are of one file of weights: several checkpoints may be in one commit, each in its folder."""
    inputs = [whole_payload(run.folder / "inputs.json") for run in (first, second)]
    if None in inputs:
        return False
    kept = [{name: (each or {}).get(name) for name in ("sha", "subfolder", "gguf_file", "base")} for each in inputs]
    return kept[0] == kept[1]


def _require_comparable(first: _Run, second: _Run) -> None:
    """Raise SettingsError unless both numbers are of the same posterior over the same items."""
    one, other = first.estimate, second.estimate
    unequal = _unequal(one, other, OF_POSTERIOR)
    if one.dataset.fingerprint != other.dataset.fingerprint:
        unequal.append(f"the {one.dataset.items}" if one.dataset.items == other.dataset.items else "the data")
    if unequal:
        name, other_name = _names(first, second)
        raise SettingsError(
            f"{name} and {other_name} are not comparable, since these differ: {', '.join(unequal)}. Estimate "
            "both with the same data and settings (`settings`)."
        )


def _unpaired_reason(one: Estimate, other: Estimate) -> str | None:
    """Why the two have no random numbers in common; None if they have."""
    unequal = _unequal(one, other, OF_DRAWS if one.settings.by_draws else (*OF_DRAWS, *OF_CHAINS))
    if one.diagnostics.dimension != other.diagnostics.dimension:
        unequal.append("the number of weights")
    return f"different random numbers, since these differ: {', '.join(unequal)}" if unequal else None


def _unequal(one: Estimate, other: Estimate, names: Sequence[str]) -> list[str]:
    values = [(name, getattr(one.settings, name), getattr(other.settings, name)) for name in names]
    return [f"{name} ({_short(a)} and {_short(b)})" for name, a, b in values if a != b]


def _short(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else shown(value)


def _of_draws(first: _Run, second: _Run) -> tuple[float, float, int]:
    """Difference, its standard error and pairs of losses, from the draws that both have."""
    samples, settings = [_sample(run) for run in (first, second)], first.estimate.settings
    for run in (first, second):
        if run.estimate.diagnostics.routers:
            raise _jumps(run.name)
    difference = difference_of_samples(samples, n=settings.n, n_beta=settings.n_beta, gamma=settings.gamma)
    if difference is None:
        raise _jumps(f"{first.name} or {second.name}")
    return *difference, min(len(sample.losses) for sample in samples)


def difference_of_samples(
    samples: Sequence[Sample], *, n: int, n_beta: float, gamma: float
) -> tuple[float, float] | None:
    """λ̂ of the first of two samples minus λ̂ of the second, and its standard error; None where there are jumps.

    Draw i of the one goes with draw i of the other. The sampling error is that of the mean of the differences of what
    they contribute to first order; what the series leaves open of either is added as for independent numbers.
    """
    count = [min(len(kind) for kind in kinds) for kinds in zip(*map(_kinds, samples), strict=True)]
    common = [[kind[:size] for kind, size in zip(_kinds(sample), count, strict=True)] for sample in samples]
    summaries = [summarise_draws(*kinds, n=n, n_beta=n_beta, gamma=gamma) for kinds in common]
    values = [summary.llc for summary in summaries if summary.llc is not None and not summary.by_losses]
    if len(values) < 2:
        return None
    parts = [contributions(*kinds, n_beta=n_beta, gamma=gamma) for kinds in common]
    errors = [_error([a - b for a, b in zip(one, other, strict=True)]) for one, other in zip(*parts, strict=True)]
    undetermined = math.hypot(*(summary.open for summary in summaries))
    return values[0] - values[1], stderr_with_open(math.hypot(*errors), undetermined)


def _kinds(sample: Sample) -> tuple[Sequence[Any], Sequence[Any], Sequence[float]]:
    return sample.losses, sample.gradients, sample.bends


def _jumps(name: str) -> UnusableError:
    return UnusableError(f"The loss of {name} changes by jumps, for which no paired difference is known.")


def _of_chains(first: _Run, second: _Run) -> tuple[float, float, int]:
    """Difference, its standard error and chains, from the means of the chains that both have.

    What was corrected for the step size is corrected in the difference too, with the errors of both corrections.
    """
    means = [
        {
            trace.chain: llc(run.estimate.settings.n_beta, statistics.fmean(trace.draws(run.estimate.settings)))
            for trace in _traces(run)
            if trace.failed_at is None
        }
        for run in (first, second)
    ]
    common = sorted(means[0].keys() & means[1].keys())
    if len(common) < 2:
        raise UnusableError(f"{first.name} and {second.name} have fewer than two chains in common.")
    differences = [means[0][chain] - means[1][chain] for chain in common]
    corrections, steps = [], []
    for run in (first, second):
        diagnostics = run.estimate.diagnostics
        raw = diagnostics.raw_llc
        corrections.append(0.0 if raw is None else (run.estimate.llc or 0.0) - raw)
        steps.append(diagnostics.step_size_stderr or 0.0)
    difference = statistics.fmean(differences) + corrections[0] - corrections[1]
    return difference, math.hypot(_error(differences), *steps), len(common)


def _error(values: Sequence[float]) -> float:
    """Standard error of the mean of independent values, widened by Student's t."""
    if len(values) < 2:
        return 0.0
    return statistics.stdev(values) / math.sqrt(len(values)) * widened(len(values) - 1)


def _sample(run: _Run) -> Sample:
    """All draws in the run's folder."""
    losses, gradients, bends = (_parts(run.folder, kind) for kind in ("draws", "gradients", "bends"))
    if whole_payload(run.folder / f"{PRIOR}.json") is None or len(losses) < 2 or len(gradients) < 2:
        raise _gone(run)
    return Sample(
        losses=[LossPair.from_dict(each["pair"]) for each in losses],
        gradients=[GradientPair.from_dict(each["pair"]) for each in gradients],
        # One that is not finite keeps its place, which is that of the same direction in the other run.
        bends=[math.nan if each["bend"] is None else float(each["bend"]) for each in bends] if len(bends) > 1 else [],
        seconds=0.0,
    )


def _parts(folder: Path, kind: str) -> list[dict[str, Any]]:
    """Payloads of the parts of a kind, in order, up to the first that is missing."""
    payloads: list[dict[str, Any]] = []
    while (payload := whole_payload(folder / kind / f"{len(payloads):05d}.json")) is not None:
        payloads.append(payload)
    return payloads


def _traces(run: _Run) -> list[ChainTrace]:
    stored = whole_payload(run.folder / "traces.json")
    if stored is None:
        raise _gone(run)
    return [ChainTrace.from_dict(trace) for trace in stored["traces"]]


def _gone(run: _Run) -> NotFoundError:
    return NotFoundError(
        f"{run.folder} does not hold the draws or chains of {run.name}: only a run on this disk, as hf-llc left it, "
        "can be paired."
    )


def _runs(given: Any) -> list[_Run]:
    """The numbers of a run, in order of training, each weight once."""
    if isinstance(given, Estimate):
        curve, folder = Curve.of_estimate(given), Path(given.run_dir)
        label = given.model
    elif isinstance(given, Curve):
        curve, folder = given, Path(given.run_dir)
        label = given.model
    elif isinstance(given, str | Path):
        curve, folder = load(given), Path(given)
        label = str(given)
    else:
        raise SettingsError(f"compare_paired takes a folder, an Estimate or a Curve, got {shown(given)}.")
    return [
        _Run(point.revision, point.estimate, _folder_of(point, folder), label)
        for point in curve.points
        if point.estimate is not None and point.estimate.llc is not None and point.duplicate_of is None
    ]


def _folder_of(point: Point, folder: Path) -> Path:
    """Where the parts of a point are; its run may have been moved since it was written."""
    assert point.estimate is not None
    own = Path(point.estimate.run_dir)
    places = [own, folder / own, folder / "points" / own.name, folder]
    return next(
        (place for place in places if (place / "inputs.json").exists() and (place / "traces.json").exists()), own
    )


def _step(run: _Run) -> object:
    return run.name if run.estimate.step is None else run.estimate.step
