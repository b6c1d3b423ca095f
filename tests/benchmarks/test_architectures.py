"""Three kinds of trained transformer: what pairing gains, and what a step four times larger changes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, GPTNeoXConfig, GPTNeoXForCausalLM, LlamaConfig, LlamaForCausalLM

from hf_llc.adapters.statistics import summarise
from hf_llc.core.chain import run_chain
from hf_llc.core.language import LanguageObjective
from hf_llc.core.training import TrainingSettings, train
from hf_llc.settings import ResolvedSettings
from tests.benchmarks.trained import Trained, demo_model

VOCABULARY, WIDTH, LAYERS, HEADS = 512, 64, 2, 4
STEPS, BATCH, CHAINS, DRAWS = 400, 16, 4, 150
N_BETA, GAMMA, LR = 250.0, 5000.0, 2e-5


SIZES: dict[str, Any] = {"hidden_size": WIDTH, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS}


def neox() -> Any:
    return GPTNeoXForCausalLM(GPTNeoXConfig(vocab_size=VOCABULARY, intermediate_size=4 * WIDTH, **SIZES))


def llama() -> Any:
    return LlamaForCausalLM(LlamaConfig(vocab_size=VOCABULARY, intermediate_size=3 * WIDTH, **SIZES))


def gpt2() -> Any:
    sizes: dict[str, Any] = {"n_embd": WIDTH, "n_layer": LAYERS, "n_head": HEADS}
    return GPT2LMHeadModel(GPT2Config(vocab_size=VOCABULARY, n_positions=64, **sizes))


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """The demonstration's tokens; its model is not used."""
    return demo_model(tmp_path_factory.mktemp("demo"), steps=1)


def trained(make: Callable[[], Any], tokens: torch.Tensor) -> Trained:
    """The model after STEPS updates on the tokens."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = make()
    model.train(False)
    objective = LanguageObjective(lambda ids: model(input_ids=ids).logits, list(model.parameters()), tokens, BATCH)
    for _ in train(objective, TrainingSettings(steps=STEPS, batch_size=BATCH), [STEPS]):
        pass
    return Trained(model, tokens)


def settings(model: Trained, lr: float, sampler: str = "sgld-lm") -> ResolvedSettings:
    return ResolvedSettings(
        n_beta=N_BETA,
        gamma=GAMMA,
        lr=lr,
        momentum=0.0,
        gradient="minibatch",
        sampler=sampler,
        start="localiser",
        chains=CHAINS,
        draws=DRAWS,
        burn_in=40,
        thin=1,
        batch_size=BATCH,
        micro_batch_size=BATCH,
        context_length=64,
        n=len(model.tokens),
        seed=0,
        threads=1,
        device="cpu",
        dtype="float32",
    )


@pytest.mark.parametrize("make", [neox, llama, gpt2])
def test_pairing_and_step_size(make: Callable[[], Any], text: Trained, tmp_path: Path) -> None:
    model = trained(make, text.tokens)
    anchors, objective = model.anchor_losses(), model.objective(BATCH)
    level = float(anchors.mean())
    found = {}
    for lr in (LR, 4 * LR):
        chosen = settings(model, lr)
        traces = [run_chain(objective, anchors, chosen, chain) for chain in range(CHAINS)]
        paired = summarise([[N_BETA * d for d in trace.draws(chosen)] for trace in traces])
        unpaired = summarise(
            [[N_BETA * (loss - level) for loss in trace.losses[chosen.burn_in + 1 :]] for trace in traces]
        )
        found[lr] = paired, unpaired
        print(
            f"\n{make.__name__}, loss {level:.3f}, ε {lr:g}: paired {paired.mean:.2f} ± {paired.mcse:.2f}, "
            f"unpaired {unpaired.mean:.2f} ± {unpaired.mcse:.2f}: {unpaired.mcse / paired.mcse:.1f} times",
            end="",
        )
    (small, unpaired), (large, _) = found[LR], found[4 * LR]
    change = large.mean - small.mean
    print(f"; 4ε changes λ̂ by {change:+.2f}, joint standard error {(small.mcse**2 + large.mcse**2) ** 0.5:.2f}")
    assert unpaired.mcse > small.mcse
