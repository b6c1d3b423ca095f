"""What a checkpoint is like around w*: curvature, gradient noise, and how far the localiser alone carries the loss."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from hf_llc.core import seeds
from hf_llc.core.baseline import FARTHER, ITEMS, Scatter, jumps_near, nudge_of, scattered
from hf_llc.core.circumstances import Asked, Measured, likened
from hf_llc.core.curvature import root_mean_square, sharpest, spectrum
from hf_llc.core.dynamics import choose_start, noise_matters
from hf_llc.core.gradients import Gradient
from hf_llc.core.localisation import rise, trace_of_hessian
from hf_llc.core.noise import gradient_noise
from hf_llc.core.objective import Objective, copy_of, dimension, restore
from hf_llc.core.pilot import measure_settled
from hf_llc.core.probe import Probe
from hf_llc.core.samplers import AUTO

SMALL = 10_000
"""Weights below which one displaced point is not like another, so that several are looked at if there is no walk."""
DRAWS = 4
STIFFER = 2.0
"""How many times stiffer than elsewhere a minibatch must be for the step to be chosen by it: up to there steps of half
the stability limit are stable on it too."""
HALVINGS = 16


class Around(NamedTuple):
    """What was measured around a w*.

    Attributes:
        measured: it. start: where chains start. why: one sentence on that.
        first: what was measured before a walk to where chains live, if there was one. walked: whether there was one.
        sigma: standard deviation of the displacement at which curvature and gradient noise were looked at.
    """

    measured: Measured
    start: str
    why: str
    first: Measured
    sigma: float
    walked: bool = False


def measure(
    objective: Objective,
    gradient: Callable[[str], Gradient],
    batch: Tensor,
    asked: Asked,
    *,
    n_beta: float,
    gamma: float,
    start: str,
    batch_size: int,
    seed: int,
    others: Sequence[Around] = (),
    probe: Probe | None = None,
) -> Around:
    """What is found on the batch, and where chains start; the weights are w* again afterwards.

    The step must be stable wherever chains go: curvature and gradient noise are taken at draws of the localiser too,
    narrowed to where nβΔL is at most d/2, what a chain has there if every direction is bound by the loss, unless chains
    start at such draws. Where gradient noise matters there, it is measured again where chains will be.

    Args:
        gradient: the estimator of ∇L_n by its name, around the weights as they are.
        others: checkpoints that were walked at, of a curve that has one step size. Where they are about as sharp and
            as noisy as this one, noise is not measured again here: see `circumstances.likened`.
        probe: the order of items that the batch begins, and a minibatch that steps must be stable on too; None takes
            them as they come.
    """
    items = (probe or Probe(torch.arange(objective.n))).items(max(ITEMS, len(batch)))
    plain = gradient("minibatch" if asked.gradient == AUTO else asked.gradient)
    anchor_losses = objective.losses(batch)

    def raised(sigma: float) -> float:
        return rise(objective, batch, anchor_losses, seed, sigma)

    higher = raised(gamma**-0.5) if gamma > 0 else math.inf
    chosen, why = choose_start(start, gamma, higher)
    at_anchor = spectrum(objective, batch, seed)
    trace = trace_of_hessian(objective, batch, anchor_losses, seed)
    size = dimension(objective.parameters, objective.shards)
    widest = gamma**-0.5 if gamma > 0 else root_mean_square(objective.parameters, objective.shards)
    sigma = widest if chosen != "anchor" else _narrowed(raised, widest, size / 2 / n_beta if n_beta > 0 else math.inf)
    with _displaced(objective, sigma, seed, 0):
        here, direction = sharpest(objective, batch, at_anchor.direction, seed)
        noise = gradient_noise(objective, plain, batch_size, seed)
    curvature = max(at_anchor.largest, here)
    found = Measured(
        curvature=curvature,
        trace=trace,
        squares=at_anchor.squares,
        noise=noise,
        rise=higher,
        level=float(anchor_losses.mean()),
        **_scatter(objective, items, sigma, seed)._asdict(),
    )
    if probe is not None and probe.sharp is not None:
        found = _sharpened(found, sharpest(objective, probe.sharp, copy_of(direction), seed)[0], n_beta, gamma)
    if not noise_matters(asked, n_beta, gamma, found):
        for draw in range(1, DRAWS if size < SMALL else 1):
            with _displaced(objective, sigma, seed, draw):
                here, direction = sharpest(objective, batch, direction, seed)
            found = replace(found, curvature=max(found.curvature, here))
        return Around(found, chosen, why, found, sigma)
    if (alike := likened(found, [(other.first, other.measured) for other in others])) is not None:
        return Around(alike, chosen, why, found, sigma)
    settled = measure_settled(
        objective,
        gradient,
        batch,
        asked,
        found,
        n_beta=n_beta,
        gamma=gamma,
        start=chosen,
        batch_size=batch_size,
        seed=seed,
        direction=direction,
        items=items,
    )
    return Around(settled, chosen, why, found, sigma, walked=True)


def noise_around(objective: Objective, gradient: Gradient, *, sigma: float, batch_size: int, seed: int) -> float:
    """The gradient noise that `measure` finds with that estimator and displacement, before a walk."""
    with _displaced(objective, sigma, seed, 0):
        return gradient_noise(objective, gradient, batch_size, seed)


def _sharpened(found: Measured, curvature: float, n_beta: float, gamma: float) -> Measured:
    """With the |h| of the sharpest minibatch met, where steps that are stable elsewhere may not be on it."""
    stiffness = n_beta * found.curvature + gamma
    return replace(found, sharp=curvature) if n_beta * curvature + gamma > STIFFER * stiffness else found


def _scatter(objective: Objective, items: Tensor, sigma: float, seed: int) -> Scatter:
    """How losses of these items differ at w* + σξ."""
    nudge = nudge_of(objective.parameters)
    anchor_losses = objective.losses(items)
    with _displaced(objective, sigma, seed, 0):
        far = objective.losses(items) - anchor_losses
    with _displaced(objective, sigma * nudge, seed, 0):
        near = objective.losses(items) - anchor_losses
    with _displaced(objective, sigma * FARTHER * nudge, seed, 0):
        farther = objective.losses(items) - anchor_losses
    return scattered(far, near, nudge)._replace(jumps=jumps_near(far, near, farther, anchor_losses, nudge))


def _narrowed(raised: Callable[[float], float], widest: float, allowed: float) -> float:
    """The largest displacement up to `widest` whose rise of the loss is allowed, to a factor of two."""
    sigma = widest
    for _ in range(HALVINGS):
        # Written so that a NaN rise counts as too far.
        if raised(sigma) <= allowed:
            break
        sigma /= 2
    return sigma


@contextmanager
def _displaced(objective: Objective, sigma: float, seed: int, draw: int) -> Iterator[None]:
    """The weights at w* + σξ; meanwhile w* is on the host, since what is measured here needs the device's memory."""
    parameters = objective.parameters
    anchors = [parameter.detach().to("cpu", copy=True) for parameter in parameters]
    stream = seeds.generator(seed, "displacement", draw, device=parameters[0].device)
    try:
        with torch.no_grad():
            for parameter, xi in zip(parameters, objective.shards.normals(parameters, stream), strict=True):
                parameter.add_(xi, alpha=sigma)
        yield
    finally:
        restore(parameters, anchors)
