"""How to keep gradient noise from biasing a chain, at the least cost of speed.

Three ways that combine: control variates at w*, batches in reshuffled order, and smaller steps or less momentum.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from hf_llc.sampling.samplers import AUTO, SAMPLERS
from hf_llc.sampling.tuning.gradient_noise import predicted_heating
from hf_llc.sampling.tuning.measurements import LocalGeometry, RequestedDynamics
from hf_llc.sampling.tuning.step_size import choose_lr, two_digits
from hf_llc.settings.resolved import LOSS

MOMENTA = (0.95, 0.9, 0.8, 0.5)
HEATING_MAX = 0.03
"""Share of λ̂ that gradient noise may make before anything is done about it; the half-step check takes it out."""
TARGET_BIAS = 0.015
"""Share of λ̂ that it may make once something is done; less, since what is left no longer goes with ε alone."""
SLOWEST = 30.0
"""How many times smaller than stability allows the step may be made against gradient noise."""
SECOND_GRADIENT = 1.0
"""What a control variate costs, in gradients of a minibatch."""
HALVINGS = 40
AS_FAST = 0.98
"""Share of the fastest way's speed from which on a way counts as equally fast."""


class NoiseReduction(NamedTuple):
    """One combination."""

    sampler: str
    momentum: float
    gradient: str
    batches: str

    def words(self) -> str:
        """`gradient = …, batches = …`."""
        return f"gradient = {self.gradient}, batches = {self.batches}"

    @property
    def gathered(self) -> float:
        """(1+c)/(1−c): how much faster than without momentum a flat direction forgets."""
        return (1 + self.momentum) / (1 - self.momentum)

    @property
    def cost(self) -> float:
        """Of a step, in gradients of a minibatch."""
        extra = SECOND_GRADIENT * (self.gradient == "control-variate") + LOSS * (self.batches == "reshuffled")
        return 1.0 + extra

    def heating(self, lr: float, n_beta: float, gamma: float, measured: LocalGeometry) -> float:
        """What gradient noise is predicted to add to λ̂, no unit.

        Reshuffled batches sum to no noise over an epoch of K steps. Of what acts on a direction that forgets a share a
        of itself each step there is left (aK)²/12, the variance of (1−a)^j over the epoch, while that is below 1.
        """
        noise = measured.noise
        if self.gradient == "control-variate" and measured.controlled is not None:
            noise = measured.controlled
        heat = predicted_heating(lr, n_beta, noise, self.momentum)
        if self.batches == "independent":
            return heat
        forgotten = lr * (n_beta * measured.typical + gamma) / 2 * self.gathered
        return heat * min(1.0, (forgotten * measured.epoch) ** 2 / 12)


class ReducedNoise(NamedTuple):
    """The way chosen, its step ε, the largest that would be stable, what it is predicted to add to λ̂, and what plain
    minibatches would."""

    way: NoiseReduction
    lr: float
    largest: float
    heating: float
    untamed: float


def choose_noise_reduction(
    asked: RequestedDynamics, n_beta: float, gamma: float, measured: LocalGeometry, share: float = TARGET_BIAS
) -> ReducedNoise:
    """Of all ways that the request allows, the one that relaxes fastest for its cost with a gradient-noise bias of at
    most `share` of the least λ̂; if none can at a step SLOWEST times below the largest, the one with the least bias.

    Where noise limits the step, all momenta move flat directions equally fast. Of equals the one with the least
    momentum is taken: its steps are larger, and stiff directions forget where they were all the sooner.
    """
    allowed = share * measured.least_llc(n_beta, gamma)
    fitting: list[tuple[float, ReducedNoise]] = []
    too_hot: list[ReducedNoise] = []
    plain = NoiseReduction("sgld-lm", 0.0, "minibatch", "independent")
    untamed = plain.heating(_largest(plain, n_beta, gamma, measured), n_beta, gamma, measured)
    for way in _candidates(asked, measured):
        largest = asked.lr if asked.lr is not None else _largest(way, n_beta, gamma, measured)
        lr = largest if asked.lr is not None else _within(way, largest, allowed, n_beta, gamma, measured)
        heating = way.heating(lr, n_beta, gamma, measured)
        candidate = ReducedNoise(way, lr, largest, heating, untamed)
        if heating <= allowed * (1 + 1e-6):
            fitting.append((lr * way.gathered / way.cost, candidate))
        else:
            too_hot.append(candidate)
    best = _least_momentum(fitting) if fitting else min(too_hot, key=lambda each: each.heating)
    return best if asked.lr is not None else best._replace(lr=two_digits(best.lr))


def without_costly_control_variates(
    asked: RequestedDynamics, n_beta: float, gamma: float, measured: LocalGeometry, full: float
) -> LocalGeometry:
    """The measurements, less those of control variates where these gain less speed than their full gradient costs.

    Args:
        full: what that takes, as a share of what the run would take without control variates.
    """
    if asked.gradient != AUTO or measured.controlled is None:
        return measured
    without = replace(measured, controlled=None)
    best, other = (choose_noise_reduction(asked, n_beta, gamma, each) for each in (measured, without))
    if other.heating > TARGET_BIAS * measured.least_llc(n_beta, gamma) * (1 + 1e-6):
        # Nothing else keeps the noise within its budget.
        return measured
    cost = best.way.cost + full * other.way.cost
    faster = best.lr * best.way.gathered / cost > other.lr * other.way.gathered / other.way.cost
    return measured if faster else without


def _least_momentum(fitting: Sequence[tuple[float, ReducedNoise]]) -> ReducedNoise:
    """Of those that are as good as fastest the one with the least momentum, and of these the fastest."""
    fast = AS_FAST * max(speed for speed, _ in fitting)
    return min((each for each in fitting if each[0] >= fast), key=lambda each: (each[1].way.momentum, -each[0]))[1]


def _largest(way: NoiseReduction, n_beta: float, gamma: float, measured: LocalGeometry) -> float:
    """The sampler's share of stability, and with momentum no more than critical damping of the flattest direction."""
    lr = choose_lr(SAMPLERS[way.sampler].step_fraction, n_beta, measured.limiting, gamma)
    return min(lr, (1 - way.momentum) ** 2 / (4 * gamma)) if way.momentum and gamma > 0 else lr


def _within(
    way: NoiseReduction, largest: float, allowed: float, n_beta: float, gamma: float, measured: LocalGeometry
) -> float:
    """The largest step whose gradient-noise bias is allowed, down to `largest` / SLOWEST."""
    if way.heating(largest, n_beta, gamma, measured) <= allowed:
        return largest
    low, high = largest / SLOWEST, largest
    for _ in range(HALVINGS):
        middle = math.sqrt(low * high)
        if way.heating(middle, n_beta, gamma, measured) <= allowed:
            low = middle
        else:
            high = middle
    return low


def _candidates(asked: RequestedDynamics, measured: LocalGeometry) -> list[NoiseReduction]:
    """Every combination that the request allows."""
    gradients = [asked.gradient] if asked.gradient != AUTO else ["minibatch"]
    if asked.gradient == AUTO and measured.controlled is not None:
        gradients.append("control-variate")
    batches = [asked.batches] if asked.batches != AUTO else ["independent"] + ["reshuffled"] * (measured.epoch > 1)
    samplers = [asked.sampler] if asked.sampler != AUTO else ["sgld-lm", "baoab"]
    return [
        NoiseReduction(sampler, momentum, gradient, order)
        for sampler in samplers
        for momentum in _momenta(sampler, asked.momentum)
        for gradient in gradients
        for order in batches
    ]


def _momenta(sampler: str, asked: float | None) -> tuple[float, ...]:
    if not SAMPLERS[sampler].momentum:
        return (0.0,)
    return MOMENTA if asked is None else (asked,)
