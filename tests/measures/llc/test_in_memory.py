"""Models, texts and token ids in memory: the number of the same files, and one line for what makes no sense."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from datasets.arrow_dataset import Dataset
from datasets.dataset_dict import DatasetDict

from hf_llc import Estimate, HfLlcError, SamplerSettings, estimate, scan
from hf_llc.errors import SettingsError
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
        (("MODEL", torch.full((4, 8), 300)), "token 300, but the model knows 300"),
        (("MODEL", torch.full((4, 8), -1)), "ids from 0 to"),
        (("MODEL", torch.zeros((4, CONTEXT + 1), dtype=torch.int64)), "positions for 64 tokens only"),
        (("MODEL", torch.zeros((1, 8), dtype=torch.int64)), "holds 1 sequences, and at least 2 are needed"),
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
        ({"settings": {"foo": 1}}, "settings: there is no setting foo"),
        ({"settings": 3}, "settings must be a settings file, a mapping or a result, got int"),
        ({"sampler": "sgdl"}, "sampler must be one of auto, importance, sgld, .*, got .sgdl."),
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
