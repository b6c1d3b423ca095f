"""How the loss of each item answers to the weight of every other one: what `measures.influence` says."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy
from numpy.typing import NDArray

from hf_llc.results.estimate import jsonable
from hf_llc.results.matrix import (
    BY_CHANCE,
    FAR,
    Matrix,
    MatrixQuality,
    frame_of_pairs,
    from_lists,
    to_lists,
    write_parquet,
)
from hf_llc.results.views import with_error
from hf_llc.settings.bounds import require
from hf_llc.settings.strict_json import DamagedError

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

PARTS = ("influence", "kernel")
MATRICES = ("influence", "influence_stderr", "kernel", "kernel_stderr")


class InfluencePair(NamedTuple):
    """Two items, how much each adds to the loss of the other, and the correlation of their losses.

    `first_index` and `second_index` are their places among `names`, from 0: items with one text have one name.
    """

    first: str
    second: str
    influence: float
    influence_stderr: float
    kernel: float
    kernel_stderr: float
    first_index: int
    second_index: int

    def __str__(self) -> str:
        influence = with_error(self.influence, self.influence_stderr)
        return f"{self.first} | {self.second}: {influence} (correlation {with_error(self.kernel, self.kernel_stderr)})"


@dataclass(frozen=True, kw_only=True, eq=False)
class Influence:
    """Bayesian influence and loss kernel of items or classes of them.

    Attributes:
        names: of the items or classes.
        influence, influence_stderr: BIF(i, j) = dE[ℓ_j]/dε_i where item i weighs 1 + ε_i in L_n, and its standard
            error, in nats per unit of weight: below 0 where more weight on i lowers the loss of j. Between classes it
            is the mean over their items.
        kernel, kernel_stderr: the correlation of ℓ_i and ℓ_j under the posterior, and its standard error.
        quality: of the influences between different items; kernel_quality: of the correlations between them.
        n_beta, gamma, n: of the posterior. draws: how many there are, of all chains or pairs.
    """

    names: tuple[str, ...]
    influence: Matrix
    influence_stderr: Matrix
    kernel: Matrix
    kernel_stderr: Matrix
    quality: MatrixQuality
    kernel_quality: MatrixQuality
    n_beta: float
    gamma: float
    n: int
    draws: int

    def __str__(self) -> str:
        return f"influence between {len(self.names)} items: {self.quality}"

    def top_pairs(self, count: int = 10) -> list[InfluencePair]:
        """The pairs of different items with the largest influences of those more than three standard errors from 0."""
        first, second = numpy.triu_indices(len(self.names), k=1)
        size = numpy.where(self._is_far(), numpy.abs(self.influence[first, second]), 0.0)
        chosen = [place for place in numpy.argsort(-size, kind="stable")[:count] if size[place] > 0]
        return [
            InfluencePair(
                first=self.names[first[place]],
                second=self.names[second[place]],
                **{name: float(getattr(self, name)[first[place], second[place]]) for name in MATRICES},
                first_index=int(first[place]),
                second_index=int(second[place]),
            )
            for place in chosen
        ]

    @property
    def far_pairs(self) -> int:
        """How many pairs of different items have an influence more than three standard errors from 0."""
        return int(self._is_far().sum())

    @property
    def far_by_chance(self) -> float:
        """How many pairs would have one if there were no influence at all."""
        return BY_CHANCE * math.comb(len(self.names), 2)

    def _is_far(self) -> NDArray[numpy.bool]:
        above = numpy.triu_indices(len(self.names), k=1)
        is_far: NDArray[numpy.bool] = numpy.abs(self.influence[above]) > FAR * self.influence_stderr[above]
        return is_far

    def plot(self, part: str = "influence", title: str | None = None) -> "Figure":
        """Items by items as a matplotlib figure; an item's own entry is left out, being the largest.

        Args:
            part: `influence`, or `kernel` for the correlations.

        Raises:
            SettingsError: it is neither.
        """
        from hf_llc.results.figures.heat_map import heat_map
        from hf_llc.results.figures.safely import own_settings

        require(part in PARTS, f"part must be one of {', '.join(PARTS)}, got {part}.")
        is_kernel = part == "kernel"
        values = getattr(self, part).copy()
        numpy.fill_diagonal(values, numpy.nan)
        with own_settings():
            return heat_map(
                values,
                self.names,
                self.names,
                title=title or ("Loss kernel" if is_kernel else "Bayesian influence"),
                label="correlation of losses" if is_kernel else "BIF (nats per unit of weight)",
                stderr=getattr(self, f"{part}_stderr"),
                small_print=f"n_beta {self.n_beta:.4g}, gamma {self.gamma:.4g}, {self.draws} draws",
                warnings=(self.kernel_quality if is_kernel else self.quality).warnings,
                row_name="" if is_kernel else "more weight on",
                column_name="" if is_kernel else "loss of",
            )

    def to_pandas(self) -> "DataFrame":
        """A `pandas.DataFrame` with a row for each pair of items, of an item with itself too."""
        matrices = {name: getattr(self, name) for name in MATRICES}
        names = [("first", self.names), ("second", self.names)]
        places = numpy.triu_indices(len(self.names))
        frame = frame_of_pairs(names, places, matrices)
        return frame.assign(first_index=places[0], second_index=places[1])

    def to_parquet(self, path: Path) -> None:
        """Writes the rows of `to_pandas`."""
        write_parquet(self.to_pandas(), path)

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready mapping; non-finite numbers become None."""
        others = {name: jsonable(getattr(self, name)) for name in ("n_beta", "gamma", "n", "draws")}
        qualities = {name: getattr(self, name).to_dict() for name in ("quality", "kernel_quality")}
        matrices = {name: to_lists(getattr(self, name)) for name in MATRICES}
        return {"names": list(self.names), **matrices, **qualities, **others}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Self:
        """The influences that `to_dict` wrote.

        Raises:
            DamagedError: something is missing or of another kind.
        """
        try:
            names = tuple(map(str, stored["names"]))
            matrices = {name: from_lists(stored, name, (len(names), len(names))) for name in MATRICES}
            return cls(
                names=names,
                **matrices,
                quality=MatrixQuality.from_dict(stored["quality"], "quality"),
                kernel_quality=MatrixQuality.from_dict(stored["kernel_quality"], "kernel_quality"),
                n_beta=float(stored["n_beta"]),
                gamma=float(stored["gamma"]),
                n=int(stored["n"]),
                draws=int(stored["draws"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise DamagedError(f"the influences are damaged: {error}") from error
