"""Models whose code treats some of their weights otherwise: what moves, what stays, and what is said of it."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from hf_llc import DataSettings, ModelSettings, SamplerSettings, estimate
from hf_llc.checkpoints.loading.errors import quiet
from hf_llc.checkpoints.loading.load import load_model
from hf_llc.errors import UnusableError
from hf_llc.execution.loaded_model import LoadedModel
from hf_llc.execution.planning import plan
from hf_llc.results.estimate import Estimate
from tests.checkpoints.loading.test_load import at
from tests.helpers.tiny_model import CONTEXT, VOCABULARY, jsonl, make_tokenizer

SHAPE: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": CONTEXT,
    "bos_token_id": 0,
    "eos_token_id": 0,
}
LLAMA = transformers.LlamaConfig(**SHAPE, num_key_value_heads=2, pad_token_id=0)
BART = transformers.BartConfig(
    vocab_size=VOCABULARY, d_model=16, decoder_layers=2, decoder_attention_heads=2, decoder_ffn_dim=32,
    max_position_embeddings=CONTEXT, bos_token_id=0, eos_token_id=0, pad_token_id=1, is_decoder=True,
    is_encoder_decoder=False,
)  # fmt: skip
ROBERTA = transformers.RobertaConfig(**SHAPE, is_decoder=True, pad_token_id=1)
SAMPLER = SamplerSettings(
    batch_size=4, chains=2, draws=6, burn_in=2, threads=1, gamma=1000.0, lr=1e-4, checks=False, start="anchor",
    sampler="sgld-lm", gradient="minibatch", batches="independent", baseline="paired",
)  # fmt: skip

Save = Callable[[Any], Path]


@pytest.fixture
def save(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Save:
    """Saves a model of that config with a tokenizer, beside a text, in what is now the working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HOME", str(tmp_path / "home"))
    Path("text.jsonl").write_text(jsonl(120))

    def make(config: Any) -> Path:
        folder = tmp_path / str(config.model_type)
        with torch.random.fork_rng(devices=[]), quiet():
            torch.manual_seed(0)
            AutoModelForCausalLM.from_config(config).save_pretrained(folder)
        make_tokenizer().save_pretrained(folder)
        return folder

    return make


def bench_of(folder: Path, *params: str, context_length: int = 32) -> LoadedModel:
    data = DataSettings(dataset="text.jsonl", context_length=context_length)
    return LoadedModel(plan(ModelSettings(model=str(folder)), data, replace(SAMPLER, params=params)), "cpu")


def count(bench: LoadedModel) -> int:
    return sum(parameter.numel() for parameter in bench.objective.parameters)


def test_what_the_loss_does_not_reach_stays_and_is_named(save: Save) -> None:
    folder = save(BART)
    names = [name for name, _ in load_model(at(folder), "cpu").named_parameters()]
    idle = [name for name in names if "encoder_attn" in name]
    assert idle
    bench = bench_of(folder)
    assert bench.still == idle
    assert len(bench.objective.parameters) == len(names) - len(idle)
    result = estimate(str(folder), DataSettings(dataset="text.jsonl", context_length=32), SAMPLER)
    assert result.diagnostics.dimension == count(bench)
    assert result.choices["params"] == (
        f"params = without {', '.join(idle[:3])} and {len(idle) - 3} more: they have no gradient, so "
        "they stay at w* and do not count in the dimension."
    )


def test_a_model_whose_weights_all_count_has_no_remark(save: Save) -> None:
    result = estimate(str(save(LLAMA)), DataSettings(dataset="text.jsonl", context_length=32), SAMPLER)
    assert "params" not in result.choices


def test_weights_that_the_loss_has_no_use_for_are_named(save: Save) -> None:
    folder, data = save(LLAMA), DataSettings(dataset="text.jsonl", context_length=32)
    weights = load_file(folder / "model.safetensors")
    extra = {"model.mtp.norm.weight": torch.ones(4), "model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(4)}
    save_file(weights | extra, folder / "model.safetensors", metadata={"format": "pt"})
    result = estimate(str(folder), data, SAMPLER)
    assert result.choices["weights"] == ("weights = without model.mtp.norm.weight: the loss does not depend on them.")


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_a_caller_without_gradients_gets_the_same_number(save: Save, mode: Callable[[], Any]) -> None:
    folder, data = save(LLAMA), DataSettings(dataset="text.jsonl", context_length=32)
    expected = estimate(str(folder), data, SAMPLER, output_dir=Path("outside"))
    with mode():
        result = estimate(str(folder), data, SAMPLER, output_dir=Path("inside"))
    assert result.llc == expected.llc


def test_to_move_only_what_the_loss_does_not_reach_is_refused(save: Save) -> None:
    folder = save(BART)
    with pytest.raises(
        UnusableError, match=r"has no gradient: `params` \*encoder_attn\* matches no weight on which it"
    ):
        bench_of(folder, "*encoder_attn*").load()


def test_what_the_model_declares_constant_does_not_move(save: Save) -> None:
    """Loading forgets it of these positions, of which there is a gradient."""
    folder = save(transformers.RoFormerConfig(**SHAPE, is_decoder=True))
    fixed = "roformer.encoder.embed_positions.weight"
    with quiet():
        plain = AutoModelForCausalLM.from_pretrained(folder)
    assert dict(plain.named_parameters())[fixed].requires_grad
    assert not dict(load_model(at(folder), "cpu").named_parameters())[fixed].requires_grad
    bench = bench_of(folder)
    constant = dict(plain.named_parameters())[fixed].numel()
    assert count(bench) == sum(parameter.numel() for parameter in plain.parameters()) - constant
    assert fixed not in bench.still


def test_the_row_of_padding_has_the_gradient_of_the_loss(save: Save) -> None:
    """The id that ends a text pads as well in many models."""
    model: Any = load_model(at(save(LLAMA)), "cpu")
    ids = torch.tensor([[0, 5, 0, 7, 9]])
    rows = model.get_input_embeddings().weight
    with torch.no_grad():
        rows[0] = rows[1]

    def loss() -> torch.Tensor:
        logits = model(input_ids=ids).logits[0, :-1].double()
        return torch.nn.functional.cross_entropy(logits, ids[0, 1:])

    loss().backward()
    slope, step = rows.grad[0].double(), 1e-2
    assert slope.norm() > 1e-3
    losses = []
    for sign in (1, -2):
        with torch.no_grad():
            rows[0].add_(slope.float() / slope.norm().float(), alpha=sign * step)
        losses.append(loss().item())
    assert (losses[0] - losses[1]) / (2 * step) == pytest.approx(float(slope.norm()), rel=0.02)


def test_positions_that_are_counted_from_padding_are_as_they_were(save: Save) -> None:
    config = transformers.ProphetNetConfig(
        vocab_size=VOCABULARY, hidden_size=16, num_decoder_layers=1, num_decoder_attention_heads=2, decoder_ffn_dim=32,
        ngram=2, max_position_embeddings=CONTEXT, pad_token_id=3, bos_token_id=0, eos_token_id=0, is_decoder=True,
        is_encoder_decoder=False,
    )  # fmt: skip
    folder, ids = save(config), torch.arange(2, 22).view(1, -1)
    with quiet(), torch.no_grad():
        expected = AutoModelForCausalLM.from_pretrained(folder).eval()(input_ids=ids).logits
        logits = load_model(at(folder), "cpu")(input_ids=ids).logits
    assert torch.equal(logits, expected)


def test_a_look_at_the_model_leaves_its_weights_alone(save: Save) -> None:
    config = transformers.RwkvConfig(
        vocab_size=VOCABULARY, hidden_size=16, num_hidden_layers=2, attention_hidden_size=16, intermediate_size=32,
        context_length=CONTEXT, rescale_every=1, bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    folder = save(config)
    saved = transformers.RwkvForCausalLM(config).eval()
    stored = {name: value.clone() for name, value in saved.from_pretrained(folder).state_dict().items()}
    model = load_model(at(folder), "cpu")
    with torch.no_grad():
        model(input_ids=torch.arange(8).view(1, -1))
    assert all(torch.equal(value, stored[name]) for name, value in model.state_dict().items())


def test_a_context_that_the_model_cannot_take_is_one_sentence(save: Save) -> None:
    """Two of its positions are never used, of which its config does not tell."""
    folder = save(ROBERTA)
    with pytest.raises(
        UnusableError, match=r"cannot compute the loss of 64 tokens .*Try a smaller `context_length`\.$"
    ):
        bench_of(folder, context_length=CONTEXT).load()
    assert bench_of(folder, context_length=CONTEXT - 2).load().n > 0


def test_a_tied_weight_is_chosen_by_any_of_its_names(save: Save) -> None:
    config = transformers.GPT2Config(
        vocab_size=VOCABULARY, n_embd=16, n_layer=1, n_head=2, n_positions=CONTEXT, bos_token_id=0, eos_token_id=0
    )
    folder = save(config)
    for name in ("lm_head.weight", "transformer.wte.weight", "re:^(lm_head|transformer.wte)"):
        assert [tuple(each.shape) for each in bench_of(folder, name).objective.parameters] == [(VOCABULARY, 16)]
    assert count(bench_of(folder, "*")) == sum(each.numel() for each in load_model(at(folder), "cpu").parameters())


def test_tokens_that_a_checkpoint_does_not_know_are_refused_when_it_is_loaded(save: Save) -> None:
    """In a scan they were made for another checkpoint."""
    folder = save(LLAMA)
    shared = plan(ModelSettings(model=str(folder)), DataSettings(dataset="text.jsonl", context_length=32), SAMPLER)
    other = save(transformers.MistralConfig(**{**SHAPE, "vocab_size": 100}, num_key_value_heads=2))
    with pytest.raises(UnusableError, match=r"gives token \d+, but the model has 100;"):
        LoadedModel(replace(shared, source=at(other)), "cpu").load()


def test_a_mixture_of_experts_names_its_routers_and_has_the_paired_baseline(save: Save) -> None:
    mixtral = transformers.MixtralConfig(**SHAPE, num_key_value_heads=2, num_local_experts=4, num_experts_per_tok=2)
    open_baseline = replace(SAMPLER, baseline="auto", draws=20)
    result = estimate(str(save(mixtral)), DataSettings(dataset="text.jsonl", context_length=32), open_baseline)
    assert result.diagnostics.routers == "model.layers.0.mlp.gate, model.layers.1.mlp.gate"
    assert result.settings.baseline == "paired"
    assert result.diagnostics.jump_llc is None or result.diagnostics.jump_llc_stderr is not None
    assert Estimate.from_dict(result.to_dict()).diagnostics == result.diagnostics
