"""Models whose learning coefficient is known in closed form, with the nβ and γ to find it at."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Any

from hf_llc.errors import NotFoundError, ResourceError, SettingsError
from hf_llc.execution.machine import free_memory
from hf_llc.measures.llc.validation import exact, problems
from hf_llc.sampling.objective import Objective
from hf_llc.settings.bounds import Bounds, checked, shown
from hf_llc.settings.limits import LARGEST


@dataclass(frozen=True, kw_only=True)
class Case:
    """A model with a known answer.

    Attributes:
        params: what defines the model, for the reader. truth: what a perfect sampler returns.
        limit: True if the truth is that of γ/nβ → 0, from which a perfect sampler at this γ/nβ still differs.
        hidden: the part of the truth that directions make which this γ keeps from being seen at this nβ.
        n_beta, gamma: nβ and γ to sample at. batch_size: items of a minibatch. start: where chains begin.
        by_draws: True if independent draws of the localizing prior sample it, in place of chains.
    """

    name: str
    params: Mapping[str, Any]
    objective: Objective
    truth: float
    n_beta: float
    gamma: float
    limit: bool = False
    hidden: float = 0.0
    batch_size: int = 1
    start: str = "auto"
    dtype: str = "float64"
    by_draws: bool = False


def gaussian() -> Case:
    """A quadratic at finite γ, where λ̂ is known exactly: ½ Σ nβh/(nβh+γ)."""
    n_beta, gamma = 200.0, 20.0
    return Case(
        name="gaussian",
        params={"dimension": len(CURVATURES), "n_beta": n_beta, "gamma": gamma},
        objective=problems.quadratic(CURVATURES),
        truth=exact.quadratic_llc(CURVATURES, n_beta, gamma),
        n_beta=n_beta,
        gamma=gamma,
    )


def sloped_gaussian() -> Case:
    """The curvatures of `gaussian` at a γ that holds the weights, with w* on a slope, which takes a third of λ̂."""
    n_beta, gamma, slope = 200.0, 8000.0, 0.1
    return Case(
        name="gaussian-draws",
        params={"dimension": len(CURVATURES), "slope": slope, "n_beta": n_beta, "gamma": gamma},
        objective=problems.sloped_quadratic(CURVATURES, slope),
        truth=exact.sloped_quadratic_llc(CURVATURES, slope, n_beta, gamma),
        n_beta=n_beta,
        gamma=gamma,
        by_draws=True,
    )


def quartic() -> Case:
    """L = Σ w⁴ in 20 dimensions: λ = d/4, here at finite nβ and γ by quadrature."""
    n_beta, gamma, count = 1e4, 1.0, 20
    return Case(
        name="quartic",
        params={"dimension": count, "n_beta": n_beta, "gamma": gamma, "limit": exact.separable_power_llc([2] * count)},
        objective=problems.separable(4, count),
        truth=count * exact.power_llc(4, n_beta, gamma),
        n_beta=n_beta,
        gamma=gamma,
    )


def normal_crossing() -> Case:
    """L = w₁² w₂²: λ = ½ with multiplicity 2, here at finite nβ and γ by quadrature."""
    n_beta, gamma = 1e4, 100.0
    return Case(
        name="normal-crossing",
        params={"n_beta": n_beta, "gamma": gamma, "limit": exact.normal_crossing_llc([1, 1])},
        objective=problems.normal_crossing(),
        truth=exact.crossing_llc(n_beta, gamma),
        n_beta=n_beta,
        gamma=gamma,
    )


def linear_regression(gamma: float = 5.0, *, by_draws: bool = False) -> Case:
    """Least squares on real samples with unit noise, minibatches of 50: half the dimension as γ/nβ → 0."""
    samples, count = 2000, 20
    objective, curvatures = problems.linear_regression(samples, count, seed=0)
    n_beta = samples / 40
    return Case(
        name="linear-regression-draws" if by_draws else "linear-regression",
        params={"samples": samples, "dimension": count, "n_beta": n_beta, "gamma": gamma, "batch_size": 50},
        objective=objective,
        truth=exact.quadratic_llc(curvatures, n_beta, gamma),
        n_beta=n_beta,
        gamma=gamma,
        batch_size=50,
        by_draws=by_draws,
    )


def reduced_rank(second: int, first: int) -> Case:
    """‖BA‖² of 20 × 20 factors at a minimum where B and A have the ranks given: one model, local values 200 and 150."""
    n_beta, gamma = 1e6, 1000.0
    return Case(
        name=f"reduced-rank-{second}-{first}",
        params={"widths": [20, 20, 20], "ranks": [second, first], "n_beta": n_beta, "gamma": gamma},
        objective=problems.zero_product(20, second, first),
        truth=exact.zero_product_llc(20, second, first),
        n_beta=n_beta,
        gamma=gamma,
        limit=True,
        dtype="float32",
    )


def lora(learned: int) -> Case:
    """A LoRA of rank 4 on a frozen 20 × 20 layer that has learned a change of this rank; 0 is its start, B = 0."""
    size, rank = 20, 4
    n_beta, gamma = 1e6, 1e4 if learned == 0 else 100.0
    return Case(
        name="lora-learned" if learned else "lora",
        params={"size": size, "rank": rank, "learned": learned, "n_beta": n_beta, "gamma": gamma},
        objective=problems.lora(size, rank, learned),
        truth=exact.lora_llc(size, size, rank, learned),
        n_beta=n_beta,
        gamma=gamma,
        limit=True,
        start="auto" if learned == 0 else "both",
        dtype="float32",
    )


def deep_linear(
    widths: Sequence[int] = (20, 20, 20),
    rank: int = 10,
    n_beta: float | None = None,
    samples: int = 0,
    batch_size: int | None = None,
    rescaling: float = 1.0,
    device: str = "cpu",
) -> Case:
    """A deep linear net at aligned factors of its true rank (Aoyagi's λ is the local one there).

    γ bounds the spectral norm of a random matrix of a middling width by REACH: far enough out for the directions that
    the loss does not see to second order, near enough that the product of the others' norms does not run away.

    Args:
        n_beta: nβ; None takes 1e5 for the population loss, NOISY_N_BETA per unit of width for samples.
        samples: 0 takes the population loss; else that many white inputs with unit label noise, in minibatches.
        batch_size: of those minibatches; None makes EPOCH of them an epoch.
        rescaling: multiplies the first factor and divides the last: the same function, and the same λ.

    Raises:
        SettingsError: fewer than two widths, a rank above the smallest, too few samples, or a number out of its range.
        ResourceError: the net or its samples do not fit into memory.
    """
    _check_net(widths, n_beta, samples)
    if not 0 <= rank <= min(widths):
        raise SettingsError(f"rank must be 0 to the smallest of the widths {','.join(map(str, widths))}, got {rank}.")
    batch_size = batch_size if batch_size is not None else max(1, samples // EPOCH)
    if samples and not max(widths[0], batch_size - 1) < samples:
        raise SettingsError(f"samples must exceed the {widths[0]} inputs and the batch size, got {samples}.")
    width = sum(widths) / len(widths)
    if n_beta is None:
        n_beta = float(f"{NOISY_N_BETA * width:.2g}") if samples else 1e5
    known = NOISY_REACH if samples else REACH
    gamma = float(f"{4 * width / known.get(len(widths) - 1, min(known.values())) ** 2:.2g}")
    if samples:
        objective = problems.sampled_deep_linear(widths, rank, samples)
    else:
        objective = problems.deep_linear(widths, rank, rescaling=rescaling, device=device)
    truth = exact.deep_linear_llc(widths, rank)
    described = {"widths": list(widths), "rank": rank, "n_beta": n_beta, "gamma": gamma, "samples": samples}
    return Case(
        name="dln" if rescaling == 1.0 else "dln-rescaled",
        params=described if rescaling == 1.0 else {**described, "rescaling": rescaling},
        objective=objective,
        truth=truth,
        n_beta=n_beta,
        gamma=gamma,
        limit=True,
        hidden=_hidden(widths, rank, truth, n_beta, gamma),
        start="both",
        batch_size=batch_size if samples else 1,
        dtype="float32",
    )


def _check_net(widths: Sequence[int], n_beta: float | None, samples: int) -> None:
    checked("widths", widths, tuple[Annotated[int, Bounds(low=1)], ...])
    checked("n_beta", n_beta, Annotated[float | None, Bounds(above=0, high=LARGEST)])
    checked("samples", samples, Annotated[int, Bounds(low=0)])
    if len(widths) < 2:
        raise SettingsError(f"widths must be 2 or more, got {len(widths)}: those of the inputs and of the outputs.")
    weights = sum(before * after for before, after in pairwise(widths))
    needed = 4 * (COPIES * weights + samples * (widths[0] + widths[-1]))
    if needed > (free := free_memory()):
        raise ResourceError(
            f"A net of widths {','.join(map(str, widths))} with {samples} samples takes "
            f"{needed / 1000000000.0:.3g} GB, and {free / 1000000000.0:.3g} GB are free; use smaller "
            "widths or fewer samples."
        )


def _hidden(widths: Sequence[int], rank: int, truth: float, n_beta: float, gamma: float) -> float:
    """What the blocks of rank 0 make of λ, where draws of the localizing prior alone leave most of it unseen, else 0.

    Those blocks, of sizes M_k = H_k − r, make λ − r(H_1+H_L+1−r)/2. Of draws of variance 1/γ their product has
    nβ E[L] = ½ nβ M_1 … M_{L+1} / γ^L, and no posterior under the loss has more.
    """
    regular = rank * (widths[0] + widths[-1] - rank) / 2
    seen = n_beta / 2 * math.prod(width - rank for width in widths) / gamma ** (len(widths) - 1)
    return truth - regular if seen < SEEN * (truth - regular) else 0.0


def sized(size: str, device: str = "cpu") -> Case:
    """A deep linear net of three equal factors of half rank with about as many weights as `size` says.

    Raises:
        NotFoundError: there is no such size; names those there are.
    """
    if size not in SIZES:
        raise NotFoundError(f"size must be one of {', '.join(SIZES)}, got {shown(size)}.")
    width = SIZES[size]
    return deep_linear([width] * 4, width // 2, n_beta=SIZED_N_BETA * width, device=device)


CURVATURES = [10 ** (-3 + index / 20) for index in range(80)]
SIZES = {"1m": 578, "10m": 1826, "100m": 5774}
SIZED_N_BETA = 5e3
"""nβ per unit of width: the noise of the product then has a spectral norm of 2/√5000, small against its ones."""
REACH = {1: 10.0, 2: 3.0, 3: 1.8, 4: 1.4, 5: 1.2}
"""Spectral norm that γ allows a random factor, by number of factors; the last one also for more."""
NOISY_REACH = {1: 10.0, 2: 1.4, 3: 1.0, 4: 0.85, 5: 0.75, 6: 0.7}
"""Its counterpart with label noise, whose gradients grow with the factors they pass through."""
NOISY_N_BETA = 100.0
"""nβ per unit of width: a compromise between gradient noise, which grows with it, and the way to the limit."""
COPIES = 5
"""Of the weights: w*, the chain's, their gradient, its noise, and a momentum."""
EPOCH = 8
"""Minibatches in an epoch."""
SEEN = 3.0
"""How many times its coefficient nβ E[L] of a block must be at draws of the localizing prior for it to be seen."""
CASES: dict[str, Callable[[], Case]] = {
    "gaussian": gaussian,
    "quartic": quartic,
    "normal-crossing": normal_crossing,
    "linear-regression": linear_regression,
    "reduced-rank-20-0": lambda: reduced_rank(20, 0),
    "reduced-rank-10-10": lambda: reduced_rank(10, 10),
    "lora": lambda: lora(0),
    "lora-learned": lambda: lora(2),
    "dln": deep_linear,
    "dln-rescaled": lambda: deep_linear(rescaling=1.5),
    "gaussian-draws": sloped_gaussian,
    "linear-regression-draws": lambda: linear_regression(500.0, by_draws=True),
}


def case_of(name: str) -> Case:
    """The case of that name, with its default parameters.

    Raises:
        NotFoundError: there is none; names those there are.
    """
    if name not in CASES:
        raise NotFoundError(f"case must be one of {', '.join(CASES)}, got {shown(name)}.")
    return CASES[name]()
