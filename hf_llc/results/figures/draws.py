"""The picture of independent draws: what each pair of them shows, and how λ̂ settles (matplotlib)."""

import math
from collections.abc import Sequence

from matplotlib.figure import Figure

from hf_llc.results.estimate import ChainTrace, Estimate
from hf_llc.results.figures.style import BLUE, GREY, ORANGE, printable, tidy

MANY = 200
"""Pairs above which their dots are drawn smaller."""


def draws(groups: Sequence[ChainTrace], estimate: Estimate, name: str) -> Figure:
    """nβΔL of each pair of draws, and λ̂ over the pairs so far with its standard error.

    What curvature and slope take from the mean of the pairs is that of the whole run at every pair: so the line ends at
    λ̂.

    Args:
        groups: the pairs, dealt out in turn. name: of the checkpoint, for the title.
    """
    pairs = [estimate.settings.n_beta * rise for rise in _in_order(groups)]
    figure = Figure(figsize=(7.2, 6.4), dpi=150, layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True)
    places = range(1, len(pairs) + 1)
    upper.plot(places, pairs, "o", color=BLUE, markersize=4 if len(pairs) <= MANY else 2, label="a pair of draws")
    prior = estimate.diagnostics.prior_llc
    if prior is not None:
        upper.axhline(prior, color=GREY, linewidth=1, linestyle=(0, (1, 1.5)), label="mean of the localizing prior")
    upper.set_ylabel(r"$n\beta\,(L(w)-L(w^*))$")
    lower.set_ylabel(r"$\hat\lambda$ so far")
    lower.set_xlabel("pairs of draws")
    if estimate.llc is not None and estimate.stderr is not None:
        means, errors = _running(pairs, estimate)
        low = [mean - error for mean, error in zip(means, errors, strict=True)]
        high = [mean + error for mean, error in zip(means, errors, strict=True)]
        lower.fill_between(places[1:], low, high, color=BLUE, alpha=0.18, linewidth=0)
        lower.plot(places[1:], means, color=BLUE, linewidth=1.4)
        lower.axhline(estimate.llc, color=ORANGE, linewidth=1, linestyle=(0, (5, 3)), label="LLC")
    for axes in (upper, lower):
        tidy(axes)
    figure.legend(fontsize=8.5, frameon=False, ncols=4, loc="outside lower center")
    upper.set_title(
        f"Independent draws at {printable(name)}: {estimate.verdict}", loc="left", fontsize=12, parse_math=False
    )
    return figure


def _in_order(groups: Sequence[ChainTrace]) -> list[float]:
    """The rise of each pair, in the order in which they were numbered."""
    count = min(len(group.deltas) for group in groups) - 1
    return [group.deltas[1 + place] for place in range(count) for group in groups]


def _running(pairs: Sequence[float], estimate: Estimate) -> tuple[list[float], list[float]]:
    """λ̂ after two and more pairs, and its standard error there."""
    assert estimate.llc is not None
    assert estimate.stderr is not None
    final = sum(pairs) / len(pairs)
    correction, total, squares = final - estimate.llc, 0.0, 0.0
    whole = sum((pair - final) ** 2 for pair in pairs) / max(1, len(pairs) - 1) / len(pairs)
    rest = max(0.0, estimate.stderr**2 - whole)
    means, errors = [], []
    for count, pair in enumerate(pairs, 1):
        total += pair
        squares += pair**2
        if count > 1:
            mean = total / count
            variance = max(0.0, squares - count * mean**2) / (count - 1)
            means.append(mean - correction)
            errors.append(math.sqrt(variance / count + rest))
    return means, errors
