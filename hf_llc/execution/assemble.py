"""All settings of a plan's chains, from the given settings and the measurements at w*."""

from typing import NamedTuple

from hf_llc.execution.plan import Plan
from hf_llc.sampling.tuning.choose_chains import choose_chains
from hf_llc.sampling.tuning.measurements import LocalGeometry
from hf_llc.settings.resolved import ResolvedSettings


class Assembled(NamedTuple):
    """The settings, and one sentence for each that was not given, by its name."""

    settings: ResolvedSettings
    why: dict[str, str]


def assembled(
    plan: Plan, measured: LocalGeometry, *, n_beta: float, gamma: float, start: str, micro_batch: int
) -> Assembled:
    """The settings of the plan's chains at a checkpoint of which that was measured.

    Args:
        start: where chains would start if the burn-in were as long as it takes. micro_batch: sequences per pass.

    Raises:
        SettingsError: nothing limits the step size, or the sampler needs whole batches.
    """
    asked, corpus = plan.sampler, plan.corpus
    choice = choose_chains(
        asked,
        [measured],
        n_beta=n_beta,
        gamma=gamma,
        n=corpus.n,
        dtype=plan.dtype,
        start=start,
        longest_burn_in=plan.longest_burn_in,
    )
    settings = ResolvedSettings(
        **choice.settings,
        n_beta=n_beta,
        gamma=gamma,
        chains=asked.chain_count,
        draws=asked.chain_draws,
        thin=asked.thin,
        batch_size=asked.chain_batch_size,
        micro_batch_size=micro_batch,
        context_length=corpus.context_length,
        n=corpus.n,
        seed=asked.seed,
        threads=plan.threads,
        device=plan.device,
        dtype=plan.dtype,
        params=",".join(asked.params),
        devices_per_chain=asked.devices_per_chain,
        prior=asked.prior,
        batch_norm=asked.batch_norm,
        component=asked.component,
    )
    return Assembled(settings, dict(choice.reasons))
