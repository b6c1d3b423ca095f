"""Which sampler, with how much momentum and how large a step: chosen from what was measured at one checkpoint."""

import math
from dataclasses import dataclass

from hf_llc.core.noise import predicted_heating
from hf_llc.core.samplers import AUTO, SAMPLERS
from hf_llc.core.stepsize import choose_lr, stability, two_digits

LOCAL_RISE = 0.5
"""Nats per token that a draw from the localiser alone may raise the loss by for chains to start at such draws."""
SLOW = 10.0
"""Steps of the largest stable size that a flat direction may need to forget where it was before momentum pays."""
MOMENTA = (0.95, 0.9, 0.8, 0.5)
HEATING_MAX = 0.03
"""Share of λ̂ that gradient noise may make where sampler and step are chosen; the half-step check takes it out."""
SLOWEST = 30.0
"""How many times smaller than stability allows the step may be made against gradient noise."""
DEFAULT_MOMENTUM = 0.8


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What a choice is made from.

    Attributes:
        curvature: largest |h| at w* and where chains start, nats per weight².
        trace, squares: tr H and tr H² at w*.
        noise: tr Cov of a minibatch's gradient, (nats per weight)².
        rise: mean loss of draws from the localiser alone above that at w*, nats per token.
    """

    curvature: float
    trace: float
    squares: float
    noise: float
    rise: float

    def least_llc(self, n_beta: float, gamma: float) -> float:
        """A lower bound of ½ Σ nβh/(nβh+γ) from tr H and tr H² (Jensen: the summand over h is convex in h)."""
        if self.trace <= 0:
            return 0.0
        return n_beta * self.trace / (n_beta * self.squares / self.trace + gamma) / 2


@dataclass(frozen=True, kw_only=True)
class Dynamics:
    """The choice; `why` has one sentence for each part that was left open, by name of the setting."""

    sampler: str
    momentum: float
    lr: float
    why: dict[str, str]


def choose_start(asked: str, gamma: float, rise: float) -> tuple[str, str]:
    """`anchor` or `localiser`, and one sentence why."""
    if asked != AUTO:
        return asked, "as asked"
    if gamma > 0 and rise <= LOCAL_RISE:
        return "localiser", (
            f"start = localiser: chains begin at draws w* + ξ/√γ, where flat directions have their law at once; such a "
            f"draw changes the loss by {rise:+.2g} nats per token, which is local."
        )
    reason = "there is no localiser" if gamma == 0 else f"a draw w* + ξ/√γ changes the loss by {rise:+.2g} nats"
    return "anchor", f"start = anchor: chains begin at w* itself, since {reason}."


def choose_dynamics(
    sampler: str, momentum: float | None, lr: float | None, n_beta: float, gamma: float, measured: Measured
) -> Dynamics:
    """Sampler, momentum c and step size ε; what is given is kept.

    Raises:
        SettingsError: nothing limits the step size, see `stepsize.choose_lr`.
    """
    why: dict[str, str] = {}
    chosen, kept = sampler, momentum
    if sampler == AUTO:
        chosen, kept, why["sampler"] = _sampler(momentum, lr, n_beta, gamma, measured)
    if not SAMPLERS[chosen].momentum:
        kept = 0.0
    elif kept is None:
        kept = DEFAULT_MOMENTUM
    step = lr
    if step is None:
        step, why["lr"] = _step(chosen, kept, n_beta, gamma, measured)
    return Dynamics(sampler=chosen, momentum=kept, lr=step, why=why)


def _step(sampler: str, momentum: float, n_beta: float, gamma: float, measured: Measured) -> tuple[float, str]:
    """ε and why: the sampler's own share of stability, or less where gradient noise would heat too much."""
    largest = choose_lr(SAMPLERS[sampler].step_fraction, n_beta, measured.curvature, gamma)
    heating = predicted_heating(largest, n_beta, measured.noise, momentum)
    allowed = HEATING_MAX * measured.least_llc(n_beta, gamma)
    share = max(allowed / heating, 1 / SLOWEST) if heating > allowed > 0 else 1.0
    step = two_digits(largest * share)
    why = (
        f"lr = {step:.2g}: ε(nβh+γ) = {stability(step, n_beta, measured.curvature, gamma):.2g} at the measured "
        f"curvature h = {measured.curvature:.3g} (unstable from 4); "
    )
    if share == 1.0:
        return step, f"{why}{SAMPLERS[sampler].why}."
    return step, (f"{why}with a step {1 / share:.2g} times larger gradient noise would add {heating:.2g} to λ̂.")


def _sampler(
    momentum: float | None, lr: float | None, n_beta: float, gamma: float, measured: Measured
) -> tuple[str, float | None, str]:
    stiffness = n_beta * measured.curvature + gamma
    if gamma > 0 and stiffness <= SLOW * gamma:
        steps = f"{stiffness / gamma:.0f} steps" if stiffness > 1.5 * gamma else "about one step"
        return (
            "sgld-lm",
            0.0,
            (f"sampler = sgld-lm: exact on a quadratic at any stable step, and a flat direction forgets in {steps}."),
        )
    expected = measured.least_llc(n_beta, gamma)
    step = lr if lr is not None else SAMPLERS["baoab"].step_fraction / stiffness if stiffness > 0 else math.nan
    for kept in MOMENTA if momentum is None else (momentum,):
        heating = predicted_heating(step, n_beta, measured.noise, kept)
        # Past critical damping of the flattest direction more momentum only makes the walk swing.
        if heating <= HEATING_MAX * expected and 1 - kept >= 2 * math.sqrt(step * gamma):
            return (
                "baoab",
                kept,
                (
                    f"sampler = baoab with momentum {kept:g}: the stiffest direction is {_ratio(stiffness, gamma)} as "
                    f"stiff as the localiser, and gradient noise is predicted to add {heating:.2g} to an LLC of at "
                    f"least {expected:.2g}."
                ),
            )
    heating = predicted_heating(step, n_beta, measured.noise, MOMENTA[-1])
    return (
        "sgld-lm",
        0.0,
        (
            f"sampler = sgld-lm: the stiffest direction is {_ratio(stiffness, gamma)} as stiff as the localiser, but "
            f"with momentum gradient noise is predicted to add {heating:.2g} to an LLC of at least {expected:.2g}."
        ),
    )


def _ratio(stiffness: float, gamma: float) -> str:
    return f"{stiffness / gamma:.3g} times" if gamma > 0 else "infinitely many times"
