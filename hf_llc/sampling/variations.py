"""Chains that differ from the main ones in one thing, to learn what the number depends on.

half-step     half the time, refined noise   is the step small enough?
cold          no noise, from w* itself       how far does the loss fall or rise without a temperature?
stronger      a larger γ                     does the number say more than the localizing prior?

Whether it depends on the temperature the main chains say themselves: `sampling.estimator.n_beta_slope`.
"""

import math
from dataclasses import dataclass, replace

from hf_llc.sampling.randomness import ChainRandomness, HalfStepRandomness, NoiseFreeRandomness, Randomness
from hf_llc.sampling.samplers import SAMPLERS
from hf_llc.settings.resolved import ResolvedSettings

SHARE = 12
"""Draws of a check are a twelfth of a chain's unless it says more, at least FEWEST: they are compared with a limit, or
with the same chain's own draws at common random numbers, which needs far fewer than the number itself."""
FEWEST = 16
STEP_IN_GAMMA = 1.5
"""Factor on γ for a slope in it. Coupled chains differ by less the nearer it is to 1, so that the slope's error hardly
depends on it, unless something keeps them apart: chains of a loss that is flat at w* meet slowly."""
CHECKED_CHAINS = 2
"""Chains that are varied, the first ones, where one is not enough."""


@dataclass(frozen=True, kw_only=True)
class Variation:
    """What differs: the factor on γ, steps per whole step, whether there is noise, and the share of draws, 1 / `share`;
    and how many chains are varied so at least, the first ones, or as many as have 1 / `of_all` of all chains' draws."""

    name: str
    gamma: float = 1.0
    refinement: int = 1
    cold: bool = False
    share: int = SHARE
    chains: int = CHECKED_CHAINS
    of_all: int | None = None

    def count(self, chains: int, draws: int) -> int:
        """How many of so many chains, each of so many draws, are varied."""
        if self.of_all is None:
            return min(chains, self.chains)
        return min(chains, max(self.chains, math.ceil(chains * draws / self.of_all / self._share_of(draws))))

    def settings(self, main: ResolvedSettings) -> ResolvedSettings:
        """The settings of the varied chain. With momentum a step of ε/4 that keeps √c takes half the time."""
        finer = self.refinement == 2 and SAMPLERS[main.sampler].momentum
        shorter = self.refinement ** (2 if finer else 1)
        return replace(
            main,
            gamma=main.gamma * self.gamma,
            lr=main.lr / shorter,
            burn_in_lr=None if main.burn_in_lr is None else main.burn_in_lr / shorter,
            momentum=math.sqrt(main.momentum) if finer else main.momentum,
            burn_in=main.burn_in * self.refinement,
            thin=main.thin * self.refinement,
            draws=self._draws(main),
        )

    def _draws(self, main: ResolvedSettings) -> int:
        # Where the finer steps do not retrace the whole ones nothing cancels, so no draw is spared.
        if self.refinement == 2 and not SAMPLERS[main.sampler].coupled:
            return main.draws
        return self._share_of(main.draws)

    def _share_of(self, draws: int) -> int:
        return min(draws, max(FEWEST, draws // self.share))

    def randomness(self, whole: ChainRandomness, settings: ResolvedSettings) -> Randomness:
        """The random numbers of the varied chain, whose own settings these are."""
        if self.cold:
            return NoiseFreeRandomness(whole)
        if self.refinement == 1:
            return whole
        return HalfStepRandomness(whole, settings.momentum**2 if SAMPLERS[settings.sampler].momentum else 1.0)


VARIATIONS = (
    # Its error is part of the number's, and mostly the larger part: the slopes are only said beside it. As many more
    # chains are varied as there are main ones, else more of these would not make the number more precise.
    Variation(name="half-step", refinement=2, share=4, of_all=8),
    Variation(name="cold", cold=True, chains=1),
    Variation(name="stronger", gamma=STEP_IN_GAMMA, share=6, chains=1),
)

LIMIT_VARIATIONS = (*VARIATIONS[:2], Variation(name="gamma-double", gamma=2.0, share=1))
"""For λ̂ at γ/nβ → 0: the change from γ to 2γ is then part of the number and not only of what is said of it. A weaker
localizing prior would show the limit better, but its chains settle far more slowly."""
