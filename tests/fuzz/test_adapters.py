"""Adapters whose files are odd or damaged: the number that peft would have, or one line."""

import codecs
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from peft import AutoPeftModelForCausalLM
from transformers import AutoModelForCausalLM

from tests.fuzz.budget import TALLY, examples, recorded
from tests.fuzz.folders import TEXTS, changed
from tests.fuzz.mutation import More, contents, damaged
from tests.fuzz.outcome import CONTEXT, Number, loss_at
from tests.fuzz.plain import tokens_of
from tests.helpers.tiny_adapters import lora, save_adapter

pytestmark = pytest.mark.filterwarnings("ignore")

MORE: More = {
    "target_modules": ["all-linear", ["q_proj"], ["nope"], ".*", "[", ["q_proj", "k_proj"], "(a+)+$"],
    "rank_pattern": [{"q_proj": 2}, {"q_proj": 10**9}, {"(": 2}],
    "alpha_pattern": [{"q_proj": 2}, {"q_proj": "x"}],
    "modules_to_save": [["lm_head"], ["nope"], "lm_head"],
    "layers_to_transform": [0, [1], [7], 10**9],
    "trainable_token_indices": [[1], [10**6], {"embed_tokens": [2]}, {"nope": [1]}, [-1]],
    "use_dora": [True],
    "use_rslora": [True],
    "bias": ["all", "lora_only", "nope"],
    "peft_type": ["LOHA", "IA3", "VERA", "PROMPT_TUNING", "lora"],
    "task_type": ["SEQ_CLS", "nope"],
    "init_lora_weights": ["pissa", "gaussian", "nope", False],
    "base_model_name_or_path": ["llama", "gpt2", "adapter", ".", "~", "http://x/y", "org/none", "a" * 300],
    "revision": ["main", "v1"],
    "auto_mapping": [{"base_model_class": "GPT2LMHeadModel"}, {"base_model_class": "LlamaForCausalLM"}],
    "layer_replication": [[[0, 2], [1, 2]]],
    "exclude_modules": ["q_proj", ["v_proj"]],
    "lora_alpha": [0, 1e300, "8"],
}


@pytest.fixture(scope="module")
def adapter(place: Path) -> Path:
    """A LoRA for the Llama, in `adapter`; `llama` is where it says that its base is."""
    model = AutoModelForCausalLM.from_pretrained(place / "llama")
    return save_adapter(place / "adapter", "llama", lora(target_modules=["q_proj", "v_proj"]), model=model)


def require_right(kind: str, folder: Path, place: Path, shown: object) -> None:
    """The tool says one line, or the number of peft."""
    with recorded(kind, shown):
        result = loss_at(folder, place / "text.jsonl")
        TALLY[f"{kind}: {type(result).__name__}"] += 1
        if isinstance(result, Number):
            assert result.loss == pytest.approx(loss_of(folder, place / "llama"), rel=2e-4, abs=1e-5)


def loss_of(folder: Path, tokenizer: Path) -> float:
    """Mean next-token loss of the adapter as peft loads it, which reads no byte order mark."""
    path = folder / "adapter_config.json"
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content.removeprefix(codecs.BOM_UTF8))
    model: Any = AutoPeftModelForCausalLM.from_pretrained(folder).eval()
    ids = tokens_of(tokenizer, TEXTS, CONTEXT, 2048)
    with torch.no_grad():
        logits = model(input_ids=ids).logits[:, :-1].float()
    return float(torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten()))


@examples(30)
@given(data=st.data())
def test_an_odd_config_gives_the_number_of_peft_or_one_line(place: Path, adapter: Path, data: st.DataObject) -> None:
    config = json.loads((adapter / "adapter_config.json").read_text())
    # Only the first entries of a document are changed.
    shuffled = {key: config[key] for key in data.draw(st.permutations(sorted(config)))}
    content = data.draw(contents(json.dumps(shuffled).encode(), more=MORE))
    with changed(adapter, {"adapter_config.json": content}) as folder:
        require_right("adapter config", folder, place, content)


@examples(15)
@given(data=st.data())
def test_damaged_weights_give_the_number_of_peft_or_one_line(place: Path, adapter: Path, data: st.DataObject) -> None:
    content = data.draw(damaged((adapter / "adapter_model.safetensors").read_bytes()))
    with changed(adapter, {"adapter_model.safetensors": content}) as folder:
        require_right("adapter weights", folder, place, content[:200])


def test_a_whole_adapter_has_its_number(place: Path, adapter: Path) -> None:
    result = loss_at(adapter, place / "text.jsonl")
    assert isinstance(result, Number)
    shutil.copytree(adapter, place / "again")
    assert loss_at(place / "again", place / "text.jsonl") == result
