"""What a checkpoint is like around w*: curvature, gradient noise, and how far the localizing prior alone carries the
loss."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from hf_llc.sampling import seeds
from hf_llc.sampling.baseline import FARTHER, Scatter, has_kink, jumps_near, nudge_of, scattered
from hf_llc.sampling.gradients import Gradient, as_noisy
from hf_llc.sampling.objective import Objective, copy_of, dimension, restore
from hf_llc.sampling.tuning.choose_sampler import choose_start, noise_matters
from hf_llc.sampling.tuning.curvature import root_mean_square, sharpest, spectrum
from hf_llc.sampling.tuning.extent import Extent, full_extent
from hf_llc.sampling.tuning.gamma import rise, trace_of_hessian
from hf_llc.sampling.tuning.gradient_noise import gradient_noise
from hf_llc.sampling.tuning.measurements import LocalGeometry, RequestedDynamics, rescale_from_similar
from hf_llc.sampling.tuning.noise_reduction import without_costly_control_variates
from hf_llc.sampling.tuning.probe import Probe
from hf_llc.sampling.tuning.proportion import Allowance, permitted
from hf_llc.sampling.tuning.settle import ROUNDS, measure_at_equilibrium, round_cost

SMALL = 10_000
"""Weights below which one displaced point is not like another, so that several are looked at if there is no warm-up
run."""
DRAWS = 4
STIFFER = 2.0
"""How many times stiffer than elsewhere a minibatch must be for the step to be chosen by it: up to there steps of half
the stability limit are stable on it too."""
HALVINGS = 16
FAR = 1e-2
"""What a displacement is multiplied by where the loss is not finite and few may be tried."""


class GeometryReport(NamedTuple):
    """What was measured around a w*.

    Attributes:
        measured: it. start: where chains start. why: one sentence on that.
        first: what was measured before a warm-up run to equilibrium, if there was one. walked: whether there was one.
        sigma: standard deviation of the displacement at which curvature and gradient noise were looked at.
    """

    measured: LocalGeometry
    start: str
    why: str
    first: LocalGeometry
    sigma: float
    walked: bool = False


def measure_geometry(
    objective: Objective,
    gradient: Callable[[str], Gradient],
    batch: Tensor,
    asked: RequestedDynamics,
    *,
    n_beta: float,
    gamma: float,
    start: str,
    batch_size: int,
    seed: int,
    others: Sequence[GeometryReport] = (),
    probe: Probe | None = None,
    allowance: Allowance | None = None,
) -> GeometryReport:
    """What is found on the batch, and where chains start; the weights are w* again afterwards.

    The step must be stable wherever chains go: curvature and gradient noise are taken at draws of the localizing prior
    too, narrowed to where nβΔL is at most d/2, what a chain has there if every direction is bound by the loss, unless
    chains start at such draws. Where gradient noise matters there, it is measured again where chains will be.

    Args:
        gradient: the estimator of ∇L_n by its name, around the weights as they are.
        others: checkpoints with a warm-up run, of a curve that has one step size. Where they are about as sharp and
            as noisy as this one, noise is not measured again here: see `measurements.rescale_from_similar`.
        probe: the order of items that the batch begins, and a minibatch that steps must be stable on too; None takes
            them as they come.
        allowance: how thoroughly to look, and how much of it; None looks at all there is to be seen.
    """
    extent = allowance.extent if allowance is not None else full_extent(batch_size, len(batch))
    items = (probe or Probe(torch.arange(objective.n))).items(extent.compared)
    plain = as_noisy(asked.gradient, objective)
    anchor_losses = objective.losses(batch)

    def raised(sigma: float) -> float:
        return rise(objective, batch, anchor_losses, seed, sigma, extent.directions)

    higher = raised(gamma**-0.5) if gamma > 0 else math.inf
    chosen, why = choose_start(start, gamma, higher)
    at_anchor = spectrum(objective, batch, seed, extent.products)
    trace = trace_of_hessian(objective, batch, anchor_losses, seed, extent.directions)
    size = dimension(objective.parameters, objective.shards)
    widest = gamma**-0.5 if gamma > 0 else root_mean_square(objective.parameters, objective.shards)
    sigma = widest
    if chosen == "anchor":
        allowed = size / 2 / n_beta if n_beta > 0 else math.inf
        sigma = _narrowed(raised, widest, allowed, higher if gamma > 0 else None, extent.narrowings)
    with _displaced(objective, sigma, seed, 0):
        displaced_curvature, direction = sharpest(objective, batch, at_anchor.direction, seed, extent.products)
    geometry = LocalGeometry(
        curvature=max(at_anchor.largest, displaced_curvature),
        trace=trace,
        squares=at_anchor.squares,
        noise=0.0,
        rise=higher,
        level=float(anchor_losses.mean()),
        **_scatter(objective, items, sigma, seed)._asdict(),
    )
    noisy = sigma if extent.is_full else min(sigma, _equilibrium_sigma(geometry, n_beta, gamma))
    geometry = replace(
        geometry,
        noise=noise_around(objective, plain, sigma=noisy, batch_size=batch_size, seed=seed, extent=extent),
    )
    if probe is not None and probe.sharp is not None and extent.sharp:
        near, products = copy_of(direction), extent.products
        geometry = _sharpened(geometry, sharpest(objective, probe.sharp, near, seed, products)[0], n_beta, gamma)
    if not noise_matters(asked, n_beta, gamma, geometry):
        for draw in range(1, DRAWS if size < SMALL else 1):
            if allowance is not None and extent.curvature_cost > allowance.left(geometry, chosen):
                break
            with _displaced(objective, sigma, seed, draw):
                displaced_curvature, direction = sharpest(objective, batch, direction, seed, extent.products)
            geometry = replace(geometry, curvature=max(geometry.curvature, displaced_curvature))
        return GeometryReport(geometry, chosen, why, geometry, noisy)
    if (alike := rescale_from_similar(geometry, [(other.first, other.measured) for other in others])) is not None:
        return GeometryReport(alike, chosen, why, geometry, noisy)
    first = round_cost(ROUNDS[0], 1 + (asked.gradient == "control-variate"), batch_size, extent)
    if allowance is not None and first > allowance.left(_without_noise(geometry), chosen):
        unwalked = _estimated_at_equilibrium(objective, asked, geometry, noisy, batch_size, seed, chosen, allowance)
        return GeometryReport(
            _affordable(unwalked, asked, n_beta, gamma, chosen, objective.n, allowance), chosen, why, geometry, noisy
        )
    settled = measure_at_equilibrium(
        objective,
        gradient,
        batch,
        asked,
        geometry,
        n_beta=n_beta,
        gamma=gamma,
        start=chosen,
        batch_size=batch_size,
        seed=seed,
        direction=direction,
        items=items,
        allowance=allowance,
    )
    settled = _affordable(settled, asked, n_beta, gamma, chosen, objective.n, allowance)
    return GeometryReport(settled, chosen, why, geometry, noisy, walked=True)


def _affordable(
    geometry: LocalGeometry,
    asked: RequestedDynamics,
    n_beta: float,
    gamma: float,
    start: str,
    n: int,
    allowance: Allowance | None,
) -> LocalGeometry:
    """Without control variates where the full gradient of n items, which chains take that have them, is out of
    proportion to the run, not taken otherwise, and gains less than it costs."""
    if allowance is None or geometry.controlled is None:
        return geometry
    without = replace(geometry, controlled=None)
    settings, run = allowance.choice(without, start), allowance.run(without, start)
    if n <= permitted(run) or (settings is not None and settings.uses_anchor_gradient):
        return geometry
    return without_costly_control_variates(asked, n_beta, gamma, geometry, n / run)


def _without_noise(geometry: LocalGeometry) -> LocalGeometry:
    """Without gradient noise, which leads to the shortest run."""
    return replace(geometry, noise=0.0, controlled=None)


def _equilibrium_sigma(geometry: LocalGeometry, n_beta: float, gamma: float) -> float:
    """The standard deviation of a displacement with about the loss that chains have.

    On a quadratic loss a draw w* + ξ/√(nβh + γ) has it, for the h that most of tr H comes from.
    """
    stiffness = n_beta * _typical(geometry) + gamma
    return 1 / math.sqrt(stiffness) if stiffness > 0 else math.inf


def _estimated_at_equilibrium(
    objective: Objective,
    asked: RequestedDynamics,
    geometry: LocalGeometry,
    sigma: float,
    batch_size: int,
    seed: int,
    start: str,
    allowance: Allowance,
) -> LocalGeometry:
    """What a warm-up run would find, from displacements by σ, where the run would cost too much."""
    extent, controlled = allowance.extent, None
    if asked.gradient != "minibatch" and 2 * extent.noise_cost <= allowance.left(_without_noise(geometry), start):
        gradient = as_noisy("control-variate", objective)
        controlled = noise_around(objective, gradient, sigma=sigma, batch_size=batch_size, seed=seed, extent=extent)
    return replace(geometry, controlled=controlled, epoch=max(1, objective.n // batch_size), typical=_typical(geometry))


def _typical(geometry: LocalGeometry) -> float:
    """The curvature that most of tr H comes from; rough figures may say more than the largest."""
    return min(geometry.typical_curvature or geometry.curvature, geometry.curvature)


def noise_around(
    objective: Objective,
    gradient: Gradient,
    *,
    sigma: float,
    batch_size: int,
    seed: int,
    extent: Extent | None = None,
) -> float:
    """The gradient noise that `measure_geometry` finds with that estimator, displacement and extent, before a warm-up
    run."""
    extent = full_extent(batch_size, batch_size) if extent is None else extent
    if not extent.pairs:
        return 0.0
    with _displaced(objective, sigma, seed, 0):
        return gradient_noise(objective, gradient, batch_size, seed, extent.pairs, extent.noise)


def _sharpened(geometry: LocalGeometry, curvature: float, n_beta: float, gamma: float) -> LocalGeometry:
    """With the |h| of the sharpest minibatch met, where steps that are stable elsewhere may not be on it."""
    stiffness = n_beta * geometry.curvature + gamma
    return replace(geometry, sharp=curvature) if n_beta * curvature + gamma > STIFFER * stiffness else geometry


def _scatter(objective: Objective, items: Tensor, sigma: float, seed: int) -> Scatter:
    """How losses of these items differ at w* + σξ; 0 for no items."""
    if not len(items):
        return Scatter()
    nudge = nudge_of(objective.parameters)
    anchor_losses = objective.losses(items)
    with _displaced(objective, sigma, seed, 0):
        far = objective.losses(items) - anchor_losses
    with _displaced(objective, sigma * nudge, seed, 0):
        near = objective.losses(items) - anchor_losses
    with _displaced(objective, sigma * FARTHER * nudge, seed, 0):
        farther = objective.losses(items) - anchor_losses
    with _displaced(objective, -sigma * nudge, seed, 0):
        behind = objective.losses(items) - anchor_losses
    is_broken = jumps_near(far, near, farther, anchor_losses, nudge)
    is_broken = is_broken or has_kink(far, near, behind, anchor_losses, nudge)
    return scattered(far, near, nudge)._replace(jumps=is_broken)


def _narrowed(
    raised: Callable[[float], float], widest: float, allowed: float, highest: float | None, evaluations: int | None
) -> float:
    """The largest displacement up to `widest` whose rise of the loss is allowed, to a factor of two.

    Args:
        highest: the rise at the widest, if it is known.
        evaluations: at most so many are tried, each as far down as a quadratic loss asks for; None halves them.
    """
    sigma, rise = widest, highest
    for _ in range(HALVINGS if evaluations is None else evaluations):
        rise = raised(sigma) if rise is None else rise
        # Written so that a NaN rise counts as too far.
        if rise <= allowed:
            break
        share = 0.5 if evaluations is None else math.sqrt(allowed / rise) if math.isfinite(rise) else FAR
        sigma, rise = sigma * min(0.5, share), None
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
