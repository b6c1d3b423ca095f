"""Files of a checkpoint that are odd or damaged: the number that they say, computed plainly, or one line."""

import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.budget import TALLY, examples, recorded
from tests.fuzz.folders import CONFIGS, TEXTS, changed
from tests.fuzz.mutation import More, contents, damaged
from tests.fuzz.outcome import Number, Refusal, loss_at
from tests.fuzz.plain import loss_of

pytestmark = pytest.mark.filterwarnings("ignore")

CONFIG_MORE: More = {
    "quantization_config": [{"quant_method": "fp8"}, {"quant_method": "nope"}],
    "rope_scaling": [{"rope_type": "linear", "factor": 2.0}, {"type": "dynamic", "factor": 2.0}],
    "attn_implementation": ["flash_attention_2", "eager", "nope"],
    "auto_map": [{"AutoModelForCausalLM": "model.Model"}, {"AutoConfig": "other/repo--config.Config"}],
    "architectures": [["LlamaForSequenceClassification"], ["GPT2LMHeadModel"], ["Nope"]],
    "model_type": ["gpt2", "llama", "mistral", "bert", "t5", "nope"],
    "tie_word_embeddings": [True, False],
    "num_hidden_layers": [0, 1, 3, 10**9],
    "is_decoder": [False],
    "attention_bias": [True],
    "num_labels": [3],
}
HARMLESS = {
    "transformers_version": "3.0.0", "use_cache": False, "dtype": "float16", "torch_dtype": "bfloat16",
    "_name_or_path": "../x", "unknown": {"a": [1]}, "output_attentions": False, "task_specific_params": None,
}  # fmt: skip


def require_right(kind: str, folder: Path, place: Path, shown: object = "") -> Number | Refusal:
    """What the tool says of a folder, which is one line or the number of the plain computation."""
    with recorded(kind, shown):
        result = loss_at(folder, place / "text.jsonl")
        TALLY[f"{kind}: {type(result).__name__}"] += 1
        if isinstance(result, Number):
            plain = loss_of(folder, TEXTS)
            assert result.n == plain.n
            assert result.loss == pytest.approx(plain.loss, rel=2e-4, abs=1e-5)
        return result
    return Refusal("")


@pytest.mark.parametrize("name", [*CONFIGS, "sharded"])
def test_whole_checkpoints_have_their_number(place: Path, name: str) -> None:
    assert isinstance(require_right("whole", place / name, place), Number)


@examples(60)
@given(data=st.data(), name=st.sampled_from(sorted(CONFIGS)))
def test_an_odd_config_gives_the_right_number_or_one_line(place: Path, data: st.DataObject, name: str) -> None:
    content = data.draw(contents((place / name / "config.json").read_bytes(), more=CONFIG_MORE))
    with changed(place / name, {"config.json": content}) as folder:
        require_right(f"config {name}", folder, place, content)


@examples(12)
@given(data=st.data(), name=st.sampled_from(sorted(CONFIGS)))
def test_what_says_nothing_about_the_model_changes_nothing(place: Path, data: st.DataObject, name: str) -> None:
    config = json.loads((place / name / "config.json").read_text())
    extra = data.draw(st.lists(st.sampled_from(sorted(HARMLESS)), unique=True))
    config = {key: config[key] for key in data.draw(st.permutations(sorted(config)))} | {k: HARMLESS[k] for k in extra}
    with changed(place / name, {"config.json": json.dumps(config).encode()}) as folder:
        assert isinstance(require_right("harmless", folder, place), Number)


@examples(50)
@given(
    data=st.data(),
    file=st.sampled_from(["tokenizer.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"]),
)
def test_an_odd_tokenizer_gives_the_right_number_or_one_line(place: Path, data: st.DataObject, file: str) -> None:
    path = place / "llama" / file
    original = path.read_bytes() if path.is_file() else b'{"eos_token": "<|endoftext|>", "bos_token": "a"}'
    more: More = {
        "tokenizer_class": ["GPT2Tokenizer", "Qwen2Tokenizer", "LlamaTokenizer", "PreTrainedTokenizerFast", "Nope"],
        "eos_token": ["a", {"content": "a"}, {"content": "<|endoftext|>", "__type": "AddedToken"}],
        "add_bos_token": [True],
        "add_prefix_space": [True],
        "model_max_length": [1, 10**30],
        "truncation": [{"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0}],
        "normalizer": [{"type": "Lowercase"}, {"type": "NFKC"}],
        "pre_tokenizer": [{"type": "Whitespace"}, {"type": "ByteLevel", "add_prefix_space": True, "use_regex": False}],
    }  # fmt: skip
    content = data.draw(contents(original, more=more))
    with changed(place / "llama", {file: content}) as folder:
        require_right(file, folder, place, content)


PRE_TOKENIZERS = [
    {"type": "ByteLevel", "add_prefix_space": prefix, "trim_offsets": True, "use_regex": regex}
    for prefix in (True, False)
    for regex in (True, False)
]
TOKENIZER_CLASSES = ["PreTrainedTokenizerFast", "GPT2Tokenizer", "GPTNeoXTokenizerFast", "Qwen2TokenizerFast"]
SPLIT = {"type": "Split", "pattern": {"Regex": r"\d"}, "behavior": "Isolated", "invert": False}


@st.composite
def tokenizers(draw: st.DrawFn, original: Mapping[str, Any]) -> dict[str, Any]:
    """A tokenizer.json that is whole, and makes other tokens: other rules, ids, merges and special tokens."""
    tokenizer: dict[str, Any] = copy.deepcopy(dict(original))
    model, added = tokenizer["model"], tokenizer["added_tokens"][0]
    tokenizer["normalizer"] = draw(st.sampled_from([None, {"type": "Lowercase"}, {"type": "NFKC"}]))
    byte_level = draw(st.sampled_from(PRE_TOKENIZERS))
    split = {"type": "Sequence", "pretokenizers": [SPLIT, byte_level]}
    tokenizer["pre_tokenizer"] = draw(st.sampled_from([byte_level, split]))
    for flag in ("lstrip", "rstrip", "single_word", "normalized"):
        added[flag] = draw(st.booleans())
    arguments = [word for word in model["vocab"] if word != added["content"]]
    one, other = draw(st.sampled_from(arguments)), draw(st.sampled_from(arguments))
    model["vocab"][one], model["vocab"][other] = model["vocab"][other], model["vocab"][one]
    model["merges"] = model["merges"][: draw(st.integers(0, len(model["merges"])))]
    if draw(st.booleans()):
        tokenizer["added_tokens"].append({**added, "id": 299, "content": draw(st.sampled_from(["river", "the ", "a"]))})
    return tokenizer


@examples(15)
@given(
    data=st.data(),
    name=st.sampled_from([None, *TOKENIZER_CLASSES]),
)
def test_a_whole_tokenizer_gives_its_number_or_one_line(place: Path, data: st.DataObject, name: str | None) -> None:
    folder = place / "llama"
    content = data.draw(tokenizers(json.loads((folder / "tokenizer.json").read_text())))
    config = json.loads((folder / "tokenizer_config.json").read_text())
    config = {key: value for key, value in config.items() if key != "tokenizer_class"}
    config |= {"tokenizer_class": name} if name else {}
    files = {"tokenizer.json": json.dumps(content).encode(), "tokenizer_config.json": json.dumps(config).encode()}
    with changed(folder, files) as copied:
        require_right(f"tokenizer of {name}", copied, place, content)


@examples(30)
@given(data=st.data())
def test_an_odd_index_gives_the_right_number_or_one_line(place: Path, data: st.DataObject) -> None:
    path = place / "sharded" / "model.safetensors.index.json"
    names = sorted(set(json.loads(path.read_text())["weight_map"].values()))
    values = [*names, "nope.safetensors", "../llama/model.safetensors", "/etc/passwd", "", ".", None, 3, [], {}]
    content = data.draw(contents(path.read_bytes(), values=values))
    with changed(place / "sharded", {path.name: content}) as folder:
        require_right("index", folder, place, content)


@examples(30)
@given(data=st.data())
def test_damaged_weights_give_the_right_number_or_one_line(place: Path, data: st.DataObject) -> None:
    path = place / "llama" / "model.safetensors"
    content = path.read_bytes()
    length = 8 + int.from_bytes(content[:8], "little")
    part = data.draw(st.sampled_from(["length", "header", "all"]))
    begin, end = {"length": (0, 8), "header": (8, length), "all": (0, len(content))}[part]
    content = content[:begin] + data.draw(damaged(content[begin:end])) + content[end:]
    with changed(place / "llama", {path.name: content}) as folder:
        require_right("weights", folder, place, content[:1200])
