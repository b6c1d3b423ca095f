"""LLC over training: the points of a scan in order of training, and the flat rows that tables and cards are made of.

The JSON of `hf-llc scan` is `Curve.to_dict()`.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Self

from hf_llc.errors import NotFoundError, did_you_mean
from hf_llc.results import displacements
from hf_llc.results.columns import Column
from hf_llc.results.estimate import SCHEMA, Estimate, Verdict, refuse_negative
from hf_llc.results.line_fit import FITTED, LineFit, line_fit
from hf_llc.results.measured import Columns, MeasureRecord, all_columns, columns_from, columns_to, records_from
from hf_llc.settings.bounds import shown
from hf_llc.settings.strict_json import DamagedError, sealed, unsealed
from hf_llc.settings.typed import build

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

SETTINGS = ("n_beta", "gamma", "lr", "n", "context_length", "params", "component", "prior", "batch_norm")
"""What a number is not comparable without."""
DATA = ("task", "unit", "fingerprint")
DIAGNOSTICS = ("monte_carlo_stderr", "step_size_stderr", "r_hat", "ess", "gamma_slope", "gamma_slope_stderr",
               "n_beta_slope", "n_beta_slope_stderr", "resolution", "trace_hessian", "dimension")  # fmt: skip

IDENTITY = ("revision", "sha", "stage", "step", "tokens", "duplicate_of", "error")
"""What a point is beside its record."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """One checkpoint of a curve.

    Attributes:
        revision: its name in the series. sha, stage, step, tokens: as in `checkpoint.Checkpoint`.
        estimate: the whole record; that of the checkpoint `duplicate_of` if the weights are the same.
        error: why there is no number, in one line; None if there is one, or λ̂ was not asked for.
        measures: what measures beside λ̂ gave, by their names; that of the checkpoint `duplicate_of` as well.
    """

    revision: str
    sha: str | None = None
    stage: str | None = None
    step: int | None = None
    tokens: int | None = None
    duplicate_of: str | None = None
    error: str | None = None
    estimate: Estimate | None = None
    measures: Mapping[str, MeasureRecord] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.error is None and self.estimate is not None and self.estimate.llc is None:
            object.__setattr__(self, "error", f"{self.estimate.verdict}: {self.estimate.verdict_reason}")

    @property
    def llc(self) -> float | None:
        """λ̂, None if there is no number."""
        return self.estimate.llc if self.estimate else None

    @property
    def stderr(self) -> float | None:
        """The standard error of λ̂."""
        return self.estimate.stderr if self.estimate else None

    @property
    def verdict(self) -> Verdict | None:
        """Whether its chains sampled the stated posterior."""
        return self.estimate.verdict if self.estimate else None

    @property
    def loss(self) -> float | None:
        """L_n(w*), nats per token."""
        return self.estimate.init_loss if self.estimate else None

    def to_row(self) -> dict[str, Any]:
        """The values of `columns.COLUMNS`, and of the columns of its measures."""
        estimate = self.estimate
        record = estimate.to_dict() if estimate else {"settings": {}, "dataset": {}, "diagnostics": {}}
        return {
            "schema": SCHEMA,
            "revision": self.revision,
            "sha": self.sha,
            "stage": self.stage,
            "step": self.step,
            "tokens": self.tokens,
            "llc": self.llc,
            "stderr": self.stderr,
            "verdict": str(self.verdict) if self.verdict else None,
            "verdict_reason": estimate.verdict_reason if estimate else None,
            "loss": self.loss,
            "duplicate_of": self.duplicate_of,
            "error": self.error,
            "sampler": record["settings"].get("sampler"),
            **{name: record["settings"].get(name) for name in SETTINGS},
            **({"lr": None} if estimate and estimate.settings.by_draws else {}),
            **{name: record["dataset"].get(name) for name in DATA},
            **{name: record["diagnostics"].get(name) for name in DIAGNOSTICS},
            **{name: value for each in self.measures.values() for name, value in each.to_row().items()},
        }

    def to_dict(self) -> dict[str, Any]:
        """The flat columns and the whole records; JSON-ready."""
        measures = {"measures": self.measures_to_dict()} if self.measures else {}
        return {**self.to_row(), "estimate": self.estimate.to_dict() if self.estimate else None, **measures}

    def measures_to_dict(self) -> dict[str, Any]:
        """The records of the measures, JSON-ready."""
        return {name: each.to_dict() for name, each in self.measures.items()}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any], where: str = "", columns: Columns | None = None) -> Self:
        """The point that `to_dict` wrote.

        Args:
            where: what messages call it. columns: of its measures.

        Raises:
            DamagedError: if something is missing or of another type, or a flat column is not what the record says.
        """
        if not isinstance(stored, Mapping):
            raise DamagedError(f"{where or 'a point'} must be a mapping, got {shown(stored)}")
        if missing := [name for name in (*IDENTITY, "estimate") if name not in stored]:
            raise DamagedError(f"{where} has no {missing[0]}")
        record = stored["estimate"]
        point = build(cls, {name: stored[name] for name in IDENTITY}, where)
        refuse_negative(point, where, ["step", "tokens"])
        if record is not None:
            point = replace(point, estimate=Estimate.from_dict(record, f"{where}.estimate"))
        if stored.get("measures"):
            measures = records_from(stored["measures"], columns or {}, f"{where}.measures")
            point = replace(point, measures=measures)
        for name, value in point.to_row().items():
            if name in stored and stored[name] != value:
                raise DamagedError(f"{where}.{name} is {shown(stored[name])}, but its record says {shown(value)}")
        return point


@dataclass(frozen=True, kw_only=True, repr=False)
class Curve:
    """The points of a scan in order of training.

    Attributes:
        model: the repository or folder the series is of. settings: what every point shares, as the user would read it.
        dataset: `DatasetRecord` as a mapping, the same for every point.
        run_dir: the folder that holds everything else. versions: of what ran.
    """

    schema: int = SCHEMA
    model: str
    settings: Mapping[str, Any]
    dataset: Mapping[str, Any]
    points: tuple[Point, ...]
    run_dir: str
    versions: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return str(_views().curve_line(self))

    def __repr__(self) -> str:
        return f"<Curve {self}>"

    def _repr_html_(self) -> str:
        return str(_views().curve_html(self))

    def __len__(self) -> int:
        return len(self.points)

    def __iter__(self) -> Iterator[Point]:
        return iter(self.points)

    def __getitem__(self, revision: str) -> Point:
        """The point of that name.

        Raises:
            NotFoundError: there is none; names near ones.
        """
        for point in self.points:
            if point.revision == revision:
                return point
        known = [point.revision for point in self.points]
        raise NotFoundError(f"The curve of {self.model} has no {revision}{did_you_mean(str(revision), known)}")

    @property
    def measure_columns(self) -> dict[str, Sequence[Column]]:
        """The columns of each measure beside λ̂, by its name."""
        return {name: each.columns for point in self.points for name, each in point.measures.items()}

    @property
    def columns(self) -> list[Column]:
        """The columns of `to_rows`."""
        return all_columns(self.measure_columns)

    def to_rows(self) -> list[dict[str, Any]]:
        """The lines of `results.jsonl`: a value, or None, for each of `columns`."""
        names = [column.name for column in self.columns]
        rows = [point.to_row() for point in self.points]
        return [{name: row.get(name) for name in names} for row in rows]

    def distance(self, first: str, second: str) -> float | None:
        """‖w − w′‖ of two checkpoints, from the sketches of the measure `distances`; None if one of them has none.

        Its relative standard error is 2.2 %.

        Raises:
            NotFoundError: there is no checkpoint of that name.
        """
        return displacements.distance(self[first], self[second])

    def line_fit(self, column: str = FITTED[0]) -> LineFit:
        """How closely λ̂ follows a measure over the converged checkpoints: R² of a line, with its interval.

        Args:
            column: of a measure beside λ̂, such as `quantisation_bits_10`.

        Raises:
            NotFoundError: the curve has no such column of numbers.
        """
        known = [each.name for each in self.columns if each.kind in {"number", "integer"}]
        if column not in known:
            raise NotFoundError(f"The curve of {self.model} has no numbers {column}{did_you_mean(column, known)}")
        return line_fit(self.points, column, self.settings)

    @property
    def line_fits(self) -> dict[str, LineFit]:
        """`line_fit` of λ̂ and the bits of quantisation, by their columns, where both were measured."""
        names = {column.name for each in self.measure_columns.values() for column in each}
        if all(point.llc is None for point in self.points):
            return {}
        return {name: self.line_fit(name) for name in FITTED if name in names}

    def to_pandas(self) -> "DataFrame":
        """A `pandas.DataFrame` with a row a checkpoint; columns as in `results.jsonl`."""
        frame: DataFrame = _views().frame_of(self.to_rows())
        return frame

    def plot(self, x: str = "auto", *, tokens: bool = False) -> "Figure":
        """λ̂ and the loss over training, as a matplotlib figure.

        Args:
            x: `log`, `linear` or `auto`, the scale of the x axis. tokens: training tokens along x in place of steps.
        """
        figure: Figure = _views().curve_figure(self, x, tokens)
        return figure

    def publish(self, repo: str | None = None, **settings: Any) -> Any:
        """Publishes the curve without asking, as `hf_llc.publish` does.

        Args:
            repo: the model's repository on the Hub; None where the curve says it. settings: fields of
                `PublishSettings`, such as `dataset_repo`, `create_pr` and `private`.

        Raises:
            HfLlcError: see `hf_llc.publish`.
        """
        import hf_llc

        return hf_llc.publish(self, hf_llc.PublishSettings(repo=repo, **settings))

    def to_dict(self) -> dict[str, Any]:
        """The documented JSON object, with the checksum of everything else in it (`strict_json.sealed`)."""
        fits = self.line_fits
        return sealed(
            {
                "schema": self.schema,
                "model": self.model,
                "settings": dict(self.settings),
                "dataset": dict(self.dataset),
                "points": [point.to_dict() for point in self.points],
                "run_dir": self.run_dir,
                "versions": dict(self.versions),
                **({"measures": columns_to(self.measure_columns)} if self.measure_columns else {}),
                **({"line_fits": {name: fit.to_dict() for name, fit in fits.items()}} if fits else {}),
            }
        )

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Self:
        """The curve that `to_dict` wrote.

        Raises:
            DamagedError: if it was changed since, or something in it is missing or of another type.
        """
        rest = unsealed(stored)
        # They follow from the points.
        rest.pop("line_fits", None)
        if not isinstance(rest.get("points"), list):
            raise DamagedError(f"points must be a list, got {shown(rest.get('points'))}")
        columns = columns_from(rest.pop("measures", {}))
        points = [Point.from_dict(each, f"points[{index}]", columns) for index, each in enumerate(rest["points"])]
        frame = build(cls, {**rest, "points": []})
        # What the points share follows from them.
        return cls.of_points(frame.model, points, run_dir=frame.run_dir, versions=frame.versions)

    @classmethod
    def of_points(cls, model: str, points: Sequence[Point], *, run_dir: str, versions: Mapping[str, str]) -> Self:
        """The curve of these points, with the settings and the text that all of them share."""
        records = [point.estimate.to_dict() for point in points if point.estimate is not None]
        first: dict[str, Any] = records[0] if records else {"settings": {}, "dataset": {}}
        settings = {
            name: value
            for name, value in first["settings"].items()
            if all(record["settings"][name] == value for record in records)
        }
        return cls(
            model=model,
            settings=settings,
            dataset=first["dataset"],
            points=tuple(points),
            run_dir=run_dir,
            versions=versions,
        )

    @classmethod
    def of_estimate(cls, estimate: Estimate) -> Self:
        """A curve of one point."""
        record = estimate.to_dict()
        point = Point(
            revision=estimate.revision or Path(estimate.model).name,
            sha=estimate.sha,
            step=estimate.step,
            estimate=estimate,
        )
        return cls(
            model=estimate.model,
            settings=record["settings"],
            dataset=record["dataset"],
            points=(point,),
            run_dir=estimate.run_dir,
            versions=estimate.versions,
        )


_DIGITS = re.compile(r"(\d+)")


def training_order(stage: str | None, step: int | None) -> tuple[bool, list[tuple[int, str]], int]:
    """A key that sorts by stage, then step; what has no step comes last."""
    parts = _DIGITS.split(stage or "")
    return step is None, [(int(part), "") if part.isdecimal() else (-1, part) for part in parts], step or 0


def _views() -> ModuleType:
    """The views on results, on first use: they know results, and not the other way round."""
    return import_module("hf_llc.results.views")
