"""How packed text begins (BOS), and text of several columns and several datasets."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets.arrow_dataset import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer

from hf_llc import DataSettings, ModelSettings
from hf_llc.checkpoints.resolve import find_model
from hf_llc.checkpoints.source import Corpus
from hf_llc.errors import SettingsError, UnusableError
from hf_llc.tasks import TASKS
from hf_llc.tasks.base import Computation
from hf_llc.tasks.choose import find_items
from hf_llc.tasks.text_generation.prepare import load_tokens
from tests.helpers.tiny_chat import BOS, conversations, make_gemma, pairs, save_chat_model
from tests.helpers.tiny_model import EOS, jsonl, save_tiny_model, sentences
from tests.helpers.tiny_text_models import save_masked_bert, write_rows
from tests.hub_server import fixtures
from tests.hub_server.environment import use_hub
from tests.hub_server.server import HubServer

hub_server, hub = fixtures.hub_server, fixtures.hub


@pytest.fixture(autouse=True)
def surroundings(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An empty working directory and cache, and no network but a test's own Hub."""
    if "hub" not in request.fixturenames:
        use_hub(monkeypatch, "http://127.0.0.1:9", tmp_path / "hf_home")
    monkeypatch.chdir(tmp_path)


def corpus_of(model: Path, data: Any, **settings: Any) -> Corpus:
    told: list[str] = []
    source = find_model(ModelSettings(model=str(model)))
    corpus = find_items(DataSettings(dataset=data, **settings), source, tell=told.append)
    assert told == list(corpus.remarks)
    return corpus


def text_of(model: Path, corpus: Corpus) -> str:
    return str(AutoTokenizer.from_pretrained(model).decode(load_tokens(corpus).flatten().tolist()))


# BOS.


def test_sequences_begin_with_bos_where_the_tokenizer_puts_it_before_a_text(tmp_path: Path) -> None:
    Path("text.jsonl").write_text(jsonl(60))
    with_bos, without = save_chat_model(tmp_path / "with", bos=True), save_chat_model(tmp_path / "without")
    bos_id = AutoTokenizer.from_pretrained(with_bos).bos_token_id
    plain = load_tokens(corpus_of(without, "text.jsonl", context_length=32))
    for model, asked in ((with_bos, "auto"), (with_bos, "always"), (without, "always")):
        corpus = corpus_of(model, "text.jsonl", context_length=32, bos=asked)
        tokens = load_tokens(corpus)
        assert corpus.context_length == tokens.shape[1] == 32
        assert (tokens[:, 0] == bos_id).all()
        # Every token of the text is still there, in a stream that begins in the same way.
        stream = tokens[:, 1:].flatten()
        assert torch.equal(stream, plain.flatten()[: len(stream)]) or torch.equal(
            stream[: plain.numel()], plain.flatten()
        )
        assert f"Each sequence begins with {BOS}, as " in corpus.remarks[-1]


def test_sequences_begin_with_text_where_that_is_asked_for_or_the_tokenizer_does_so(tmp_path: Path) -> None:
    Path("text.jsonl").write_text(jsonl(60))
    with_bos, without = save_chat_model(tmp_path / "with", bos=True), save_chat_model(tmp_path / "without")
    plain, told = corpus_of(without, "text.jsonl"), corpus_of(with_bos, "text.jsonl", bos="never")
    assert plain.fingerprint == corpus_of(without, "text.jsonl", bos="never").fingerprint == told.fingerprint
    assert plain.remarks == ()
    assert told.remarks == (f"No sequence begins with {BOS}, which the tokenizer puts before a text.",)
    assert corpus_of(with_bos, "text.jsonl").fingerprint != plain.fingerprint


def test_the_loss_is_that_of_transformers_on_the_sequences_with_bos(tmp_path: Path) -> None:
    Path("text.jsonl").write_text(jsonl(60))
    model = save_chat_model(tmp_path / "gemma", bos=True, model=make_gemma())
    corpus = corpus_of(model, "text.jsonl", context_length=24)
    task = TASKS["text-generation"]
    network, items = task.load_model(find_model(ModelSettings(model=str(model))), "cpu", 1), task.load_items(corpus)
    computation = Computation(batch_size=8, micro_batch_size=None, dtype=None, sharded=False)
    ours = task.objective(network, items, list(network.parameters()), computation).losses(torch.arange(8))
    theirs = AutoModelForCausalLM.from_pretrained(model).eval()
    with torch.no_grad():
        expected = [theirs(input_ids=row[None].long(), labels=row[None].long()).loss for row in load_tokens(corpus)[:8]]
    torch.testing.assert_close(ours, torch.stack(expected), rtol=0, atol=1e-6)


def test_bos_that_the_tokenizer_does_not_have_cannot_be_asked_for(tmp_path: Path) -> None:
    Path("text.jsonl").write_text(jsonl(60))
    model = save_tiny_model(tmp_path / "model")
    with pytest.raises(UnusableError, match=r"bos must be auto or never for .*names no token that begins a text"):
        corpus_of(model, "text.jsonl", bos="always")
    with pytest.raises(SettingsError, match="bos must be one of auto, always, never, got 'on'"):
        DataSettings(bos="on")


def test_token_ids_are_used_as_they_are(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file({"tokens": torch.ones(4, 8, dtype=torch.int32)}, "ids.safetensors")
    model = save_tiny_model(tmp_path / "model")
    for settings in ({"bos": "always"}, {"loss_on": "assistant"}):
        with pytest.raises(SettingsError, match=r"must be auto for ids\.safetensors, whose ids are used as they are"):
            corpus_of(model, "ids.safetensors", **settings)


def test_a_sequence_must_have_room_behind_bos(tmp_path: Path) -> None:
    Path("text.jsonl").write_text(jsonl(60))
    model = save_chat_model(tmp_path / "with", bos=True)
    assert load_tokens(corpus_of(model, "text.jsonl", context_length=2)).shape[1] == 2


# Several columns.


def test_columns_are_joined_by_a_blank_line_and_those_without_text_are_left_out(tmp_path: Path) -> None:
    model = save_tiny_model(tmp_path / "model")
    rows: list[dict[str, Any]] = [
        {"title": "a", "body": "b"},
        {"title": None, "body": "c"},
        {"title": "", "body": ""},
        {"title": "d"},
    ]
    write_rows(Path("rows.jsonl"), [*rows, *[{"title": "t", "body": text} for text in sentences(20)]])
    corpus = corpus_of(model, "rows.jsonl", text_column="title, body", context_length=16)
    assert text_of(model, corpus).startswith(f"a\n\nb{EOS}c{EOS}d{EOS}t\n\n{sentences(1)[0]}{EOS}")
    assert corpus.text_column == "title, body"
    assert corpus.remarks == ("Of the 24 rows read, 1 with an empty title, body are left out.",)
    Dataset.from_list([*rows, *[{"title": "t", "body": text} for text in sentences(20)]]).to_parquet("rows.parquet")
    again = corpus_of(model, "rows.parquet", text_column="title,body", context_length=16)
    assert again.fingerprint == corpus.fingerprint


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("title,", "text_column must name different columns between its commas, got title,"),
        ("title,title", "text_column must name different columns between its commas, got title,title"),
        ("title,bdy", "has no column bdy; did you mean body"),
        ("title,n", "Column n of rows.jsonl does not hold strings"),
    ],
)
def test_columns_that_cannot_be_joined_are_refused(asked: str, message: str, tmp_path: Path) -> None:
    model = save_tiny_model(tmp_path / "model")
    write_rows(Path("rows.jsonl"), [{"title": "a", "body": "b", "n": 1}] * 9)
    with pytest.raises(Exception, match=message):
        corpus_of(model, "rows.jsonl", text_column=asked)


def test_masked_language_models_read_joined_columns_too(tmp_path: Path) -> None:
    model = save_masked_bert(tmp_path / "bert")
    write_rows(Path("joined.jsonl"), [{"title": text, "body": text} for text in sentences(30)])
    write_rows(Path("text.jsonl"), [{"text": f"{text}\n\n{text}"} for text in sentences(30)])
    joined = corpus_of(model, "joined.jsonl", text_column="title,body", context_length=16)
    assert joined.fingerprint == corpus_of(model, "text.jsonl", context_length=16).fingerprint


# Several datasets.


def test_datasets_follow_one_another(tmp_path: Path) -> None:
    model, texts = save_tiny_model(tmp_path / "model"), sentences(60)
    write_rows(Path("a.jsonl"), [{"text": text} for text in texts[:20]])
    write_rows(Path("b.jsonl"), [{"content": text} for text in texts[20:]])
    write_rows(Path("both.jsonl"), [{"text": text} for text in texts])
    both, one = corpus_of(model, ["a.jsonl", "b.jsonl"]), corpus_of(model, "both.jsonl")
    assert both.fingerprint == one.fingerprint
    assert (both.id, both.text_column) == ("a.jsonl + b.jsonl", "text + content")
    parts = [corpus_of(model, name, context_length=8).revision for name in ("a.jsonl", "b.jsonl")]
    assert both.revision == " + ".join(parts)
    other = corpus_of(model, ["b.jsonl", "a.jsonl"])
    assert other.fingerprint != both.fingerprint
    assert other.path != both.path


def test_a_list_of_one_dataset_is_that_dataset(tmp_path: Path) -> None:
    model = save_tiny_model(tmp_path / "model")
    Path("text.jsonl").write_text(jsonl(60))
    assert DataSettings(dataset=["text.jsonl"]) == DataSettings(dataset="text.jsonl")
    assert corpus_of(model, ["text.jsonl"]) == corpus_of(model, "text.jsonl")


def test_conversations_of_two_datasets_follow_one_another_and_are_not_mixed_with_text(tmp_path: Path) -> None:
    model = save_chat_model(tmp_path / "model")
    rows = conversations(8)
    for name, part in (("a", rows[:3]), ("b", rows[3:]), ("both", rows)):
        write_rows(Path(f"{name}.jsonl"), part)
    assert corpus_of(model, ["a.jsonl", "b.jsonl"]).fingerprint == corpus_of(model, "both.jsonl").fingerprint
    Path("text.jsonl").write_text(jsonl(20))
    with pytest.raises(UnusableError, match=r"not of one kind \(a\.jsonl: assistant, text\.jsonl: text\)"):
        corpus_of(model, ["a.jsonl", "text.jsonl"])
    write_rows(Path("pairs.jsonl"), pairs(3))
    with pytest.raises(UnusableError, match=r"not of one kind \(a\.jsonl: assistant, pairs\.jsonl: completion\)"):
        corpus_of(model, ["a.jsonl", "pairs.jsonl"])


def test_what_was_left_out_is_told_of_each_dataset(tmp_path: Path) -> None:
    model = save_tiny_model(tmp_path / "model")
    for name in ("a", "b"):
        write_rows(Path(f"{name}.jsonl"), [{"text": text} for text in [*sentences(30), ""]])
    corpus = corpus_of(model, ["a.jsonl", "b.jsonl"])
    sentence = "Of the 31 rows read, 1 with an empty text are left out."
    assert corpus.remarks == (f"a.jsonl: {sentence}", f"b.jsonl: {sentence}")


def test_datasets_of_the_hub_are_pinned_each_by_itself(hub: HubServer, tmp_path: Path) -> None:
    model = save_chat_model(tmp_path / "model")
    first = hub.add_dataset("org/a", {"train.jsonl": "".join(json.dumps(row) + "\n" for row in conversations(4))})
    buffer = io.BytesIO()
    Dataset.from_list(conversations(8)[4:]).to_parquet(buffer)
    second = hub.add_dataset("org/b", {"train.parquet": buffer.getvalue()})
    old = second.at().sha
    corpus = corpus_of(model, ["org/a", "org/b"])
    assert corpus.revision == f"{first.at().sha} + {old}"
    write_rows(Path("both.jsonl"), conversations(8))
    assert corpus.fingerprint == corpus_of(model, "both.jsonl").fingerprint
    buffer = io.BytesIO()
    Dataset.from_list(conversations(9)[4:]).to_parquet(buffer)
    second.commit({"train.parquet": buffer.getvalue()})
    assert corpus_of(model, ["org/a", "org/b"]).n == 9
    pinned = corpus_of(model, ["org/a", f"org/b@{old}"])
    assert (pinned.fingerprint, pinned.revision) == (corpus.fingerprint, corpus.revision)
    with pytest.raises(SettingsError, match=r"--dataset-revision is main, but there are 2 datasets; write org/name@"):
        corpus_of(model, ["org/a", "org/b"], revision="main")


def test_other_tasks_take_one_dataset(tmp_path: Path) -> None:
    Path("text.jsonl").write_text(jsonl(60))
    with pytest.raises(SettingsError, match=r"dataset must be a single one for this task, got 2: text\.jsonl, b"):
        corpus_of(save_masked_bert(tmp_path / "bert"), ["text.jsonl", "b"])
    with pytest.raises(SettingsError, match="dataset must name a dataset, got an empty list"):
        DataSettings(dataset=[])
    for settings in ({"bos": "always"}, {"loss_on": "assistant"}):
        with pytest.raises(SettingsError, match=r"is for text-generation, and .* is for fill-mask; leave it out"):
            corpus_of(tmp_path / "bert", "text.jsonl", **settings)
