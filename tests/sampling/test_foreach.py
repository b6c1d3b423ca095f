"""What is done in pieces, or with noise that is kept, against whole tensors and noise drawn anew: bit for bit."""

import math
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from hf_llc.measures.llc.validation.problems import FunctionObjective
from hf_llc.sampling import seeds
from hf_llc.sampling.chain import run_chain
from hf_llc.sampling.foreach import BLOCK, GROUP, tensor_blocks, tensor_chunks, tensor_groups
from hf_llc.sampling.objective import squared_distance
from hf_llc.sampling.randomness import ChainRandomness, HalfStepRandomness, Randomness, add_noise
from hf_llc.sampling.samplers import SAMPLERS
from hf_llc.sampling.samplers.base import ChainState, GradientSample, Posterior
from hf_llc.sampling.variations import VARIATIONS, Variation
from tests.helpers.chains import settings

CPU = torch.device("cpu")
SIZES = (7, 100, BLOCK - 1, 2 * BLOCK + 5, 3, 3 * BLOCK + 31, 40, 50)


def tensors(seed: int, sizes: Sequence[int] = SIZES) -> list[Tensor]:
    stream = torch.Generator().manual_seed(seed)
    return [torch.randn(size, generator=stream) for size in sizes]


@pytest.mark.parametrize("size", [1, 15, BLOCK, 2 * BLOCK - 1, 2 * BLOCK, 2 * BLOCK + 1, 5 * BLOCK + 17])
def test_blocks_are_the_whole_tensor_in_order(size: int) -> None:
    whole = torch.arange(size)
    parts = [part for (part,) in tensor_blocks(whole)]
    assert torch.equal(torch.cat(parts), whole)
    assert all(part.numel() < 2 * BLOCK for part in parts)
    assert all(part.numel() == BLOCK for part in parts[:-1])
    assert all(part.untyped_storage().data_ptr() == whole.untyped_storage().data_ptr() for part in parts)


def test_a_tensor_whose_elements_are_not_in_a_row_is_one_block() -> None:
    turned = torch.zeros(300, 1000).t()
    assert next(part for (part,) in tensor_blocks(turned)) is turned


def test_groups_take_every_tensor_once_and_stay_within_their_size() -> None:
    first, second = tensors(0), tensors(1)
    result = list(tensor_groups(first, second))
    assert [id(tensor) for group, _ in result for tensor in group] == [id(tensor) for tensor in first]
    assert [id(tensor) for _, group in result for tensor in group] == [id(tensor) for tensor in second]
    assert all(len(group) == 1 or sum(tensor.numel() for tensor in group) <= GROUP for group, _ in result)
    assert len(result) < len(first)
    assert sum(part.numel() for group in tensor_chunks(first) for part in group[0]) == sum(SIZES)


def plain_noise(seed: int, step: int, like: Sequence[Tensor]) -> list[Tensor]:
    """ξ of a step as one tensor after the other takes it from the generator of its address."""
    stream = seeds.generator(seed, "noise", 2, step)
    return [torch.empty_like(tensor).normal_(generator=stream) for tensor in like]


@pytest.mark.parametrize(("name", "keep"), [("sgld", False), ("sgld-lm", False), ("sgld-lm", True), ("baoab", False)])
def test_steps_in_pieces_are_those_of_whole_tensors_bit_for_bit(name: str, keep: bool) -> None:
    moved, anchors, gradients = tensors(0), tensors(1), tensors(2)
    expected = [tensor.clone() for tensor in moved]
    law = Posterior(n_beta=7.0, gamma=3.0, lr=0.02, momentum=0.6)
    randomness = ChainRandomness(5, 2, 1, 1, CPU, keep=moved if keep else ())
    walk = ChainState(moved, anchors, law, randomness, lambda batch: (batch.float(), []))
    state = SAMPLERS[name].init(walk)
    momenta = [tensor.clone() for tensor in state] if name == "baoab" else []
    for index in range(4):
        SAMPLERS[name].step(walk, GradientSample(torch.zeros(1), torch.zeros(1), gradients), state, index)
        _plain_step(name, expected, anchors, gradients, momenta, law, index)
    assert all(torch.equal(here, results) for here, results in zip(moved, expected, strict=True))


def _plain_step(
    name: str,
    weights: list[Tensor],
    anchors: list[Tensor],
    gradients: list[Tensor],
    momenta: list[Tensor],
    law: Posterior,
    index: int,
) -> None:
    """The formulas of the samplers, a whole tensor at a time."""
    now, following = plain_noise(5, index, weights), plain_noise(5, index + 1, weights)
    h, c = math.sqrt(law.lr), law.momentum
    for i, weight in enumerate(weights):
        if name == "baoab":
            momenta[i].add_(gradients[i], alpha=-h * law.n_beta)
            momenta[i].add_(weight, alpha=-h * law.gamma).add_(anchors[i], alpha=h * law.gamma)
            weight.add_(momenta[i], alpha=h / 2)
            momenta[i].mul_(c).add_(now[i], alpha=math.sqrt(1 - c * c))
            weight.add_(momenta[i], alpha=h / 2)
            continue
        weight.lerp_(anchors[i], law.lr * law.gamma / 2).add_(gradients[i], alpha=-law.lr * law.n_beta / 2)
        if name == "sgld":
            weight.add_(now[i], alpha=h)
        else:
            weight.add_(now[i], alpha=h / 2).add_(following[i], alpha=h / 2)


@pytest.mark.parametrize("refined", [False, True])
def test_kept_noise_is_the_noise_drawn_anew(refined: bool) -> None:
    results = []
    for keep in (False, True):
        targets = tensors(0)
        randomness: Randomness = ChainRandomness(1, 0, 1, 1, CPU, keep=targets if keep else ())
        randomness = HalfStepRandomness(randomness, 0.7) if refined else randomness  # type: ignore[arg-type]
        for step in range(6):
            add_noise(targets, [randomness.noise(step), randomness.noise(step + 1)], 0.3)
        results.append(targets)
    assert all(torch.equal(here, result) for here, result in zip(*results, strict=True))


def test_noise_that_was_drawn_over_is_not_taken_for_what_it_was() -> None:
    targets = tensors(0)
    randomness = ChainRandomness(1, 0, 1, 1, CPU, keep=targets)
    add_noise(targets, [randomness.noise(0)], 1.0)
    earlier, later = randomness.noise(0), randomness.noise(1)
    later.add_to(targets[0], 1.0)
    with pytest.raises(RuntimeError, match="drawn over"):
        earlier.add_to(targets[0], 1.0)


@pytest.mark.parametrize("variation", [None, *VARIATIONS], ids=lambda varied: varied.name if varied else "main")
@pytest.mark.parametrize("name", [name for name, sampler in SAMPLERS.items() if sampler.neighbours])
def test_a_chain_is_the_same_whether_noise_is_kept_or_not(name: str, variation: Variation | None) -> None:
    chosen = settings(sampler=name, draws=20, burn_in=5, dtype="float32")
    chosen = variation.settings(chosen) if variation else chosen

    def losses_of(weights: list[Tensor], indices: Tensor) -> Tensor:
        total = torch.stack([(weight.square().sum() - weight.sum() / 10) for weight in weights]).sum()
        return total.expand(len(indices))

    kept, anew = (
        run_chain(
            FunctionObjective(weights := tensors(3), 1, lambda indices, w=weights: losses_of(w, indices)),  # type: ignore[misc]
            torch.zeros(1),
            chosen,
            1,
            variation=variation,
            keep_noise=keep,
        )
        for keep in (True, False)
    )
    assert kept == anew
    assert len(set(kept.losses)) > 20


def test_the_squared_distance_is_that_of_double_precision() -> None:
    here, results = tensors(0), tensors(1)
    exact = sum(float((p.double() - a.double()).square().sum()) for p, a in zip(here, results, strict=True))
    assert float(squared_distance(here, results)) == pytest.approx(exact, rel=1e-6)
