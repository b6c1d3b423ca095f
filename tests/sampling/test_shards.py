"""Weights that a group holds in parts: the noise of a part is the part of the noise, and sums are those of the whole.

Each process of a group is a thread here, and the sum over the group waits for all of them.
"""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import pytest
import torch
from torch import Tensor

from hf_llc.sampling.chain import run_chain
from hf_llc.sampling.foreach import BLOCK, tensor_chunks
from hf_llc.sampling.gradients import Gradient, full_gradient, gradient_of
from hf_llc.sampling.objective import Objective, all_finite, copy_of, dimension, squared_distance
from hf_llc.sampling.randomness import ChainRandomness
from hf_llc.sampling.samplers import SAMPLERS
from hf_llc.sampling.sharded_objective import SharedObjective
from hf_llc.sampling.shards import Shards, Slice
from hf_llc.sampling.tuning.curvature import root_mean_square, sharpest, spectrum
from hf_llc.sampling.tuning.gamma import choose_gamma, trace_of_hessian
from hf_llc.sampling.tuning.gradient_noise import gradient_noise
from hf_llc.sampling.tuning.lanczos import quadratic_llc_of
from hf_llc.sampling.tuning.measure import measure_geometry, noise_around
from hf_llc.sampling.tuning.measurements import RequestedDynamics
from hf_llc.sampling.variations import VARIATIONS
from tests.helpers.chains import settings

T = TypeVar("T")

COUNT = 2
SHAPES = [(3, 5), (1, 4), (4,), (2 * BLOCK + 7, 2)]
"""Uneven rows, fewer rows than processes, a small one, and one that is taken in blocks."""


class Together:
    """A group of threads."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._barrier = threading.Barrier(count, timeout=20)
        self._given: list[Tensor] = [torch.empty(0)] * count

    def _all(self, rank: int, value: Tensor) -> list[Tensor]:
        self._given[rank] = value.detach().clone()
        self._barrier.wait()
        result = list(self._given)
        self._barrier.wait()
        return result

    def shards(self, rank: int, shapes: Sequence[tuple[int, ...]]) -> Shards:
        """As of FSDP: rows dealt out by `torch.chunk`."""
        return Shards(
            slices=[_slice(shape, rank, self.count) for shape in shapes],
            rank=rank,
            count=self.count,
            total=lambda value: torch.stack(self._all(rank, value)).sum(0),
            joined=lambda value: torch.cat(self._all(rank, value)),
        )

    def run(self, act: Callable[[int], T]) -> list[T]:
        """What `act` returns in each of them."""
        with ThreadPoolExecutor(self.count) as pool:
            return list(pool.map(act, range(self.count)))


def _slice(shape: tuple[int, ...], rank: int, count: int) -> Slice:
    rows = torch.arange(torch.Size(shape).numel()).view(shape).chunk(count)
    here = rows[rank].flatten() if rank < len(rows) else torch.empty(0)
    return Slice(shape, int(here[0]) if len(here) else 0, len(here))


def part_of(whole: Tensor, part: Slice) -> Tensor:
    row = torch.Size(part.shape[1:]).numel()
    return whole.reshape(-1)[part.first : part.first + part.length].view(part.length // row, *part.shape[1:]).clone()


class Regression:
    """A net of two layers over random inputs; a process holds rows of its factors and sees the whole loss."""

    def __init__(self, group: Together | None = None, rank: int = 0) -> None:
        stream = torch.Generator().manual_seed(3)
        self._inputs = torch.randn(32, 6, generator=stream, dtype=torch.float64)
        self._labels = torch.randn(32, generator=stream, dtype=torch.float64)
        whole = [torch.randn(5, 6, generator=stream, dtype=torch.float64), torch.randn(5, generator=stream).double()]
        self.shards = group.shards(rank, [tuple(tensor.shape) for tensor in whole]) if group else Shards()
        self.parameters = [part_of(w, s) for w, s in zip(whole, self.shards.slices, strict=True)] if group else whole

    n = 32

    def _whole(self) -> list[Tensor]:
        if not self.shards.slices:
            return [tensor.clone() for tensor in self.parameters]
        padded = []
        for tensor, part in zip(self.parameters, self.shards.slices, strict=True):
            whole = torch.zeros(part.elements, dtype=tensor.dtype)
            whole[part.first : part.first + part.length] = tensor.flatten()
            padded.append(self.shards.total(whole).view(part.shape))
        return padded

    def _losses(self, weights: Sequence[Tensor], indices: Tensor) -> Tensor:
        hidden = torch.tanh(self._inputs[indices] @ weights[0].T)
        return (hidden @ weights[1] - self._labels[indices]).square().div(2)

    def losses(self, indices: Tensor) -> Tensor:
        with torch.no_grad():
            return self._losses(self._whole(), indices)

    def losses_and_gradient(self, indices: Tensor) -> Tensor:
        weights = [tensor.requires_grad_(True) for tensor in self._whole()]
        with torch.enable_grad():
            losses = self._losses(weights, indices)
            losses.mean().backward()
        for position, (here, whole) in enumerate(zip(self.parameters, weights, strict=True)):
            assert whole.grad is not None
            here.grad = part_of(whole.grad, self.shards.slices[position]) if self.shards.slices else whole.grad
        return losses.detach()


def estimators(objective: Objective) -> Callable[[str], Gradient]:
    anchors, slope = copy_of(objective.parameters), full_gradient(objective, 8)
    return lambda name: gradient_of(name, objective, anchors, slope)


def around(objective: Objective, n_beta: float, gamma: float, start: str) -> list[float]:
    result = measure_geometry(
        objective,
        estimators(objective),
        BATCH,
        RequestedDynamics(),
        n_beta=n_beta,
        gamma=gamma,
        start=start,
        batch_size=8,
        seed=1,
    )
    return [value for value in vars(result.measured).values() if value is not None]


BATCH = torch.arange(8)
MEASURED: dict[str, Callable[[Objective], Sequence[float]]] = {
    "spectrum": lambda o: spectrum(o, BATCH, 1)[:2],
    "sharpest": lambda o: [sharpest(o, BATCH, spectrum(o, BATCH, 1).direction, 2)[0]],
    "lanczos": lambda o: [quadratic_llc_of(o, BATCH, 50.0, 100.0, 1).llc or 0.0],
    "gamma": lambda o: choose_gamma(o, BATCH, o.losses(BATCH), 1),
    "trace": lambda o: [trace_of_hessian(o, BATCH, o.losses(BATCH), 1)],
    "noise": lambda o: [gradient_noise(o, estimators(o)("minibatch"), 8, 1)],
    "noise-around": lambda o: [noise_around(o, estimators(o)("control-variate"), sigma=0.3, batch_size=8, seed=1)],
    "around": lambda o: around(o, 2000.0, 20.0, "localiser"),
    "around-narrowed": lambda o: around(o, 50.0, 4.0, "anchor"),
}


@pytest.mark.parametrize("name", MEASURED)
def test_what_is_measured_is_that_of_the_whole(name: str) -> None:
    whole = MEASURED[name](Regression())
    assert len(set(whole)) > 1 or whole[0] != 0
    group = Together(COUNT)
    for result in group.run(lambda rank: MEASURED[name](Regression(group, rank))):
        assert result == pytest.approx(whole, rel=1e-6)


@pytest.mark.parametrize(("start", "baseline"), [("both", "paired"), ("laplace", "linear")])
@pytest.mark.parametrize("gradient", ["minibatch", "control-variate"])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_chain_is_that_of_the_whole(sampler: str, gradient: str, start: str, baseline: str) -> None:
    chosen = settings(
        sampler=sampler, gradient=gradient, momentum=0.5 if SAMPLERS[sampler].momentum else 0.0, n_beta=40.0,
        gamma=50.0, lr=1e-3, draws=8, burn_in=4, batch_size=32 if SAMPLERS[sampler].whole else 8, n=32, start=start,
        baseline=baseline,
    )  # fmt: skip

    def traces(objective: Objective) -> list[tuple[float, ...]]:
        anchors, slope = objective.losses(torch.arange(32)), full_gradient(objective, 8)
        varied = VARIATIONS[0]
        result = [run_chain(objective, anchors, chosen, 0, anchor_gradient=slope)]
        result.append(
            run_chain(objective, anchors, varied.settings(chosen), 1, anchor_gradient=slope, variation=varied)
        )
        return [value for trace in result for value in (trace.deltas, trace.squared_distances)]

    whole = traces(Regression())
    group = Together(COUNT)
    for result in group.run(lambda rank: traces(Regression(group, rank))):
        for here, results in zip(result, whole, strict=True):
            assert here == pytest.approx(results, rel=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kept", [False, True], ids=["drawn", "kept"])
def test_the_noise_of_a_part_is_the_part_of_the_noise(dtype: torch.dtype, kept: bool) -> None:
    whole = [torch.zeros(shape, dtype=dtype) for shape in SHAPES]
    after = _added(whole, Shards(), kept)
    group = Together(COUNT)
    for rank in range(COUNT):
        shards = group.shards(rank, SHAPES)
        parts = [part_of(torch.zeros(part.shape, dtype=dtype), part) for part in shards.slices]
        result = _added(parts, shards, kept)
        for here, results, part in zip(parts, whole, shards.slices, strict=True):
            assert torch.equal(here.flatten(), results.flatten()[part.first : part.first + part.length])
        # What is asked for after the weights, as MALA asks for a number to decide by, is the same everywhere.
        assert result == after


def _added(targets: list[Tensor], shards: Shards, kept: bool) -> float:
    """Adds noise to all of them, piece by piece unless it is kept; a further number of the stream."""
    randomness = ChainRandomness(5, 2, 32, 8, torch.device("cpu"), keep=targets if kept else (), shards=shards)
    noise = randomness.noise(3)
    if kept:
        for target in targets:
            noise.add_to(target, 2.0)
        return 0.0
    for (group,) in tensor_chunks(targets):
        noise.add_to_all(group, 2.0)
    last = torch.zeros(1, dtype=torch.float64)
    noise.add_to(last, 1.0)
    return float(last)


def test_sums_over_parts_are_those_over_the_whole() -> None:
    whole = [torch.randn(shape, generator=torch.Generator().manual_seed(1)) for shape in SHAPES]
    results = [tensor + 0.1 for tensor in whole]
    group = Together(COUNT)

    def sums(rank: int) -> list[float]:
        shards = group.shards(rank, SHAPES)
        here = [part_of(tensor, part) for tensor, part in zip(whole, shards.slices, strict=True)]
        moved = [tensor + 0.1 for tensor in here]
        return [float(squared_distance(here, moved, shards)), root_mean_square(here, shards), dimension(here, shards)]

    for result in group.run(sums):
        assert result == pytest.approx(
            [float(squared_distance(whole, results)), root_mean_square(whole), dimension(whole)], rel=1e-5
        )


def test_a_weight_that_is_not_finite_is_seen_by_all() -> None:
    group = Together(COUNT)

    def finite(rank: int) -> list[bool]:
        here = [torch.ones(2), torch.ones(0)]
        shards = group.shards(rank, [(4,), (1,)])
        before = all_finite(here, shards)
        here[0][0] = float("nan") if rank == 1 else 0.0
        return [before, all_finite(here, shards)]

    assert group.run(finite) == [[True, False]] * COUNT


def test_items_are_dealt_out_where_they_can_be() -> None:
    shares = [Shards(rank=rank, count=3).own_share(torch.arange(6)).tolist() for rank in range(3)]
    assert shares == [[0, 1], [2, 3], [4, 5]]
    assert Shards(rank=1, count=3).own_share(torch.arange(5)).tolist() == [0, 1, 2, 3, 4]


class Mean:
    """½ (w − i)² for item i; the gradient is averaged over the group, as FSDP does."""

    n, micro_batch = 8, 4

    def __init__(self, group: Together, rank: int) -> None:
        self.shards = group.shards(rank, [(1,)])
        self.parameters = [torch.zeros(1)]
        self.seen: list[int] = []

    def in_full(self) -> "Mean":
        return self

    def losses(self, indices: Tensor) -> Tensor:
        self.seen += indices.tolist()
        return (self.parameters[0] - indices).square() / 2

    def losses_and_gradient(self, indices: Tensor) -> Tensor:
        self.parameters[0].grad = self.shards.total((self.parameters[0] - indices).mean()[None]) / self.shards.count
        return self.losses(indices)


@pytest.mark.parametrize("items", [[5, 0, 2, 7], [5, 0, 2]], ids=["dealt-out", "each-takes-all"])
def test_a_group_has_the_losses_and_the_gradient_of_the_whole_batch(items: list[int]) -> None:
    group = Together(COUNT)

    def results(rank: int) -> tuple[list[float], list[float], float, list[int], object]:
        inner = Mean(group, rank)
        weight = torch.zeros(1)
        shared = SharedObjective(inner, [weight], inner.shards)
        batch = torch.tensor(items)
        losses, again = shared.losses(batch).tolist(), shared.in_full().losses_and_gradient(batch).tolist()
        assert weight.grad is not None
        return losses, again, float(weight.grad), inner.seen, inner.parameters[0].grad

    half = len(items) // COUNT
    for rank, (losses, again, slope, seen, left) in enumerate(group.run(results)):
        assert losses == again == [item**2 / 2 for item in items]
        assert slope == pytest.approx(-sum(items) / len(items))
        share = items[rank * half : (rank + 1) * half] if len(items) % COUNT == 0 else items
        assert seen == share * 2
        assert left is None
