"""Regression from end to end: exact answers, the data that is read, checkpoints to scan, and what is refused."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from datasets.arrow_dataset import Dataset
from safetensors.torch import save_file
from torch import Tensor
from transformers import AutoConfig, AutoModel

from hf_llc import DataSettings, ModelSettings, estimate, scan
from hf_llc.checkpoints.resolve import find_model
from hf_llc.errors import HfLlcError, NotFoundError, SettingsError, UnusableError
from hf_llc.execution.loaded_model import LoadedModel
from hf_llc.measures.llc.validation.exact import deep_linear_llc, quadratic_llc
from hf_llc.measures.llc.validation.problems import deep_linear
from hf_llc.report.card.metadata import model_entries
from hf_llc.report.card.render import Content, render_section
from hf_llc.sampling.chain import run_chain
from hf_llc.tasks import TASKS
from hf_llc.tasks.choose import find_items
from hf_llc.tasks.regression import DeepLinearConfig, DeepLinearModel, save_data, train
from tests.helpers.tiny_regression import aligned_model, data_of, make_model, save_checkpoint
from tests.hub_server.environment import use_hub

SHORT: dict[str, Any] = {"sampler": "sgld-lm", "gamma": 300.0, "chains": 2, "draws": 20, "burn_in": 5, "lr": 1e-4}
WIDTHS = (3, 4, 2)


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An empty working directory and cache, no network, and no time spent on pictures."""
    use_hub(monkeypatch, "http://127.0.0.1:9", tmp_path / "hf_home")
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", lambda figure, file, **options: file.write(b"blank"))
    monkeypatch.chdir(tmp_path)


def items_of(data: Path, widths: Sequence[int] = WIDTHS, **settings: Any) -> tuple[Tensor, Tensor]:
    """Inputs and targets that are made of a file for a network of these widths, in order of the first input."""
    make_model(widths).save_pretrained("model")
    corpus = find_items(DataSettings(dataset=str(data), **settings), find_model(ModelSettings(model="model")))
    items = TASKS["regression"].load_items(corpus)
    order = items["inputs"][:, 0].argsort()
    return items["inputs"][order], items["targets"][order]


# The number.


def test_one_factor_has_the_exact_coefficient_of_least_squares() -> None:
    """White inputs: each of the d = 12 weights has curvature 1, at nβ = 100 and γ = 50 an exact λ̂ of 4."""
    inputs, targets = data_of((4, 3), 400)
    result = estimate(aligned_model((4, 3), 3), (inputs, targets), n_beta=100.0, gamma=50.0, draws=1000)
    truth = quadratic_llc([1.0] * 12, 100.0, 50.0)
    assert result.llc is not None
    assert result.stderr is not None
    assert truth == pytest.approx(4.0)
    assert result.stderr < 0.1
    assert abs(result.llc - truth) < 3 * result.stderr
    assert (result.dataset.task, result.dataset.unit, result.settings.n) == ("regression", "nats per item", 400)


def test_a_deep_linear_network_at_its_true_rank_has_the_coefficient_of_aoyagi() -> None:
    """λ = 7.5 for widths 4, 4, 4 and rank 2; γ/nβ = 1.5e-3 leaves out 0.3 of it (`validation/test_deep_linear.py`)."""
    settings: dict[str, Any] = {"n_beta": 2e4, "gamma": 30.0, "batch_size": 32, "threads": 1, "checks": False}
    chains: dict[str, Any] = {"sampler": "baoab", "lr": 1e-5, "burn_in": 600, "draws": 1000, "start": "anchor"}
    result = estimate(aligned_model((4, 4, 4), 2), data_of((4, 4, 4), 32, rank=2), **settings, **chains)
    truth = deep_linear_llc((4, 4, 4), 2)
    assert truth == 7.5
    assert result.llc is not None
    assert result.stderr is not None
    assert result.stderr < 0.04 * truth
    assert -0.3 - 3 * result.stderr < result.llc - truth < 3 * result.stderr


def test_a_chain_of_a_saved_network_is_that_of_the_model_that_validate_samples() -> None:
    """On white inputs whose noise is orthogonal to them L_n − L_n(w*) is the population's, ½ ‖W_L … W_1 − P‖²."""
    settings: dict[str, Any] = {"n_beta": 1e4, "gamma": 50.0, "lr": 2e-5, "chains": 2, "draws": 40, "burn_in": 20}
    whole: dict[str, Any] = {"batch_size": 16, "start": "anchor", "gradient": "minibatch", "batches": "independent"}
    how: dict[str, Any] = {"sampler": "sgld-lm", "baseline": "paired", "checks": False, "threads": 1}
    data = data_of((5, 6, 4), 16, rank=2)
    result = estimate(aligned_model((5, 6, 4), 2), data, **settings, **whole, **how)
    population = deep_linear((5, 6, 4), 2)
    alone = replace(result.settings, n=1, batch_size=1, micro_batch_size=1)
    for chain in result.chains:
        trace = run_chain(population, population.losses(torch.arange(1)), alone, chain.chain)
        draws = trace.draws(alone)
        assert chain.llc == pytest.approx(1e4 * sum(draws) / len(draws), rel=1e-4)


def test_the_loss_is_half_the_squared_error_summed_over_outputs() -> None:
    model, (inputs, targets) = make_model(WIDTHS), data_of(WIDTHS, 40)
    result = estimate(model, (inputs, targets), **SHORT)
    product = model.factors[1] @ model.factors[0]
    by_hand = float((targets - inputs @ product.detach().T).square().sum(dim=1).mean() / 2)
    assert result.init_loss == pytest.approx(by_hand, rel=1e-5)
    assert float(model(inputs=inputs, targets=targets).loss.detach()) == pytest.approx(by_hand, rel=1e-5)


# The model.


def test_a_saved_network_is_loaded_by_transformers_without_code(tmp_path: Path) -> None:
    model = make_model(WIDTHS)
    model.save_pretrained("model")
    assert not list(tmp_path.glob("model/*.py"))
    again = AutoModel.from_pretrained("model")
    assert isinstance(again, DeepLinearModel)
    assert AutoConfig.from_pretrained("model").widths == list(WIDTHS)
    assert all(torch.equal(one, other) for one, other in zip(model.parameters(), again.parameters(), strict=True))


def test_weights_begin_at_the_scale_that_was_asked_for() -> None:
    for scale in (1.0, 0.01):
        weight = make_model((400, 300, 10), scale=scale).factors[0]
        assert float(weight.detach().std()) == pytest.approx(scale / 20, rel=0.02)


@pytest.mark.parametrize("widths", [[3], [3, 0], [3, 2.5], "34", [True, 2], None])
def test_widths_that_are_none_are_refused(widths: Any) -> None:
    with pytest.raises(ValueError, match=r"widths must be two or more whole numbers ≥ 1, such as \[20, 20, 20\], got"):
        DeepLinearConfig(widths=widths)


def test_a_checkpoint_in_float64_is_estimated_in_float32() -> None:
    data = data_of(WIDTHS, 40)
    plain = estimate(make_model(WIDTHS), data, **SHORT)
    double = estimate(make_model(WIDTHS).double(), data, **SHORT)
    assert double.llc == plain.llc


# Training and scanning.


def test_a_few_lines_train_a_network_whose_checkpoints_are_scanned() -> None:
    inputs, targets = data_of((4, 6, 4), 200, rank=2)
    losses = train(make_model((4, 6, 4), scale=0.3), inputs, targets, "run", steps=300, learning_rate=0.1)
    assert {0, 1, 300} < losses.keys()
    assert len(losses) <= 12
    assert losses[300] < losses[0] - 0.5
    curve = scan("run", "run/data.safetensors", revisions="checkpoint-0,checkpoint-300", num_processes=1, **SHORT)
    assert curve is not None
    assert [point.step for point in curve] == [0, 300]
    assert [point.loss for point in curve] == pytest.approx([losses[0], losses[300]], rel=1e-4)
    content = Content(curve=curve, name="m", headline=[curve.points[-1]], home="", url="")
    text = render_section(content)
    assert "n = 200 items (fingerprint" in text
    assert "--text-column inputs --label-column targets --task regression --max-sequences 200" in text
    assert "--context-length" not in text
    (entry,) = model_entries("m", [curve.points[1]]).results
    assert entry["task"] == {"type": "tabular-regression", "name": "Tabular Regression"}


def test_checkpoints_of_other_widths_in_a_scan_are_points_with_an_error() -> None:
    folder = Path("run")
    save_checkpoint(folder, make_model((3, 5, 2)), 1)
    save_checkpoint(folder, make_model((4, 5, 2)), 2)
    save_checkpoint(folder, make_model((3, 9, 2)), 3)
    curve = scan("run", save_data("d.safetensors", *data_of(WIDTHS, 40)), num_processes=1, **SHORT)
    assert curve is not None
    assert [point.llc is not None for point in curve] == [True, False, True]
    assert "3 inputs an item" in str(curve.points[1].error)


def test_training_that_diverges_or_makes_no_sense_says_so() -> None:
    data = data_of(WIDTHS, 40)
    with pytest.raises(UnusableError, match=r"The loss is (nan|inf) after \d+ steps; lower learning_rate"):
        train(make_model(WIDTHS), *data, "run", steps=200, learning_rate=100.0)
    with pytest.raises(SettingsError, match=r"steps must be ≥ 1, .* got 0, 0.1"):
        train(make_model(WIDTHS), *data, "run", steps=0, learning_rate=0.1)
    with pytest.raises(SettingsError, match=r"shapes \(n, 3\) and \(n, 2\), got \(40, 2\)"):
        train(make_model(WIDTHS), data[1], data[0], "run", steps=2, learning_rate=0.1)
    with pytest.raises(SettingsError, match="save_at must hold steps from 0 to 2, got"):
        train(make_model(WIDTHS), *data, "run", steps=2, learning_rate=0.1, save_at=[3])


def test_the_same_run_again_computes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    make_model(WIDTHS).save_pretrained("model")
    data = save_data("d.safetensors", *data_of(WIDTHS, 40))
    first = estimate("model", data, **SHORT)
    monkeypatch.setattr(LoadedModel, "load", lambda *_: pytest.fail("something was computed again"))
    assert estimate("model", data, **SHORT).llc == first.llc


# The data.


def test_every_format_gives_the_same_items() -> None:
    inputs, targets = (tensor.round(decimals=2) for tensor in data_of(WIDTHS, 30))
    order = inputs[:, 0].argsort()
    expected = inputs[order], targets[order]
    rows = [{"x": x, "y": y} for x, y in zip(inputs.tolist(), targets.tolist(), strict=True)]
    Path("a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    table: Any = pa
    pq.write_table(table.Table.from_pylist([{"Inputs": row["x"], "targets": row["y"]} for row in rows]), "a.parquet")
    names = ["x0", "x1", "x2", "y_1", "y_2"]
    cells = [",".join(map(repr, [*row["x"], *row["y"]])) for row in rows]
    Path("a.csv").write_text("\n".join([",".join(names), *cells]) + "\n")
    save_data("a.safetensors", inputs, targets)
    for name in ("a.jsonl", "a.parquet", "a.csv", "a.safetensors"):
        got = items_of(Path(name))
        assert all(torch.equal(one, other) for one, other in zip(got, expected, strict=True)), name
    asked = items_of(Path("a.csv"), widths=(2, 1), text_column="x2,x0", label_column="y_2")
    assert torch.equal(asked[0][:, 0].sort().values, inputs[:, 2].sort().values)
    assert asked[1].shape == (30, 1)


def test_a_dataset_and_tensors_in_memory_give_the_same_number() -> None:
    inputs, targets = data_of(WIDTHS, 40)
    model = make_model(WIDTHS)
    by_tensors = estimate(model, (inputs, targets), **SHORT)
    data = Dataset.from_dict({"x": inputs.tolist(), "y": targets.tolist()})
    by_dataset = estimate(model, data, **SHORT)
    by_arrays = estimate(model, [inputs.double().numpy(), targets.numpy()], **SHORT)
    assert by_tensors.llc == by_dataset.llc == by_arrays.llc
    assert (by_dataset.dataset.text_column, by_dataset.dataset.label_column) == ("x", "y")


def test_whole_numbers_and_single_ones_are_numbers() -> None:
    Path("a.jsonl").write_text("".join(json.dumps({"x": index, "y": 2 * index}) + "\n" for index in range(5)))
    inputs, targets = items_of(Path("a.jsonl"), widths=(1, 3, 1))
    assert inputs.tolist() == [[0.0], [1.0], [2.0], [3.0], [4.0]]
    assert targets.tolist() == [[0.0], [2.0], [4.0], [6.0], [8.0]]


def test_more_items_than_asked_for_are_chosen_at_random_and_always_alike() -> None:
    data = save_data("d.safetensors", *data_of(WIDTHS, 60))
    one, other = items_of(data, max_sequences=20), items_of(data, max_sequences=20)
    assert len(one[0]) == 20
    assert torch.equal(one[0], other[0])
    assert set(map(tuple, one[0].tolist())) < set(map(tuple, items_of(data, max_sequences=0)[0].tolist()))


ROWS = [{"x": [1.0, 2.0, 3.0], "y": [1.0, 2.0]}, {"x": [2.0, 0.0, 1.0], "y": [0.5, 0.1]}]
BROKEN: list[tuple[Any, type[HfLlcError], str]] = [
    ({"x": [float("nan"), 1.0, 1.0], "y": [1.0, 1.0]}, UnusableError, r"holds nan in x \(row 3\); remove such rows"),
    ({"x": [1e39, 1.0, 1.0], "y": [1.0, 1.0]}, UnusableError, r"holds 1e\+39 in x \(row 3\)"),
    ({"x": [1.0, 1.0, 1.0], "y": None}, UnusableError, r"Column y of a.jsonl holds nothing \(row 3\)"),
    ({"x": [1.0, 1.0, 1.0]}, UnusableError, r"Column y of a.jsonl holds nothing \(row 3\)"),
    ({"x": [1.0, 1.0], "y": [1.0, 1.0]}, UnusableError, "Row 3 of a.jsonl has 2 inputs and 2 targets, and the first"),
    ({"x": [[1.0], [1.0], [1.0]], "y": [1.0, 1.0]}, UnusableError, "where a number or a list of numbers is needed"),
    ({"x": "red", "y": [1.0, 1.0]}, UnusableError, "Column x of a.jsonl holds .*red"),
    ({"x": [True, 1.0, 1.0], "y": [1.0, 1.0]}, UnusableError, "Column x of a.jsonl holds"),
]


@pytest.mark.parametrize(("row", "kind", "message"), BROKEN)
def test_rows_that_are_no_numbers_are_refused(row: Any, kind: type[HfLlcError], message: str) -> None:
    Path("a.jsonl").write_text("".join(json.dumps(each) + "\n" for each in [*ROWS, row]))
    with pytest.raises(kind, match=message):
        items_of(Path("a.jsonl"))


def test_columns_and_widths_that_do_not_fit_are_named() -> None:
    Path("a.jsonl").write_text("".join(json.dumps(each) + "\n" for each in ROWS))
    with pytest.raises(UnusableError, match=r"The data has 3 inputs an item, but model has 5 .widths 5, 2.; choose"):
        items_of(Path("a.jsonl"), widths=(5, 2))
    with pytest.raises(UnusableError, match="The data has 2 targets an item, but model has 7"):
        items_of(Path("a.jsonl"), widths=(3, 7))
    Path("b.jsonl").write_text(json.dumps({"x": 1, "z": 2}) + "\n")
    with pytest.raises(NotFoundError, match=r"no column of targets .y, targets, .*; its columns are x, z. Choose with"):
        items_of(Path("b.jsonl"))
    with pytest.raises(NotFoundError, match=r"a\.jsonl has no column q"):
        items_of(Path("a.jsonl"), text_column="q")
    with pytest.raises(SettingsError, match=r"Column x of a\.jsonl is named twice"):
        items_of(Path("a.jsonl"), label_column="x")
    with pytest.raises(UnusableError, match="at least 2 are needed"):
        items_of(save_data("one.safetensors", torch.ones(1, 3), torch.ones(1, 2)))


def test_tensor_files_that_are_none_are_refused() -> None:
    save_file({"inputs": torch.ones(4, 3), "targets": torch.ones(5, 2)}, "a.safetensors")
    with pytest.raises(SettingsError, match="same number of rows, got inputs 4, targets 5"):
        items_of(Path("a.safetensors"))
    save_file({"inputs": torch.ones(4, 3, 2), "targets": torch.ones(4, 2)}, "a.safetensors")
    with pytest.raises(SettingsError, match="inputs must have a row an item"):
        items_of(Path("a.safetensors"))
    save_file({"inputs": torch.ones(4, 3)}, "a.safetensors")
    with pytest.raises(NotFoundError, match="no column of targets"):
        items_of(Path("a.safetensors"))
    Path("a.safetensors").write_bytes(b"no tensors")
    with pytest.raises(HfLlcError, match="cannot be read as safetensors"):
        items_of(Path("a.safetensors"))
    with pytest.raises(SettingsError, match="inputs must be finite, got nan in row 1"):
        save_data("b.safetensors", torch.tensor([1.0, float("nan")]), torch.ones(2))
    with pytest.raises(SettingsError, match="same number of rows, got 2 and 3"):
        save_data("b.safetensors", torch.ones(2), torch.ones(3))
    with pytest.raises(SettingsError, match=r"path must end in .safetensors, got 'b.pt'"):
        save_data("b.pt", torch.ones(2), torch.ones(2))


def test_the_default_text_and_models_of_other_kinds_are_refused() -> None:
    make_model(WIDTHS).save_pretrained("model")
    with pytest.raises(SettingsError, match="dataset must name inputs and targets for model, got NeelNanda/pile-10k"):
        estimate("model")
    Path("text.txt").write_text("plain text")
    with pytest.raises(UnusableError, match="plain text, which has no inputs and targets"):
        estimate("model", "text.txt")
    config = json.loads(Path("model/config.json").read_text())
    Path("model/config.json").write_text(json.dumps({**config, "widths": [3, -1]}))
    with pytest.raises(UnusableError, match="widths must be two or more"):
        estimate("model", save_data("d.safetensors", *data_of(WIDTHS, 40)))


def test_a_checkpoint_of_zeros_and_one_of_nan() -> None:
    """At zero weights of two factors the loss has no gradient, and the coefficient is that of rank 0."""
    data = data_of((3, 3, 3), 64, rank=0)
    zeros = aligned_model((3, 3, 3), 0)
    result = estimate(zeros, data, n_beta=100.0, gamma=100.0, draws=500)
    assert result.llc is not None
    assert 0 < result.llc < deep_linear_llc((3, 3, 3), 0) + 3 * (result.stderr or 0.0)
    with torch.no_grad():
        zeros.factors[0][0, 0] = float("nan")
    with pytest.raises(UnusableError, match="predictions that are not finite"):
        estimate(zeros, data, n_beta=100.0, gamma=100.0, draws=500)
