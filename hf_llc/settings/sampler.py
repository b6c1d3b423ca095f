"""How λ̂ is sampled: `SamplerSettings`. None means chosen from measurement; what was chosen is a `ResolvedSettings`."""

from dataclasses import dataclass

from hf_llc.settings.bounds import require
from hf_llc.settings.execution import ExecutionSettings
from hf_llc.settings.limits import LONGEST
from hf_llc.settings.posterior import PosteriorSettings
from hf_llc.settings.recipes import RecipeSettings
from hf_llc.settings.recording import RecordingSettings
from hf_llc.settings.stopping import StoppingSettings

CHAIN_DRAWS = 200
SHORT_DRAWS = 50
"""Draws of a chain where rounds add chains: sixteen such chains have as many as four of CHAIN_DRAWS."""


@dataclass(frozen=True, kw_only=True)
class SamplerSettings(RecipeSettings, RecordingSettings, ExecutionSettings, StoppingSettings, PosteriorSettings):
    """How λ̂ is sampled: what decides the number, when sampling ends, and how the machine computes.

    Every attribute is a keyword argument: those of `PosteriorSettings`, which decide the number, of `StoppingSettings`,
    which decide its error, of `ExecutionSettings`, which change it by rounding alone, of `RecordingSettings`, which
    leave it as it is, and of `RecipeSettings`, which says whose settings they are.
    """

    @property
    def grows(self) -> bool:
        """True if rounds add chains until their error is small enough or the time is up: a target was given, or a time
        and not their number."""
        return self.target_stderr is not None or (self.budget_seconds is not None and self.chains is None)

    @property
    def chain_draws(self) -> int:
        """Draws of a chain."""
        if self.draws is not None:
            return self.draws
        return SHORT_DRAWS if self.grows else CHAIN_DRAWS

    @property
    def tries_draws(self) -> bool:
        """True if independent draws are taken where they serve: nothing that only chains have was asked for."""
        chain_settings = (self.lr, self.burn_in_lr, self.momentum, self.burn_in, self.draws)
        chosen = {self.sampler, self.start, self.gradient, self.batches, self.baseline}
        plain = chosen == {"auto"} and self.thin == 1 and self.checks and self.cross_check in {None, "sgld"}
        return plain and all(value is None for value in chain_settings) and 0 not in {self.n_beta, self.gamma}

    def __post_init__(self) -> None:
        PosteriorSettings.__post_init__(self)
        ExecutionSettings.__post_init__(self)
        RecordingSettings.__post_init__(self)
        RecipeSettings.__post_init__(self)
        steps = (self.burn_in or 0) + self.chain_draws * self.thin
        require(
            steps <= LONGEST,
            f"draws times thin plus burn_in must be ≤ {LONGEST}, got {steps}: a chain keeps the loss of every step.",
        )
        require(
            not self.by_draws or self.cross_check in {None, "sgld"},
            f"cross_check {self.cross_check} goes with chains; of independent draws it is sgld.",
        )
        require(
            self.cross_check != "sgld" or self.by_draws or self.tries_draws,
            "cross_check sgld goes with independent draws (sampler importance); of chains it is draws or lanczos.",
        )
        require(
            self.devices_per_chain == 1 or not self.observables,
            f"keep needs the whole model in one process, got `devices_per_chain` {self.devices_per_chain}; leave that "
            "out.",
        )
        require(
            self.devices_per_chain == 1 or self.batch_norm == "frozen",
            "batch_norm reestimated needs the whole model in one process, got `devices_per_chain` "
            f"{self.devices_per_chain}; leave that out, or use `batch_norm=frozen`.",
        )
        require(
            self.devices_per_chain == 1 or not self.component,
            f"component needs the whole model in one process, got {self.component} with `devices_per_chain` "
            f"{self.devices_per_chain}; leave that out, or name whole tensors with `params`.",
        )
        require(
            self.dtype == "float32" or self.start != "laplace",
            f"`start=laplace` takes differences of gradients, which `dtype={self.dtype}` rounds away; use "
            "`dtype=float32`, or `start=both`.",
        )
        require(
            self.dtype == "float32" or self.baseline != "linear",
            f"`baseline=linear` takes small differences of losses, which `dtype={self.dtype}` rounds away; "
            "use `dtype=float32`, or `baseline=paired`.",
        )
