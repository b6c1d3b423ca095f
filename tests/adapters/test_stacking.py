"""A model at several sets of weights in one call: the logits, losses and gradients of each by itself."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import GPT2Config, GPTNeoXConfig, LlamaConfig

from hf_llc.adapters.stateless import Stateless
from hf_llc.core.language import LanguageObjective
from hf_llc.core.objective import copy_of, gradients, restore
from hf_llc.core.stacked import StackedLanguageObjective
from tests.adapters.test_last_layer import GPT_LIKE, LLAMA_LIKE, SIZES, model_of

SETS, N, CONTEXT = 3, 12, 20
CONFIGS = [
    GPTNeoXConfig(**SIZES, intermediate_size=64, eos_token_id=2),
    LlamaConfig(**{**LLAMA_LIKE, "num_key_value_heads": 1}, tie_word_embeddings=True),
    GPT2Config(**GPT_LIKE),
]
every_model = pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.model_type)


@pytest.fixture(scope="module")
def tokens() -> Tensor:
    return torch.randint(90, (N, CONTEXT), generator=torch.Generator().manual_seed(1), dtype=torch.int32)


@pytest.fixture(scope="module")
def indices() -> Tensor:
    """A batch of its own for each set."""
    return torch.stack([torch.randperm(N, generator=torch.Generator().manual_seed(k))[:4] for k in range(SETS)])


def usual(model: Any, parameters: Sequence[Tensor], tokens: Tensor, dtype: torch.dtype | None) -> LanguageObjective:
    return LanguageObjective(
        lambda ids: model(input_ids=ids, use_cache=False).logits, parameters, tokens, 2, None, dtype
    )


def sets_of(parameters: Sequence[Tensor]) -> list[Tensor]:
    """The parameters with different noise for each set."""
    stream = torch.Generator().manual_seed(2)
    return [
        torch.stack([p.detach() + 0.05 * torch.randn(p.shape, generator=stream) for _ in range(SETS)])
        for p in parameters
    ]


def one_by_one(
    objective: LanguageObjective, weights: Sequence[Tensor], indices: Tensor
) -> tuple[Tensor, list[list[Tensor]]]:
    """Losses (k, m) and the gradient of each set, by the model with its weights put in place."""
    anchors, losses, slopes = copy_of(objective.parameters), [], []
    for k, batch in enumerate(indices):
        restore(objective.parameters, [each[k] for each in weights])
        losses.append(objective.losses_and_gradient(batch))
        slopes.append([slope.clone() for slope in gradients(objective.parameters)])
    restore(objective.parameters, anchors)
    for parameter in objective.parameters:
        parameter.grad = None
    return torch.stack(losses), slopes


@every_model
@pytest.mark.parametrize(("dtype", "tolerance"), [(None, 2e-5), (torch.bfloat16, 2e-2)], ids=["float32", "bfloat16"])
def test_one_call_computes_what_each_set_of_weights_has_by_itself(
    config: Any, tokens: Tensor, indices: Tensor, dtype: torch.dtype | None, tolerance: float
) -> None:
    model = model_of(config)
    parameters = list(model.parameters())
    weights, before = sets_of(parameters), copy_of(parameters)
    expected, slopes = one_by_one(usual(model, parameters, tokens, dtype), weights, indices)
    stacked = StackedLanguageObjective(Stateless(model, parameters), tokens, 100, dtype)
    losses, found = stacked.losses_and_gradient(weights, indices)
    torch.testing.assert_close(losses, expected, rtol=tolerance / 10, atol=0)
    torch.testing.assert_close(stacked.losses(weights, indices), losses, rtol=1e-6, atol=0)
    for k in range(SETS):
        difference = torch.cat([(slope[k] - own).flatten() for slope, own in zip(found, slopes[k], strict=True)])
        assert difference.norm() < tolerance * torch.cat([own.flatten() for own in slopes[k]]).norm()
    assert {each.dtype for each in [losses, *found]} == {torch.float32}
    assert all(torch.equal(now, then) for now, then in zip(parameters, before, strict=True))
    assert all(parameter.grad is None for parameter in parameters)
    # On one batch the sets differ by far more than what is called equal.
    on_one, _ = one_by_one(usual(model, parameters, tokens, dtype), weights, indices[[0] * SETS])
    assert float((on_one[0] / on_one[1] - 1).abs().max()) > tolerance


@every_model
def test_parameters_that_stay_are_the_models_own_for_all_sets(config: Any, tokens: Tensor, indices: Tensor) -> None:
    model = model_of(config)
    moving = [p for name, p in model.named_parameters() if "mlp" in name]
    for parameter in model.parameters():
        parameter.requires_grad_(any(parameter is each for each in moving))
    assert 0 < len(moving) < len(list(model.parameters()))
    weights = sets_of(moving)
    expected, slopes = one_by_one(usual(model, moving, tokens, None), weights, indices)
    losses, found = StackedLanguageObjective(Stateless(model, moving), tokens, 100).losses_and_gradient(
        weights, indices
    )
    torch.testing.assert_close(losses, expected, rtol=2e-5, atol=0)
    for k in range(SETS):
        for slope, own in zip(found, slopes[k], strict=True):
            torch.testing.assert_close(slope[k], own, rtol=1e-3, atol=1e-6)


def test_a_forward_pass_takes_no_more_sequences_than_it_may_and_the_numbers_stay(
    tokens: Tensor, indices: Tensor
) -> None:
    model = model_of(CONFIGS[0])
    parameters = list(model.parameters())
    weights, whole = sets_of(parameters), Stateless(model, parameters)
    seen = []

    def logits(at: Sequence[Tensor], ids: Tensor) -> Tensor:
        seen.append(tuple(ids.shape))
        return whole(at, ids)

    expected, slopes = StackedLanguageObjective(whole, tokens, 100).losses_and_gradient(weights, indices)
    losses, found = StackedLanguageObjective(logits, tokens, 2 * SETS).losses_and_gradient(weights, indices)
    assert seen == [(SETS, 2, CONTEXT)] * 2
    torch.testing.assert_close(losses, expected, rtol=1e-6, atol=0)
    for slope, other in zip(found, slopes, strict=True):
        torch.testing.assert_close(slope, other, rtol=1e-3, atol=1e-7)


def test_weights_that_the_loss_does_not_depend_on_have_no_gradient(tokens: Tensor, indices: Tensor) -> None:
    def logits(at: Sequence[Tensor], ids: Tensor) -> Tensor:
        return at[0][:, None, None, :].expand(*ids.shape, 90)

    weights = [torch.zeros(SETS, 90), torch.ones(SETS, 5)]
    _, found = StackedLanguageObjective(logits, tokens, 100).losses_and_gradient(weights, indices)
    assert found[0].abs().sum() > 0
    assert torch.equal(found[1], torch.zeros(SETS, 5))
