"""The language-model objective against transformers' own loss and against whole-batch passes."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

from hf_llc.sampling.objective import copy_of, gradients
from hf_llc.sampling.tuning.curvature import spectrum
from hf_llc.tasks.text_generation.objective import LanguageObjective, default_micro_batch, packed, sequence_losses

VOCABULARY, CONTEXT = 50, 16


@pytest.fixture(scope="module")
def model() -> GPTNeoXForCausalLM:
    config = GPTNeoXConfig(
        vocab_size=VOCABULARY,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=CONTEXT,
    )
    config._attn_implementation = "eager"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        result = GPTNeoXForCausalLM(config)
    result.eval()
    return result


@pytest.fixture(scope="module")
def tokens() -> Tensor:
    return torch.randint(VOCABULARY, (12, CONTEXT), generator=torch.Generator().manual_seed(1), dtype=torch.int32)


def objective(model: GPTNeoXForCausalLM, tokens: Tensor, micro_batch: int) -> LanguageObjective:
    return LanguageObjective(lambda ids: model(input_ids=ids).logits, list(model.parameters()), tokens, micro_batch)


def test_sequence_losses_are_the_loss_that_transformers_computes(model: GPTNeoXForCausalLM, tokens: Tensor) -> None:
    ids = tokens.long()
    with torch.no_grad():
        ours = objective(model, tokens, 5).losses(torch.arange(12))
        theirs = torch.stack([model(input_ids=row[None], labels=row[None]).loss for row in ids])
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


def test_sequence_losses_are_in_nats_per_predicted_token() -> None:
    logits = torch.zeros(3, CONTEXT, VOCABULARY)
    ids = torch.zeros(3, CONTEXT, dtype=torch.int64)
    torch.testing.assert_close(sequence_losses(logits, packed(ids)), torch.full((3,), VOCABULARY).log())


def test_the_gradient_is_that_of_the_mean_and_does_not_depend_on_micro_batches(
    model: GPTNeoXForCausalLM, tokens: Tensor
) -> None:
    indices = torch.tensor([3, 1, 7, 8, 11])
    logits = model(input_ids=tokens[indices].long()).logits
    flat = functional.cross_entropy(logits[:, :-1].flatten(0, 1), tokens[indices][:, 1:].long().flatten())
    expected = torch.autograd.grad(flat, list(model.parameters()))
    for micro_batch in (1, 2, 5):
        result = objective(model, tokens, micro_batch)
        losses = result.losses_and_gradient(indices)
        torch.testing.assert_close(losses.mean(), flat, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(gradients(result.parameters), list(expected), rtol=1e-4, atol=1e-6)


def test_evaluating_losses_leaves_no_gradient(model: GPTNeoXForCausalLM, tokens: Tensor) -> None:
    model.zero_grad(set_to_none=True)
    assert not objective(model, tokens, 4).losses(torch.arange(4)).requires_grad
    assert all(parameter.grad is None for parameter in model.parameters())


def test_the_default_micro_batch_bounds_the_logits() -> None:
    assert default_micro_batch(32, 1024, 50304) == 1
    assert default_micro_batch(32, 128, 2048) == 32
    assert default_micro_batch(1, 4096, 256000) == 1


def test_curvature_by_differences_is_the_largest_eigenvalue_of_the_double_backward_hessian(
    model: GPTNeoXForCausalLM, tokens: Tensor
) -> None:
    parameters, batch = list(model.parameters()), torch.arange(8)
    before = copy_of(parameters)
    largest = spectrum(objective(model, tokens, 8), batch, seed=0).largest
    assert all(torch.equal(p, b) for p, b in zip(parameters, before, strict=True))

    loss = sequence_losses(model(input_ids=tokens[batch].long()).logits, packed(tokens[batch].long())).mean()
    first = torch.autograd.grad(loss, parameters, create_graph=True)
    vector = [torch.randn(p.shape, generator=torch.Generator().manual_seed(3)) for p in parameters]
    value = 0.0
    for _ in range(200):
        length = sum(float(v.square().sum()) for v in vector) ** 0.5
        vector = [v / length for v in vector]
        product = torch.autograd.grad(first, parameters, vector, retain_graph=True, allow_unused=True)
        vector = [torch.zeros_like(p) if h is None else h for h, p in zip(product, parameters, strict=True)]
        value = sum(float(v.square().sum()) for v in vector) ** 0.5
    assert 0.85 * value < largest < 1.02 * value
