"""How much may be measured before a plan's chains: a share of the gradients that these will take."""

from hf_llc.errors import SettingsError
from hf_llc.execution.assemble import assembled
from hf_llc.execution.plan import Plan
from hf_llc.sampling.jumps import COST, measured_draws
from hf_llc.sampling.samplers import AUTO
from hf_llc.sampling.tuning.choose_chains import requested_dynamics
from hf_llc.sampling.tuning.extent import Extent, Needs
from hf_llc.sampling.tuning.measurements import LocalGeometry
from hf_llc.sampling.tuning.proportion import Allowance, Meter
from hf_llc.sampling.tuning.step_size import SHORTEST_BURN_IN
from hf_llc.settings.resolved import ResolvedSettings

COUNTED_CHAINS = 4
"""Chains that are counted at most: from there on the settings are the same for any number, so that chains can be added
to a run."""


def needs_of(plan: Plan) -> Needs:
    """What there is to measure for the plan."""
    sampler = plan.sampler
    return Needs.of(
        requested_dynamics(sampler),
        n=plan.corpus.n,
        batch_size=plan.batch_size,
        gamma=sampler.gamma,
        baseline=sampler.baseline,
        start=sampler.start,
    )


def run_of(settings: ResolvedSettings) -> float:
    """What up to COUNTED_CHAINS chains with these settings take, in gradients of one sequence.

    Their checks take more, but whether there are any must not change the chains.
    """
    chain = settings.gradients + len(measured_draws(settings)) * COST
    return min(settings.chains, COUNTED_CHAINS) * chain * min(settings.batch_size, settings.n)


def least_run(plan: Plan) -> float:
    """What the plan's run takes at least, in gradients of one sequence, whatever is measured."""
    asked = plan.sampler
    shortest = min(SHORTEST_BURN_IN, asked.chain_draws * asked.thin) if asked.burn_in is None else asked.burn_in
    settings = ResolvedSettings(
        n_beta=1.0,
        gamma=1.0,
        lr=1.0,
        momentum=asked.momentum or 0.0,
        gradient="minibatch" if asked.gradient == AUTO else asked.gradient,
        batches="independent" if asked.batches == AUTO else asked.batches,
        baseline="paired" if asked.baseline == AUTO else asked.baseline,
        sampler="sgld-lm" if asked.sampler == AUTO else asked.sampler,
        chains=asked.chain_count,
        draws=asked.chain_draws,
        burn_in=shortest,
        thin=asked.thin,
        batch_size=asked.chain_batch_size,
        micro_batch_size=1,
        context_length=plan.corpus.context_length,
        n=plan.corpus.n,
        seed=asked.seed,
        threads=plan.threads,
        device=plan.device,
        dtype=plan.dtype,
    )
    return run_of(settings)


def allowance_of(plan: Plan, meter: Meter, extent: Extent, *, n_beta: float, gamma: float) -> Allowance:
    """What may be measured around w* for the plan once γ is known."""

    def choice(measured: LocalGeometry, start: str) -> ResolvedSettings | None:
        try:
            return assembled(plan, measured, n_beta=n_beta, gamma=gamma, start=start, micro_batch=1).settings
        except SettingsError:
            # What cannot be chosen is refused when everything has been measured.
            return None

    def run(measured: LocalGeometry, start: str) -> float:
        settings = choice(measured, start)
        return least_run(plan) if settings is None else run_of(settings)

    return Allowance(meter, extent, run, choice)
