"""How thoroughly to look around w* before the chains, so that it takes no more than a given number of gradients."""

from typing import NamedTuple, Self

from hf_llc.sampling.baseline import ITEMS
from hf_llc.sampling.samplers import AUTO
from hf_llc.sampling.tuning.curvature import ITERATIONS
from hf_llc.sampling.tuning.gamma import BISECTIONS, DIRECTIONS
from hf_llc.sampling.tuning.gradient_noise import PAIRS
from hf_llc.sampling.tuning.measurements import RequestedDynamics
from hf_llc.sampling.tuning.probe import DRAWN
from hf_llc.settings.resolved import LOSS

FEWEST = 16
"""Items drawn at random below which a comparison with them says nothing and is left out."""


class Level(NamedTuple):
    """What `Extent` says of curvature, γ and draws, how often the items of a minibatch are halved, and the fewest items
    whose losses are compared with a baseline; 0 leaves that out."""

    products: int
    evaluations: int | None
    directions: int
    pairs: int
    halvings: int
    compared: int


FULL = Level(ITERATIONS, None, DIRECTIONS, PAIRS, 0, 16)
REDUCED = (
    # Comparisons are halved at every level. They take as much for every minibatch, which is most for small ones.
    *(FULL, FULL, FULL),
    # Three products at w* and three more elsewhere find four fifths of a curvature; half of the items may find twice
    # as much.
    *(FULL._replace(products=products, evaluations=4, pairs=1) for products in (6, 4, 3)),
)
LEAST = (Level(3, 4, 2, 1, 0, 0), Level(3, 4, 1, 1, 0, 0), Level(2, 3, 1, 1, 0, 0))
"""For one item."""


class Extent(NamedTuple):
    """How thoroughly to look; all costs are in gradients of one item.

    Attributes:
        drawn: items drawn at random that the first ones are compared with; 0 leaves the comparison out.
        probed: items on which curvature and the prior's rise are measured.
        products: Hessian-vector products of a curvature at most.
        evaluations: displacements that γ is chosen from; None for a search by bisection.
        directions: antithetic pairs that a mean rise of the loss is taken over.
        pairs, noise: pairs of batches that show gradient noise, and items of such a batch; 0 pairs leave it out.
        compared: items whose losses are compared with a baseline; 0 leaves it out.
        sharp: whether a minibatch that is far sharper than others is looked at by itself.
        narrowings: displacements that how far chains go from w* is chosen from; None for a search by halves.
    """

    drawn: int
    probed: int
    products: int
    evaluations: int | None
    directions: int
    pairs: int
    noise: int
    compared: int
    sharp: bool
    narrowings: int | None

    @property
    def is_full(self) -> bool:
        """True if nothing that is looked at was made smaller."""
        return self.evaluations is None

    @property
    def rise_cost(self) -> float:
        """What a mean rise of the loss takes."""
        return 2 * self.directions * LOSS * self.probed

    @property
    def noise_cost(self) -> float:
        """What the noise of plain minibatches takes; that with a control variate takes twice as much."""
        return 2.0 * self.pairs * self.noise

    @property
    def curvature_cost(self) -> float:
        """What one curvature takes at most."""
        return 2.0 * self.products * self.probed

    @property
    def look_cost(self) -> float:
        """What the measurements after a warm-up run take at most: curvature, tr H², tr H, noise, baseline."""
        return (
            self.curvature_cost
            + (2 + LOSS) * self.probed
            + self.rise_cost
            + (1 + 2) * self.noise_cost
            + 4 * LOSS * self.compared
        )


def full_extent(batch_size: int, probed: int) -> Extent:
    """The most thorough extent for minibatches of that size, on `probed` items."""
    return Extent(
        drawn=max(DRAWN, 2 * batch_size, probed),
        probed=probed,
        products=ITERATIONS,
        evaluations=None,
        directions=DIRECTIONS,
        pairs=PAIRS,
        noise=batch_size,
        compared=max(ITEMS, probed),
        sharp=True,
        narrowings=None,
    )


class Needs(NamedTuple):
    """What the settings leave to be chosen, and so what there is to measure.

    Attributes:
        n, batch_size: items in all and in a minibatch.
        gamma, step, noise, baseline: whether γ, the step size or the sampler, what to do about gradient noise, and the
            baseline are to be chosen.
        displaced: whether chains may well begin at w* itself, so that it is not known how far from it they go.
        controlled: whether gradients have a control variate by request.
    """

    n: int
    batch_size: int
    gamma: bool
    step: bool
    noise: bool
    baseline: bool
    displaced: bool
    controlled: bool

    @classmethod
    def of(
        cls, asked: RequestedDynamics, *, n: int, batch_size: int, gamma: float | None, baseline: str, start: str
    ) -> Self:
        """By the settings, of which None and `auto` are chosen."""
        step = asked.lr is None or asked.sampler == AUTO
        return cls(
            n=n,
            batch_size=batch_size,
            gamma=gamma is None,
            step=step,
            noise=step or AUTO in {asked.gradient, asked.batches},
            baseline=baseline == AUTO and batch_size < n,
            # Draws of a localizing prior that was chosen to be local are where chains start.
            displaced=start == "anchor" or (start == AUTO and gamma is not None),
            controlled=asked.gradient == "control-variate",
        )

    @property
    def full(self) -> Extent:
        """The extent that leaves out only what is not needed."""
        return self._at(FULL, 0)

    def within(self, allowed: float) -> Extent:
        """The most thorough extent that takes no more gradients of one item than allowed; the least, if none does."""
        halvings = min(self.batch_size, self.n).bit_length() - 1
        smaller = [REDUCED[-1]._replace(halvings=each, compared=8) for each in range(1, halvings + 1)]
        least = [each._replace(halvings=halvings) for each in LEAST]
        extents = [self._at(level, place) for place, level in enumerate([*REDUCED, *smaller, *least])]
        return next((extent for extent in extents if self.cost(extent) <= allowed), extents[-1])

    def cost(self, extent: Extent) -> float:
        """What all that is measured before a warm-up run takes at most."""
        searches = self.gamma * (extent.evaluations or BISECTIONS + 2)
        # The first is where the rise is known.
        narrowings = self.displaced * (extent.narrowings or 2) - 1
        # Chains in 16 bits have the rise looked at in these too; what is measured in float32 is the same for them.
        rounded = LOSS * extent.probed + extent.rise_cost
        return (
            (extent.drawn + extent.probed) * (extent.drawn > 0)
            + (1 + self.gamma) * LOSS * extent.probed
            + (2 + searches + max(0, narrowings)) * extent.rise_cost
            + rounded
            + 2 * extent.curvature_cost
            + 2.0 * extent.products * self.batch_size * extent.sharp
            + (1 + self.controlled) * extent.noise_cost
            + 4 * LOSS * extent.compared
        )

    def _at(self, level: Level, halvings: int) -> Extent:
        """The extent of that level with comparisons that were so often halved."""
        full = full_extent(self.batch_size, min(self.batch_size, self.n))
        drawn, compared = full.drawn >> halvings, max(full.compared >> halvings, level.compared)
        compares = self.batch_size < self.n and drawn >= FEWEST
        return Extent(
            drawn=drawn if compares else 0,
            probed=full.probed >> level.halvings,
            products=level.products,
            evaluations=level.evaluations,
            directions=level.directions,
            # Fewer items than two minibatches show no noise of these.
            pairs=level.pairs if self.noise and self.n >= 2 * self.batch_size else 0,
            noise=max(1, full.noise >> level.halvings),
            compared=min(compared, self.n) if self.baseline and level.compared else 0,
            sharp=compares and self.step,
            narrowings=level.evaluations if self.displaced or level.evaluations is None else 1,
        )
