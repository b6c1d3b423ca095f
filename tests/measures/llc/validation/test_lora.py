"""A LoRA on a frozen linear layer: its exact coefficient, told in three ways, and what the sampler finds."""

import math
from typing import Any

import peft
import pytest
import torch

from hf_llc.measures.llc.validation import problems
from hf_llc.measures.llc.validation.cases import case_of
from hf_llc.measures.llc.validation.exact import lora_llc
from hf_llc.measures.llc.validation.problems import LORA_SCALE
from hf_llc.measures.llc.validation.validate import ValidationSettings, validate

NOTHING = torch.zeros(1, dtype=torch.int64)


def aoyagi_watanabe(inputs: int, outputs: int, hidden: int, rank: int) -> float:
    """λ of reduced-rank regression in the four cases of Aoyagi & Watanabe (2005), Theorem 1."""
    m, n, h, r = inputs, outputs, hidden, rank
    if m + h < n + r:
        return (h * m - h * r + n * r) / 2
    if n + h < m + r:
        return (h * n - h * r + m * r) / 2
    if m + n < h + r:
        return m * n / 2
    odd = (m + n + h + r) % 2
    return (-((h + r) ** 2) - m**2 - n**2 + 2 * (h + r) * (m + n) + 2 * m * n + odd) / 8


@pytest.mark.parametrize("inputs", [3, 8, 20])
@pytest.mark.parametrize("outputs", [4, 9, 20])
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_what_was_learned_has_the_coefficient_of_reduced_rank_regression(inputs: int, outputs: int, rank: int) -> None:
    for learned in range(1, rank + 1):
        assert lora_llc(inputs, outputs, rank, learned) == aoyagi_watanabe(inputs, outputs, rank, learned)


def test_where_it_begins_the_evidence_falls_by_the_coefficient() -> None:
    """−d log Z / d log nβ → λ (Watanabe 2009), with B integrated out.

    At B* = 0 with nothing to learn L is quadratic in B: given A, ∫ exp(−nβ L − γ ‖B‖²/2) dB is a power −outputs/2 of
    det(γ + nβ s² A Aᵀ), and what is left is a mean over A around A*.
    """
    size, rank, gamma, stream = 20, 4, 1000.0, torch.Generator().manual_seed(0)
    b, a = (tensor.detach().double() for tensor in problems.lora(size, rank, 0).parameters)
    assert not b.any()
    assert torch.linalg.matrix_rank(a) == rank
    around = a + gamma**-0.5 * torch.randn(20_000, rank, size, generator=stream, dtype=torch.float64)

    def log_evidence(n_beta: float) -> float:
        precision = n_beta * LORA_SCALE**2 * around @ around.mT + gamma * torch.eye(rank, dtype=torch.float64)
        return float(torch.logsumexp(-size / 2 * torch.linalg.slogdet(precision).logabsdet, 0))

    slope = log_evidence(1e6) - log_evidence(1e6 * 1.1)
    assert slope / math.log(1.1) == pytest.approx(lora_llc(size, size, rank, 0), rel=0.01)


@pytest.mark.parametrize("learned", [0, 2])
def test_the_problem_is_a_lora_of_peft_on_a_linear_layer(learned: int) -> None:
    objective = problems.lora(20, 4, learned)
    b, a = objective.parameters
    layer = torch.nn.Sequential(torch.nn.Linear(20, 20, bias=False))
    wrapped: Any = peft.get_peft_model(
        layer,
        peft.LoraConfig(r=4, lora_alpha=8, target_modules=["0"]),
    )
    tuned = wrapped.base_model.model[0]
    assert tuned.scaling["default"] == LORA_SCALE
    frozen = tuned.base_layer.weight
    with torch.no_grad():
        tuned.lora_A["default"].weight.copy_(a)
        tuned.lora_B["default"].weight.copy_(b)
        target = frozen + LORA_SCALE * b @ a
        stream = torch.Generator().manual_seed(0)
        for mine, theirs in ((a, tuned.lora_A["default"].weight), (b, tuned.lora_B["default"].weight)):
            noise = 0.1 * torch.randn(mine.shape, generator=stream)
            mine.add_(noise)
            theirs.add_(noise)
    objective.losses_and_gradient(NOTHING)
    # White inputs: the rows of the unit matrix are as good as all of them.
    loss = (wrapped(torch.eye(20)) - target.T).square().sum() / 2
    loss.backward()
    assert float(objective.losses(NOTHING)) == pytest.approx(loss.item(), rel=1e-5)
    for mine, theirs in ((a, tuned.lora_A["default"].weight), (b, tuned.lora_B["default"].weight)):
        assert mine.grad is not None
        torch.testing.assert_close(mine.grad, theirs.grad, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("name", "truth", "draws"), [("lora", 40.0, 500), ("lora-learned", 55.5, 800)])
def test_the_sampler_finds_it(name: str, truth: float, draws: int) -> None:
    case = case_of(name)
    assert case.truth == truth
    validation = validate(case, ValidationSettings(draws=draws))
    assert validation.verdict == "converged"
    assert validation.stderr is not None
    assert validation.error_in_stderr is not None
    assert validation.stderr < 0.05 * truth
    assert abs(validation.error_in_stderr) < 3
