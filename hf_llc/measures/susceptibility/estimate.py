"""Susceptibilities of components to items with errors and verdicts, see `measures.susceptibility.parts`."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy
import torch
from torch import Tensor

from hf_llc.measures.matrix_verdict import judge_matrix
from hf_llc.measures.susceptibility.control import Comparison, compared, judged
from hf_llc.measures.susceptibility.parts import Components, Part, Parts
from hf_llc.results.matrix import Matrix, MatrixQuality
from hf_llc.results.susceptibility import PARTS, Susceptibility
from hf_llc.sampling.averages import Averages
from hf_llc.sampling.loss_draws import LossDraws


def susceptibility(
    restricted: Mapping[str, LossDraws],
    full: LossDraws,
    items: Sequence[str],
    controls: Mapping[str, LossDraws] | None = None,
) -> Susceptibility:
    """Susceptibilities of the components by their names.

    Args:
        restricted: draws of the posterior of a component's weights, all others at w*. full: of all weights, with the
            same items in the same order.
        items: their names.
        controls: draws of the components' localizing priors, nβ = 0; None takes independent draws as they are.

    Raises:
        ValueError: there is no component, or draws differ in their items, nβ, γ or n.
    """
    if controls is None and not any(draws.is_chains for draws in (full, *restricted.values())):
        controls = {name: draws.equally_weighted() for name, draws in restricted.items()}
    rows = Susceptibilities(full, items)
    for name, draws in restricted.items():
        rows.add(name, draws, None if controls is None else controls.get(name))
    return rows.result()


class Susceptibilities:
    """Susceptibilities of components that are added one by one, none of whose draws are kept.

    Args:
        full: draws of the posterior of all weights. items: names of the items.

    Raises:
        ValueError: there is not a name for each item.
    """

    def __init__(self, full: LossDraws, items: Sequence[str]) -> None:
        if len(items) != full.items:
            raise ValueError(f"there must be a name for each of the {full.items} items, got {len(items)}")
        self._full, self._items = full, tuple(items)
        self._components = Components(full)
        self._halves = [Components(half) for half in full.halves() or ()]
        self._rows: dict[str, _Row] = {}

    def add(self, name: str, draws: LossDraws, at_zero: LossDraws | None) -> None:
        """Adds a component.

        Args:
            draws: of the posterior of its weights, all others at w*. at_zero: of its localizing prior, nβ = 0.

        Raises:
            ValueError: the draws differ from those of the full posterior in their items, nβ, γ or n.
        """
        for field in ("items", "n_beta", "gamma", "n"):
            ours, theirs = getattr(draws, field), getattr(self._full, field)
            if ours != theirs:
                raise ValueError(f"{field} must be that of the full posterior, {theirs}, got {ours} for {name}")
        parts = self._components.parts(draws)
        halves = draws.halves() if self._halves else None
        self._rows[name] = _Row(
            parts,
            None if at_zero is None else compared(draws, at_zero, parts.covariance),
            halves and [components.values(half) for components, half in zip(self._halves, halves, strict=True)],
            Averages(draws).pareto_k,
            draws.loss_rises.numel(),
        )

    def result(self) -> Susceptibility:
        """The susceptibilities of all components that were added.

        Raises:
            ValueError: there is none.
        """
        if not self._rows:
            raise ValueError("there must be at least one component")
        rows = list(self._rows.values())
        matrices: dict[str, Any] = {}
        for name in PARTS:
            matrices[name], matrices[f"{name}_stderr"] = _both(getattr(row.parts, name) for row in rows)
        qualities = [self._quality([row], "covariance", row.parts.effective, [row.pareto_k]) for row in rows]
        effective, tails = [row.parts.effective for row in rows], [row.pareto_k for row in rows]
        quality = self._quality(rows, "covariance", min(effective), tails)
        comparisons = [row.comparison for row in rows if row.comparison is not None]
        has_all = len(comparisons) == len(rows)
        control = _both(each.control for each in comparisons) if has_all else (None, None)
        return Susceptibility(
            components=tuple(self._rows),
            items=self._items,
            **matrices,
            control=control[0],
            control_stderr=control[1],
            control_quality=(
                judged([row.parts.covariance for row in rows], comparisons, quality) if has_all else None
            ),
            ratios=tuple(_ratio(row.parts) for row in rows),
            quality=quality,
            qualities=tuple(qualities),
            total_quality=self._quality(
                rows, "total", min(*effective, self._components.effective),
                [*tails, self._components.averages.pareto_k],
            ),
            n_beta=self._full.n_beta,
            gamma=self._full.gamma,
            n=self._full.n,
            draws=min(row.draws for row in rows),
        )  # fmt: skip

    def _quality(
        self, rows: "Sequence[_Row]", part: str, effective: float, tails: Sequence[float | None]
    ) -> MatrixQuality:
        """The verdict on the `covariance` or `total` of these components."""
        place = ("covariance", "total").index(part)
        halves = (
            [_matrix(row.halves[half][place] for row in rows if row.halves) for half in range(2)]
            if all(row.halves for row in rows)
            else None
        )
        return _quality(*_both(getattr(row.parts, part) for row in rows), halves, effective, tails)


class _Row(NamedTuple):
    """What is kept of a component: `halves` are its covariances and totals from either half of the draws."""

    parts: Parts
    comparison: Comparison | None
    halves: list[tuple[Tensor, Tensor]] | None
    pareto_k: float | None
    draws: int


def _quality(
    values: Matrix, errors: Matrix, halves: list[Matrix] | None, effective: float, tails: Sequence[float | None]
) -> MatrixQuality:
    """The verdict on all entries, those of each component in units of their root mean square."""
    scale = numpy.sqrt((values**2).mean(axis=1, keepdims=True))
    scale[scale == 0] = 1
    known = [tail for tail in tails if tail is not None]
    return judge_matrix(
        (values / scale).ravel(),
        (errors / scale).ravel(),
        effective=effective,
        pareto_k=max(known) if known else None,
        halves=((halves[0] / scale).ravel(), (halves[1] / scale).ravel()) if halves else None,
    )


def _ratio(parts: Parts) -> float | None:
    covariance, shift = (
        float((part.value.square() - part.stderr.square()).mean()) for part in (parts.covariance, parts.shift)
    )
    return (max(shift, 0.0) / covariance) ** 0.5 if covariance > 0 else None


def _both(parts: Iterable[Part]) -> tuple[Matrix, Matrix]:
    values, errors = zip(*parts, strict=True)
    return _matrix(values), _matrix(errors)


def _matrix(rows: Iterable[Tensor]) -> Matrix:
    array: Matrix = torch.stack([*rows]).double().cpu().numpy()
    return array
