"""Masked language models: which tokens are masked, which losses, what is refused, and an estimate from end to end."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForMaskedLM, BertForPreTraining

from hf_llc import DataSettings, ModelSettings, estimate
from hf_llc.checkpoints.resolve import find_model
from hf_llc.checkpoints.source import Corpus
from hf_llc.errors import SettingsError, UnusableError
from hf_llc.tasks import TASKS
from hf_llc.tasks.base import Computation
from hf_llc.tasks.choose import find_items
from hf_llc.tasks.fill_mask import prepare
from tests.helpers.tiny_model import jsonl, make_tokenizer, save_tiny_model
from tests.helpers.tiny_text_models import bert_config, make_bert_tokenizer, save_bert_classifier, save_masked_bert
from tests.hub_server.environment import use_hub

PAD, UNK, CLS, SEP, MASK = range(5)


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An empty working directory and cache, no network, and a text."""
    use_hub(monkeypatch, "http://127.0.0.1:9", tmp_path / "hf_home")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.jsonl").write_text(jsonl(200))


def outcome(model: Path, **settings: Any) -> Corpus:
    return find_items(DataSettings(dataset="text.jsonl", **settings), find_model(ModelSettings(model=str(model))))


def test_sequences_are_packed_between_special_tokens_and_fifteen_percent_of_their_words_masked(tmp_path: Path) -> None:
    corpus = outcome(save_masked_bert(tmp_path / "model"), context_length=42)
    items = TASKS["fill-mask"].load_items(corpus)
    ids, labels = items["input_ids"], items["labels"]
    hidden = labels != -100
    whole = torch.where(hidden, labels, ids)
    assert (whole[:, 0] == CLS).all()
    assert (whole[:, -1] == SEP).all()
    assert (whole[:, 1:-1] != CLS).all()
    assert (ids[hidden] == MASK).all()
    assert not torch.isin(labels[hidden], torch.tensor([PAD, CLS, SEP, MASK])).any()
    ordinary = ~torch.isin(whole, torch.tensor([PAD, UNK, CLS, SEP, MASK]))
    assert hidden.sum(dim=1).tolist() == (ordinary.sum(dim=1) * 0.15).round().int().tolist()
    assert len({tuple(row) for row in hidden.tolist()}) == len(hidden)
    assert any("15% of the tokens of each sequence, always the same ones" in remark for remark in corpus.remarks)


def test_the_mask_is_always_the_same_and_decides_the_fingerprint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = save_masked_bert(tmp_path / "model")
    first = outcome(model)
    assert first.context_length == 64
    first.path.unlink()
    assert outcome(model) == first
    for name, value in (("MASK_SEED", 1), ("MASK_SHARE", 0.3)):
        with monkeypatch.context() as patch:
            patch.setattr(prepare, name, value)
            assert outcome(model).fingerprint != first.fingerprint


def test_the_loss_is_that_of_transformers_over_masked_tokens(tmp_path: Path) -> None:
    model = save_masked_bert(tmp_path / "model")
    corpus, task = outcome(model, context_length=20), TASKS["fill-mask"]
    items = task.load_items(corpus)
    network = task.load_model(find_model(ModelSettings(model=str(model))), "cpu", 1)
    computation = Computation(batch_size=8, micro_batch_size=None, dtype=None, sharded=False)
    losses = task.objective(network, items, list(network.parameters()), computation).losses(torch.arange(6))
    theirs = AutoModelForMaskedLM.from_pretrained(model).eval()
    with torch.no_grad():
        expected = [
            theirs(input_ids=ids[None].long(), labels=labels[None].long()).loss
            for ids, labels in zip(items["input_ids"][:6], items["labels"][:6], strict=True)
        ]
    torch.testing.assert_close(losses, torch.stack(expected), rtol=0, atol=1e-6)


def test_a_bert_with_the_head_of_its_other_training_task_is_taken_when_the_task_is_named(tmp_path: Path) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        BertForPreTraining(bert_config()).save_pretrained(tmp_path / "bert")
    make_bert_tokenizer().save_pretrained(tmp_path / "bert")
    source = find_model(ModelSettings(model=str(tmp_path / "bert")))
    corpus = outcome(tmp_path / "bert", task="fill-mask")
    assert corpus.task == "fill-mask"
    network = TASKS["fill-mask"].load_model(source, "cpu", 1)
    TASKS["fill-mask"].refuse(network, TASKS["fill-mask"].load_items(corpus))
    assert not any("pooler" in name for name, _ in network.named_parameters())


def test_what_has_no_masked_words_is_refused(tmp_path: Path) -> None:
    for model, head in ((save_tiny_model(tmp_path / "neox"), "GPTNeoXForCausalLM"),
                        (save_bert_classifier(tmp_path / "classifier"), "BertForSequenceClassification")):  # fmt: skip
        with pytest.raises(UnusableError, match=f"is a {head}, not a masked language model"):
            outcome(model, task="fill-mask")
    model = save_masked_bert(tmp_path / "model")
    with pytest.raises(SettingsError, match="context_length must be ≤ 64, the positions of"):
        outcome(model, context_length=65)
    with pytest.raises(UnusableError, match="fills 1 sequences of 64 tokens, and at least 2 are needed"):
        outcome(model, max_sequences=1)
    make_tokenizer().save_pretrained(model)
    with pytest.raises(UnusableError, match="has no mask token; set mask_token"):
        outcome(model)
    (tmp_path / "ids.safetensors").write_bytes(b"")
    with pytest.raises(SettingsError, match=r"ids.safetensors holds token ids, which are for text-generation only"):
        find_items(DataSettings(dataset="ids.safetensors"), find_model(ModelSettings(model=str(model))))


def test_an_estimate_by_draws_and_by_chains(tmp_path: Path) -> None:
    model = save_masked_bert(tmp_path / "model")
    settings: dict[str, Any] = {"n_beta": 20.0, "gamma": 3000.0, "chains": 2, "draws": 20, "seed": 1}
    result = estimate(model, "text.jsonl", "importance", **settings)
    assert (result.dataset.task, result.dataset.unit) == ("fill-mask", "nats per masked token")
    assert result.llc is not None
    chains = estimate(model, "text.jsonl", "sgld-lm", burn_in=5, **settings)
    again = estimate(model, "text.jsonl", "sgld-lm", burn_in=5, **settings)
    assert chains.llc is not None
    assert (again.llc, again.seconds["sampling"]) == (chains.llc, chains.seconds["sampling"])
    assert chains.init_loss == pytest.approx(result.init_loss, abs=0.2)
