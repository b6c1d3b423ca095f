"""Tokenizers from disk, and the ids that they make of texts."""

import importlib.machinery
import json
import sys
import types
from pathlib import Path
from typing import Any, cast

import pytest
import tokenizers
import transformers
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

from hf_llc.checkpoints.source import ModelSource
from hf_llc.errors import UnusableError
from hf_llc.tasks.text import encoding
from hf_llc.tasks.text import tokenizer as tokenizer_module
from hf_llc.tasks.text.encoding import token_ids
from hf_llc.tasks.text.tokenizer import TextTokenizer, load_tokenizer
from tests.helpers.tiny_model import CONTEXT, EOS, TEXT, make_tokenizer, save_tiny_model, sentences

NASTY = [
    "bridge 20235 in 1999",
    " a leading blank",
    "two  blanks\n\n\nand a\ttab\r\n",
    "cafe\u0301 caf\u00e9 \ufb01 \u2460",
    "\u3000\u5168\u89d2 \u4e2d\u6587 123",
    "I'll can't <s> hi",
    "\U0001f600\U0001f469\u200d\U0001f467",
]
"""Texts that normalisers and pre-tokenizers treat differently."""


def at(folder: Path, **options: Any) -> ModelSource:
    """The source that `find_model` would make of a folder."""
    return ModelSource(id=folder.name, revision=None, sha="sha256:0", step=None, path=folder, **options)


def loaded(tokenizer: transformers.PreTrainedTokenizerFast, folder: Path) -> TextTokenizer:
    """The tokenizer, saved to a folder and loaded from there."""
    tokenizer.save_pretrained(folder)
    return load_tokenizer(at(folder))


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A folder with the tiny model."""
    return save_tiny_model(tmp_path / "tiny")


@pytest.fixture
def tokenizer(tmp_path: Path) -> TextTokenizer:
    """The tiny model's tokenizer."""
    return loaded(make_tokenizer(), tmp_path / "saved")


def edit(path: Path, **changes: Any) -> None:
    """Overwrites entries of a JSON file, which is made if it is not there."""
    content = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**content, **changes}))


def test_the_tokenizer_is_the_saved_one(tiny: Path) -> None:
    tokenizer = load_tokenizer(at(tiny))
    assert tokenizer.eos_token_id == 0
    assert tokenizer.remarks == []
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
    plain = make_tokenizer()
    plain.add_tokens(["heron"])
    assert loaded(plain, tiny / "other").identity != load_tokenizer(at(tiny)).identity


def test_token_ids_has_no_special_tokens_no_limit_and_no_warning(
    tokenizer: TextTokenizer, capfd: pytest.CaptureFixture[str]
) -> None:
    texts = [TEXT * 3, "", "the river"]
    result = list(token_ids(tokenizer, texts))
    assert [tokenizer.decode(ids) for ids in result] == texts
    assert len(result[0]) > CONTEXT
    assert tokenizer.eos_token_id not in result[0]
    assert capfd.readouterr().err == ""


def test_texts_come_back_in_order_across_batches(tokenizer: TextTokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [*sentences(20), TEXT * 2, *sentences(5)]
    whole = list(token_ids(tokenizer, texts))
    monkeypatch.setattr(encoding, "BATCH_CHARACTERS", 150)
    assert list(token_ids(tokenizer, texts)) == whole


def test_a_long_text_in_pieces_has_the_ids_of_the_whole(
    tokenizer: TextTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "\n\n".join(sentences(300))
    whole = list(token_ids(tokenizer, [text]))
    monkeypatch.setattr(encoding, "BATCH_CHARACTERS", 2000)
    assert list(token_ids(tokenizer, [text])) == whole


def test_a_long_text_without_blanks_loses_nothing(tokenizer: TextTokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoding, "BATCH_CHARACTERS", 2000)
    assert tokenizer.decode(next(token_ids(tokenizer, ["unbroken" * 900]))) == "unbroken" * 900


def test_a_long_text_is_read_only_as_far_as_needed(tokenizer: TextTokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    text = " ".join(sentences(300))
    (whole,) = token_ids(tokenizer, [text])
    monkeypatch.setattr(encoding, "BATCH_CHARACTERS", 1000)
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


def test_a_tokenizer_that_fails_at_the_text_is_one_line(tmp_path: Path) -> None:
    backend = tokenizers.Tokenizer(tokenizers.models.Unigram([("a", 0.0)], unk_id=None))
    tokenizer = loaded(transformers.PreTrainedTokenizerFast(tokenizer_object=backend), tmp_path)
    with pytest.raises(UnusableError, match=r"The tokenizer cannot encode the text \(.*unk_id.*\); add a token for"):
        list(token_ids(tokenizer, ["b"]))


def train(normalizer: Any, pre_tokenizer: Any) -> Tokenizer:
    """A BPE of 700 ids with all bytes in it."""
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token=None))
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    if pre_tokenizer is not None:
        tokenizer.pre_tokenizer = pre_tokenizer
    alphabet = [*pre_tokenizers.ByteLevel.alphabet(), "\u2581"]
    trainer = trainers.BpeTrainer(
        vocab_size=700,
        special_tokens=[EOS, *(f"<0x{byte:02X}>" for byte in range(256))],
        initial_alphabet=alphabet[:20] if normalizer is not None else alphabet,
        show_progress=False,
    )
    tokenizer.train_from_iterator([*sentences(100), *NASTY], trainer)
    return tokenizer


def byte_level(prefix: bool = False, regex: bool = True) -> Any:
    """The pre-tokenizer of byte-level vocabularies."""
    return pre_tokenizers.ByteLevel(add_prefix_space=prefix, use_regex=regex)


DIGITS = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), byte_level()])
THREE = pre_tokenizers.Sequence(
    [pre_tokenizers.Split(tokenizers.Regex(r"\p{N}{1,3}|[^\p{N}]+"), "isolated"), byte_level(regex=False)]
)
PREPEND = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])

CLASSES = {
    "GPT2Tokenizer": ("gpt2", (None, byte_level(prefix=True))),
    "GPTNeoXTokenizer": ("gpt_neox", (None, THREE)),
    "CodeGenTokenizer": ("codegen", (normalizers.NFKC(), byte_level())),
    "CohereTokenizer": ("cohere", (None, byte_level())),
    "Qwen2Tokenizer": ("qwen2", (None, byte_level())),
    "Qwen2TokenizerFast": ("qwen2", (None, DIGITS)),
    "LlamaTokenizer": ("llama", (PREPEND, None)),
    "LlamaTokenizerFast": ("llama", (None, DIGITS)),
    "GemmaTokenizer": ("gemma", (None, pre_tokenizers.Metaspace(prepend_scheme="always"))),
    "PreTrainedTokenizerFast": ("llama", (None, THREE)),
}


@pytest.mark.parametrize("name", CLASSES)
def test_every_class_gives_the_ids_of_tokenizer_json(tmp_path: Path, name: str) -> None:
    model_type, parts = CLASSES[name]
    file = train(*parts)
    file.post_processor = processors.TemplateProcessing(single=f"{EOS} $A", special_tokens=[(EOS, 0)])
    file.enable_truncation(5)
    file.enable_padding(length=7)
    file.save(str(tmp_path / "tokenizer.json"))
    edit(tmp_path / "tokenizer_config.json", tokenizer_class=name, eos_token=EOS)
    edit(tmp_path / "config.json", model_type=model_type)
    file.no_truncation()
    file.no_padding()
    tokenizer = load_tokenizer(at(tmp_path))
    assert tokenizer.eos_token_id == 0
    assert list(token_ids(tokenizer, NASTY)) == [file.encode(text, add_special_tokens=False).ids for text in NASTY]


def test_a_difference_from_transformers_is_said_once_with_an_example(tmp_path: Path) -> None:
    train(None, byte_level()).save(str(tmp_path / "tokenizer.json"))
    edit(tmp_path / "tokenizer_config.json", tokenizer_class="Qwen2Tokenizer", eos_token=EOS)
    edit(tmp_path / "config.json", model_type="qwen2")
    tokenizer = load_tokenizer(at(tmp_path))
    list(token_ids(tokenizer, ["the river", "heron"]))
    assert tokenizer.remarks == []  # both split these texts in the same way
    list(token_ids(tokenizer, NASTY * 2))
    (remark,) = tokenizer.remarks
    assert "those of tokenizer.json; Qwen2Tokenizer of transformers" in remark
    assert " for " in remark


def test_another_tokenizer_json_is_another_identity_whatever_the_class_makes_of_it(tmp_path: Path) -> None:
    identities = set()
    for name, pre_tokenizer in {"a": byte_level(), "b": DIGITS}.items():
        (tmp_path / name).mkdir()
        train(None, byte_level()).save(str(tmp_path / name / "tokenizer.json"))
        edit(tmp_path / name / "tokenizer_config.json", tokenizer_class="Qwen2Tokenizer")
        edit(tmp_path / name / "config.json", model_type="qwen2")
        stored = Tokenizer.from_file(str(tmp_path / name / "tokenizer.json"))
        stored.pre_tokenizer = pre_tokenizer
        stored.save(str(tmp_path / name / "tokenizer.json"))
        identities.add(load_tokenizer(at(tmp_path / name)).identity)
    assert len(identities) == 2


@pytest.mark.parametrize("where", ["tokenizer_config.json", "added_tokens.json", "special_tokens_map.json"])
def test_tokens_added_beside_tokenizer_json_are_known(tmp_path: Path, where: str) -> None:
    train(None, byte_level()).save(str(tmp_path / "tokenizer.json"))
    edit(tmp_path / "tokenizer_config.json", tokenizer_class="Qwen2Tokenizer", eos_token=EOS)
    edit(tmp_path / "config.json", model_type="qwen2")
    added: dict[str, Any] = {
        "tokenizer_config.json": {"added_tokens_decoder": {"700": {"content": "<|call|>", "special": True}}},
        "added_tokens.json": {"<|call|>": 700},
        "special_tokens_map.json": {"additional_special_tokens": ["<|call|>"]},
    }
    edit(tmp_path / where, **added[where])
    tokenizer = load_tokenizer(at(tmp_path))
    assert tokenizer.ids(["<|call|>"]) == [[700]]


def test_a_token_that_only_a_class_of_transformers_names_is_text(tmp_path: Path) -> None:
    file = train(None, byte_level())
    file.save(str(tmp_path / "tokenizer.json"))
    edit(tmp_path / "tokenizer_config.json", tokenizer_class="Qwen2Tokenizer")
    edit(tmp_path / "config.json", model_type="qwen2")
    stored = json.loads((tmp_path / "tokenizer.json").read_text().replace("endoftext", "end"))
    (tmp_path / "tokenizer.json").write_text(json.dumps(stored))
    tokenizer = load_tokenizer(at(tmp_path))
    assert tokenizer.eos_token_id is None  # not the id behind the last, which the model does not know
    ids = tokenizer.ids(["<|endoftext|>"])[0]
    assert len(ids) > 1
    assert max(ids) < 700


def test_special_tokens_in_the_text_are_text_where_the_config_says_so(tmp_path: Path) -> None:
    make_tokenizer().save_pretrained(tmp_path)
    before = load_tokenizer(at(tmp_path))
    assert before.ids([EOS]) == [[0]]
    edit(tmp_path / "tokenizer_config.json", split_special_tokens=True)
    after = load_tokenizer(at(tmp_path))
    assert len(after.ids([EOS])[0]) > 1
    assert after.identity != before.identity  # or tokens that are kept would be used for both


def test_a_tokenizer_of_the_repositorys_own_code_that_contradicts_its_file_is_refused(tmp_path: Path) -> None:
    train(None, byte_level()).save(str(tmp_path / "tokenizer.json"))
    edit(tmp_path / "tokenizer_config.json", auto_map={"AutoTokenizer": [None, "own.Own"]}, tokenizer_class="Own")
    edit(tmp_path / "config.json", model_type="llama")
    (tmp_path / "own.py").write_text(
        "from transformers import PreTrainedTokenizerFast\n"
        "class Own(PreTrainedTokenizerFast):\n"
        "    def _encode_plus(self, text, **options):\n"
        "        return super()._encode_plus([each.replace('x', 'y') for each in text], **options)\n"
    )
    tokenizer = load_tokenizer(at(tmp_path, trust_remote_code=True))
    plain, identity = train(None, byte_level()), tokenizer.identity
    assert tokenizer.ids(["the river"]) == [plain.encode("the river").ids]
    with pytest.raises(UnusableError, match=r"two tokenizers that differ on this text, tokenizer\.json and .*Own"):
        tokenizer.ids(["an axe"])
    (tmp_path / "own.py").write_text((tmp_path / "own.py").read_text() + "# changed\n")
    assert load_tokenizer(at(tmp_path, trust_remote_code=True)).identity != identity


@pytest.mark.parametrize("name", ["LlamaTokenizer", "GPT2Tokenizer"])
def test_a_long_text_of_tokens_that_depend_on_its_beginning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    model_type, parts = CLASSES[name]
    file = train(*parts)
    file.save(str(tmp_path / "tokenizer.json"))
    edit(tmp_path / "tokenizer_config.json", tokenizer_class=name, eos_token=EOS)
    edit(tmp_path / "config.json", model_type=model_type)
    tokenizer = load_tokenizer(at(tmp_path))
    texts = [" ".join(sentences(300)), "\u4e2d\u6587\u5168\u89d2" * 2000, "unbroken" * 1500]
    monkeypatch.setattr(encoding, "BATCH_CHARACTERS", 1500)
    assert list(token_ids(tokenizer, texts)) == [file.encode(text).ids for text in texts]
    pieces = [[text[start : start + 77] for start in range(0, len(text), 77)] for text in texts]
    assert list(token_ids(tokenizer, pieces)) == [file.encode(text).ids for text in texts]


def test_no_more_text_than_the_limit_is_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train(None, byte_level()).save(str(tmp_path / "tokenizer.json"))
    edit(tmp_path / "tokenizer_config.json", tokenizer_class="Qwen2Tokenizer", eos_token=EOS)
    edit(tmp_path / "config.json", model_type="qwen2")
    monkeypatch.setattr(tokenizer_module, "COMPARED_CHARACTERS", 5)
    tokenizer = load_tokenizer(at(tmp_path))
    tokenizer.ids(["heron"])
    tokenizer.ids(NASTY)
    assert tokenizer.remarks == []


def test_a_slow_tokenizer_without_a_file_reads_whole_texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    edit(tmp_path / "tokenizer_config.json", tokenizer_class="ByT5Tokenizer", eos_token="</s>")
    edit(tmp_path / "config.json", model_type="llama")
    tokenizer = load_tokenizer(at(tmp_path))
    assert tokenizer.eos_token_id == 1
    assert tokenizer.ids(["ab"]) == [[ord("a") + 3, ord("b") + 3]]
    (whole,) = token_ids(tokenizer, ["the river runs " * 300])
    monkeypatch.setattr(encoding, "BATCH_CHARACTERS", 500)
    assert list(token_ids(tokenizer, ["the river runs " * 300])) == [whole]
    identity = tokenizer.identity
    edit(tmp_path / "tokenizer_config.json", extra_ids=5)
    assert load_tokenizer(at(tmp_path)).identity != identity


def test_a_tokenizer_at_the_top_of_a_repository_has_its_file_there(tmp_path: Path) -> None:
    (tmp_path / "step1").mkdir()
    edit(tmp_path / "step1" / "config.json", model_type="qwen2")
    edit(tmp_path / "config.json", model_type="qwen2")
    train(None, byte_level()).save(str(tmp_path / "tokenizer.json"))
    edit(tmp_path / "tokenizer_config.json", tokenizer_class="Qwen2Tokenizer", eos_token=EOS)
    tokenizer = load_tokenizer(at(tmp_path, subfolder="step1"))
    assert tokenizer.ids(NASTY) == [train(None, byte_level()).encode(text).ids for text in NASTY]


def test_a_class_of_transformers_that_cannot_read_the_text_refuses_nothing(tmp_path: Path) -> None:
    plain = make_tokenizer()
    plain.save_pretrained(tmp_path)
    edit(tmp_path / "tokenizer_config.json", tokenizer_class="CodeLlamaTokenizer", eos_token=EOS)
    edit(tmp_path / "config.json", model_type="llama")
    tokenizer = load_tokenizer(at(tmp_path))
    assert tokenizer.ids(NASTY) == [plain.backend_tokenizer.encode(text).ids for text in NASTY]
    (remark,) = tokenizer.remarks
    assert "makes others of this text (none: " in remark


@pytest.mark.parametrize(
    "name", ["XLMRobertaTokenizer", "T5TokenizerFast", "DebertaV2Tokenizer", "CamembertTokenizer", "PegasusTokenizer"]
)
def test_a_class_that_cannot_be_built_from_tokenizer_json_leaves_the_file(tiny: Path, name: str) -> None:
    edit(tiny / "tokenizer_config.json", tokenizer_class=name)
    tokenizer = load_tokenizer(at(tiny))
    file = Tokenizer.from_file(str(tiny / "tokenizer.json"))
    assert tokenizer.ids(NASTY) == [file.encode(text, add_special_tokens=False).ids for text in NASTY]
    assert tokenizer.eos_token_id == 0
    (remark,) = tokenizer.remarks
    assert remark.startswith(f"The tokens are those of tokenizer.json alone; {name} of transformers ")


def test_the_identity_says_that_a_class_could_not_be_built(tiny: Path) -> None:
    edit(tiny / "tokenizer_config.json", tokenizer_class="PreTrainedTokenizerFast")
    plain = load_tokenizer(at(tiny))
    edit(tiny / "tokenizer_config.json", tokenizer_class="XLMRobertaTokenizer")
    other = load_tokenizer(at(tiny))
    assert (len(plain.remarks), len(other.remarks)) == (0, 1)
    assert plain.identity != other.identity  # or tokens that are kept would have the remarks of either


def test_albert_over_a_unigram_file_leaves_the_file(tiny: Path) -> None:
    file = Tokenizer(models.Unigram([("<unk>", 0.0), ("t", -1.0), ("he", -2.0), ("the", -1.5)], 0, False))
    file.save(str(tiny / "tokenizer.json"))
    edit(tiny / "tokenizer_config.json", tokenizer_class="AlbertTokenizer", eos_token=None)
    tokenizer = load_tokenizer(at(tiny))
    assert tokenizer.ids(["the"]) == [[3]]
    assert "AlbertTokenizer" in tokenizer.remarks[0]


def test_a_repositorys_own_class_that_fails_is_not_passed_over(tiny: Path) -> None:
    code = "class Own:\n    @classmethod\n    def from_pretrained(cls, *_, **__):\n        [] + 1\n"
    (tiny / "own.py").write_text(code)
    edit(tiny / "tokenizer_config.json", tokenizer_class="Own", auto_map={"AutoTokenizer": ["own.Own", None]})
    with pytest.raises(UnusableError, match="cannot read its tokenizer"):
        load_tokenizer(at(tiny, trust_remote_code=True))


PIECES = b"\n\x0e\n\x05<unk>\x15\x00\x00\x00\x00\x18\x02"
"""The first piece of a model of sentencepiece, as it is written."""


@pytest.fixture
def pieces(tmp_path: Path) -> Path:
    """A folder with a model of sentencepiece, and no tokenizer.json."""
    folder = save_tiny_model(tmp_path / "pieces", tokenizer=False)
    (folder / "tokenizer.model").write_bytes(PIECES)
    return folder


@pytest.mark.parametrize("name", ["LlamaTokenizer", "GemmaTokenizer"])
def test_a_model_of_sentencepiece_names_the_package_that_it_needs(
    pieces: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setitem(sys.modules, "sentencepiece", None)
    edit(pieces / "tokenizer_config.json", tokenizer_class=name)
    with pytest.raises(UnusableError, match=r"has tokenizer\.model and no tokenizer\.json.*sentencepiece") as caught:
        load_tokenizer(at(pieces))
    assert "tiktoken" not in str(caught.value)


def test_code_of_a_repository_is_named_before_sentencepiece(pieces: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sentencepiece", None)
    edit(pieces / "config.json", model_type="own")
    edit(pieces / "tokenizer_config.json", tokenizer_class="Own", auto_map={"AutoTokenizer": ["own.Own", None]})
    with pytest.raises(UnusableError, match="`trust_remote_code`"):
        load_tokenizer(at(pieces))


class LlamaTokenizer(transformers.PreTrainedTokenizerFast):
    """What transformers built, without the package that it would have needed."""


class Processor:
    """The one of sentencepiece: it begins every text with a blank of its own, which is piece 2."""

    PIECES = ("<unk>", "</s>", "\u2581", "a", "b")

    def __init__(self, model_proto: bytes) -> None:
        assert model_proto == PIECES

    def encode(self, text: str) -> list[int]:
        """The ids of a text of these letters and blanks."""
        return [self.PIECES.index(letter) for letter in "\u2581" + text.replace(" ", "\u2581")]

    def id_to_piece(self, id_: int) -> str:
        """The piece with this id."""
        return self.PIECES[id_]


def built_pieces(*, prefix: str, offset: int = 0) -> LlamaTokenizer:
    """A tokenizer of the pieces above with a prefix scheme of Metaspace, whose ids begin at an offset."""
    names = [*("<s>", "<pad>")[:offset], *Processor.PIECES]
    tokenizer = Tokenizer(models.BPE({name: id_ for id_, name in enumerate(names)}, [], unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=prefix, split=False)
    make: Any = LlamaTokenizer
    return cast(LlamaTokenizer, make(tokenizer_object=tokenizer, eos_token="</s>"))


@pytest.fixture
def sentencepiece(monkeypatch: pytest.MonkeyPatch) -> None:
    """A package sentencepiece with the processor above."""
    module = types.ModuleType("sentencepiece")
    module.__spec__ = importlib.machinery.ModuleSpec("sentencepiece", None)
    module.__dict__["SentencePieceProcessor"] = Processor
    monkeypatch.setitem(sys.modules, "sentencepiece", module)


@pytest.mark.usefixtures("sentencepiece")
def test_tokens_that_sentencepiece_makes_in_another_way_are_said_once(pieces: Path) -> None:
    tokenizer = TextTokenizer("m", built_pieces(prefix="always"), pieces)
    assert tokenizer.ids(["ab", "a b</s>"]) == [[2, 3, 4], [2, 3, 2, 4, 1]]
    assert tokenizer.remarks == []
    assert tokenizer.ids([" a", "  b"]) == [[2, 3], [2, 2, 4]]  # without one more for the prefix
    (remark,) = tokenizer.remarks
    assert remark == (
        f"The tokens are those that LlamaTokenizer of transformers {transformers.__version__} makes; sentencepiece "
        "makes others of this text with tokenizer.model ('a' for '\\u2581' 'a')."
    )


@pytest.mark.usefixtures("sentencepiece")
def test_pieces_with_other_numbers_are_no_difference(pieces: Path) -> None:
    tokenizer = TextTokenizer("m", built_pieces(prefix="always", offset=2), pieces)
    assert tokenizer.ids(["ab"]) == [[4, 5, 6]]
    assert tokenizer.remarks == []
    assert tokenizer.ids(["ab", " b"]) == [[4, 5, 6], [4, 6]]
    assert len(tokenizer.remarks) == 1


@pytest.mark.usefixtures("sentencepiece")
def test_a_file_of_tiktoken_is_not_compared(pieces: Path) -> None:
    (pieces / "tokenizer.model").write_bytes(b"IQ== 0\nIg== 1\n")
    tokenizer = TextTokenizer("m", built_pieces(prefix="always"), pieces)
    assert tokenizer.ids([" a"]) == [[2, 3]]
    assert tokenizer.remarks == []
