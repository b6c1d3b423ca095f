"""Several chains of one w* at once: what they ask for at the same time is answered by one call for all of them.

Each has its own weights, batches, noise, sampler and record, and so the draws that it has alone, up to rounding.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from typing import NamedTuple

import torch
from torch import Tensor

from hf_llc.core.asking import Answer, Ask, asked
from hf_llc.core.chain import Chain, Progress
from hf_llc.core.stacked import StackedObjective
from hf_llc.core.timing import Part
from hf_llc.core.variations import Variation
from hf_llc.resolved import ResolvedSettings
from hf_llc.results import ChainTrace

LIMIT = 16
"""Chains that go into one call at most."""


class Member(NamedTuple):
    """One of the chains: what `core.chain.run_chain` is given of it."""

    settings: ResolvedSettings
    chain: int
    variation: Variation | None = None
    progress: Progress | None = None


def run_together(
    objective: StackedObjective,
    anchors: Sequence[Tensor],  # w*, read only
    anchor_losses: Tensor,  # (n,) ℓ_i(w*), on the weights' device
    members: Sequence[Member],
    *,
    anchor_gradient: Sequence[Tensor] | None = None,
    keep_noise: bool = True,
    part: Part | None = None,
) -> Iterator[tuple[int, ChainTrace]]:
    """The place among the members and the trace of each chain, as they end: early where one becomes inf or NaN.

    Takes the memory of a copy of the weights for each member, and of one more for its gradient. Other arguments as in
    `core.chain.run_chain`; no member's sampler may be one that looks at its weights twice a step.
    """
    # By length, so that those which go on are neighbours and need no copy.
    order = sorted(range(len(members)), key=lambda place: -members[place].settings.steps)
    fixed = [anchor.detach() for anchor in anchors]
    weights = [torch.stack([anchor] * len(members)) for anchor in fixed]
    loops = [
        Chain(
            [each[row] for each in weights],
            fixed,
            anchor_losses,
            members[place].settings,
            members[place].chain,
            anchor_gradient=anchor_gradient,
            variation=members[place].variation,
            keep_noise=keep_noise,
            progress=members[place].progress,
            part=part,
        ).steps()
        for row, place in enumerate(order)
    ]
    waiting: dict[int, Ask] = {}
    told: dict[int, Answer | None] = dict.fromkeys(range(len(loops)))
    while told:
        for row in list(told):
            found = asked(loops[row], told.pop(row))
            if isinstance(found, Ask):
                waiting[row] = found
            else:
                yield order[row], found
        with part("forward_backward") if part is not None else nullcontext():
            told = _answers(objective, weights, waiting)
        for row in told:
            del waiting[row]


def _answers(
    objective: StackedObjective, weights: Sequence[Tensor], waiting: Mapping[int, Ask]
) -> dict[int, Answer | None]:
    """Answers by row to all that ask for the same as the first in line."""
    rows = _alike(waiting)
    if not rows:
        return {}
    at = [_rows_of(each, rows) for each in weights]
    indices = torch.stack([waiting[row].batch for row in rows])
    if not waiting[rows[0]].gradient:
        return {row: Answer(losses, []) for row, losses in zip(rows, objective.losses(at, indices), strict=True)}
    losses, slopes = objective.losses_and_gradient(at, indices)
    by_row = zip(*(slope.unbind() for slope in slopes), strict=True)
    return {row: Answer(own, list(slope)) for row, own, slope in zip(rows, losses, by_row, strict=True)}


def _alike(waiting: Mapping[int, Ask]) -> list[int]:
    """The rows whose asks are of one kind. Losses come before gradients: so whoever has looked apart catches up."""
    kinds = {row: (ask.gradient, len(ask.batch)) for row, ask in waiting.items()}
    first = min(kinds.values(), default=None)
    return sorted(row for row, kind in kinds.items() if kind == first)


def _rows_of(stacked: Tensor, rows: Sequence[int]) -> Tensor:
    first, after = rows[0], rows[-1] + 1
    return stacked[first:after] if after - first == len(rows) else stacked[list(rows)]
