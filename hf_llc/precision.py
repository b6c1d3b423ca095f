"""More chains until λ̂ is as precise as was asked for, or the reason why it will not be."""

import math
from collections.abc import Callable

from hf_llc import estimation
from hf_llc.adapters import fleet as fleets
from hf_llc.adapters.store import RunStore
from hf_llc.errors import LaunchError
from hf_llc.launching import execute
from hf_llc.observer import Observer
from hf_llc.plan import Plan
from hf_llc.results import Estimate
from hf_llc.settings import CalibrationSettings
from hf_llc.sufficiency import CHAINS_MIN, ESS_MIN

MAX_CHAINS = 64
MARGIN = 1.1
"""More chains than the error so far asks for, since it is itself an estimate."""


def estimate_to(
    make_plan: Callable[[int], Plan],
    chains: int,
    target: float,
    *,
    max_chains: int = MAX_CHAINS,
    processes: int | None,
    device: str | None,
    observer: Observer,
) -> Estimate:
    """The Estimate whose standard error is at most `target` times λ̂, or the best there is; the observer is told which.

    Where the plan takes independent draws in place of chains, these go on by themselves. Else rounds add chains and
    not draws: a chain's draws depend on its number alone, so that what is there already stays as
    it is, and a run that ends with N chains has the numbers of one that was asked for N at once if it began with four
    or more: what is measured beforehand is in proportion to that many. Each round has a folder of its own, which takes
    over the parts of the one before.

    Args:
        make_plan: the plan for a number of chains. target: relative, above 0.

    Raises:
        SettingsError: the target is not above 0. LaunchError: under `accelerate launch` or `torchrun`.
        HfLlcError: see `launching.execute`.
    """
    CalibrationSettings(target_stderr=target)  # which refuses what is no share
    if fleets.launched():
        raise LaunchError(
            "--target-stderr starts its own processes; run it by itself, with --num-processes, or with --sampler "
            "importance."
        )
    plan = make_plan(chains)
    while True:
        found = execute(lambda: plan, processes=processes, device=device, observer=observer)  # noqa: B023
        if found is None:
            raise LaunchError("Only the process that prints has an estimate.")
        if found.settings.by_draws:
            # Independent draws have gone on to the target by themselves, and have said so.
            return found
        wanted, why = next_chains(found, target, max_chains)
        observer.tell(why)
        if wanted is None:
            return found
        following = make_plan(wanted)
        _take_over(plan, following, observer)
        plan = following


def next_chains(found: Estimate, target: float, max_chains: int) -> tuple[int | None, str]:
    """How many chains the next round needs, None if there should be none, and one sentence why."""
    if found.llc is None or found.stderr is None or found.diagnostics.monte_carlo_stderr is None:
        return None, "There is no number, so more chains would not make it more precise."
    value, chains = abs(found.llc), found.settings.chains
    fixed, sampled = found.diagnostics.step_size_stderr or 0.0, found.diagnostics.monte_carlo_stderr
    reached = found.stderr / value if value > 0 else math.inf
    words = f"The standard error is {reached:.2%} of the LLC with {chains} chains, and {target:.2%} was asked for"
    if reached <= target:
        wanted = min(_fewest_chains(found), max_chains)
        if wanted <= chains:
            return None, f"{words}: done."
        return wanted, f"{words}, but that error is itself too rough: going on with {wanted}."
    if fixed >= target * value:
        return None, (
            f"{words}: more chains will not get there, since the step-size part alone is {fixed / value:.2%}. Lower "
            "--lr or raise --draws, which lengthens its check too."
        )
    needed = math.ceil(MARGIN * chains * sampled**2 / ((target * value) ** 2 - fixed**2))
    if chains >= max_chains:
        return None, f"{words}: that needs about {needed} chains, above --max-chains {max_chains}; raise it or --draws."
    wanted = min(max(needed, chains + 1), max_chains)
    return wanted, f"{words}: going on with {wanted}."


def _fewest_chains(found: Estimate) -> int:
    """Chains with which a standard error is one to go by: CHAINS_MIN, or as many as have ESS_MIN effective draws."""
    ess, chains = found.diagnostics.ess or ESS_MIN, found.settings.chains
    return max(CHAINS_MIN, math.ceil(chains * ESS_MIN / ess))


def _take_over(earlier: Plan, later: Plan, observer: Observer) -> None:
    """Copies the parts: what was measured for fewer chains goes for more."""
    here, there = (RunStore(plan.run_dir, observer.tell) for plan in (earlier, later))
    for name in estimation.shared_part_names(earlier):
        payload = here.read(name)
        if payload is not None and not there.path(name).exists():
            there.write(name, payload)
    resolved = here.read("resolved")
    if resolved is not None and not there.path("resolved").exists():
        settings = {**resolved["settings"], "chains": later.sampler.chains, "threads": later.threads}
        there.write("resolved", {**resolved, "settings": settings})
