"""Whether the slope at w* is worth what it costs as part of the baseline."""

import math
import statistics
from collections.abc import Sequence
from typing import NamedTuple

import torch

from hf_llc.sampling.samplers import AUTO
from hf_llc.sampling.tuning.measurements import LocalGeometry
from hf_llc.settings.resolved import CHECKED, LOSS

STEEPER = 3.0
"""How many times larger tr H² / tr H of a minibatch is than that of all items, by what draws of a trained transformer
scatter (batches of 8 sequences)."""
CHAINS = 4
"""Chains that a gradient of all items is shared by; not those of the run, whose draws are the same for any number."""
ROUNDED, HIDDEN = 0.002, 0.25
"""Shares of λ̂ and of its standard error that rounding may make: it is the same in all draws, and does not show."""


class Run(NamedTuple):
    """What the slope gains and costs by.

    Attributes:
        n_beta, gamma, n, batch_size, draws, start, dtype: of chains. gradients: what one takes without the slope.
        forgets: rate per draw, and stiffness, at which the loss along a direction forgets.
    """

    n_beta: float
    gamma: float
    n: int
    batch_size: int
    draws: int
    gradients: float
    forgets: float
    start: str
    dtype: str


def choose_baseline(asked: str, run: Run, geometries: Sequence[LocalGeometry]) -> tuple[str, str | None]:
    """`paired` or `linear` for such chains at the checkpoints that were measured, and one sentence if it is linear by
    choice.

    The variance of a draw of nβΔL is that over the posterior and that over minibatches. What the slope takes away of
    the second was measured, and what it costs is known. It must pay, and rounding not show, at half of the checkpoints.
    Where chains cannot forget which of both ends they began at, what they differ by is the posterior's, and stays. Of a
    loss that jumps, or has a kink at w*, a difference beside w* is no slope.
    """
    if asked != AUTO:
        return asked, None
    slopes = run.draws * LOSS * (1 + 2 / CHECKED)
    cost = 1 + (slopes + run.n / run.batch_size / CHAINS) / run.gradients
    gains = [0.0 if _rounds(run, each) else gain(run, each) for each in geometries]
    if run.batch_size >= run.n or run.start == "both" or statistics.median_high(gains) < cost:
        return "paired", None
    if any(each.jumps for each in geometries):
        return "paired", (
            "baseline = paired: the loss jumps or has a kink at w*, so that its slope there does not describe how "
            "minibatches differ."
        )
    ratios = [each.scatter / each.curved for each in geometries if each.curved > 0]
    less = f"{math.sqrt(statistics.median_high(ratios)):.2g} times" if ratios else "ever so much"
    return "linear", (
        "baseline = linear: without the part linear in w − w*, whose mean is known, the rise of the loss "
        f"differs {less} less between minibatches; the chains take {cost - 1:.0%} more gradients."
    )


def gain(run: Run, measured: LocalGeometry) -> float:
    """The variance of the mean of many draws over that with the slope taken out; 1 where nothing was measured."""
    unit = run.n_beta**2 / run.batch_size
    if not unit * measured.scatter > 0:
        return 1.0
    kept = _kept(run, measured)
    remaining = kept + unit * measured.curved
    return (kept + unit * measured.scatter) / remaining if remaining > 0 else math.inf


def _kept(run: Run, measured: LocalGeometry) -> float:
    """The variance of nβΔL over the posterior, times its autocorrelation: what no baseline takes away.

    On a quadratic loss it is ½ Σ s² where λ̂ is ½ Σ s, s = nβh/(nβh+γ). It is taken to have the autocorrelation of an
    AR(1) process, τ = (1+ρ)/(1−ρ) = coth(x/2) for ρ = e^(−x).
    """
    stiffness = run.n_beta * measured.typical_curvature / STEEPER
    share = stiffness / (stiffness + run.gamma) if stiffness > 0 else 0.0
    forgotten = run.forgets * (stiffness + run.gamma)
    correlation = 1 / math.tanh(forgotten / 2) if forgotten > 0 else 1.0
    return measured.least_llc(run.n_beta, run.gamma) * share * correlation


def _rounds(run: Run, measured: LocalGeometry) -> bool:
    """True if rounding of the losses at w* may make a difference: more than ROUNDED of λ̂, and more than HIDDEN of its
    standard error.

    One item's error is about half of machine precision times its loss (0.4 to 0.7 times on a trained transformer), the
    same in every draw, and 1/η times that in its slope; over n items they average out.
    """
    if run.dtype == "bfloat16":
        return True
    nudge = math.sqrt(torch.finfo(getattr(torch, run.dtype)).eps)
    error = run.n_beta * nudge / 2 * measured.level / math.sqrt(run.n)
    variance = _kept(run, measured) + run.n_beta**2 / run.batch_size * measured.curved
    stderr = math.sqrt(variance / (CHAINS * run.draws))
    return error > ROUNDED * measured.least_llc(run.n_beta, run.gamma) and error > HIDDEN * stderr
