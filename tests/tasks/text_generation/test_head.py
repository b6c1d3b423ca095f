"""The last layer and its loss in chunks, against whole logits."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from hf_llc.sampling.objective import gradients
from hf_llc.tasks.text_generation import head as heads
from hf_llc.tasks.text_generation.head import IGNORED, Head, chunk_of, token_losses, token_losses_and_gradient
from hf_llc.tasks.text_generation.objective import LanguageObjective, default_micro_batch, packed, sequence_losses

VOCABULARY, WIDTH, CONTEXT, N = 37, 12, 9, 14


class Model(torch.nn.Module):
    """An embedding, a layer and a head, which may be the embedding again."""

    def __init__(self, *, bias: bool = False, tied: bool = False) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(4)
            self.embedding = torch.nn.Embedding(VOCABULARY, WIDTH)
            self.layer = torch.nn.Linear(WIDTH, WIDTH)
            self.last = torch.nn.Linear(WIDTH, VOCABULARY, bias=bias)
        if tied:
            self.last.weight = self.embedding.weight

    def hidden(self, ids: Tensor) -> Tensor:
        out: Tensor = torch.tanh(self.layer(self.embedding(ids)))
        return out

    def logits(self, ids: Tensor) -> Tensor:
        out: Tensor = self.last(self.hidden(ids))
        return out


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of 6 tokens, of which a sequence of 9 is no multiple."""
    monkeypatch.setattr(heads, "CHUNK", 0)


@pytest.fixture(scope="module")
def tokens() -> Tensor:
    return torch.randint(VOCABULARY, (N, CONTEXT), generator=torch.Generator().manual_seed(1), dtype=torch.int32)


def both(model: Model, tokens: Tensor, micro_batch: int) -> tuple[LanguageObjective, LanguageObjective]:
    """The objective by whole logits and by chunks."""
    moving = [parameter for parameter in model.parameters() if parameter.requires_grad]
    head = Head(model.hidden, model.last.weight, model.last.bias)
    assert chunk_of(head) == WIDTH // 2
    whole = LanguageObjective(model.logits, moving, tokens, micro_batch)
    return whole, LanguageObjective(no_logits, moving, tokens, micro_batch, head)


def no_logits(ids: Tensor) -> Tensor:
    raise AssertionError("whole logits")


MODELS: dict[str, Callable[[], Model]] = {
    "plain": Model,
    "with a bias": lambda: Model(bias=True),
    "tied": lambda: Model(tied=True),
}


@pytest.mark.parametrize("micro_batch", [1, 3, 5])
@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
def test_losses_and_gradients_are_those_of_whole_logits(
    make: Callable[[], Model], tokens: Tensor, micro_batch: int
) -> None:
    model, indices = make(), torch.tensor([3, 1, 7, 13, 0])
    whole, chunked = both(model, tokens, micro_batch)
    expected = whole.losses_and_gradient(indices)
    slopes = [gradient.clone() for gradient in gradients(whole.parameters)]
    result = chunked.losses_and_gradient(indices)
    torch.testing.assert_close(result, expected, rtol=1e-6, atol=0)
    assert torch.equal(chunked.losses(indices), result)
    torch.testing.assert_close(gradients(chunked.parameters), slopes, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("frozen", ["last", "embedding and layer"])
def test_parts_that_do_not_move_get_no_gradient(tokens: Tensor, frozen: str) -> None:
    model, indices = Model(bias=True), torch.arange(4)
    for part in [model.last] if frozen == "last" else [model.embedding, model.layer]:
        part.requires_grad_(False)
    whole, chunked = both(model, tokens, 4)
    whole.losses_and_gradient(indices)
    slopes = [gradient.clone() for gradient in gradients(whole.parameters)]
    chunked.losses_and_gradient(indices)
    torch.testing.assert_close(gradients(chunked.parameters), slopes, rtol=1e-5, atol=1e-7)
    assert all(parameter.grad is None for parameter in model.parameters() if not parameter.requires_grad)


def test_a_position_without_target_counts_for_nothing_even_where_its_logits_are_not_finite() -> None:
    weight = torch.eye(WIDTH)
    hidden = torch.ones(8, WIDTH)
    hidden[-1] = float("inf")
    targets = torch.arange(8)
    targets[-1] = IGNORED
    head = Head(lambda ids: hidden, weight, None)
    losses = token_losses(head, hidden, targets)
    assert losses[-1] == 0
    assert bool(losses.isfinite().all())


def test_lower_precision_products_give_float32_losses_near_those_of_float32(tokens: Tensor) -> None:
    model, ids = Model(bias=True), tokens.long()
    head = Head(model.hidden, model.last.weight, model.last.bias)
    targets = torch.full_like(ids, IGNORED)
    targets[:, :-1] = ids[:, 1:]
    hidden = model.hidden(ids).detach().flatten(0, 1)
    losses, slope = token_losses_and_gradient(head, hidden, targets.flatten(), 0.5, torch.bfloat16)
    assert (losses.dtype, slope.dtype) == (torch.float32, hidden.dtype)
    exact, exact_slope = token_losses_and_gradient(head, hidden, targets.flatten(), 0.5)
    torch.testing.assert_close(losses, exact, rtol=0.02, atol=0.02)
    assert float((slope - exact_slope).norm() / exact_slope.norm()) < 0.02
    assert not torch.equal(losses, exact)


def test_few_logits_are_made_whole(tokens: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heads, "CHUNK", VOCABULARY * CONTEXT * 2)
    model = Model()
    head = Head(lambda ids: no_logits(ids), model.last.weight, None)
    result = LanguageObjective(model.logits, list(model.parameters()), tokens, 2, head)
    assert torch.equal(
        result.losses(torch.arange(2)), sequence_losses(model.logits(tokens[:2].long()), packed(tokens[:2].long()))
    )
    with pytest.raises(AssertionError, match="whole logits"):
        LanguageObjective(model.logits, list(model.parameters()), tokens, 3, head).losses(torch.arange(3))


def test_a_micro_batch_without_whole_logits_is_bound_by_what_the_layers_leave_behind() -> None:
    assert default_micro_batch(32, 1024, 50304, 6 * 128) == 21
    assert default_micro_batch(32, 1024, 50304, 6 * 512) == 5
    assert default_micro_batch(32, 1024, 50304, 24 * 2048) == 1


def test_cross_entropy_of_a_token_is_that_of_torch() -> None:
    stream = torch.Generator().manual_seed(0)
    hidden, weight = torch.randn(20, WIDTH, generator=stream), torch.randn(VOCABULARY, WIDTH, generator=stream)
    targets = torch.randint(VOCABULARY, (20,), generator=stream)
    losses = token_losses(Head(lambda ids: hidden, weight, None), hidden, targets)
    torch.testing.assert_close(losses, functional.cross_entropy(hidden @ weight.t(), targets, reduction="none"))
