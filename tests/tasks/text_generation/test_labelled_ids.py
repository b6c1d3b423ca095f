"""Token ids with labels: from a file, in memory, and of a Trainer's rows."""

from pathlib import Path
from typing import Any

import pytest
import torch
from datasets.arrow_dataset import Dataset
from safetensors.torch import save_file

from hf_llc import DataSettings, ModelSettings, SamplerSettings, estimate
from hf_llc.checkpoints.resolve import find_model
from hf_llc.checkpoints.source import Corpus
from hf_llc.errors import SettingsError, UnusableError
from hf_llc.integrations import LLCCallback
from hf_llc.tasks import TASKS
from hf_llc.tasks.choose import find_items
from hf_llc.tasks.in_memory import data_settings
from hf_llc.tasks.text.tokenized_rows import labelled
from hf_llc.tasks.text_generation.targets import IDS, LABELS
from tests.helpers.tiny_chat import conversations, make_llama, save_chat_model
from tests.helpers.tiny_text_models import write_rows
from tests.hub_server.environment import use_hub

IGNORED = -100


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An empty working directory and cache, and no network."""
    use_hub(monkeypatch, "http://127.0.0.1:9", tmp_path / "hf_home")
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return save_chat_model(tmp_path / "model")


def corpus_of(model: Path, data: str, **settings: Any) -> Corpus:
    return find_items(DataSettings(dataset=data, **settings), find_model(ModelSettings(model=str(model))))


def chats(model: Path) -> tuple[Corpus, dict[str, torch.Tensor]]:
    """Conversations as data, and their tensors."""
    corpus = corpus_of(model, str(write_rows(Path("chats.jsonl"), conversations(12))))
    return corpus, {name: tensor.long() for name, tensor in TASKS["text-generation"].load_items(corpus).items()}


def test_ids_and_labels_in_a_file_or_in_memory_are_the_sequences_that_they_were_made_from(model: Path) -> None:
    corpus, items = chats(model)
    wider = {name: torch.nn.functional.pad(tensor, (0, 5), value=0) for name, tensor in items.items()}
    wider[LABELS][:, -5:] = IGNORED
    wider["attention_mask"] = torch.nn.functional.pad(torch.ones_like(items[IDS]), (0, 5))
    save_file(wider, "ids.safetensors")
    again = corpus_of(model, "ids.safetensors")
    assert (again.fingerprint, again.loss_on, again.context_length) == (
        corpus.fingerprint, "labels", corpus.context_length,
    )  # fmt: skip
    memory = data_settings({name: tensor.numpy() for name, tensor in wider.items()})
    assert corpus_of(model, str(memory.dataset)).fingerprint == corpus.fingerprint
    assert "The loss of a sequence is the mean of its tokens that have a label" in again.remarks[0]


def test_an_estimate_of_a_model_in_memory_needs_no_tokenizer_for_them(model: Path) -> None:
    _, items = chats(model)
    settings = SamplerSettings(sampler="sgld-lm", gamma=1e3, lr=1e-4, chains=2, draws=4, burn_in=1, checks=False,
                               batch_size=4)  # fmt: skip
    result = estimate(make_llama(), items, settings)
    assert result.llc == estimate(model, "chats.jsonl", settings).llc


def test_rows_without_a_label_are_left_out(model: Path) -> None:
    ids = torch.ones(5, 6, dtype=torch.int64)
    labels = torch.full_like(ids, IGNORED)
    labels[0, 2] = labels[1, 3] = labels[2, 0] = 1
    save_file({IDS: ids, LABELS: labels}, "ids.safetensors")
    corpus = corpus_of(model, "ids.safetensors")
    assert (corpus.n, corpus.context_length) == (2, 4)
    assert corpus.remarks[1] == "3 sequences without a label are left out."
    save_file({IDS: ids[1:], LABELS: labels[1:]}, "few.safetensors")
    with pytest.raises(UnusableError, match="holds 1 sequences with a label, and at least 2 are needed"):
        corpus_of(model, "few.safetensors")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({LABELS: torch.ones(4, 5, dtype=torch.int64)}, r"labels of .* must have the shape of the ids, \(4, 6\)"),
        ({LABELS: torch.ones(4, 6)}, "labels of .* must hold whole numbers"),
        ({LABELS: torch.full((4, 6), -3)}, "labels of .* must hold ids from 0 to .*, got -3 to -3"),
        ({"attention_mask": torch.tensor([[0, 1, 1, 1, 1, 1]] * 4)}, "pad on the right"),
        (
            {"attention_mask": torch.tensor([[1, 1, 1, 1, 1, 0]] * 4)},
            "labels of .* must be -100 where attention_mask is 0",
        ),
        ({LABELS: torch.full((4, 6), 9999)}, "The tokenizer gives token 9999, but the model has 303"),
    ],
)
def test_labels_that_do_not_fit_are_refused(changes: dict[str, torch.Tensor], message: str, model: Path) -> None:
    tensors = {IDS: torch.ones(4, 6, dtype=torch.int64), LABELS: torch.ones(4, 6, dtype=torch.int64), **changes}
    save_file(tensors, "ids.safetensors")
    with pytest.raises((SettingsError, UnusableError), match=message):
        corpus_of(model, "ids.safetensors")


def test_which_tokens_count_is_not_asked_for_beside_labels(model: Path) -> None:
    _, items = chats(model)
    save_file(items, "ids.safetensors")
    with pytest.raises(SettingsError, match=r"loss_on must be auto for ids.safetensors, whose labels say it, got all"):
        corpus_of(model, "ids.safetensors", loss_on="all")


def rows_of(items: dict[str, torch.Tensor], name: str) -> Dataset:
    """As transformers or TRL keep tokenized rows: with labels, or with a mask of what counts."""
    ids, labels = items[IDS].tolist(), items[LABELS].tolist()
    masks = [[int(label != IGNORED) for label in row] for row in labels]
    return Dataset.from_dict({IDS: ids, name: labels if name == LABELS else masks})


@pytest.mark.parametrize("name", [LABELS, "assistant_masks", "completion_mask"])
def test_rows_of_a_trainer_keep_their_labels(name: str, model: Path) -> None:
    corpus, items = chats(model)
    tensors = labelled(rows_of(items, name), 128, 0)
    assert tensors is not None
    assert corpus_of(model, str(data_settings(tensors).dataset)).fingerprint == corpus.fingerprint
    assert labelled(Dataset.from_dict({IDS: [[1, 2]], LABELS: [[1, 2]]}), 128, 0) is None
    assert labelled(Dataset.from_dict({IDS: [[1, 2]]}), 128, 0) is None


def test_a_callback_estimates_on_the_tokens_that_a_trainer_trains_on(model: Path, tmp_path: Path) -> None:
    from transformers import Trainer, TrainingArguments

    corpus, items = chats(model)
    quick: dict[str, Any] = {"gamma": 5000.0, "draws": 4, "batch_size": 4, "threads": 1}
    arguments = TrainingArguments(
        str(tmp_path / "out"), max_steps=1, save_strategy="no", report_to=[], disable_tqdm=True, use_cpu=True,
        per_device_train_batch_size=4,
    )  # fmt: skip
    trainer = Trainer(make_llama(), arguments, train_dataset=rows_of(items, LABELS))
    callback = LLCCallback(trainer, every=1, **quick)
    trainer.add_callback(callback)
    trainer.train()
    assert callback.curve is not None
    (point,) = callback.curve.points
    assert point.estimate is not None, point.error
    assert (point.estimate.dataset.loss_on, point.estimate.dataset.fingerprint) == ("labels", corpus.fingerprint)
