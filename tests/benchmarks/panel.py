"""The panel of deep linear nets that samplers are held to: 24 nets of 1k to 1M weights and 2 to 6 factors."""

from dataclasses import dataclass
from itertools import pairwise

import torch

from hf_llc.measures.llc.validation.cases import Case, deep_linear
from hf_llc.measures.llc.validation.validate import ValidationSettings

NETS, SMALLEST, LARGEST = 24, 1e3, 1e6
FACTORS = (2, 3, 4, 5, 6)
JITTER = 0.15
"""Widths differ by up to this share from the one that gives the net its size."""
SHARES = {2: (0.6, 0.95)}
DEEP_SHARE = (0.8, 0.95)
"""Rank over the smallest width; deeper nets of low rank have parts that no γ in reach lets the chains see, which
`validate` says of them (`far-from-limit`)."""


@dataclass(frozen=True)
class Net:
    """Widths and rank; `samples` white inputs with unit label noise, in 8 minibatches an epoch."""

    widths: tuple[int, ...]
    rank: int

    @property
    def size(self) -> int:
        """Weights."""
        return sum(rows * columns for columns, rows in pairwise(self.widths))

    @property
    def name(self) -> str:
        """`20·20·20 rank 10`."""
        return f"{'·'.join(map(str, self.widths))} rank {self.rank}"

    @property
    def samples(self) -> int:
        """Enough to be white in, and more for small nets."""
        return max(5 * max(self.widths), min(4000, 40 * max(self.widths)))

    def case(self) -> Case:
        """The case as `hf-llc validate --case dln --widths … --rank … --samples …` makes it."""
        return deep_linear(self.widths, self.rank, samples=self.samples)

    def effort(self) -> ValidationSettings:
        """Draws and burn-in by size: large nets have so many directions that few draws suffice."""
        if self.size < 10_000:
            return ValidationSettings(draws=1000)
        if self.size < 100_000:
            return ValidationSettings(draws=250, burn_in=2000)
        return ValidationSettings(draws=100, burn_in=1000)


def nets(seed: int = 0, count: int = NETS, smallest: float = SMALLEST, largest: float = LARGEST) -> list[Net]:
    """The panel, drawn once from a seed: `count` sizes evenly spaced in the logarithm, factors by turns."""
    stream = torch.Generator().manual_seed(seed)

    def uniform(low: float, high: float) -> float:
        return low + (high - low) * float(torch.rand((), generator=stream))

    results = []
    for index in range(count):
        factors = FACTORS[index % len(FACTORS)]
        size = smallest * (largest / smallest) ** (index / (count - 1))
        width = (size / factors) ** 0.5
        widths = tuple(round(width * uniform(1 - JITTER, 1 + JITTER)) for _ in range(factors + 1))
        results.append(Net(widths, round(uniform(*SHARES.get(factors, DEEP_SHARE)) * min(widths))))
    return results
