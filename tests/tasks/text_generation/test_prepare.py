"""From a user's words to a pinned checkpoint and pinned tokens."""

import itertools
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
from safetensors.torch import load_file, save_file

from hf_llc.checkpoints.loading.load import load_model, parameter_count
from hf_llc.checkpoints.resolve import find_model
from hf_llc.checkpoints.source import Corpus, ModelSource
from hf_llc.errors import NotFoundError, OfflineError, ResourceError, SettingsError, UnusableError
from hf_llc.settings.data import DataSettings
from hf_llc.settings.model import ModelSettings
from hf_llc.tasks.text import token_cache
from hf_llc.tasks.text.tokenizer import load_tokenizer
from hf_llc.tasks.text_generation import sequences
from hf_llc.tasks.text_generation.packing import fingerprint
from hf_llc.tasks.text_generation.prepare import find_corpus, load_tokens
from tests.helpers.tiny_model import CONTEXT, EOS, make_model, make_tokenizer, read_files, save_tiny_model, sentences
from tests.hub_server import fixtures
from tests.hub_server.environment import use_hub
from tests.hub_server.server import HubServer

hub_server, hub = fixtures.hub_server, fixtures.hub


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A folder with the tiny model."""
    return save_tiny_model(tmp_path / "tiny")


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty HF_HOME of a machine whose Hub does not answer."""
    use_hub(monkeypatch, "http://127.0.0.1:9", tmp_path / "hf_home")
    return tmp_path / "hf_home"


@pytest.fixture
def source(tiny: Path, home: Path) -> ModelSource:
    """The tiny model, found."""
    return find_model(ModelSettings(model=str(tiny)))


@pytest.fixture
def text(tmp_path: Path) -> Path:
    """A file with about 2,000 tokens in 100 documents."""
    path = tmp_path / "text.jsonl"
    path.write_text("".join(json.dumps({"text": sentence}) + "\n" for sentence in sentences(100)))
    return path


def local(folder: Path, **options: Any) -> ModelSource:
    """The model in a folder, found."""
    return find_model(ModelSettings(model=str(folder), **options))


def corpus(text: Path, source: ModelSource, tell: Callable[[str], None] = pytest.fail, **settings: Any) -> Corpus:
    """The text, found."""
    return find_corpus(DataSettings(dataset=str(text), **settings), source, tell=tell)


def weights(source: ModelSource) -> torch.Tensor:
    """The head's weights of a model that was found."""
    model: Any = load_model(source, "cpu")
    head: torch.Tensor = model.lm_head.weight
    return head


def edit_index(folder: Path, names: dict[int, str]) -> None:
    """Makes the index name these instead of the shards of those numbers."""
    path = folder / "model.safetensors.index.json"
    index = json.loads(path.read_text())
    old = sorted(set(index["weight_map"].values()))
    new = {old[number]: name for number, name in names.items()}
    index["weight_map"] = {key: new.get(name, name) for key, name in index["weight_map"].items()}
    path.write_text(json.dumps(index))


def sharded(folder: Path, names: dict[int, str]) -> Path:
    """The tiny model of seed 5 in three files, those of these numbers called so."""
    make_model(5).save_pretrained(folder, max_shard_size="60KB")
    old = sorted(folder.glob("*.safetensors"))
    edit_index(folder, names)
    for number, name in names.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        old[number].rename(folder / name)
    return folder


def change_weights(path: Path) -> None:
    """All of its tensors are others."""
    stored = load_file(path)
    stored = {name: value + 1 for name, value in stored.items()}
    save_file(stored, path, metadata={"format": "pt"})


def everything(source: ModelSource) -> torch.Tensor:
    """All weights of a model that was found, in a row."""
    return torch.cat([parameter.flatten() for parameter in load_model(source, "cpu").parameters()])


class TestLocalModels:
    """Folders and files on this disk."""

    def test_a_folder_is_pinned_by_its_content(self, tiny: Path) -> None:
        result = local(tiny)
        assert (result.id, result.revision, result.path, result.step) == (str(tiny), None, tiny, None)
        assert result.is_local
        assert result.sha.startswith("sha256:")
        assert result.weight_bytes == (tiny / "model.safetensors").stat().st_size
        assert result.download_bytes == 0

    def test_identity_does_not_depend_on_the_place_the_name_or_what_is_beside_the_weights(
        self, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        moved = tmp_path / "checkpoint-400"
        shutil.copytree(tiny, moved)
        for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json", "README.md"):
            (moved / name).write_text("state of the Trainer")
        monkeypatch.chdir(moved)
        result = find_model(ModelSettings(model="."))
        assert result.sha == local(tiny).sha
        assert (result.id, result.path, result.step) == (".", moved, 400)

    def test_identity_follows_weights_and_config(self, tiny: Path, tmp_path: Path) -> None:
        other = save_tiny_model(tmp_path / "other", seed=1)
        assert local(other).sha != local(tiny).sha
        shutil.copy(tiny / "model.safetensors", other)
        assert local(other).sha == local(tiny).sha
        config = json.loads((other / "config.json").read_text())
        (other / "config.json").write_text(json.dumps({**config, "layer_norm_eps": 0.1}))
        assert local(other).sha != local(tiny).sha

    def test_identity_follows_code_only_where_it_may_run(self, tiny: Path) -> None:
        before = local(tiny).sha
        (tiny / "my_code.py").write_text("x = 1")
        assert local(tiny).sha == before
        assert local(tiny, trust_remote_code=True).sha != before

    @pytest.mark.parametrize("name", ["part-a.safetensors", "parts/a.safetensors", "x/y/z/a.safetensors"])
    def test_identity_follows_the_files_that_the_index_names(self, tmp_path: Path, name: str) -> None:
        folder = sharded(tmp_path / "m", {1: name})
        before = local(folder)
        expected = everything(before)
        assert before.weight_bytes == sum(path.stat().st_size for path in folder.rglob("*.safetensors"))
        change_weights(folder / name)
        assert local(folder).sha != before.sha
        assert not torch.equal(everything(local(folder)), expected)

    @pytest.mark.parametrize("name", ["../a.safetensors", "/tmp/a.safetensors", "x/../../a.safetensors", "./a", ""])
    def test_an_index_that_leads_out_of_the_folder_is_refused(self, tmp_path: Path, name: str) -> None:
        folder = sharded(tmp_path / "m", {})
        edit_index(folder, {1: name})
        with pytest.raises(UnusableError, match=r"index\.json names '.*', which is (outside|not a \.safetensors)"):
            local(folder)

    def test_an_index_that_names_pickled_weights_as_safetensors_is_refused(self, tmp_path: Path) -> None:
        folder = sharded(tmp_path / "m", {})
        edit_index(folder, {1: "a.bin"})
        with pytest.raises(UnusableError, match=r"names 'a\.bin', which is not a \.safetensors file"):
            local(folder)

    @pytest.mark.parametrize("content", ["{", "[]", '{"weight_map": 3}', "[" * 100_000])
    def test_a_damaged_index_is_one_line(self, tmp_path: Path, content: str) -> None:
        folder = sharded(tmp_path / "m", {})
        (folder / "model.safetensors.index.json").write_text(content)
        with pytest.raises(UnusableError, match=r"^model\.safetensors\.index\.json is damaged"):
            local(folder)

    def test_an_index_of_shards_that_are_nowhere_leaves_the_pickled_weights(self, tmp_path: Path) -> None:
        folder = sharded(tmp_path / "m", {})
        for path in folder.glob("*.safetensors"):
            path.unlink()
        torch.save(make_model(5).state_dict(), folder / "pytorch_model.bin")
        assert torch.equal(weights(local(folder)), make_model(5).lm_head.weight)

    def test_weights_that_the_config_names_elsewhere_are_refused(self, tiny: Path) -> None:
        shutil.copy(tiny / "model.safetensors", tiny / "other.safetensors")
        config = json.loads((tiny / "config.json").read_text())
        (tiny / "config.json").write_text(json.dumps({**config, "transformers_weights": "other.safetensors"}))
        with pytest.raises(UnusableError, match=r"names 'other\.safetensors' as transformers_weights beside model"):
            load_model(local(tiny), "cpu")

    @pytest.mark.parametrize("name", ["adapter_config.json", "adapter_model.safetensors", "adapter_model.bin"])
    def test_an_adapter_beside_a_whole_model_is_refused(self, tiny: Path, name: str) -> None:
        (tiny / name).write_text("{}")
        with pytest.raises(UnusableError, match=rf"holds an adapter \({name}\) beside a whole model"):
            local(tiny)

    def test_an_adapter_in_a_folder_inside_is_no_part_of_the_model(self, tiny: Path) -> None:
        before = local(tiny).sha
        (tiny / "speech-lora").mkdir()
        (tiny / "speech-lora" / "adapter_config.json").write_text("{}")
        assert local(tiny).sha == before

    def test_a_trainer_folder_names_its_checkpoints_in_order(self, tmp_path: Path) -> None:
        for step in (1000, 200):
            save_tiny_model(tmp_path / "run" / f"checkpoint-{step}")
        (tmp_path / "run" / "config.json").write_text("{}")
        with pytest.raises(NotFoundError, match="no model itself, but checkpoint-200, checkpoint-1000; name one"):
            local(tmp_path / "run")

    @pytest.mark.parametrize(
        ("names", "message"),
        [
            (["adapter_config.json", "adapter_model.safetensors"], r"is an adapter of the kind None \(peft_type\)"),
            (["adapter_config.json"], "has adapter_config.json but no adapter_model.safetensors; save the adapter"),
            (["adapter_config.json", "adapter_model.bin"], "is an adapter in adapter_model.bin, a pickle, .* never"),
            (["adapter_model.safetensors"], "has adapter_model.safetensors but no adapter_config.json"),
            (["a.q4.gguf", "a.q8.gguf"], "only GGUF weights; choose a file with `gguf_file`: a.q4.gguf, a.q8.gguf"),
            (["config.json", "flax_model.msgpack"], "has only flax_model.msgpack; PyTorch weights"),
            (["model.safetensors"], "has weights but no config.json"),
            (["model_index.json"], "is a diffusion pipeline"),
            (["config.json"], r"has no weights \(model.safetensors or pytorch_model.bin\)"),
            (["a/model.safetensors"], r"has no weights .* Its folders a have some: choose one with `subfolder`"),
        ],
    )
    def test_a_folder_that_is_no_model_says_what_it_is(self, tmp_path: Path, names: list[str], message: str) -> None:
        for name in names:
            (tmp_path / "m" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "m" / name).write_text("{}")
        with pytest.raises((UnusableError, NotFoundError), match=message):
            local(tmp_path / "m")

    def test_a_gguf_file_is_found_by_path_and_by_option(self, tmp_path: Path) -> None:
        (tmp_path / "model-step100.gguf").write_bytes(b"GGUF")
        by_path = local(tmp_path / "model-step100.gguf")
        by_option = local(tmp_path, gguf_file="model-step100.gguf")
        assert by_path.sha == by_option.sha
        assert (by_path.path, by_path.gguf_file, by_path.step) == (tmp_path, "model-step100.gguf", 100)
        with pytest.raises(SettingsError, match="name different files"):
            local(tmp_path / "model-step100.gguf", gguf_file="other.gguf")
        with pytest.raises(NotFoundError, match=r"No file model-step10\.gguf in .*; did you mean model-step100\.gguf"):
            local(tmp_path, gguf_file="model-step10.gguf")

    def test_a_file_that_cannot_be_read_is_named(self, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(file: Any, algorithm: str) -> None:
            raise PermissionError(13, "Permission denied", file.name)

        monkeypatch.setattr("hashlib.file_digest", refuse)  # root, as tests may run, is refused nothing
        with pytest.raises(ResourceError, match=r"config\.json cannot be read \(Permission denied\)"):
            local(tiny)

    def test_pickled_weights_are_used_only_without_safetensors(self, tiny: Path) -> None:
        before = local(tiny).sha
        (tiny / "pytorch_model.bin").write_bytes(b"x")
        assert local(tiny).sha == before
        (tiny / "model.safetensors").unlink()
        assert local(tiny).weight_bytes == 1


class TestHubModels:
    """Repositories, through real HTTP."""

    @pytest.fixture
    def series(self, hub: HubServer, tmp_path: Path) -> dict[str, str]:
        """Name to commit of `org/m`: three steps on branches, a tag, and files that no model needs."""
        repo = hub.add_model("org/m")
        for seed, name in enumerate(["step0", "step1000", "main"]):
            files = read_files(save_tiny_model(tmp_path / name, seed=seed))
            repo.commit({**files, "optimizer.pt": b"o" * 9999, "onnx/model.onnx": b"o" * 9999, "my_code.py": b""}, name)
        repo.tag("v1", "step1000")
        return {name: repo.at(name).sha for name in ("step0", "step1000", "main", "v1")}

    @pytest.mark.parametrize(("spelling", "seed"), [("org/m", 2), ("org/m@step0", 0), ("hf://org/m@v1", 1)])
    def test_a_revision_is_pinned_downloaded_and_loads(self, series: dict[str, str], spelling: str, seed: int) -> None:
        result = find_model(ModelSettings(model=spelling), tell=pytest.fail)
        name = ["step0", "v1", "main"][seed]
        assert (result.id, result.revision, result.sha) == ("org/m", name, series[name])
        assert torch.equal(weights(result), make_model(seed).lm_head.weight)
        assert load_tokenizer(result).eos_token_id == 0

    def test_a_web_address_a_short_sha_and_an_option_name_the_same(
        self, series: dict[str, str], hub: HubServer
    ) -> None:
        sha = series["step1000"]
        for model, revision in (
            (f"{hub.url}/org/m/tree/step1000", None),
            ("org/m", sha[:8]),
            ("org/m", sha),
            ("org/m", "step1000"),
        ):
            assert find_model(ModelSettings(model=model, revision=revision), tell=pytest.fail).sha == sha

    def test_the_step_comes_from_the_revision(self, series: dict[str, str]) -> None:
        assert find_model(ModelSettings(model="org/m@step1000"), download=False).step == 1000
        assert find_model(ModelSettings(model="org/m"), download=False).step is None

    def test_only_the_models_own_files_are_fetched(self, series: dict[str, str]) -> None:
        result = find_model(ModelSettings(model="org/m"))
        assert result.path is not None
        assert sorted(read_files(result.path)) == sorted(
            ["config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]
        )

    def test_code_is_fetched_only_where_it_may_run(self, series: dict[str, str]) -> None:
        result = find_model(ModelSettings(model="org/m", trust_remote_code=True))
        assert result.path is not None
        assert (result.path / "my_code.py").is_file()

    def test_without_download_the_weights_stay_away_and_are_counted(
        self, series: dict[str, str], hub: HubServer
    ) -> None:
        result = find_model(ModelSettings(model="org/m"), download=False)
        assert result.download_bytes == result.weight_bytes > 100_000
        assert parameter_count(result) == sum(parameter.numel() for parameter in make_model().parameters())
        assert not hub.requests("model.safetensors")
        find_model(ModelSettings(model="org/m"))
        assert find_model(ModelSettings(model="org/m"), download=False).download_bytes == 0

    def test_a_second_search_costs_one_request(self, series: dict[str, str], hub: HubServer) -> None:
        find_model(ModelSettings(model="org/m"))
        before = len(hub.requests())
        find_model(ModelSettings(model="org/m"))
        assert len(hub.requests()) == before + 1
        find_model(ModelSettings(model="org/m", revision=series["main"]))
        assert len(hub.requests()) == before + 1

    def test_an_unknown_revision_names_near_ones(self, series: dict[str, str]) -> None:
        with pytest.raises(NotFoundError, match=r"no revision step100; did you mean step1000"):
            find_model(ModelSettings(model="org/m", revision="step100"))

    def test_a_revision_of_pickled_weights_loads(self, hub: HubServer, tmp_path: Path) -> None:
        folder = save_tiny_model(tmp_path / "m", seed=5)
        torch.save(make_model(5).state_dict(), folder / "pytorch_model.bin")
        (folder / "model.safetensors").unlink()
        hub.add_model("org/m", read_files(folder))
        result = find_model(ModelSettings(model="org/m"), tell=pytest.fail)
        assert result.weight_bytes == (folder / "pytorch_model.bin").stat().st_size
        assert torch.equal(weights(result), make_model(5).lm_head.weight)

    def test_sharded_weights_load(self, hub: HubServer, tmp_path: Path) -> None:
        make_model(5).save_pretrained(tmp_path / "m", max_shard_size="60KB")
        hub.add_model("org/m", read_files(tmp_path / "m"))
        assert torch.equal(weights(find_model(ModelSettings(model="org/m"))), make_model(5).lm_head.weight)

    @pytest.mark.parametrize("name", ["part-a.safetensors", "parts/a.safetensors"])
    def test_what_the_index_names_is_downloaded(self, hub: HubServer, tmp_path: Path, name: str) -> None:
        files = read_files(sharded(tmp_path / "m", {1: name}))
        hub.add_model("org/m", {**files, "model-00009-of-00009.safetensors": b"not named"})
        planned = find_model(ModelSettings(model="org/m"), download=False)
        result = find_model(ModelSettings(model="org/m"))
        assert torch.equal(weights(result), make_model(5).lm_head.weight)
        assert result.path is not None
        assert not (result.path / "model-00009-of-00009.safetensors").exists()
        shards = [len(content) for path, content in files.items() if path.endswith(".safetensors")]
        assert planned.download_bytes == result.weight_bytes == sum(shards)
        assert not hub.requests("model-00009")

    def test_an_index_that_names_a_file_outside_the_repository_is_refused(self, hub: HubServer, tmp_path: Path) -> None:
        folder = sharded(tmp_path / "m", {})
        edit_index(folder, {1: "../../other/m/resolve/main/model.safetensors"})
        hub.add_model("org/m", read_files(folder))
        with pytest.raises(UnusableError, match="is outside its folder"):
            find_model(ModelSettings(model="org/m"))

    def test_an_adapter_beside_a_whole_model_is_refused_before_it_is_downloaded(
        self, hub: HubServer, tiny: Path
    ) -> None:
        hub.add_model("org/m", {**read_files(tiny), "adapter_config.json": b"{}", "adapter_model.safetensors": b"x"})
        with pytest.raises(UnusableError, match=r"org/m at main holds an adapter \(adapter_config\.json\) beside"):
            find_model(ModelSettings(model="org/m"))
        assert not hub.requests("/resolve/")

    def test_a_main_without_weights_names_the_branches(self, hub: HubServer, tiny: Path) -> None:
        repo = hub.add_model("org/m", {"README.md": b"weights are in the branches"})
        repo.commit(read_files(tiny), "step-5000")
        with pytest.raises(UnusableError, match=r"org/m at main has no weights .* Revisions: step-5000; choose with"):
            find_model(ModelSettings(model="org/m"))

    def test_an_adapter_that_cannot_be_used_is_refused_before_its_base_is_looked_for(self, hub: HubServer) -> None:
        config = b'{"peft_type": "PROMPT_TUNING", "base_model_name_or_path": "org/base"}'
        hub.add_model("org/m", {"adapter_config.json": config, "adapter_model.safetensors": b"x"})
        with pytest.raises(UnusableError, match="org/m is a prompt that was trained"):
            find_model(ModelSettings(model="org/m"))
        assert not hub.requests("org/base")

    def test_one_gguf_file_is_fetched_of_several(self, hub: HubServer) -> None:
        hub.add_model("org/m", {"a.q4.gguf": b"4444", "a.q8.gguf": b"88888888", "README.md": b""})
        result = find_model(ModelSettings(model=f"{hub.url}/org/m/blob/main/a.q4.gguf"))
        assert result.path is not None
        assert list(read_files(result.path)) == ["a.q4.gguf"]
        assert (result.gguf_file, result.weight_bytes) == ("a.q4.gguf", 4)
        planned = find_model(ModelSettings(model="org/m", gguf_file="a.q8.gguf"), download=False)
        assert (planned.path, planned.download_bytes) == (None, 8)
        with pytest.raises(UnusableError, match=r"with `gguf_file`: a\.q4\.gguf, a\.q8\.gguf"):
            find_model(ModelSettings(model="org/m"))

    def test_offline_after_an_online_run_everything_is_found(
        self, series: dict[str, str], monkeypatch: pytest.MonkeyPatch, hub: HubServer, text: Path
    ) -> None:
        online = find_model(ModelSettings(model="org/m@step0"))
        tokens = corpus(text, online)
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
        before = len(hub.requests())
        assert find_model(ModelSettings(model="org/m@step0"), tell=pytest.fail) == online
        assert corpus(text, online) == tokens
        assert len(hub.requests()) == before
        with pytest.raises(OfflineError, match="org/m"):
            find_model(ModelSettings(model="org/m@step1000"))

    def test_offline_with_only_the_config_at_hand_the_weights_are_what_is_missing(
        self, series: dict[str, str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        huggingface_hub.hf_hub_download("org/m", "config.json")
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
        with pytest.raises(OfflineError, match="The weights of org/m are not on this machine"):
            find_model(ModelSettings(model="org/m"))


class TestCorpora:
    """Text to packed tokens."""

    def test_tokens_are_the_documents_with_an_end_after_each(self, text: Path, source: ModelSource) -> None:
        result = corpus(text, source)
        tokens = load_tokens(result)
        decoded = make_tokenizer().decode(tokens.flatten().tolist())
        assert isinstance(decoded, str)
        assert decoded.startswith(EOS.join(sentences(3)) + EOS)
        assert tokens.shape == (result.n, result.context_length) == (result.n, CONTEXT)
        assert tokens.dtype == torch.int32
        assert result.fingerprint == fingerprint(tokens)
        assert (result.id, result.config, result.split, result.text_column) == (str(text), None, "train", "text")
        assert result.revision.startswith("sha256:")

    def test_no_document_gets_special_tokens_of_its_own(self, text: Path, source: ModelSource) -> None:
        tokens = load_tokens(corpus(text, source))
        stream = tokens.flatten().tolist()
        pairs = list(itertools.pairwise(stream))
        assert (0, 0) not in pairs
        assert 80 < stream.count(0) <= 100

    def test_max_sequences_and_context_length_cut_the_same_stream(self, text: Path, source: ModelSource) -> None:
        everything = load_tokens(corpus(text, source, max_sequences=0)).flatten()
        part = load_tokens(corpus(text, source, max_sequences=5, context_length=16))
        assert part.shape == (5, 16)
        assert torch.equal(part.flatten(), everything[:80])

    def test_a_second_search_reads_the_file_and_not_the_text(
        self, text: Path, source: ModelSource, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        first = corpus(text, source)
        monkeypatch.setattr(sequences, "pack", lambda *_: pytest.fail("packed again"))
        assert corpus(text, source) == first

    def test_every_input_makes_other_tokens(self, text: Path, source: ModelSource, tmp_path: Path) -> None:
        first = corpus(text, source)
        assert corpus(text, source, max_sequences=5).path != first.path
        assert corpus(text, source, context_length=32).path != first.path
        assert corpus(text, source, text_column="text").path != first.path
        copy = tmp_path / "tiny2"
        shutil.copytree(str(source.path), copy)
        changed = json.loads((copy / "tokenizer.json").read_text())
        changed["model"]["merges"] = changed["model"]["merges"][:10]
        (copy / "tokenizer.json").write_text(json.dumps(changed))
        assert corpus(text, local(copy)).fingerprint != first.fingerprint
        text.write_text(text.read_text() + json.dumps({"text": "one more"}) + "\n")
        assert corpus(text, source).path != first.path

    def test_splits_and_configs_do_not_share_their_tokens(
        self, text: Path, source: ModelSource, tmp_path: Path
    ) -> None:
        folder = tmp_path / "data"
        folder.mkdir()
        card = "---\nconfigs:\n"
        for config in ("one", "two"):
            card += f"- config_name: {config}\n  data_files:\n"
            for split in ("train", "test"):
                card += f"  - split: {split}\n    path: {config}_{split}.jsonl\n"
                documents = [*sentences(60), f"the last of {config} {split}"]
                rows = "".join(json.dumps({"text": document}) + "\n" for document in documents)
                (folder / f"{config}_{split}.jsonl").write_text(rows)
        (folder / "README.md").write_text(card + "---\n")
        choices: list[dict[str, Any]] = [
            {"config": config, "split": split} for config in ("one", "two") for split in ("train", "test")
        ]
        results = [corpus(folder, source, context_length=4, max_sequences=0, **choice) for choice in choices]
        assert len({one.path for one in results}) == len({one.fingerprint for one in results}) == 4

    def test_two_models_with_one_tokenizer_share_their_tokens(
        self, text: Path, source: ModelSource, tmp_path: Path
    ) -> None:
        assert corpus(text, local(save_tiny_model(tmp_path / "other", seed=1))) == corpus(text, source)

    @pytest.mark.parametrize("damage", [lambda old: old[:-7], lambda old: old[:-4] + b"\x01\0\0\0"])
    def test_damaged_tokens_are_told_of_and_made_again(
        self, text: Path, source: ModelSource, damage: Callable[[bytes], bytes]
    ) -> None:
        told: list[str] = []
        first = corpus(text, source)
        first.path.write_bytes(damage(first.path.read_bytes()))
        with pytest.raises(ResourceError, match="have disappeared or changed"):
            load_tokens(first)
        assert corpus(text, source, told.append) == first
        assert len(told) == 1
        assert "tokenized again" in told[0]
        assert fingerprint(load_tokens(first)) == first.fingerprint

    def test_tokens_exchanged_behind_a_run_are_noticed(self, text: Path, source: ModelSource) -> None:
        result = corpus(text, source)
        other = load_tokens(result) * 0
        stored = token_cache.StoredTokens(tokens=other, fingerprint=fingerprint(other), notes={"text_column": "text"})
        token_cache.write(result.path, stored)
        with pytest.raises(ResourceError, match="disappeared or changed"):
            load_tokens(result)
        result.path.unlink()
        with pytest.raises(ResourceError, match="disappeared or changed"):
            load_tokens(result)

    def test_a_context_above_the_models_is_refused(self, text: Path, source: ModelSource) -> None:
        with pytest.raises(SettingsError, match=f"context_length must be ≤ {CONTEXT}, .*got {CONTEXT + 1}"):
            corpus(text, source, context_length=CONTEXT + 1)

    def test_too_little_text_says_how_much_it_is(self, tmp_path: Path, source: ModelSource) -> None:
        (tmp_path / "short.txt").write_text("a b c d")
        tokens = len(make_tokenizer()("a b c d")["input_ids"]) + 1
        with pytest.raises(UnusableError, match=f"gives {tokens} tokens, which fill 0 sequences of {CONTEXT}"):
            corpus(tmp_path / "short.txt", source)
        told: list[str] = []
        assert corpus(tmp_path / "short.txt", source, told.append, context_length=2).n >= 2
        assert told == ["Each plain text file is one document, with its line breaks."]

    def test_the_end_of_text_may_come_from_the_config(self, text: Path, tiny: Path, home: Path) -> None:
        expected = corpus(text, local(tiny))
        path = tiny / "tokenizer_config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "eos_token": None}))
        assert corpus(text, local(tiny)).fingerprint == expected.fingerprint
        config = json.loads((tiny / "config.json").read_text())
        (tiny / "config.json").write_text(json.dumps({**config, "eos_token_id": None}))
        with pytest.raises(UnusableError, match="names no end-of-text token"):
            corpus(text, local(tiny))

    def test_a_tokenizer_of_another_model_is_refused(self, text: Path, tmp_path: Path, home: Path) -> None:
        folder = save_tiny_model(tmp_path / "mixed")
        tokenizer = make_tokenizer()
        tokenizer.add_tokens(["river runs"])  # becomes id 300, which the model does not know
        tokenizer.save_pretrained(folder)
        with pytest.raises(UnusableError, match="gives token 300, but the model has 300"):
            corpus(text, local(folder))

    def test_tokens_that_are_kept_are_refused_by_a_model_that_does_not_know_them(
        self, text: Path, tiny: Path, home: Path
    ) -> None:
        corpus(text, local(tiny))
        path = tiny / "config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "vocab_size": 100}))
        with pytest.raises(UnusableError, match=r"gives token \d+, but the model has 100;"):
            corpus(text, local(tiny))

    def test_a_hub_dataset_is_pinned_and_then_found_without_a_request_but_one(
        self, hub: HubServer, tiny: Path, text: Path
    ) -> None:
        repo = hub.add_dataset("org/d", {"train.jsonl": text.read_bytes()})
        model = local(tiny)
        result = find_corpus(DataSettings(dataset="hf://datasets/org/d@main"), model, tell=pytest.fail)
        assert (result.id, result.revision) == ("org/d", repo.at().sha)
        assert result.fingerprint == corpus(text, model).fingerprint
        before = len(hub.requests())
        assert find_corpus(DataSettings(dataset="org/d"), model) == result
        assert len(hub.requests()) == before + 1
        repo.commit({"train.jsonl": b"".join(text.read_bytes().splitlines(keepends=True)[:90])})
        assert find_corpus(DataSettings(dataset="org/d"), model).fingerprint != result.fingerprint
        assert find_corpus(DataSettings(dataset="org/d", revision=result.revision), model) == result

    def test_a_hub_dataset_packed_before_is_found_offline(
        self, hub: HubServer, tiny: Path, text: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        hub.add_dataset("org/d", {"train.jsonl": text.read_bytes()})
        model = local(tiny)
        result = find_corpus(DataSettings(dataset="org/d"), model)
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
        assert find_corpus(DataSettings(dataset="org/d"), model, tell=pytest.fail) == result
        with pytest.raises(OfflineError, match="org/d"):
            find_corpus(DataSettings(dataset="org/d", max_sequences=3), model)

    def test_a_path_with_brackets_has_the_tokens_of_its_own_file(self, text: Path, source: ModelSource) -> None:
        path = text.with_name("data[12].jsonl")
        text.with_name("data1.jsonl").write_text('{"text": "another text"}\n' * 50)
        path.write_bytes(text.read_bytes())
        assert corpus(path, source).fingerprint == corpus(text, source).fingerprint

    def test_rows_without_text_are_counted_where_the_tokens_are_made_and_where_they_are_kept(
        self, text: Path, source: ModelSource
    ) -> None:
        text.write_text(text.read_text() + '{"other": 1}\n' * 7)
        told: list[str] = []
        first = corpus(text, source, told.append, max_sequences=0)
        assert corpus(text, source, told.append, max_sequences=0) == first
        assert told == [*first.remarks] * 2
        assert first.remarks[0].endswith("7 without text (null, or no such column) are left out.")

    def test_tokens_that_transformers_would_make_otherwise_are_said_each_time(
        self, text: Path, tmp_path: Path, home: Path
    ) -> None:
        folder = save_tiny_model(tmp_path / "qwen")
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, "model_type": "qwen2"}))
        stored = json.loads((folder / "tokenizer_config.json").read_text())
        (folder / "tokenizer_config.json").write_text(json.dumps({**stored, "tokenizer_class": "Qwen2Tokenizer"}))
        told: list[str] = []
        first, again = corpus(text, local(folder), told.append), corpus(text, local(folder), told.append)
        assert told == [*first.remarks, *again.remarks]
        assert "those of tokenizer.json; Qwen2Tokenizer of" in told[0]
        assert first == again
        assert first.fingerprint == corpus(text, local(save_tiny_model(tmp_path / "plain"))).fingerprint

    def test_a_source_of_another_place_gives_the_same_corpus(
        self, text: Path, source: ModelSource, tmp_path: Path
    ) -> None:
        shutil.copytree(str(source.path), tmp_path / "moved")
        assert corpus(text, replace(source, path=tmp_path / "moved")) == corpus(text, source)
