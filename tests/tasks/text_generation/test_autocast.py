"""Losses and gradients in bfloat16 around weights that stay float32."""

import pytest
import torch
from torch import Tensor

from hf_llc.sampling.chain import run_chain
from hf_llc.sampling.objective import copy_of, gradients
from hf_llc.tasks.text_generation import head as heads
from hf_llc.tasks.text_generation.head import Head
from hf_llc.tasks.text_generation.objective import LanguageObjective
from tests.helpers.chains import settings
from tests.tasks.text_generation.test_head import CONTEXT, VOCABULARY, Model

N = 8
RESOLUTION = 2.0**-9
"""Relative change of a number that bfloat16 may not show."""


@pytest.fixture(scope="module")
def tokens() -> Tensor:
    return torch.randint(VOCABULARY, (N, CONTEXT), generator=torch.Generator().manual_seed(1), dtype=torch.int32)


def objective(model: Model, tokens: Tensor, dtype: torch.dtype | None, *, chunks: bool) -> LanguageObjective:
    head = Head(model.hidden, model.last.weight, model.last.bias) if chunks else None
    return LanguageObjective(model.logits, list(model.parameters()), tokens, 4, head, dtype)


@pytest.mark.parametrize("chunks", [False, True])
def test_products_are_16_bits_wide_and_everything_else_is_float32(
    tokens: Tensor, monkeypatch: pytest.MonkeyPatch, chunks: bool
) -> None:
    monkeypatch.setattr(heads, "CHUNK", 0 if chunks else heads.CHUNK)
    model, indices = Model(bias=True), torch.arange(N)
    exact = objective(model, tokens, None, chunks=chunks)
    expected = exact.losses_and_gradient(indices)
    slopes = [gradient.clone() for gradient in gradients(exact.parameters)]
    rounded = objective(model, tokens, torch.bfloat16, chunks=chunks)
    result = rounded.losses_and_gradient(indices)
    assert {tensor.dtype for tensor in [result, *rounded.parameters, *gradients(rounded.parameters)]} == {torch.float32}
    assert torch.equal(rounded.losses(indices), result)
    assert not torch.equal(result, expected)
    torch.testing.assert_close(result, expected, rtol=0.02, atol=0)
    for gradient, slope in zip(gradients(rounded.parameters), slopes, strict=True):
        assert 0 < float((gradient - slope).norm() / slope.norm()) < 0.02
    assert torch.equal(rounded.in_full().losses(indices), exact.losses(indices))


def test_updates_that_bfloat16_could_not_show_are_not_lost(tokens: Tensor) -> None:
    model = Model()
    walked = objective(model, tokens, torch.bfloat16, chunks=False)
    lr, steps = 1e-12, 20
    chosen = settings(lr=lr, n=N, burn_in=0, draws=steps, batch_size=4, dtype="bfloat16", sampler="sgld")
    before = copy_of(walked.parameters)
    trace = run_chain(walked, walked.losses(torch.arange(N)), chosen, 0)
    weights = torch.cat([parameter.flatten() for parameter in before])
    # A step is √ε, far below what rounding to 16 bits leaves of any but the tiniest weights.
    assert (lr * steps) ** 0.5 < RESOLUTION * float(weights.abs().quantile(0.01))
    walk = torch.tensor(trace.squared_distances) / (lr * len(weights))
    torch.testing.assert_close(walk, torch.arange(1.0, steps + 1), rtol=0.15, atol=0)
    assert all(torch.equal(now, then) for now, then in zip(walked.parameters, before, strict=True))


def test_a_forward_pass_sees_the_weights_of_its_own_step(tokens: Tensor) -> None:
    model, indices = Model(), torch.arange(N)
    walked = objective(model, tokens, torch.bfloat16, chunks=False)
    first = walked.losses_and_gradient(indices)
    with torch.no_grad():
        model.last.weight.mul_(2)
    again = walked.losses_and_gradient(indices)
    assert not torch.equal(first, again)
    assert torch.equal(again, objective(model, tokens, torch.bfloat16, chunks=False).losses(indices))
