"""SGLD with Leimkuhler–Matthews noise (Leimkuhler & Matthews 2013, the limit method of BAOAB at high friction).

    w ← w − ε/2 ( nβ g + γ (w − w*) ) + √ε (ξ_t + ξ_{t+1}) / 2

The noise of neighbouring steps is shared by half. On a quadratic loss the stationary variance is the target's own at
every stable ε; on other losses the error is of second order in ε where Euler's is of first.
"""

import math

from hf_llc.sampling.randomness import add_noise
from hf_llc.sampling.samplers.base import EXACT, ChainState, GradientSample, Sampler
from hf_llc.sampling.samplers.sgld import drift


def init(walk: ChainState) -> None:
    """No state: the noise of the step before is drawn again from its address, or kept by the chain."""


def step(walk: ChainState, look: GradientSample, state: None, index: int) -> None:
    """One step; its noise is the mean of those addressed `index` and `index + 1`."""
    drift(walk, look.gradients)
    now, following = walk.randomness.noise(index), walk.randomness.noise(index + 1)
    add_noise(walk.parameters, [now, following], math.sqrt(walk.law.lr) / 2)


SAMPLER = Sampler(init, step, step_fraction=1.0, why=EXACT, neighbours=True)
