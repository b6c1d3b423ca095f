"""Measures of a tiny model: complete records that leave the model as it was, and what they are of."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel

import hf_llc
from hf_llc import DataSettings, ModelSettings, SamplerSettings
from hf_llc.execution import planning
from hf_llc.execution.distributed.world import single_process
from hf_llc.execution.loaded_model import LoadedModel
from hf_llc.measures import MEASURES
from hf_llc.measures.base import MeasureContext, NotApplicableError
from hf_llc.measures.ngrams import NgramModels
from hf_llc.measures.quantisation import round_to_nearest
from hf_llc.measures.weight_matrices import weight_matrices
from hf_llc.results.progress import Observer
from hf_llc.tasks import TASKS
from tests.helpers import tiny_images, tiny_regression
from tests.helpers.tiny_model import jsonl, make_tokenizer, save_tiny_model
from tests.helpers.tiny_text_models import labelled, save_bert_classifier, save_masked_bert, write_rows

NAMES = [name for name in MEASURES if name != "llc"]
SAMPLER = SamplerSettings(sampler="sgld-lm", gamma=1000.0, chains=2, draws=4, batch_size=4)
KINDS: dict[str, Any] = {"integer": int, "number": float, "text": str, "numbers": list, "texts": list}

Opened = Callable[..., MeasureContext]


@pytest.fixture
def opened(tmp_path: Path) -> Opened:
    """The context of a model's folder; by default of a tiny model of two layers."""

    def context(folder: Path | None = None, **sampler: Any) -> MeasureContext:
        text = tmp_path / "text.jsonl"
        text.write_text(jsonl(300))
        folder = folder or save_tiny_model(tmp_path / "model", layers=2)
        asked = SamplerSettings(**{**vars(SAMPLER), **sampler})
        plan = planning.plan(
            ModelSettings(model=str(folder)), DataSettings(dataset=str(text)), asked, output_dir=tmp_path / "run"
        )
        return MeasureContext(
            plan=plan, bench=LoadedModel(plan, "cpu"), world=single_process("cpu"), observer=Observer(), records={}
        )

    return context


def record_of(name: str, context: MeasureContext) -> dict[str, Any]:
    """What the measure gives, after a round trip through JSON."""
    return dict(json.loads(json.dumps(MEASURES[name].run(context), allow_nan=False)))


@pytest.mark.parametrize("name", NAMES)
def test_a_record_has_every_column_and_the_model_is_as_it_was(name: str, opened: Opened) -> None:
    context = opened()
    model = context.model
    weights = {key: tensor.clone() for key, tensor in model.state_dict(keep_vars=False).items()}
    buffers = {key: tensor.clone() for key, tensor in model.named_buffers()}
    needed = [parameter.requires_grad for parameter in model.parameters()]
    attention, state = model.config._attn_implementation, torch.get_rng_state()  # type: ignore[union-attr]
    record = record_of(name, context)
    columns = {column.name: column for column in MEASURES[name].columns}
    assert set(record) == set(columns)
    for key, value in record.items():
        assert value is None or isinstance(value, KINDS[columns[key].kind]), key
    assert {column.null for column in columns.values()} - {""} <= set(columns)
    # Distances are of several checkpoints.
    assert name == "distances" or any(
        column.has_panel and record[column.name] is not None for column in columns.values()
    )
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(tensor, weights[key]) for key, tensor in model.state_dict().items())
    assert all(torch.equal(tensor, buffers[key]) for key, tensor in model.named_buffers())
    assert [parameter.requires_grad for parameter in model.parameters()] == needed
    assert all(parameter.grad is None for parameter in model.parameters())
    assert model.config._attn_implementation == attention  # type: ignore[union-attr]
    # Those of transformers, which sees attention weights by hooks, stay.
    hooks = [
        hook for each in model.modules() for hook in [*each._forward_hooks.values(), *each._forward_pre_hooks.values()]
    ]
    assert [hook for hook in hooks if "transformers" not in getattr(hook, "__module__", "")] == []
    assert record_of(name, context) == record


@pytest.mark.parametrize("name", NAMES)
def test_a_record_does_not_depend_on_how_the_posterior_is_sampled(name: str, opened: Opened) -> None:
    by_chains = record_of(name, opened())
    by_draws = record_of(name, opened(sampler="importance", batch_size=None, draws=8))
    assert list(by_draws) == list(by_chains)
    for key, value in by_draws.items():
        assert value == by_chains[key] or value == pytest.approx(by_chains[key], rel=1e-3, abs=1e-5), key


def test_a_model_in_memory_is_taken_for_the_same_plan_until_another_is_loaded(opened: Opened) -> None:
    context = opened(sampler="auto", chains=None, draws=None, batch_size=None)
    draws = context.plan.of_draws()
    loaded = context.bench.at(draws)
    assert context.bench.at(draws) is not loaded
    loaded.load()
    assert context.bench.at(draws) is loaded
    context.bench.load()
    assert context.bench.at(draws) is not loaded


def test_ranks_and_norm_are_those_of_the_file(opened: Opened, tmp_path: Path) -> None:
    record = record_of("rank", opened())
    stored = load_file(tmp_path / "model/model.safetensors")
    name = "gpt_neox.layers.1.mlp.dense_h_to_4h.weight"
    values = torch.linalg.svdvals(stored[name].double())
    at = record["rank_matrices"].index(name)
    assert record["stable_ranks"][at] == pytest.approx(float((values / values[0]).square().sum()), rel=1e-5)
    assert record["stable_rank"] == pytest.approx(sum(record["stable_ranks"]) / len(record["rank_matrices"]))
    norm = math.sqrt(sum(float(each.double().square().sum()) for each in stored.values()))
    assert record["weight_norm"] == pytest.approx(norm, rel=1e-6)


def test_a_massive_activation_is_found_behind_the_layer_that_makes_it(opened: Opened) -> None:
    context = opened()
    with torch.no_grad():
        context.model.gpt_neox.layers[0].mlp.dense_4h_to_h.bias[5] = -700.0  # type: ignore[union-attr,index]
    record = record_of("activations", context)
    assert record["activation_max"] == pytest.approx(700, rel=0.01)
    assert record["activation_ratio"] > 100 * record["activation_ratio_null"]
    assert len(record["activation_ratios"]) == len(record["rankme_by_layer"]) == 2
    assert max(record["activation_ratios"]) == record["activation_ratio"]
    # The last layer adds to the same stream.
    assert min(record["activation_ratios"]) > 100 * record["activation_ratio_null"]
    entropies = record_of("entropy", context)
    assert len(entropies["diffusion_entropies"]) == 2
    assert entropies["diffusion_entropy"] < math.log(256)


def test_losses_by_position_are_means_of_token_losses(opened: Opened) -> None:
    context = opened()
    record = record_of("positions", context)
    losses = context.objective.token_losses(context.items(4096, least=8))[:, 1:]  # type: ignore[attr-defined]
    assert record["loss_positions"] == [1, 3, 7, 15, 31, 63]
    assert record["loss_by_position"][0] == pytest.approx(float(losses[:, 0].mean()), rel=1e-5)
    assert record["loss_by_position"][2] == pytest.approx(float(losses[:, 3:7].mean()), rel=1e-5)
    assert record["loss_by_position"][-1] == pytest.approx(float(losses[:, 31:63].mean()), rel=1e-5)
    assert (record["in_context_early"], record["in_context_late"]) == (6, 63)
    assert record["bigram_loss"] < record["unigram_loss"] < math.log(300)
    # Random weights have learned nothing.
    assert record["text_loss"] > record["unigram_loss"]


def test_the_in_context_score_is_late_losses_minus_early_ones(opened: Opened) -> None:
    context = opened()
    record = record_of("positions", context)
    losses = context.objective.token_losses(context.items(4096, least=8)).double()  # type: ignore[attr-defined]
    # Means over a tenth of the way around positions 63, the last, and 6.
    score = losses[:, 57:64].mean(dim=1) - losses[:, 6]
    assert record["in_context_score"] == pytest.approx(float(score.mean()), rel=1e-6)
    assert record["in_context_score_stderr"] == pytest.approx(float(score.std()) / len(score) ** 0.5, rel=1e-6)


def test_the_gradient_norm_goes_with_the_noise_and_its_scale(opened: Opened) -> None:
    record = record_of("noise-scale", opened())
    assert record["noise_scale"] == pytest.approx(record["gradient_noise"] / record["gradient_norm"] ** 2, rel=1e-9)


@pytest.mark.parametrize("has_head", [True, False])
def test_divergences_from_ngrams_are_those_of_the_logits(has_head: bool, opened: Opened) -> None:
    context = opened()
    objective: Any = context.objective
    if not has_head:
        objective._head = None
    items = context.items(4096, least=8)
    ids = objective.tokens(items[1::2])
    with torch.no_grad():
        logs: Any = context.model(ids).logits[:, :-1].double().log_softmax(dim=2)
    models = NgramModels.of(objective.tokens(items[::2]), 300)
    unigram, bigram = (
        each.view(len(ids), -1) for each in models.divergences(ids[:, :-1].flatten(), logs.flatten(0, 1))
    )
    record = record_of("positions", context)
    assert record["unigram_kl"] == pytest.approx(float(unigram.mean()), rel=1e-5)
    assert record["bigram_kl"] == pytest.approx(float(bigram.mean()), rel=1e-5)
    assert record["bigram_kl_by_position"][0] == pytest.approx(float(bigram[:, 0].mean()), rel=1e-5)
    assert record["bigram_kl_by_position"][-1] == pytest.approx(float(bigram[:, 31:].mean()), rel=1e-5)
    parts = [each for _, each in objective.predictions(items[1::2])]
    torch.testing.assert_close(torch.cat(parts).view(*ids.shape, -1)[:, :-1].double(), logs, rtol=1e-4, atol=1e-4)


def test_the_limit_of_the_curvature_is_in_the_record(opened: Opened, tmp_path: Path) -> None:
    context = opened()
    assert record_of("curvature", context)["curvature_limit"] is None
    history = [{"step": 1, "learning_rate": 1e-3}, {"step": 2, "learning_rate": 5e-4}, {"step": 2, "eval_loss": 3.0}]
    (tmp_path / "model/trainer_state.json").write_text(json.dumps({"log_history": history, "global_step": 2}))
    record = record_of("curvature", context)
    assert record["curvature_limit"] == 4000
    assert record["curvature_trace_stderr"] > 0
    assert record["curvature_top"] > 0
    # In coordinates of its own the learning rate is another one.
    assert record_of("curvature", opened(tmp_path / "model", prior="relative"))["curvature_limit"] is None


def test_fewer_bits_are_enough_for_a_larger_rise(opened: Opened) -> None:
    record = record_of("quantisation", opened())
    assert record["quantisation_bits_50"] is None or record["quantisation_bits_50"] < record["quantisation_bits_10"]
    assert record["quantisation_bits"] == sorted(record["quantisation_bits"])
    assert abs(record["quantisation_rises"][-1]) < 0.01


def test_random_layers_change_signs_as_gaussian_weights_do(opened: Opened) -> None:
    record = record_of("local-complexity", opened())
    assert record["sign_change_density"] == pytest.approx(record["sign_change_null"], rel=0.1)
    assert record["local_complexity"] is None


def relu_model(folder: Path, scale: float = 1.0) -> Path:
    """A GPT-2 of random weights with ReLU that attends to nothing, whose embeddings are multiplied by `scale`."""
    config = GPT2Config(
        vocab_size=300,
        n_positions=64,
        n_embd=32,
        n_layer=1,
        n_head=2,
        activation_function="relu",
        tie_word_embeddings=False,
        bos_token_id=0,
        eos_token_id=0,
        initializer_range=1.0,
        layer_norm_epsilon=1e-12,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model: Any = GPT2LMHeadModel(config)
    with torch.no_grad():
        model.transformer.wpe.weight.zero_()
        model.transformer.h[0].attn.c_proj.weight.zero_()
        model.transformer.wte.weight.mul_(scale)
    model.save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    return folder


def test_a_language_model_with_relu_has_regions_behind_its_embeddings(opened: Opened, tmp_path: Path) -> None:
    record, large = (
        record_of("local-complexity", opened(relu_model(tmp_path / f"relu-{scale}", scale))) for scale in (1.0, 4.0)
    )
    # 128 neurons w·x, w of independent Gaussian numbers, x an embedding of 32 as LayerNorm leaves it: in the 30
    # directions that change x a neuron has the gradient |w|/rms(e) and the density 1/(√(2π · 32) std(w)) at 0.
    exact = 128 * math.sqrt(30 / 32 / (2 * math.pi))
    assert record["local_complexity"] == pytest.approx(exact, rel=0.1)
    assert record["local_complexity_stderr"] < 0.03 * exact
    assert large["local_complexity"] == pytest.approx(record["local_complexity"] / 4, rel=1e-3)
    assert large["sign_change_density"] == pytest.approx(record["sign_change_density"], rel=1e-3)
    assert record["local_rank"] == large["local_rank"] == 30


def test_activation_regions_are_those_at_positions_that_predict_a_label(tmp_path: Path) -> None:
    """Of three tokens the last has a label, which the second predicts: its neurons count, and not those of others."""
    stream = torch.Generator().manual_seed(0)
    ids = torch.randint(200, (200, 3), generator=stream)
    ids[:, 1] = 200 + ids[:, 1] % 100
    model: Any = GPT2LMHeadModel.from_pretrained(relu_model(tmp_path / "model"))
    with torch.no_grad():
        model.transformer.wte.weight[:200] *= 10.0
    data = {"input_ids": ids, "labels": torch.where(torch.arange(3) == 2, ids, -100)}
    record = hf_llc.measure(model, data, "local-complexity", output_dir=tmp_path / "run")["local-complexity"]
    assert record["local_complexity"] == pytest.approx(128 * math.sqrt(30 / 32 / (2 * math.pi)), rel=0.1)
    assert record["local_rank"] == 30


def test_uniform_attention_has_the_score_of_its_null(opened: Opened) -> None:
    context = opened()
    with torch.no_grad():
        for layer in context.model.gpt_neox.layers:  # type: ignore[union-attr]
            layer.attention.query_key_value.weight.zero_()
            layer.attention.query_key_value.bias.zero_()
    record = record_of("induction", context)
    assert record["induction_score"] == pytest.approx(record["induction_null"], rel=1e-5)
    assert record["previous_token_score"] == pytest.approx(record["induction_null"], rel=1e-5)
    assert record["induction_heads"] == ["l0h0", "l0h1", "l1h0", "l1h1"]


OTHERS = {
    "image": {"rank", "distances", "curvature", "noise-scale", "quantisation", "local-complexity"},
    "texts": {"rank", "distances", "activations", "entropy", "curvature", "noise-scale", "quantisation"},
    "masked": {"rank", "distances", "activations", "entropy", "curvature", "noise-scale", "quantisation"},
    "linear": {"rank", "distances", "activations", "entropy", "curvature", "noise-scale", "quantisation"},
}
"""The measures that apply to models of other tasks."""


def context_of(kind: str, folder: Path) -> MeasureContext:
    """A model of another task with its data."""
    if kind == "image":
        data = tiny_images.save_parquet(folder / "rows.parquet")
        processor = tiny_images.make_processor()
        tiny_images.save_model(tiny_images.make_model(), folder / "model", processor=processor)
    elif kind == "linear":
        tiny_regression.make_model((4, 3, 2)).save_pretrained(folder / "model")
        inputs, targets = tiny_regression.data_of((4, 3, 2), 64)
        data = folder / "rows.safetensors"
        save_file({"inputs": inputs.contiguous(), "targets": targets.contiguous()}, data)
    else:
        save = save_bert_classifier if kind == "texts" else save_masked_bert
        save(folder / "model")
        data = write_rows(folder / "rows.jsonl", labelled(120))
    plan = planning.plan(
        ModelSettings(model=str(folder / "model")), DataSettings(dataset=str(data)), SAMPLER, output_dir=folder / "run"
    )
    bench = LoadedModel(plan, "cpu")
    return MeasureContext(plan=plan, bench=bench, world=single_process("cpu"), observer=Observer(), records={})


@pytest.mark.parametrize("kind", OTHERS)
def test_measures_of_other_tasks_have_numbers_or_say_in_a_line_why_not(kind: str, tmp_path: Path) -> None:
    context = context_of(kind, tmp_path)
    for name in sorted(OTHERS[kind]):
        record = record_of(name, context)
        # Of an untrained model noise is all that is seen of the gradient, and rounding never costs 10 mnats.
        assert any(record[column.name] for column in MEASURES[name].columns if column.kind in {"number", "numbers"})
    for name in set(NAMES) - OTHERS[kind]:
        with pytest.raises(NotApplicableError, match=r"\A[^\n]+\Z"):
            MEASURES[name].run(context)


def test_padding_is_no_part_of_activations(tmp_path: Path) -> None:
    context = context_of("texts", tmp_path)
    model: Any = context.model
    before = record_of("activations", context)
    with torch.no_grad():
        model.bert.embeddings.word_embeddings.weight[0] = torch.randn(32, generator=torch.Generator().manual_seed(0))
    lengths = TASKS["text-classification"].load_items(context.plan.corpus)["lengths"]
    assert int(lengths.min()) < int(lengths.max())
    assert record_of("activations", context) == before


def test_activation_regions_of_a_network_in_place(tmp_path: Path) -> None:
    record = record_of("local-complexity", context_of("image", tmp_path))
    assert record["local_complexity"] > 3 * record["local_complexity_stderr"] > 0
    assert 0 < record["local_rank"] <= 64
    assert record["sign_change_density"] is None


class Conv1D(nn.Module):
    """A linear layer as GPT-2 keeps it."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3, 2))


def test_matrices_of_experts_are_apart_and_tied_ones_come_once() -> None:
    model = nn.Module()
    model.experts = nn.Module()
    model.experts.stack = nn.Parameter(torch.zeros(4, 3, 5))
    model.convolution = nn.Conv1d(2, 6, 3)
    model.transposed = Conv1D()
    model.one, model.other = nn.Linear(3, 2), nn.Linear(3, 2)
    model.other.weight = model.one.weight
    known = {each.name: each for each in weight_matrices(model)}
    assert {name: each.outputs for name, each in known.items()} == {
        "experts.stack": (0, 1), "convolution.weight": (0,), "transposed.weight": (1,), "one.weight": (0,)
    }  # fmt: skip
    shapes = {name: tuple(matrix.shape) for each in known.values() for name, matrix in each.matrices()}
    assert shapes["experts.stack[3]"] == (3, 5)
    assert shapes["convolution.weight"] == (6, 6)
    assert len(shapes) == 4 + 3


def test_each_output_channel_has_a_scale_of_its_own() -> None:
    weight = torch.tensor([[1.0, 0.4], [100.0, 40.0]])
    by_rows = round_to_nearest(weight, [0], 2.0)
    assert by_rows.tolist() == [[1.0, 0.0], [100.0, 0.0]]
    assert round_to_nearest(weight, [1], 2.0).tolist() == [[0.0, 0.0], [100.0, 40.0]]
    assert round_to_nearest(torch.zeros(2, 2), [0], 2.0).tolist() == [[0.0, 0.0], [0.0, 0.0]]
