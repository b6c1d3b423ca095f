"""What the chains really used: every setting as a number, and what a chain of them costs."""

from dataclasses import asdict, dataclass
from typing import Any

from hf_llc.settings.posterior import IMPORTANCE

COOLING = 2 / 3
"""Share of the burn-in in which its step size falls to the chains' own."""
LOSS = 1 / 3
"""What a loss alone costs, in gradients of the same items."""
CHECKED = 4
"""Draws with a linear baseline of which one has its slope taken twice, and so a loss more."""


@dataclass(frozen=True, kw_only=True)
class ResolvedSettings:
    """Every number the chains really used; nothing here is left to choose. `params` joins the patterns by commas.

    `momentum` is 0 for samplers that have none; `start` is one of STARTS. Nothing is `auto`.
    `burn_in_lr` is the step size that the burn-in begins with, from which it falls to `lr`; None means `lr`.
    `batched_chains` is `off`: `on` in results of versions that could compute several chains in one call.
    `devices_per_chain` is the number of processes that held one model together.
    Of independent draws there are `chains` times `draws` pairs, and `target_stderr` is the share of λ̂ at which they
    ended, None where their number or the time was given. What is said of steps is then without meaning.
    """

    n_beta: float
    gamma: float
    lr: float
    momentum: float
    gradient: str
    sampler: str
    chains: int
    draws: int
    burn_in: int
    thin: int
    batch_size: int
    micro_batch_size: int
    context_length: int
    n: int
    seed: int
    threads: int
    device: str
    dtype: str
    params: str = ""
    start: str = "anchor"
    batches: str = "independent"
    baseline: str = "paired"
    burn_in_lr: float | None = None
    batched_chains: str = "off"
    devices_per_chain: int = 1
    target_stderr: float | None = None
    prior: str = "isotropic"
    batch_norm: str = "frozen"
    component: str | None = None

    def starts_displaced(self, chain: int) -> bool:
        """True if that chain does not begin at w* itself; where both starts are used every other one does."""
        return self.start in {"localiser", "laplace"} or (self.start == "both" and chain % 2 == 0)

    def lr_at(self, step: int) -> float:
        """ε of an update: within COOLING of the burn-in it falls geometrically from `burn_in_lr` to `lr`.

        Large steps forget the start fast; the bias from gradient noise decays as quickly with the small ones.
        """
        cooling = COOLING * self.burn_in
        if self.burn_in_lr is None or step >= cooling:
            return self.lr
        return float(self.burn_in_lr * (self.lr / self.burn_in_lr) ** (step / cooling))

    @property
    def by_draws(self) -> bool:
        """True for independent draws of the localizing prior: `chains` times `draws` pairs, and no chain."""
        return self.sampler == IMPORTANCE

    @property
    def burn_in_time(self) -> float:
        """How far the burn-in carries a chain, in steps of `lr`: steps that are larger count for more."""
        return sum(self.lr_at(step) for step in range(self.burn_in)) / self.lr

    @property
    def uses_anchor_gradient(self) -> bool:
        """True if a chain needs ∇L_n(w*)."""
        return self.gradient == "control-variate" or self.baseline == "linear"

    @property
    def gradients(self) -> float:
        """What a chain's steps and draws cost, in gradients of a minibatch."""
        return chain_gradients(self.steps, self.draws, self.gradient, self.batches, self.baseline)

    @property
    def steps(self) -> int:
        """Updates per chain: draw k is the state after burn_in + k·thin of them, k = 1 … draws."""
        return self.burn_in + self.draws * self.thin

    def to_dict(self) -> dict[str, Any]:
        """The settings as a JSON-ready mapping."""
        return asdict(self)


def chain_gradients(steps: int, draws: int, gradient: str, batches: str, baseline: str) -> float:
    """What a chain costs, in gradients of a minibatch; LOSS of one for each loss alone, which some draws take."""
    losses = (1 + 2 / CHECKED) * (baseline == "linear") + (batches == "reshuffled")
    return steps * (2 if gradient == "control-variate" else 1) + draws * losses * LOSS
