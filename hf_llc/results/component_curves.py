"""λ̂ of several components of a model, each moved alone: one curve a component, at one γ and nβ."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from hf_llc.results.columns import Column
from hf_llc.results.curve import Curve
from hf_llc.results.estimate import SCHEMA
from hf_llc.results.measured import all_columns

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame


INDEX = "components.json"
"""File that a folder of several components has, and no folder of one run."""


@dataclass(frozen=True, kw_only=True, repr=False)
class ComponentCurves:
    """The curves of components by their names, in the order asked for.

    λ̂ of the parts do not add up to that of the whole.

    Attributes:
        model: the repository or folder. curves: of each component; of one checkpoint a curve of one point.
        run_dir: the folder with a folder for each component.
        measured: measures of the whole model at the checkpoints, where some were asked for.
    """

    schema: int = SCHEMA
    model: str
    curves: Mapping[str, Curve]
    run_dir: str
    measured: Curve | None = None

    def __getitem__(self, component: str) -> Curve:
        return self.curves[component]

    def __iter__(self) -> Iterator[str]:
        return iter(self.curves)

    def __len__(self) -> int:
        return len(self.curves)

    def __repr__(self) -> str:
        checkpoints = max((len(curve) for curve in self.curves.values()), default=0)
        return f"<ComponentCurves {self.model}: {len(self)} components at {checkpoints} checkpoints>"

    @property
    def is_complete(self) -> bool:
        """True if every component has a number at every checkpoint, and what was to be measured is there."""
        curves = [*self.curves.values(), *([self.measured] if self.measured else [])]
        points = [(point, curve is self.measured) for curve in curves for point in curve]
        return all(point.error is None if is_measured else point.llc is not None for point, is_measured in points)

    @property
    def columns(self) -> list[Column]:
        """The columns of `to_rows`."""
        return all_columns(self.measured.measure_columns if self.measured else {})

    def to_rows(self) -> list[dict[str, Any]]:
        """A row a component and checkpoint, then one a checkpoint of what was measured of the whole model, without a
        component; columns as in `results.jsonl`."""
        rows = [{**point.to_row(), "component": name} for name, curve in self.curves.items() for point in curve]
        names = [column.name for column in self.columns]
        rows += self.measured.to_rows() if self.measured else []
        return [{name: row.get(name) for name in names} for row in rows]

    def to_pandas(self) -> "DataFrame":
        """`to_rows` as a pandas frame."""
        frame: DataFrame = import_module("hf_llc.results.views").frame_of(self.to_rows())
        return frame

    def plot(self) -> "Figure":
        """λ̂ of each component over the checkpoints as a heat map, or at a single one with error bars."""
        figure: Figure = import_module("hf_llc.results.figures.components").figure_of(self)
        return figure

    def to_dict(self) -> dict[str, Any]:
        """The documented JSON object: a whole curve a component."""
        return {
            "schema": self.schema,
            "model": self.model,
            "components": {name: curve.to_dict() for name, curve in self.curves.items()},
            "run_dir": self.run_dir,
            **({"measured": self.measured.to_dict()} if self.measured else {}),
        }
