"""λ̂ of several components of a model, each moved alone: one curve a component, at one γ and nβ."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from hf_llc.results.curve import Curve
from hf_llc.results.estimate import SCHEMA

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame


@dataclass(frozen=True, kw_only=True, repr=False)
class ComponentCurves:
    """The curves of components by their names, in the order asked for.

    λ̂ of the parts do not add up to that of the whole.

    Attributes:
        model: the repository or folder. curves: of each component; of one checkpoint a curve of one point.
        run_dir: the folder with a folder for each component.
    """

    schema: int = SCHEMA
    model: str
    curves: Mapping[str, Curve]
    run_dir: str

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
        """True if every component has a number at every checkpoint."""
        return all(point.llc is not None for curve in self.curves.values() for point in curve)

    def to_rows(self) -> list[dict[str, Any]]:
        """A row a component and checkpoint; columns as in `results.jsonl`."""
        return [{**point.to_row(), "component": name} for name, curve in self.curves.items() for point in curve]

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
        }
