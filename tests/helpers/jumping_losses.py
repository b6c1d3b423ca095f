"""Losses that change by jumps, with the coefficient that a sampler which feels them would find."""

import torch
from transformers import MixtralConfig, MixtralForCausalLM

from hf_llc.measures.llc.validation.cases import Case
from hf_llc.measures.llc.validation.problems import FunctionObjective

N_BETA, GAMMA = 100.0, 10.0


def stepped(count: int = 10, height: float = 5.0, at: float = 0.1) -> FunctionObjective:
    """L = Σ ½w² + height/nβ where |w| > `at`, at its minimum 0."""
    w = torch.zeros(count, dtype=torch.float64)

    def losses(indices: torch.Tensor) -> torch.Tensor:
        return (w.square() / 2 + height / N_BETA * (w.abs() > at).to(w.dtype)).sum().expand(len(indices))

    return FunctionObjective([w], 1, losses)


def stepped_case(height: float = 5.0, at: float = 0.1, count: int = 10) -> Case:
    """`stepped` with its λ̂ by quadrature, each direction by itself."""
    w = torch.linspace(-2, 2, 400_001, dtype=torch.float64)
    energy = N_BETA * w.square() / 2 + height * (w.abs() > at)
    weight = torch.exp(-energy - GAMMA / 2 * w.square())
    return Case(
        name="stepped",
        params={"height": height},
        objective=stepped(count, height, at),
        truth=count * float((energy * weight).sum() / weight.sum()),
        n_beta=N_BETA,
        gamma=GAMMA,
    )


def mixture(experts: int = 4, chosen: int = 2) -> MixtralForCausalLM:
    """A Mixtral of one layer in eval mode, the same for the same arguments."""
    config = MixtralConfig(
        vocab_size=64,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        num_local_experts=experts,
        num_experts_per_tok=chosen,
        max_position_embeddings=16,
        initializer_range=0.3,
        bos_token_id=0,
        eos_token_id=0,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = MixtralForCausalLM(config)
    model.train(False)
    return model
