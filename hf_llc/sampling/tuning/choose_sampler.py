"""Which sampler, with how much momentum and how large a step: chosen from what was measured at one checkpoint."""

import math

from hf_llc.sampling.samplers import AUTO, SAMPLERS
from hf_llc.sampling.tuning.gradient_noise import predicted_heating
from hf_llc.sampling.tuning.measurements import ChosenDynamics, LocalGeometry, RequestedDynamics
from hf_llc.sampling.tuning.noise_reduction import HEATING_MAX, MOMENTA, SLOWEST, choose_noise_reduction
from hf_llc.sampling.tuning.step_size import choose_lr, forgets, leaves, stability, two_digits

LOCAL_RISE = 0.5
"""Nats per token that a draw from the localizing prior alone may raise the loss by for chains to start at such
draws."""
SLOW = 10.0
"""Steps of the largest stable size that a flat direction may need to forget where it was before momentum pays."""
DEFAULT_MOMENTUM = 0.8


def choose_start(asked: str, gamma: float, rise: float) -> tuple[str, str]:
    """`anchor` or `localiser`, and one sentence why."""
    if asked != AUTO:
        return asked, "as asked"
    if gamma > 0 and rise <= LOCAL_RISE:
        return "localiser", (
            "start = prior: chains start from draws of the localizing prior, w* + ξ/√γ, which is already "
            f"stationary in flat directions; such a draw changes the loss by {rise:+.2g} nats, "
            "which is local."
        )
    reason = "there is no localizing prior" if gamma == 0 else f"a draw w* + ξ/√γ changes the loss by {rise:+.2g} nats"
    return "anchor", f"start = anchor: chains start at w*, since {reason}."


def settled_start(
    asked: str, start: str, rate: float, burn_in: int, typical: float, dtype: str = "float32"
) -> tuple[str, str | None]:
    """Where chains start once the burn-in is known, and one sentence if that is a new choice.

    Chains that come down from draws of the localizing prior and chains that rise from w* meet where λ̂ is, or show that
    they have not. Where the burn-in is too short to come down, draws of the Laplace approximation have less to forget;
    they take differences of gradients, of which rounding to 16 bits would leave nothing.

    Args:
        rate: at which a flat direction forgets, per step. typical: nβh/γ of the typical curvature.
    """
    if asked != AUTO or start not in {"localiser", "both"}:
        return start, None
    if not leaves(rate, burn_in, typical) and dtype != "bfloat16":
        return "laplace", (
            "start = laplace: chains start from draws w* + (γ + nβH)^(−½) ξ, since the burn-in is too "
            "short to equilibrate from the localizing prior."
        )
    if start == "both" or forgets(rate, burn_in, typical):
        return start, None
    return "both", (
        "start = both: half of the chains start at w*, half from the localizing prior, since the burn-in "
        "is too short to forget the start; if both halves agree, the start does not matter."
    )


def choose_dynamics(asked: RequestedDynamics, n_beta: float, gamma: float, measured: LocalGeometry) -> ChosenDynamics:
    """Sampler, momentum c, step size ε, and how gradients are estimated; what is given is kept.

    Plain minibatches are kept where their noise adds little bias. Elsewhere the ways to reduce it are weighed against
    their cost: `noise_reduction.choose_noise_reduction`.

    Raises:
        SettingsError: nothing limits the step size, see `step_size.choose_lr`.
    """
    if noise_matters(asked, n_beta, gamma, measured):
        return _quieter(asked, n_beta, gamma, measured)
    why: dict[str, str] = {}
    chosen, kept = asked.sampler, asked.momentum
    if chosen == AUTO:
        chosen, kept, why["sampler"] = _sampler(asked.momentum, asked.lr, n_beta, gamma, measured)
    if not SAMPLERS[chosen].momentum:
        kept = 0.0
    elif kept is None:
        kept = DEFAULT_MOMENTUM
    step = asked.lr
    if step is None:
        step, why["lr"] = _step(chosen, kept, n_beta, gamma, measured)
    return ChosenDynamics(
        sampler=chosen,
        momentum=kept,
        lr=step,
        gradient="minibatch" if asked.gradient == AUTO else asked.gradient,
        batches="independent" if asked.batches == AUTO else asked.batches,
        why=why,
    )


def noise_matters(asked: RequestedDynamics, n_beta: float, gamma: float, measured: LocalGeometry) -> bool:
    """True if plain minibatches would add too much bias at the step that is asked for, or else at the largest stable
    one, and no setting says what to do about it."""
    if AUTO not in {asked.gradient, asked.batches} or SAMPLERS.get(asked.sampler, SAMPLERS["sgld-lm"]).whole:
        return False
    fraction = SAMPLERS.get(asked.sampler, SAMPLERS["sgld-lm"]).step_fraction
    step = asked.lr or choose_lr(fraction, n_beta, measured.limiting, gamma)
    allowed = HEATING_MAX * measured.least_llc(n_beta, gamma)
    return 0 < allowed < predicted_heating(step, n_beta, measured.noise, asked.momentum or 0.0)


def _quieter(asked: RequestedDynamics, n_beta: float, gamma: float, measured: LocalGeometry) -> ChosenDynamics:
    reduced = choose_noise_reduction(asked, n_beta, gamma, measured)
    way, why = reduced.way, {}
    if AUTO in {asked.gradient, asked.batches}:
        why["gradient"] = (
            f"{way.words()}: gradient noise of plain minibatches at the largest stable step would add "
            f"{reduced.untamed:.2g} to an LLC of at least {measured.least_llc(n_beta, gamma):.2g}; with "
            f"these settings {reduced.heating:.2g} is predicted."
        )
    if asked.sampler == AUTO:
        momentum = f" with momentum {way.momentum:g}" if way.momentum else ""
        why["sampler"] = f"sampler = {way.sampler}{momentum}: relaxes fastest for its cost at this noise."
    if asked.lr is None:
        value = stability(reduced.lr, n_beta, measured.limiting, gamma)
        why["lr"] = (
            f"lr = {reduced.lr:.2g}: ε(nβh+γ) = {value:.2g} at the measured curvature h = {measured.limiting:.3g} "
            "(unstable from 4)."
        )
    return ChosenDynamics(
        sampler=way.sampler,
        momentum=way.momentum,
        lr=reduced.lr,
        gradient=way.gradient,
        batches=way.batches,
        why=why,
        burn_in_lr=two_digits(reduced.largest) if reduced.largest > reduced.lr else None,
    )


def _step(sampler: str, momentum: float, n_beta: float, gamma: float, measured: LocalGeometry) -> tuple[float, str]:
    """ε and why: the sampler's own share of stability, or less where gradient noise would add too much bias."""
    largest = choose_lr(SAMPLERS[sampler].step_fraction, n_beta, measured.limiting, gamma)
    heating = predicted_heating(largest, n_beta, measured.noise, momentum)
    allowed = HEATING_MAX * measured.least_llc(n_beta, gamma)
    share = max(allowed / heating, 1 / SLOWEST) if heating > allowed > 0 else 1.0
    step = two_digits(largest * share)
    why = (
        f"lr = {step:.2g}: ε(nβh+γ) = {stability(step, n_beta, measured.limiting, gamma):.2g} at the measured "
        f"curvature h = {measured.limiting:.3g} (unstable from 4); "
    )
    if share == 1.0:
        return step, f"{why}{SAMPLERS[sampler].why}."
    return step, (f"{why}with a step {1 / share:.2g} times larger, gradient noise would add {heating:.2g} to λ̂.")


def _sampler(
    momentum: float | None, lr: float | None, n_beta: float, gamma: float, measured: LocalGeometry
) -> tuple[str, float | None, str]:
    stiffness = n_beta * measured.limiting + gamma
    if gamma > 0 and stiffness <= SLOW * gamma:
        steps = f"{stiffness / gamma:.0f} steps" if stiffness > 1.5 * gamma else "about one step"
        return (
            "sgld-lm",
            0.0,
            (f"sampler = sgld-lm: exact on a quadratic at any stable step, and a flat direction relaxes in {steps}."),
        )
    expected = measured.least_llc(n_beta, gamma)
    step = lr if lr is not None else SAMPLERS["baoab"].step_fraction / stiffness if stiffness > 0 else math.nan
    for kept in MOMENTA if momentum is None else (momentum,):
        heating = predicted_heating(step, n_beta, measured.noise, kept)
        # Past critical damping of the flattest direction more momentum only makes the direction oscillate.
        if heating <= HEATING_MAX * expected and 1 - kept >= 2 * math.sqrt(step * gamma):
            return (
                "baoab",
                kept,
                (
                    f"sampler = baoab with momentum {kept:g}: the stiffest direction is "
                    f"{_ratio(stiffness, gamma)} as stiff as the localizing prior, and gradient noise is "
                    f"predicted to add {heating:.2g} to an LLC of at least {expected:.2g}."
                ),
            )
    heating = predicted_heating(step, n_beta, measured.noise, MOMENTA[-1])
    return (
        "sgld-lm",
        0.0,
        (
            f"sampler = sgld-lm: the stiffest direction is {_ratio(stiffness, gamma)} as stiff as the "
            f"localizing prior, but with momentum gradient noise is predicted to add {heating:.2g} to an "
            f"LLC of at least {expected:.2g}."
        ),
    )


def _ratio(stiffness: float, gamma: float) -> str:
    return f"{stiffness / gamma:.3g} times" if gamma > 0 else "infinitely many times"
