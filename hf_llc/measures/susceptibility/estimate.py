"""Susceptibilities of components to items with errors and verdicts, see `measures.susceptibility.parts`."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy
import torch
from torch import Tensor

from hf_llc.measures.matrix_verdict import judge_matrix
from hf_llc.measures.susceptibility.parts import Components, Part, Parts, control
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
    _refuse_others(restricted, full, items)
    components = Components(full)
    parts = [components.parts(draws) for draws in restricted.values()]
    matrices = {name: [getattr(each, name) for each in parts] for name in PARTS}
    independent = not full.is_chains and not any(draws.is_chains for draws in restricted.values())
    if controls is None and independent:
        controls = {name: draws.equally_weighted() for name, draws in restricted.items()}
    has_all = controls is not None and restricted.keys() <= controls.keys()
    at_zero = [control(controls[name]) for name in restricted] if controls and has_all else None
    covariances, totals = _halves(restricted, full)
    tails = [Averages(draws).pareto_k for draws in restricted.values()]
    effective = [each.effective for each in parts]
    named: dict[str, Any] = {name: _both(each)[0] for name, each in matrices.items()}
    named |= {f"{name}_stderr": _both(each)[1] for name, each in matrices.items()}
    values, errors = _both(matrices["covariance"])
    total, total_errors = _both(matrices["total"])
    return Susceptibility(
        components=tuple(restricted),
        items=tuple(items),
        **named,
        control=_both(at_zero)[0] if at_zero else None,
        control_stderr=_both(at_zero)[1] if at_zero else None,
        ratios=tuple(map(_ratio, parts)),
        quality=_quality(values, errors, covariances, min(effective), tails),
        qualities=tuple(
            _quality(values[[row]], errors[[row]], covariances and [half[[row]] for half in covariances],
                     effective[row], [tails[row]])
            for row in range(len(parts))
        ),
        total_quality=_quality(
            total, total_errors, totals, min(*effective, components.effective), [*tails, components.averages.pareto_k]
        ),
        n_beta=full.n_beta,
        gamma=full.gamma,
        n=full.n,
        draws=min(draws.loss_rises.numel() for draws in restricted.values()),
    )  # fmt: skip


def _refuse_others(restricted: Mapping[str, LossDraws], full: LossDraws, items: Sequence[str]) -> None:
    if not restricted:
        raise ValueError("there must be at least one component")
    if len(items) != full.items:
        raise ValueError(f"there must be a name for each of the {full.items} items, got {len(items)}")
    for name, draws in restricted.items():
        for field in ("items", "n_beta", "gamma", "n"):
            ours, theirs = getattr(draws, field), getattr(full, field)
            if ours != theirs:
                raise ValueError(f"{field} must be that of the full posterior, {theirs}, got {ours} for {name}")


def _halves(restricted: Mapping[str, LossDraws], full: LossDraws) -> tuple[list[Matrix] | None, list[Matrix] | None]:
    """The covariances and the totals from either half of the draws; None if there are too few."""
    of_full, of_components = full.halves(), [draws.halves() for draws in restricted.values()]
    if of_full is None or None in of_components:
        return None, None
    covariances, totals = [], []
    for place in range(2):
        components = Components(of_full[place])
        values = [components.values(halves[place]) for halves in of_components if halves]
        covariances.append(_matrix(covariance for covariance, _ in values))
        totals.append(_matrix(total for _, total in values))
    return covariances, totals


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


def _both(parts: Sequence[Part]) -> tuple[Matrix, Matrix]:
    return _matrix(part.value for part in parts), _matrix(part.stderr for part in parts)


def _matrix(rows: Iterable[Tensor]) -> Matrix:
    array: Matrix = torch.stack([*rows]).double().cpu().numpy()
    return array
