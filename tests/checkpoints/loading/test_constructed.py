"""Tensors that a model's own code computes and no file holds: the loaded model has them as its code makes them."""

import random
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
import transformers
from torch import Tensor

from hf_llc.checkpoints.loading.load import load_model
from hf_llc.errors import UnusableError
from tests.checkpoints.loading.test_load import at, edit_config
from tests.helpers.tiny_model import make_model, save_tiny_model

CODE = """
import functools
import random
import numpy
import torch
from torch import nn
from transformers import PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutputWithPast

class ToyConfig(PretrainedConfig):
    model_type = "toy"
    def __init__(self, vocab_size=50, hidden_size=8, **kwargs):
        self.vocab_size, self.hidden_size = vocab_size, hidden_size
        super().__init__(**kwargs)

class Helper:
    def __init__(self, scale):
        self.scale = scale

@functools.lru_cache
def kept(size):
    return torch.arange(1.0, size + 1.0) / size

class Scale(nn.Module):
    def __init__(self, size):
        super().__init__()
        {{made}}
    def forward(self, x):
        return {{used}}

class ToyModel(PreTrainedModel):
    config_class = ToyConfig
    {{more}}
    def __init__(self, config):
        super().__init__(config)
        self.emb = nn.Embedding(config.vocab_size, config.hidden_size)
        self.head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.scale = Scale(config.hidden_size)
        self.post_init()
    def _init_weights(self, module):
        pass
    def get_input_embeddings(self):
        return self.emb
    def get_output_embeddings(self):
        return self.head
    def forward(self, input_ids=None, **kwargs):
        return CausalLMOutputWithPast(logits=self.head(self.scale(self.emb(input_ids))))
"""
VALUE = "torch.arange(1.0, size + 1.0) / size"
Make = Callable[..., Path]


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Writes a model whose only layer multiplies by what its code makes; its checkpoint has two weights."""
    monkeypatch.setattr(transformers.dynamic_module_utils, "HF_MODULES_CACHE", str(tmp_path / "modules"))

    def write(statement: str, used: str = "x * self.table", more: str = "", **stored: Tensor) -> Path:
        folder = tmp_path / "toy"
        generator = torch.Generator().manual_seed(0)
        weights = {name: torch.randn(50, 8, generator=generator) for name in ("emb.weight", "head.weight")}
        transformers.PretrainedConfig(architectures=["ToyModel"]).save_pretrained(folder)
        auto_map = {"AutoConfig": "toy_code.ToyConfig", "AutoModelForCausalLM": "toy_code.ToyModel"}
        edit_config(folder, model_type="toy", vocab_size=50, hidden_size=8, auto_map=auto_map)
        code = CODE.replace("{{made}}", statement).replace("{{used}}", used).replace("{{more}}", more)
        (folder / "toy_code.py").write_text(code)
        torch.save(weights | stored, folder / "pytorch_model.bin")
        return folder

    return write


def logits(folder: Path, dtype: torch.dtype = torch.float32) -> Tensor:
    model: Any = load_model(at(folder, trust_remote_code=True), "cpu", dtype)
    with torch.no_grad():
        result: Tensor = model(input_ids=torch.arange(20).view(1, -1)).logits
    return result


def expected(folder: Path, table: Tensor | None = None) -> Tensor:
    weights = torch.load(folder / "pytorch_model.bin", weights_only=True)
    table = torch.arange(1.0, 9.0) / 8 if table is None else table
    return torch.nn.functional.linear(weights["emb.weight"][:20] * table, weights["head.weight"])[None]


@pytest.mark.parametrize(
    ("statement", "used"),
    [
        (f"self.register_buffer('table', {VALUE}, persistent=False)", "x * self.table"),
        (f"self.table = {VALUE}", "x * self.table"),
        (f"self.tables = [None, {VALUE}]", "x * self.tables[1]"),
        (f"self.tables = (({VALUE},), 3)", "x * self.tables[0][0]"),
        (f"self.tables = dict(a={VALUE})", "x * self.tables['a']"),
        (f"self.helper = Helper({VALUE})", "x * self.helper.scale"),
        ("self.register_buffer('table', kept(size), persistent=False)", "x * self.table"),
        ("self.table = kept(size)", "x * self.table"),
        (f"self.register_buffer('table', {VALUE}, persistent=False); self.view = self.table", "x * self.view"),
        (
            f"self.inner = nn.Module(); table = {VALUE}; self.register_buffer('table', table, persistent=False); "
            "self.inner.register_buffer('table', table, persistent=False)",
            "x * self.inner.table",
        ),
    ],
)
def test_what_the_code_computes_is_there(make: Make, statement: str, used: str) -> None:
    folder = make(statement, used)
    for _ in range(2):
        torch.testing.assert_close(logits(folder), expected(folder))


def test_a_persistent_buffer_that_may_be_missing_is_what_the_code_makes(make: Make) -> None:
    folder = make(f"self.register_buffer('table', {VALUE})", more="_keys_to_ignore_on_load_missing = ['scale.table']")
    torch.testing.assert_close(logits(folder), expected(folder))


def test_a_persistent_buffer_in_the_file_is_that_of_the_file(make: Make) -> None:
    table = torch.linspace(3.0, 4.0, 8)
    folder = make(f"self.register_buffer('table', {VALUE})", **{"scale.table": table})
    torch.testing.assert_close(logits(folder), expected(folder, table))


def test_a_weight_that_may_be_missing_is_refused_all_the_same(make: Make) -> None:
    folder = make(f"self.table = nn.Parameter({VALUE})", more="_keys_to_ignore_on_load_missing = ['scale.table']")
    with pytest.raises(UnusableError, match=r"has no weights for scale\.table"):
        logits(folder)


def test_a_buffer_has_the_type_that_the_code_gives_it(make: Make) -> None:
    folder = make(f"self.register_buffer('table', ({VALUE}).float(), persistent=False)", "x * self.table.to(x.dtype)")
    model: Any = load_model(at(folder, trust_remote_code=True), "cpu", torch.bfloat16)
    assert model.scale.table.dtype == torch.arange(2.0, dtype=torch.bfloat16).float().dtype
    torch.testing.assert_close(model.scale.table, (torch.arange(1.0, 9.0, dtype=torch.bfloat16) / 8).float())


@pytest.mark.parametrize("statement", ["self.register_buffer('table', torch.rand(size), persistent=False)"])
def test_a_buffer_that_is_drawn_at_random_is_refused(make: Make, statement: str) -> None:
    with pytest.raises(UnusableError, match=r"its code draws scale\.table at random whenever the model is built"):
        logits(make(statement))


def test_a_table_of_complex_numbers_may_hold_nan_and_not_be_drawn_at_random(make: Make) -> None:
    nan = "torch.polar(torch.ones(size), torch.arange(1.0, size + 1.0) / torch.arange(size) * 0)"
    folder = make(f"self.register_buffer('rotation', {nan}, persistent=False); self.table = {VALUE}")
    torch.testing.assert_close(logits(folder), expected(folder))
    with pytest.raises(UnusableError, match=r"its code draws scale\.rotation at random"):
        logits(make("self.register_buffer('rotation', torch.randn(size, dtype=torch.cfloat), persistent=False)"))


def test_a_random_tensor_beside_the_buffers_is_refused(make: Make) -> None:
    with pytest.raises(UnusableError, match=r"its code draws scale\.table at random"):
        logits(make("self.table = torch.rand(size, device='cpu')"))


@pytest.mark.parametrize(
    ("statement", "used", "name"),
    [
        ("self.array = numpy.random.randn(size)", "x * torch.from_numpy(self.array).float()", "array"),
        ("self.array = numpy.random.permutation(size)", "x[..., self.array]", "array"),
        ("self.array = numpy.random.default_rng().random(size)", "x * torch.from_numpy(self.array).float()", "array"),
        ("self.factor = random.random()", "x * self.factor", "factor"),
        ("self.factors = [1, (numpy.random.rand(),)]", "x * self.factors[1][0]", r"factors\.1\.0"),
        ("self.factor = numpy.float32(numpy.random.rand())", "x * float(self.factor)", "factor"),
        ("self.helper = Helper(dict(a=random.gauss(0, 1)))", "x * self.helper.scale['a']", r"helper\.scale\.a"),
        (
            "self.register_buffer('table', torch.from_numpy(numpy.random.rand(size)).float(), persistent=False)",
            "x * self.table",
            "table",
        ),
    ],
)
def test_random_numbers_that_are_no_tensors_are_refused(make: Make, statement: str, used: str, name: str) -> None:
    with pytest.raises(UnusableError, match=rf"scale\.{name}.* whenever the model is built.* of the same model"):
        logits(make(statement, used))


@pytest.mark.parametrize(
    "statement",
    [
        "self.array = numpy.arange(1.0, size + 1.0) / size; self.array[0] = numpy.nan; self.table = {value}",
        "self.array = numpy.random.RandomState(3).rand(size); self.table = {value}",
        "numpy.random.seed(3); self.array = numpy.random.rand(size); self.table = {value}",
        "self.array = numpy.array([object(), None]); self.names = numpy.array(['a', 'b']); self.table = {value}",
        "self.factor = float('nan'); self.small = 1e-5; self.count = random.randint(0, 10**9); self.table = {value}",
    ],
)
def test_arrays_and_numbers_that_are_always_the_same_do_no_harm(make: Make, statement: str) -> None:
    folder = make(statement.format(value=VALUE))
    torch.testing.assert_close(logits(folder), expected(folder))


def test_the_random_numbers_of_the_caller_go_on(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "manual_seed_all", lambda seed: pytest.fail("seeded the GPUs"))
    folder = make(f"self.rest = random.randint(0, 9), int(numpy.random.rand()); self.table = {VALUE}")
    # transformers builds the model once more, with the random numbers of the caller.
    calls = []
    for _ in range(2):
        random.seed(5)
        numpy.random.seed(5)
        logits(folder)
        calls.append((random.random(), numpy.random.rand()))
    random.seed(5)
    numpy.random.seed(5)
    random.randint(0, 9)
    numpy.random.rand()
    assert calls == [(random.random(), numpy.random.rand())] * 2


def test_a_buffer_of_the_weights_is_refused(make: Make) -> None:
    text = (
        "self.weight = nn.Parameter(torch.ones(size)); self.register_buffer('table', self.weight * 2, persistent=False)"
    )
    with pytest.raises(UnusableError, match=r"scale\.table is not in its weights, and its code does not compute it"):
        logits(make(text, **{"scale.weight": torch.ones(8)}))


def test_memory_that_is_written_before_it_is_read_may_be_uninitialised(make: Make) -> None:
    result = f"self.register_buffer('room', torch.empty(20, 8), persistent=False); self.table = {VALUE}"
    folder = make(result, "self.room.copy_(x[0] * self.table).expand(x.shape) if len(x) == 1 else x * self.table")
    torch.testing.assert_close(logits(folder), expected(folder))
    assert not torch.are_deterministic_algorithms_enabled()


def test_the_weights_of_a_model_are_not_drawn_for_it(make: Make) -> None:
    """A second build costs no memory for weights: they are on the meta device."""
    folder = make(f"self.register_buffer('table', {VALUE}, persistent=False)")
    torch.manual_seed(5)
    before = torch.get_rng_state()
    logits(folder)
    assert torch.equal(torch.get_rng_state(), before)


def test_weights_that_were_read_are_not_drawn_anew(make: Make) -> None:
    """Code for transformers 4 draws in place, also in a layer of which nothing but a buffer is in no file."""
    drawing = "@torch.no_grad()\n    def _init_weights(self, module):\n        for each in module.parameters(False):\n"
    folder = make(
        "self.table = nn.Parameter(torch.ones(size)); self.register_buffer('one', torch.ones(1), persistent=False)",
        "x * self.table * self.one",
        **{"scale.table": torch.arange(1.0, 9.0) / 8},
    )
    code = folder / "toy_code.py"
    code.write_text(
        code.read_text().replace(
            "def _init_weights(self, module):\n        pass", f"{drawing}            each.data.normal_()"
        )
    )
    torch.testing.assert_close(logits(folder), expected(folder))


def test_the_row_of_padding_is_that_of_the_file(tmp_path: Path) -> None:
    config = transformers.YoutuConfig(
        vocab_size=60, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=2,
        intermediate_size=32, kv_lora_rank=16, q_lora_rank=16, qk_nope_head_dim=8, qk_rope_head_dim=8,
        v_head_dim=16, pad_token_id=0, bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    saved = transformers.YoutuForCausalLM(config)
    with torch.no_grad():
        saved.model.embed_tokens.weight.normal_()
    saved.save_pretrained(tmp_path)
    model: Any = load_model(at(tmp_path), "cpu")
    assert torch.equal(model.model.embed_tokens.weight, saved.model.embed_tokens.weight)


@pytest.mark.parametrize("step", ["from_config", "from_pretrained"])
def test_loads_in_threads_leave_torch_and_transformers_as_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """Each replaces a method of a class while it runs; were they interleaved, the second would leave the first's."""
    folder = save_tiny_model(tmp_path / "tiny", tokenizer=False)
    expected = make_model().state_dict()
    for kind, name in ((torch.nn.Module, "register_parameter"), (transformers.PreTrainedModel, "initialize_weights")):
        monkeypatch.setattr(kind, name, getattr(kind, name))  # put back after a failure too
    original: Any = getattr(transformers.AutoModelForCausalLM, step)
    met, over = threading.Event(), threading.Event()
    other = threading.Thread(target=load_model, args=(at(folder), "cpu"))

    def build(*arguments: Any, **options: Any) -> Any:
        model = original(*arguments, **options)
        if threading.current_thread() is other:
            met.set()
            over.wait(60)
        elif not other.ident:
            other.start()
            met.wait(1)
        return model

    monkeypatch.setattr(transformers.AutoModelForCausalLM, step, build)
    try:
        load_model(at(folder), "cpu")
    finally:
        over.set()
    other.join()
    assert met.is_set()
    later = make_model().state_dict()
    assert not any(value.is_meta for value in later.values())
    assert all(torch.equal(value, expected[name]) for name, value in later.items())
