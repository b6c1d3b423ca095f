"""How components of a model answer to a change of the data: what `measures.susceptibility` says."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy

from hf_llc.errors import listed
from hf_llc.results.estimate import jsonable
from hf_llc.results.matrix import (
    Matrix,
    MatrixQuality,
    MatrixVerdict,
    excerpt,
    frame_of_pairs,
    from_lists,
    in_one_line,
    to_lists,
    write_parquet,
)
from hf_llc.settings.bounds import require
from hf_llc.settings.strict_json import DamagedError
from hf_llc.settings.typed import build

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

PARTS = ("covariance", "shift", "total", "standardised", "standardised_total")
MATRICES = tuple(name for part in PARTS for name in (part, f"{part}_stderr"))
CONTROL = ("control", "control_stderr")
QUALITIES = ("quality", "total_quality")
CONTEXT = 12
"""Characters that are shown of the text on either side of a token."""
OMITTED = "[…]"
"""What stands in a text for tokens that have no loss."""
ALL_PALE = "Pale throughout, as it is noise"


class ControlVerdict(StrEnum):
    """Are the susceptibilities others than those at nβ = 0?"""

    DIFFERS = "differs"
    SAME = "same"
    NOISE = "noise"


@dataclass(frozen=True, kw_only=True)
class ControlQuality:
    """How far the susceptibilities lie from those at nβ = 0, which are the localizing prior's own.

    Attributes:
        verdict, reason: whether the posterior changes what noise of the size of the prior would say, and the numbers
            behind it in one sentence; `same` where the difference may be chance, or is less than a tenth of the size.
        difference: its root mean square over that of `covariance`, less those of their errors; None where `covariance`
            is not more than its errors.
        correlation: of `covariance` and `control` over items, less what their noise has in common; None where either
            is not more than its errors.
        beyond: share of the differences that lie more than two of their errors from 0; 0.05 do by chance.
        chance: p, how often differences lie as far from 0 together by chance.
    """

    verdict: ControlVerdict
    reason: str
    difference: float | None
    correlation: float | None
    beyond: float
    chance: float

    def __str__(self) -> str:
        return f"{self.verdict}: {self.reason}"

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready mapping."""
        return {key: jsonable(value) for key, value in asdict(self).items()}


@dataclass(frozen=True, kw_only=True, eq=False)
class Susceptibility:
    """Susceptibilities of components to items, in nats²; there is no factor nβ in them.

    Every matrix has the shape (components, items) and standard errors of that shape beside it.

    Attributes:
        components, items: their names.
        covariance: −Cov_C(L, ℓ_k − L) under the posterior of the component's weights, the others at w*: the
            susceptibility where C is all there is. Below 0 where draws that raise the mean loss raise that of item k
            by more.
        shift: −E_C[L − L*] (E_C − E_full)[ℓ_k − L], what estimates from two chains have beside it.
        total: their sum, which is that estimate.
        standardised, standardised_total: `covariance` and `total` less the mean over items, in units of the standard
            deviation over items: what may be compared between components. Noise adds to that deviation.
        control: `covariance` at nβ = 0, under the localizing prior: what there is without the loss; None for chains.
        control_quality: whether `covariance` differs from it; None where there is no control.
        ratios: of each component, the root mean square of `shift` over that of `covariance`, less that of their errors;
            None where `covariance` is not more than its errors.
        quality: of `covariance`, in units of each component's root mean square; qualities: of each component's alone;
            total_quality: of `total`.
        n_beta, gamma, n: of the posterior. draws: of a component, of all chains or pairs.
        items_are_tokens: True if the items are the tokens of a text, in their order.
        gaps: places among such items before which the text has tokens that nothing predicts, which are no items.
    """

    components: tuple[str, ...]
    items: tuple[str, ...]
    covariance: Matrix
    covariance_stderr: Matrix
    shift: Matrix
    shift_stderr: Matrix
    total: Matrix
    total_stderr: Matrix
    standardised: Matrix
    standardised_stderr: Matrix
    standardised_total: Matrix
    standardised_total_stderr: Matrix
    control: Matrix | None
    control_stderr: Matrix | None
    ratios: tuple[float | None, ...]
    quality: MatrixQuality
    qualities: tuple[MatrixQuality, ...]
    total_quality: MatrixQuality
    n_beta: float
    gamma: float
    n: int
    draws: int
    items_are_tokens: bool = False
    gaps: tuple[int, ...] = ()
    control_quality: ControlQuality | None = None

    def __str__(self) -> str:
        return f"susceptibilities of {len(self.components)} components to {len(self.items)} items: {self.quality}"

    def item_in_text(self, item: int) -> str:
        """The beginning of an item of this number, in one line; of a token that, and where in its text it is."""
        if not self.items_are_tokens:
            return excerpt(self.items[item])
        first = max((gap for gap in self.gaps if gap <= item), default=0)
        end = min((gap for gap in self.gaps if gap > item), default=len(self.items))
        before, after = "".join(self.items[first:item]), "".join(self.items[item + 1 : end])
        token = excerpt(self.items[item])
        return f"{token} in {in_one_line(before)[-CONTEXT:]}‹{token}›{in_one_line(after)[:CONTEXT]}"

    def plot(self, part: str = "standardised", title: str = "Susceptibilities") -> "Figure":
        """Components by items as a matplotlib figure; what is noise is pale, and the title says so of the whole.

        Args:
            part: one of PARTS, which may be compared between components where it is standardised.

        Raises:
            SettingsError: it is none of them.
        """
        from hf_llc.results.figures.heat_map import heat_map
        from hf_llc.results.figures.safely import own_settings

        require(part in PARTS, f"part must be one of {', '.join(PARTS)}, got {part}.")
        with own_settings():
            return heat_map(
                getattr(self, part),
                self.components,
                self.items,
                title=f"{title}: noise" if self._is_noise(part) else title,
                label=_label(part),
                stderr=self._errors_drawn(part),
                small_print=f"n_beta {self.n_beta:.4g}, gamma {self.gamma:.4g}, {self.draws} draws of each component"
                + self._pale_components(part),
                warnings=self._quality_of(part).warnings,
                row_name="component",
                column_name="item",
            )

    def text(
        self, component: str, part: str = "standardised", tokens: Sequence[str] | None = None, title: str | None = None
    ) -> "Figure":
        """The items of one component as running text, where they are the tokens of a text, as a matplotlib figure.

        Args:
            component: one of the components. part: one of PARTS.
            tokens: their text; the names of the items if not given.

        Raises:
            SettingsError: there is no such component or part.
        """
        from hf_llc.results.figures.safely import own_settings
        from hf_llc.results.figures.text_map import text_map

        require(part in PARTS, f"part must be one of {', '.join(PARTS)}, got {part}.")
        known = component in self.components
        require(known, f"component must be one of {', '.join(self.components)}, got {component}.")
        row = self.components.index(component)
        values, stderr = getattr(self, part)[row], self._errors_drawn(part)[row]
        of_part = self._quality_of(part) if "total" in part or part == "shift" else self.qualities[row]
        noise = ": noise" if of_part.verdict is MatrixVerdict.NOISE or self._is_noise(part) else ""
        facts = [f"n_beta {self.n_beta:.4g}, gamma {self.gamma:.4g}, {self.draws} draws"]
        facts += [f"{ALL_PALE}."] if numpy.isinf(stderr).any() else []
        if self.gaps:
            facts.append(f"{OMITTED}: tokens without a loss, such as the first of each sequence.")
        with own_settings():
            return text_map(
                numpy.insert(numpy.array(tokens or self.items, dtype=object), self.gaps, OMITTED).tolist(),
                numpy.insert(values, self.gaps, numpy.nan),
                title=f"{title or f'Susceptibility of {component}'}{noise}",
                label=_label(part),
                stderr=numpy.insert(stderr, self.gaps, numpy.nan),
                small_print="\n".join(facts),
                warnings=of_part.warnings,
            )

    def _quality_of(self, part: str) -> MatrixQuality:
        return self.total_quality if part in {"shift", "total", "standardised_total"} else self.quality

    def _is_noise(self, part: str) -> bool:
        return self._quality_of(part).verdict is MatrixVerdict.NOISE

    def _pale_components(self, part: str) -> str:
        """A line that names what is pale throughout; empty without any."""
        errors = self._errors_drawn(part)
        names = [name for name, row in zip(self.components, errors, strict=True) if numpy.isinf(row).all()]
        which = "" if len(names) == len(self.components) else f": {listed(names)}"
        return f"\n{ALL_PALE}{which}." if names else ""

    def _errors_drawn(self, part: str) -> Matrix:
        """Standard errors for a picture: infinite where the matrix or a component is noise, which makes it pale."""
        errors: Matrix = getattr(self, f"{part}_stderr").copy()
        are_noise = numpy.array([each.verdict is MatrixVerdict.NOISE for each in self.qualities])
        errors[self._is_noise(part) | (are_noise & (self._quality_of(part) is self.quality))] = numpy.inf
        return errors

    def to_pandas(self) -> "DataFrame":
        """A `pandas.DataFrame` with a row for each component and item; NaN where there is no control."""
        missing = numpy.full_like(self.covariance, numpy.nan)
        controls = {name: missing if getattr(self, name) is None else getattr(self, name) for name in CONTROL}
        matrices = {name: getattr(self, name) for name in MATRICES} | controls
        rows, columns = numpy.indices(self.covariance.shape).reshape(2, -1)
        names = [("component", self.components), ("item", self.items)]
        return frame_of_pairs(names, (rows, columns), matrices).assign(item_index=columns)

    def to_parquet(self, path: Path) -> None:
        """Writes the rows of `to_pandas`."""
        write_parquet(self.to_pandas(), path)

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready mapping; non-finite numbers become None."""
        names = ("components", "items", "ratios", "n_beta", "gamma", "n", "draws", "items_are_tokens", "gaps")
        controls = {name: getattr(self, name) for name in CONTROL}
        return {
            **{name: jsonable(getattr(self, name)) for name in names},
            **{name: to_lists(getattr(self, name)) for name in MATRICES},
            **{name: None if matrix is None else to_lists(matrix) for name, matrix in controls.items()},
            **{name: getattr(self, name).to_dict() for name in QUALITIES},
            "qualities": [quality.to_dict() for quality in self.qualities],
            "control_quality": self.control_quality.to_dict() if self.control_quality else None,
        }

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Self:
        """The susceptibilities that `to_dict` wrote.

        Raises:
            DamagedError: something is missing or of another kind.
        """
        try:
            components, items = (tuple(map(str, stored[name])) for name in ("components", "items"))
            shape = (len(components), len(items))
            values: dict[str, Any] = {name: from_lists(stored, name, shape) for name in MATRICES}
            values |= {name: None if stored[name] is None else from_lists(stored, name, shape) for name in CONTROL}
            values |= {name: MatrixQuality.from_dict(stored[name], name) for name in QUALITIES}
            of_control = stored.get("control_quality")
            return cls(
                components=components,
                items=items,
                **values,
                qualities=tuple(MatrixQuality.from_dict(each, "qualities") for each in stored["qualities"]),
                ratios=tuple(None if each is None else float(each) for each in stored["ratios"]),
                n_beta=float(stored["n_beta"]),
                gamma=float(stored["gamma"]),
                n=int(stored["n"]),
                draws=int(stored["draws"]),
                items_are_tokens=bool(stored.get("items_are_tokens", False)),
                gaps=tuple(map(int, stored.get("gaps", ()))),
                control_quality=of_control and build(ControlQuality, of_control, "control_quality"),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise DamagedError(f"the susceptibilities are damaged: {error}") from error


def _label(part: str) -> str:
    return "susceptibility (standard deviations over items)" if "standardised" in part else "susceptibility (nats²)"
