"""Tokenizers from disk, and the ids that they make of texts."""

import json
from pathlib import Path
from typing import Any

import pytest
import tokenizers
import transformers

from hf_llc.adapters import tokenizer as tokenizer_module
from hf_llc.adapters.tokenizer import load_tokenizer, token_ids, tokenizer_identity
from hf_llc.errors import UnusableError
from hf_llc.inputs import ModelSource
from tests.tiny import CONTEXT, TEXT, make_tokenizer, save_tiny_model, sentences


def at(folder: Path, **options: Any) -> ModelSource:
    """The source that `find_model` would make of a folder."""
    return ModelSource(id=folder.name, revision=None, sha="sha256:0", step=None, path=folder, **options)


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A folder with the tiny model."""
    return save_tiny_model(tmp_path / "tiny")


def test_the_tokenizer_is_the_saved_one(tiny: Path) -> None:
    tokenizer = load_tokenizer(at(tiny))
    assert tokenizer.eos_token_id == 0
    assert tokenizer_identity(tokenizer) == tokenizer_identity(make_tokenizer())
    assert tokenizer.decode(next(token_ids(tokenizer, ["the old bridge"]))) == "the old bridge"


def test_a_missing_tokenizer_says_what_to_do(tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / "bare", tokenizer=False)
    with pytest.raises(UnusableError, match=r"tokenizer.*; copy") as caught:
        load_tokenizer(at(folder))
    assert "\n" not in str(caught.value)


def test_a_damaged_tokenizer_says_what_to_do(tiny: Path) -> None:
    (tiny / "tokenizer.json").write_text("{")
    with pytest.raises(UnusableError, match="cannot read its tokenizer of tiny; copy"):
        load_tokenizer(at(tiny))


def test_another_vocabulary_is_another_tokenizer(tiny: Path) -> None:
    tokenizer = load_tokenizer(at(tiny))
    tokenizer.add_tokens(["heron"])
    assert tokenizer_identity(tokenizer) != tokenizer_identity(make_tokenizer())


def test_token_ids_has_no_special_tokens_no_limit_and_no_warning(capfd: pytest.CaptureFixture[str]) -> None:
    tokenizer = make_tokenizer()
    texts = [TEXT * 3, "", "the river"]
    found = list(token_ids(tokenizer, texts))
    assert [tokenizer.decode(ids) for ids in found] == texts
    assert len(found[0]) > CONTEXT
    assert tokenizer.eos_token_id not in found[0]
    assert capfd.readouterr().err == ""


def test_texts_come_back_in_order_across_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = make_tokenizer()
    texts = [*sentences(20), TEXT * 2, *sentences(5)]
    whole = list(token_ids(tokenizer, texts))
    monkeypatch.setattr(tokenizer_module, "BATCH_CHARACTERS", 150)
    assert list(token_ids(tokenizer, texts)) == whole


def test_a_long_text_in_pieces_has_the_ids_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = make_tokenizer()
    text = "\n\n".join(sentences(300))
    whole = list(token_ids(tokenizer, [text]))
    monkeypatch.setattr(tokenizer_module, "BATCH_CHARACTERS", 2000)
    assert list(token_ids(tokenizer, [text])) == whole


def test_a_long_text_without_blanks_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = make_tokenizer()
    monkeypatch.setattr(tokenizer_module, "BATCH_CHARACTERS", 2000)
    assert tokenizer.decode(next(token_ids(tokenizer, ["unbroken" * 900]))) == "unbroken" * 900


def test_a_long_text_is_read_only_as_far_as_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = make_tokenizer()
    text = " ".join(sentences(300))
    (whole,) = token_ids(tokenizer, [text])
    monkeypatch.setattr(tokenizer_module, "BATCH_CHARACTERS", 1000)
    (part,) = token_ids(tokenizer, [text], enough=100)
    assert 100 <= len(part) < len(whole) / 2
    assert part == whole[: len(part)]


def test_a_tokenizer_with_dropout_makes_the_same_tokens_each_time(tiny: Path) -> None:
    path, texts = tiny / "tokenizer.json", sentences(20)
    plain = list(token_ids(load_tokenizer(at(tiny)), texts))
    stored = json.loads(path.read_text())
    stored["model"]["dropout"] = 0.5
    path.write_text(json.dumps(stored))
    assert list(token_ids(load_tokenizer(at(tiny)), texts)) == plain


def test_a_tokenizer_that_fails_at_the_text_is_one_line() -> None:
    backend = tokenizers.Tokenizer(tokenizers.models.Unigram([("a", 0.0)], unk_id=None))
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=backend)
    with pytest.raises(UnusableError, match=r"The tokenizer cannot read the text \(.*unk_id.*\); give it a token for"):
        list(token_ids(tokenizer, ["b"]))
