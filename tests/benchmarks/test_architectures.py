"""Three kinds of trained transformer: what pairing and the slope gain, and what a step four times larger changes."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, GPTNeoXConfig, GPTNeoXForCausalLM, LlamaConfig, LlamaForCausalLM

from hf_llc.sampling.chain import run_chain
from hf_llc.sampling.gradients import full_gradient, gradient_of
from hf_llc.sampling.statistics import summarise
from hf_llc.sampling.tuning.choose_sampler import choose_dynamics
from hf_llc.sampling.tuning.measure import measure_geometry
from hf_llc.sampling.tuning.measurements import RequestedDynamics
from hf_llc.settings.resolved import ResolvedSettings
from hf_llc.tasks.text_generation.objective import LanguageObjective
from hf_llc.tasks.text_generation.toy_training import TrainingSettings, train
from tests.benchmarks.trained import Trained, demo_model

VOCABULARY, WIDTH, LAYERS, HEADS = 512, 64, 2, 4
STEPS, BATCH, CHAINS, DRAWS = 400, 16, 4, 150
N_BETA, GAMMA = 250.0, 5000.0


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
        thin=2,
        batch_size=BATCH,
        micro_batch_size=BATCH,
        context_length=64,
        n=len(model.tokens),
        seed=0,
        threads=1,
        device="cpu",
        dtype="float32",
    )


def chosen_lr(model: Trained) -> float:
    """The step that is chosen where sampler and gradient are given."""
    objective = model.objective(BATCH)
    asked = RequestedDynamics(sampler="sgld-lm", gradient="minibatch", batches="independent")
    measured = measure_geometry(
        objective, lambda name: gradient_of(name, objective, [], None), torch.arange(BATCH), asked,
        n_beta=N_BETA, gamma=GAMMA, start="localiser", batch_size=BATCH, seed=0,
    ).measured  # fmt: skip
    return choose_dynamics(asked, N_BETA, GAMMA, measured).lr


@pytest.mark.parametrize("make", [neox, llama, gpt2])
def test_pairing_and_step_size(make: Callable[[], Any], text: Trained) -> None:
    model = trained(make, text.tokens)
    lr = chosen_lr(model)
    anchors, objective = model.anchor_losses(), model.objective(BATCH)
    level = float(anchors.mean())
    results = {}
    for step in (lr / 4, lr):
        chosen = settings(model, step)
        traces = [run_chain(objective, anchors, chosen, chain) for chain in range(CHAINS)]
        paired = summarise([[N_BETA * d for d in trace.draws(chosen)] for trace in traces])
        unpaired = summarise(
            [
                [N_BETA * (loss - level) for loss in trace.losses[chosen.burn_in + chosen.thin :: chosen.thin]]
                for trace in traces
            ]
        )
        results[step] = paired, unpaired
        print(
            f"\n{make.__name__}, loss {level:.3f}, ε {step:g}: paired {paired.mean:.2f} ± {paired.mcse:.2f}, "
            f"unpaired {unpaired.mean:.2f} ± {unpaired.mcse:.2f}: {unpaired.mcse / paired.mcse:.1f} times",
            end="",
        )
    (small, _), (large, unpaired) = results[lr / 4], results[lr]
    change = large.mean - small.mean
    chosen = replace(settings(model, lr), baseline="linear")
    whole = full_gradient(objective, BATCH)
    traces = [run_chain(objective, anchors, chosen, chain, anchor_gradient=whole) for chain in range(CHAINS)]
    linear = summarise([[N_BETA * d for d in trace.draws(chosen)] for trace in traces])
    print(
        f"; linear {linear.mean:.2f} ± {linear.mcse:.2f}: {large.mcse / linear.mcse:.1f} times less than paired", end=""
    )
    print(f"; 4ε changes λ̂ by {change:+.2f}, joint standard error {(small.mcse**2 + large.mcse**2) ** 0.5:.2f}")
    assert unpaired.mcse >= 3 * large.mcse
    assert abs(linear.mean - large.mean) < 2 * large.mcse
    assert linear.mcse < large.mcse
    assert abs(change) < 2 * (small.mcse**2 + large.mcse**2) ** 0.5
