"""Models, texts and token ids in memory: the number of the same files, and one line for what makes no sense."""

import json
import os
import shutil
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from datasets.arrow_dataset import Dataset
from datasets.dataset_dict import DatasetDict
from transformers.utils import logging

from hf_llc import Estimate, HfLlcError, SamplerSettings, estimate, scan
from hf_llc.errors import ResourceError, SettingsError
from hf_llc.tasks.in_memory import data_settings, model_settings
from tests.helpers.tiny_model import CONTEXT, make_model, make_tokenizer, save_tiny_model, sentences
from tests.hub_server.environment import use_hub

SHORT: dict[str, Any] = {
    "sampler": "sgld-lm", "gamma": 1000.0, "lr": 1e-4, "chains": 2, "draws": 8, "burn_in": 2, "checks": False,
    "batch_size": 4, "gradient": "minibatch", "batches": "independent",
}  # fmt: skip


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An empty working directory and cache, and no network."""
    use_hub(monkeypatch, "http://127.0.0.1:9", tmp_path / "hf_home")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.chdir(tmp_path)


def texts_file(path: Path) -> Path:
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in sentences(200)))
    return path


def by_files(tmp_path: Path, **settings: Any) -> Estimate:
    folder = save_tiny_model(tmp_path / "model")
    return estimate(folder, texts_file(tmp_path / "texts.jsonl"), **{**SHORT, **settings})


def test_a_model_and_texts_in_memory_give_the_number_of_their_files(tmp_path: Path) -> None:
    model = make_model()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    result = estimate(model, sentences(200), tokenizer=make_tokenizer(), **SHORT)
    assert (result.llc, result.stderr) == (by_files(tmp_path).llc, by_files(tmp_path).stderr)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_a_dataset_in_memory_is_the_texts_that_it_holds(tmp_path: Path) -> None:
    dataset = Dataset.from_dict({"body": sentences(200)})
    result = estimate(make_model(), dataset, tokenizer=make_tokenizer(), text_column="body", **SHORT)
    assert result.dataset.fingerprint == by_files(tmp_path).dataset.fingerprint


@pytest.mark.parametrize("kind", [lambda ids: ids, lambda ids: ids.to(torch.int32), lambda ids: ids.numpy()])
def test_token_ids_are_used_as_they_are(kind: Callable[[torch.Tensor], Any]) -> None:
    ids = torch.randint(0, 300, (20, 16), generator=torch.Generator().manual_seed(0))
    result = estimate(make_model(), kind(ids), **SHORT)
    assert (result.settings.n, result.settings.context_length) == (20, 16)
    (path,) = Path("hf_home/hf-llc/tokens").iterdir()
    from safetensors.torch import load_file

    assert torch.equal(load_file(path)["tokens"].to(torch.int64), ids)
    loss = torch.nn.functional.cross_entropy
    logits = make_model()(input_ids=ids).logits[:, :-1].detach()
    expected = loss(logits.reshape(-1, logits.shape[-1]), ids[:, 1:].reshape(-1))
    assert result.init_loss == pytest.approx(float(expected), rel=1e-5)


def test_messages_name_no_file_that_data_in_memory_was_written_to() -> None:
    texts, short = Dataset.from_dict({"body": sentences(200)}), ["too little"]
    for data, settings, message in (
        (texts, {"text_column": "txt"}, "^data has no column txt; there is body"),
        (short, {}, "^data gives 10 tokens"),
        (
            torch.zeros((6, 8), dtype=torch.int64),
            {"batch_size": 7},
            "^batch_size must be ≤ 6, the sequences of 8 tokens in the data, got 7",
        ),
    ):
        with pytest.raises(HfLlcError, match=message):
            estimate(make_model(), data, tokenizer=make_tokenizer(), **{**SHORT, **settings})


def test_a_minibatch_whose_size_is_not_given_has_no_more_items_than_there_are() -> None:
    ids = torch.arange(48).reshape(6, 8)
    settings: dict[str, Any] = {name: value for name, value in SHORT.items() if name != "batch_size"}
    result = estimate(make_model(), ids, **settings)
    assert (result.settings.n, result.settings.batch_size) == (6, 6)
    assert result.llc == estimate(make_model(), ids, **settings, batch_size=6).llc


def test_the_same_objects_again_are_the_same_run() -> None:
    ids = torch.arange(320).reshape(20, 16) % 300
    first, second = (estimate(make_model(), ids, **SHORT) for _ in range(2))
    assert first.run_dir == second.run_dir
    assert len(list(Path("hf-llc-runs/in-memory").iterdir())) == 2


def test_max_sequences_takes_the_first_token_ids() -> None:
    ids = torch.arange(320).reshape(20, 16) % 300
    assert estimate(make_model(), ids, max_sequences=6, **SHORT).settings.n == 6


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((3, None), "model must be a Hub id"),
        ((torch.nn.Linear(2, 2), numpy.zeros((4, 8), dtype=int)), "got a Linear"),
        (("MODEL", ["a text"]), r"tokenizer is needed for a model in memory: pass tokenizer=…"),
        (("MODEL", torch.rand(4, 8)), r"whole numbers as token ids, got a tensor of torch\.float32"),
        (("MODEL", torch.zeros(8, dtype=torch.int64)), r"shape \(n, context length\), got \(8,\)"),
        (("MODEL", torch.full((4, 8), 300)), "token 300, but the model has 300"),
        (("MODEL", torch.full((4, 8), -1)), "data must hold token ids from 0 to 2147483647, got -1 to -1"),
        (("MODEL", torch.full((4, 8), 2**31)), "data must hold token ids from 0 to"),
        (("MODEL", torch.zeros((4, CONTEXT + 1), dtype=torch.int64)), "context_length must be ≤ 64"),
        (("MODEL", torch.zeros((1, 8), dtype=torch.int64)), r"data must hold 2 sequences or more, .* got \(1, 8\)"),
        (("MODEL", torch.zeros((4, 1), dtype=torch.int64)), r"data must hold .* of 2 tokens or more, got \(4, 1\)"),
        (("MODEL", torch.zeros((4, 8), dtype=torch.int64).to_sparse()), "data must be a dense tensor of token ids"),
        (("MODEL", torch.zeros((4, 8), dtype=torch.int64, device="meta")), "data must be a dense tensor of token ids"),
    ],
)
def test_what_cannot_be_meant_is_one_line(arguments: tuple[Any, Any], message: str) -> None:
    model, data = arguments
    with pytest.raises(HfLlcError, match=message):
        estimate(make_model() if model == "MODEL" else model, data, **SHORT)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([], "empty list"),
        (["a", 1], r"data\[1\] must be a string, got 1"),
        ([[1, 2], [3, 4]], r"data\[0\] must be a string, got a list; token ids go into one tensor of shape"),
        (3, "data must be a Hub id, .* got an int"),
        (DatasetDict({"train": Dataset.from_dict({"text": ["a"]})}), "choose one of train"),
        (Dataset.from_dict({"text": []}), "no rows"),
    ],
)
def test_data_that_cannot_be_meant_is_one_line(data: Any, message: str) -> None:
    with pytest.raises(HfLlcError, match=message):
        estimate(make_model(), data, tokenizer=make_tokenizer(), **SHORT)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"gama": 3}, "estimate has no setting gama; did you mean gamma"),
        ({"gamma": -3}, "gamma must be ≥ 0, got -3.0"),
        ({"gamma": "much"}, "gamma must be a number, got 'much'"),
        ({"num_processes": 0}, "num_processes must be ≥ 1, got 0"),
        ({"settings": {"foo": 1}}, "settings: no setting foo"),
        ({"settings": 3}, "settings must be a settings file, a mapping or a result, got int"),
        ({"settings": ""}, "settings must be a path, got ''"),
        ({"settings": "a\0b"}, "settings must be a string without null characters"),
        ({"settings": "x" * 5000}, "settings file 'x+… cannot be read .File name too long"),
        ({"sampler": "sgdl"}, "sampler must be one of auto, importance, badodab, .*, got .sgdl.; did you mean sgld"),
        ({"sampler": 3}, "sampler must be a SamplerSettings or a string, got 3"),
    ],
)
def test_settings_that_make_no_sense_are_named(overrides: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        estimate("none/such", **overrides)


def test_overrides_win_over_settings_and_these_over_the_sampler(tmp_path: Path) -> None:
    folder, texts = save_tiny_model(tmp_path / "model"), texts_file(tmp_path / "texts.jsonl")
    sampler = SamplerSettings(**{**SHORT, "seed": 1, "gamma": 500.0})
    result = estimate(folder, texts, sampler, settings={"seed": 2, "gamma": 700.0}, gamma=1000, max_sequences=12)
    assert (result.settings.gamma, result.settings.seed, result.settings.n) == (1000.0, 2, 12)
    again = estimate(folder, texts, settings=result, max_sequences=12)
    assert again.settings.to_dict() == result.settings.to_dict()


def test_a_scan_takes_revisions_data_and_settings_by_name(tmp_path: Path) -> None:
    for step in (1, 2, 3):
        save_tiny_model(tmp_path / "run" / f"checkpoint-{step}", seed=step)
    curve = scan(tmp_path / "run", sentences(200), revisions=["checkpoint-1", "checkpoint-3"], num_processes=1, **SHORT)
    assert curve is not None
    assert [point.step for point in curve] == [1, 3]
    with pytest.raises(SettingsError, match="scan has no setting gama; did you mean gamma"):
        scan(tmp_path / "run", gama=3)


@pytest.mark.parametrize("tokenizer", ["gpt2", 3, torch.nn.Linear(2, 2), object])
def test_a_tokenizer_is_one_of_transformers(tokenizer: Any) -> None:
    with pytest.raises(SettingsError, match="tokenizer must be a tokenizer or image processor of transformers, got"):
        estimate(make_model(), ["a text"], tokenizer=tokenizer, **SHORT)


@pytest.mark.parametrize("data", [["a text"], Dataset.from_dict({"text": ["a"]}), numpy.zeros((4, 8), dtype=int)])
def test_a_working_directory_that_cannot_be_written_is_named(data: Any) -> None:
    Path("hf-llc-runs").write_text("a file where the folder should be")
    with pytest.raises(ResourceError, match=r"in-memory, which cannot be written .*change to a folder that can"):
        estimate(make_model(), data, tokenizer=make_tokenizer(), **SHORT)


def test_leftovers_of_a_killed_save_are_removed_after_a_day() -> None:
    abandoned, current = (Path("hf-llc-runs/in-memory") / name for name in (".Model-0123", ".Model-4567"))
    for folder in (abandoned, current):
        folder.mkdir(parents=True)
        (folder / "config.json").touch()
    for path in (abandoned / "config.json", abandoned):
        os.utime(path, (0, 0))
    data_settings(Dataset.from_dict({"text": ["a"]}))
    assert (abandoned.exists(), current.exists()) == (False, True)


def test_the_same_model_saved_by_two_processes_at_once_is_one_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    ids, rename = numpy.zeros((4, 8), dtype=int), Path.rename

    def rename_late(self: Path, target: Path) -> Path:
        """Rename after another process has put the same content there."""
        shutil.copytree(self, target)
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", rename_late)
    folder = Path(model_settings(make_model(), None, ids).model)
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_saving_draws_no_progress_bars(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging, "_tqdm_active", True)
    monkeypatch.setattr(import_module("datasets.utils.tqdm"), "_hf_datasets_progress_bars_disabled", False)
    model_settings(make_model(), make_tokenizer(), None)
    data_settings(Dataset.from_dict({"text": ["a"]}))
    assert capfd.readouterr().err == ""
    assert logging.is_progress_bar_enabled()


@pytest.mark.parametrize(("output_dir", "reason"), [("x" * 5000, "File name too long"), ("file", "File exists")])
def test_an_output_dir_that_cannot_be_made_is_named(output_dir: str, reason: str) -> None:
    Path("file").touch()
    with pytest.raises(ResourceError, match=f"output_dir .* cannot be created .{reason}"):
        estimate(make_model(), numpy.zeros((4, 8), dtype=int), output_dir=Path(output_dir), **SHORT)


def test_without_an_observer_several_processes_print_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    ids = torch.arange(320).reshape(20, 16) % 300
    settings = {**SHORT, "lr": None, "gamma": None}
    result = estimate(make_model(), ids, num_processes=2, **settings)
    assert capfd.readouterr() == ("", "")
    assert estimate(make_model(), ids, **settings).llc == result.llc


def test_models_by_step_in_memory_are_the_curve_of_their_folders(tmp_path: Path) -> None:
    ids = torch.arange(320).reshape(20, 16) % 300
    models = {8: make_model(2), 1: make_model(1)}
    curve = scan(models, ids, num_processes=1, **SHORT)
    assert curve is not None
    assert [(point.revision, point.step) for point in curve] == [("checkpoint-1", 1), ("checkpoint-8", 8)]
    for step, model in models.items():
        model.save_pretrained(tmp_path / "run" / f"checkpoint-{step}")
    of_files = scan(tmp_path / "run", ids, num_processes=1, **SHORT)
    assert of_files is not None
    assert [point.llc for point in curve] == [point.llc for point in of_files]
    again = scan(models, ids, num_processes=1, **SHORT)
    assert again is not None
    assert again.run_dir == curve.run_dir
    listed = scan([models[1], models[8]], ids, num_processes=1, **SHORT)
    assert listed is not None
    assert [point.step for point in listed] == [0, 1]
    assert [point.llc for point in listed] == [point.llc for point in curve]


@pytest.mark.parametrize(
    ("models", "message"),
    [
        (3, "model must be a Hub id, a folder of checkpoints, or transformers or peft models by .*, got an int"),
        ({}, "model must be .*, got an empty one"),
        ([], "model must be .*, got an empty one"),
        ("MODEL", "got a GPTNeoXForCausalLM; hf_llc.estimate takes a single model"),
        ({"first": "MODEL"}, "model must have training steps as keys, whole numbers ≥ 0, got 'first'"),
        ({-1: "MODEL"}, "whole numbers ≥ 0, got -1"),
        ({True: "MODEL"}, "whole numbers ≥ 0, got True"),
        ({0: "MODEL", 4: torch.nn.Linear(2, 2)}, r"model\[4\] must be a transformers or peft model, got a Linear"),
    ],
)
def test_a_series_that_cannot_be_meant_is_one_line(models: Any, message: str) -> None:
    def filled(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: filled(each) for key, each in value.items()}
        return make_model() if value == "MODEL" else value

    with pytest.raises(SettingsError, match=message):
        scan(filled(models), torch.zeros((4, 8), dtype=torch.int64), **SHORT)


def test_models_in_memory_need_a_tokenizer_and_those_of_a_folder_have_one(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"tokenizer is needed for a model in memory: pass tokenizer=…"):
        scan([make_model()], ["a text"], **SHORT)
    with pytest.raises(SettingsError, match="tokenizer is for a model in memory only"):
        scan(tmp_path, ["a text"], tokenizer=make_tokenizer(), **SHORT)
