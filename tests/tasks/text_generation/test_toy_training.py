"""Training: what it yields, that it learns, that it repeats itself, and its schedule term by term."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from hf_llc.sampling.shards import WHOLE, Shards
from hf_llc.tasks.text_generation.toy_training import (
    FINAL_SHARE,
    TrainingSettings,
    learning_rate,
    train,
    training_batch,
)

SETTINGS = TrainingSettings(steps=90, batch_size=8, lr=0.1, warm_up=10, weight_decay=0.0)
N = 32


class Regression:
    """A linear regression whose exact answer is `truth`; ℓ_i is half the squared error of one row."""

    def __init__(self) -> None:
        stream = torch.Generator().manual_seed(0)
        self.inputs = torch.randn(N, 3, generator=stream)
        self.truth = torch.tensor([1.0, -2.0, 0.5])
        self.weights = torch.zeros(3, requires_grad=True)
        self.batches: list[list[int]] = []

    @property
    def n(self) -> int:
        return N

    @property
    def parameters(self) -> Sequence[Tensor]:
        return [self.weights]

    @property
    def shards(self) -> Shards:
        return WHOLE

    def losses(self, indices: Tensor) -> Tensor:
        rows = self.inputs[indices]
        return (rows @ (self.weights - self.truth)).square() / 2

    def losses_and_gradient(self, indices: Tensor) -> Tensor:
        self.batches.append(indices.tolist())
        self.weights.grad = None
        losses = self.losses(indices)
        losses.mean().backward()
        return losses.detach()


def test_it_learns() -> None:
    objective = Regression()
    kept = dict(train(objective, SETTINGS, [0, 90]))
    assert kept[90] < 0.01 * kept[0]
    torch.testing.assert_close(objective.weights.detach(), objective.truth, rtol=0, atol=0.1)


def test_it_stops_at_each_step_with_the_weights_of_that_step() -> None:
    objective, seen = Regression(), {}
    for step, loss in train(objective, SETTINGS, [5, 0, 2]):
        seen[step] = objective.weights.detach().clone()
        batch = training_batch(SETTINGS, step, N)
        assert loss == pytest.approx(objective.losses(batch).mean().item())
    assert list(seen) == [0, 2, 5]
    assert not seen[0].any()
    shorter = Regression()
    for _ in train(shorter, SETTINGS, [2]):
        assert torch.equal(shorter.weights.detach(), seen[2])


def test_where_it_stops_does_not_change_where_it_goes() -> None:
    one, other = Regression(), Regression()
    list(train(one, SETTINGS, range(91)))
    list(train(other, SETTINGS, []))
    assert torch.equal(one.weights, other.weights)


def test_it_makes_as_many_updates_as_asked_for() -> None:
    objective = Regression()
    list(train(objective, SETTINGS, []))
    assert len(objective.batches) == SETTINGS.steps + 1
    assert objective.weights.grad is None


def test_the_global_stream_is_left_alone() -> None:
    before = torch.get_rng_state()
    list(train(Regression(), SETTINGS, []))
    assert torch.equal(torch.get_rng_state(), before)


def test_the_seed_decides_the_batches() -> None:
    batches = []
    for seed in (0, 0, 1):
        objective = Regression()
        list(train(objective, TrainingSettings(steps=3, batch_size=8, seed=seed), []))
        batches.append(objective.batches)
    assert batches[0] == batches[1] != batches[2]
    assert all(len(set(batch)) == 8 for batch in batches[0])
    assert batches[0][0] != batches[0][1]


def test_the_step_size_rises_to_its_peak_and_falls_to_its_final_share() -> None:
    settings = TrainingSettings(steps=100, lr=2.0, warm_up=10)
    rates = [learning_rate(settings, step) for step in range(100)]
    assert rates[0] == pytest.approx(0.2)
    assert rates[9] == rates[10] == max(rates) == 2.0
    assert rates[55] == pytest.approx(2.0 * (FINAL_SHARE + (1 - FINAL_SHARE) / 2))
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert learning_rate(settings, 100) == pytest.approx(2.0 * FINAL_SHARE)


def test_the_first_update_is_that_of_adam() -> None:
    """Adam's first step is the sign of the gradient times the step size (Kingma & Ba 2015), for any gradient."""
    objective = Regression()
    stepper = train(objective, SETTINGS, [0, 1])
    next(stepper)
    assert objective.weights.grad is not None
    signs = objective.weights.grad.sign()
    next(stepper)
    torch.testing.assert_close(objective.weights.detach(), -SETTINGS.lr / SETTINGS.warm_up * signs)


def test_gradients_are_clipped() -> None:
    """Weights of 1e6 have gradients far past the norm allowed; Adam keeps the clipped ones in its memory."""
    objective = Regression()
    with torch.no_grad():
        objective.weights.fill_(1e6)
    stepper = train(objective, SETTINGS, [0, 1])
    next(stepper)
    gradient = objective.weights.grad
    assert gradient is not None
    assert float(gradient.norm()) > 1e3
    objective.losses_and_gradient = lambda indices: torch.zeros(1)  # type: ignore[method-assign]
    next(stepper)
    assert float(gradient.norm()) == pytest.approx(SETTINGS.clip, rel=1e-4)


def test_a_step_past_the_end_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\[91\]"):
        next(train(Regression(), SETTINGS, [0, 91]))
