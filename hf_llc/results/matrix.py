"""Matrices of numbers with errors: whether their entries are more than noise, as JSON, and as rows of a table."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy
from numpy.typing import NDArray

from hf_llc.results.estimate import jsonable
from hf_llc.settings.files import write_atomically
from hf_llc.settings.strict_json import DamagedError
from hf_llc.settings.typed import build

if TYPE_CHECKING:
    from pandas import DataFrame

EXCERPT = 40
"""Characters of an item's text that are shown."""
FAR = 3.0
"""Standard errors from 0 from which on an entry is told from 0."""
BY_CHANCE = 0.0027
"""Share of entries that are 0 and lie so far from it."""
Matrix = NDArray[numpy.float64]


class MatrixVerdict(StrEnum):
    """Do the entries of a matrix differ by more than their errors?"""

    RESOLVED = "resolved"
    PARTLY_RESOLVED = "partly-resolved"
    NOISE = "noise"


@dataclass(frozen=True, kw_only=True)
class MatrixQuality:
    """How much of a matrix is noise.

    Attributes:
        verdict, reason: whether its entries may be read, and the numbers behind it in one sentence.
        entries: those judged; of a symmetric matrix the ones above the diagonal.
        effective: independent draws that the draws are worth; pairs of them where draws are antithetic.
        signal: share of the variance of the entries that is not that of their errors; below 0 where the errors alone
            would make the entries differ more.
        agreement: correlation of the entries from two halves of the draws; None with too few entries or draws.
        significant: share of the entries more than three standard errors from 0, of which 0.0027 would be by chance.
            Where halves of the draws differ by more than twice what the errors say, the errors are taken as large as
            that, and `reason` says so.
        pareto_k: shape of the tail of the importance weights, see `sampling.averages`; None where there are none.
    """

    verdict: MatrixVerdict
    reason: str
    entries: int
    effective: float
    signal: float
    agreement: float | None
    significant: float
    pareto_k: float | None

    def __str__(self) -> str:
        return f"{self.verdict}: {self.reason}"

    @property
    def warnings(self) -> list[str]:
        """What is to be said above a picture of the entries."""
        return [] if self.verdict is MatrixVerdict.RESOLVED else [str(self)]

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready mapping."""
        return {key: jsonable(value) for key, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, stored: Any, where: str) -> Self:
        """The quality that `to_dict` wrote; raise DamagedError if it is none."""
        return build(cls, stored, where, nan_in=cls)


def excerpt(text: str) -> str:
    """The beginning of a text in one line; blanks at its ends, which tell tokens apart, as ␣ and line ends as ↵."""
    line = in_one_line(text)
    inner = line.strip(" ")
    behind = len(line) - len(line.rstrip(" ")) if inner else 0
    line = "␣" * (len(line) - len(line.lstrip(" "))) + inner + "␣" * behind
    return line if len(line) <= EXCERPT else f"{line[: EXCERPT - 1]}…"


def in_one_line(text: str) -> str:
    """The text with line ends as ↵ and tabulators as →."""
    return text.replace("\r\n", "\n").replace("\n", "↵").replace("\t", "→")


def to_lists(matrix: Matrix) -> list[Any]:
    """The matrix as JSON has it: a list a row, None for what is not finite."""
    return [[None if value != value or abs(value) == numpy.inf else value for value in row] for row in matrix.tolist()]


def from_lists(stored: Mapping[str, Any], name: str, shape: tuple[int, int]) -> Matrix:
    """The matrix of that name; None becomes NaN.

    Raises:
        DamagedError: it is missing, holds anything but numbers, or has another shape.
    """
    try:
        matrix = numpy.array(stored[name], dtype=float)
    except KeyError as error:
        raise DamagedError(f"{name} is missing") from error
    except (TypeError, ValueError) as error:
        raise DamagedError(f"{name} must be a matrix of numbers") from error
    if matrix.shape != shape:
        raise DamagedError(f"{name} must have the shape {shape}, got {matrix.shape}")
    return matrix


def frame_of_pairs(
    names: Sequence[tuple[str, Sequence[str]]],
    places: tuple[NDArray[Any], NDArray[Any]],
    matrices: Mapping[str, Matrix],
) -> "DataFrame":
    """A `pandas.DataFrame` with a row for each of these places of the matrices.

    Args:
        names: of the two columns that say which row and which column of a matrix, and what the rows and columns are.
    """
    import pandas

    (row, rows), (column, columns) = names
    labels = {
        row: numpy.asarray(rows, dtype=object)[places[0]],
        column: numpy.asarray(columns, dtype=object)[places[1]],
    }
    return pandas.DataFrame({**labels, **{name: matrix[places] for name, matrix in matrices.items()}})


def write_parquet(frame: "DataFrame", path: Path) -> None:
    """Writes the table whole."""
    content = io.BytesIO()
    frame.to_parquet(content, engine="pyarrow", index=False)
    write_atomically(path, content.getvalue())
