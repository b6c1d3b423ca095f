"""Models whose config takes their Python code from another repository."""

from pathlib import Path
from typing import Any

import pytest
import transformers

from hf_llc.checkpoints.loading.load import load_model, parameter_count
from hf_llc.checkpoints.resolve import find_model
from hf_llc.checkpoints.source import ModelSource
from hf_llc.errors import SettingsError, SourceError, UnusableError
from hf_llc.execution.plan import Plan
from hf_llc.execution.planning import plan
from hf_llc.settings.data import DataSettings
from hf_llc.settings.model import ModelSettings
from hf_llc.settings.sampler import SamplerSettings
from tests.checkpoints.loading.test_load import CODE, SMALL, edit_config
from tests.helpers.tiny_model import jsonl, make_tokenizer, read_files
from tests.hub_server import fixtures
from tests.hub_server.repository import Repository
from tests.hub_server.server import HubServer

hub_server, hub = fixtures.hub_server, fixtures.hub
WORKING = CODE + "\nSCALE = 1\n"
CHANGED = CODE + "\nSCALE = 2\n"


@pytest.fixture
def borrowing(tmp_path: Path, hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model with the code of `org/code`, as a folder and as `org/m`."""
    monkeypatch.setattr(transformers.dynamic_module_utils, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    folder = tmp_path / "m"
    config = transformers.LlamaConfig(**{**SMALL, "vocab_size": 300}, intermediate_size=32, eos_token_id=0)
    transformers.LlamaForCausalLM(config).save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    auto_map = {"AutoConfig": "org/code--my_code.MyConfig", "AutoModelForCausalLM": "org/code--my_code.MyModel"}
    edit_config(folder, model_type="my_llama", architectures=["MyModel"], auto_map=auto_map)
    hub.add_model("org/code", {"my_code.py": WORKING.encode(), "README.md": b"only code"})
    hub.add_model("org/m", read_files(folder))
    return folder


def code_of(hub: HubServer) -> Repository:
    result = hub.find("model", "org/code")
    assert result is not None
    return result


def find(model: str | Path, **options: Any) -> ModelSource:
    return find_model(ModelSettings(model=str(model), **options), tell=pytest.fail)


@pytest.mark.parametrize("place", ["hub", "folder"])
def test_it_needs_permission_and_the_repository_is_named(borrowing: Path, hub: HubServer, place: str) -> None:
    result = find("org/m" if place == "hub" else borrowing)
    assert result.code is None
    assert not hub.requests("org/code")
    with pytest.raises(UnusableError, match=r"needs Python code from the repository org/code; read it, then allow"):
        load_model(result, "cpu")


@pytest.mark.parametrize("place", ["hub", "folder"])
def test_with_permission_it_is_fetched_at_its_commit_and_runs(borrowing: Path, hub: HubServer, place: str) -> None:
    sha = code_of(hub).at().sha
    result = find("org/m" if place == "hub" else borrowing, trust_remote_code=True)
    assert result.code == f"org/code@{sha}"
    before = len(hub.requests())
    assert parameter_count(result) == sum(each.numel() for each in load_model(result, "cpu").parameters())
    assert len(hub.requests()) == before
    assert type(load_model(result, "cpu")).__name__ == "MyModel"
    assert not hub.requests(f"{sha}/README.md")


def test_the_identity_follows_the_commit_of_the_code(borrowing: Path, hub: HubServer, tmp_path: Path) -> None:
    (tmp_path / "text.jsonl").write_text(jsonl(60))

    def planned(model: str | Path) -> Plan:
        asked = ModelSettings(model=str(model), trust_remote_code=True)
        data = DataSettings(dataset=str(tmp_path / "text.jsonl"), context_length=32)
        return plan(asked, data, SamplerSettings(batch_size=2))

    before = [planned("org/m"), planned(borrowing)]
    assert [each.key for each in before] == [planned("org/m").key, planned(borrowing).key]
    assert Plan.from_dict(before[0].to_dict()) == before[0]
    code_of(hub).commit({"my_code.py": CHANGED.encode()})
    after = [planned("org/m"), planned(borrowing)]
    assert all(one.key != other.key for one, other in zip(before, after, strict=True))
    assert before[0].source.sha == after[0].source.sha
    assert before[1].source.sha != after[1].source.sha


def test_its_own_repository_by_name_is_no_other(borrowing: Path, hub: HubServer) -> None:
    auto_map = {"AutoConfig": "org/own--my_code.MyConfig", "AutoModelForCausalLM": "org/own--my_code.MyModel"}
    edit_config(borrowing, auto_map=auto_map)
    hub.add_model("org/own", {**read_files(borrowing), "my_code.py": WORKING.encode()})
    result = find("org/own", trust_remote_code=True)
    assert result.code == f"org/own@{result.sha}"
    assert type(load_model(result, "cpu")).__name__ == "MyModel"


def test_code_that_cannot_be_had_is_one_line(borrowing: Path, hub: HubServer) -> None:
    for reference, message in (
        ("org/nothing--my_code.", "org/nothing"),
        ("org/code--other_code.", r"takes its code from org/code, which has no other_code\.py"),
        ("../../etc--my_code.", r"\.\./\.\./etc"),
    ):
        edit_config(borrowing, auto_map={"AutoConfig": f"{reference}MyConfig", "AutoModelForCausalLM": f"{reference}M"})
        with pytest.raises((SourceError, SettingsError, UnusableError), match=message) as caught:
            find(borrowing, trust_remote_code=True)
        assert "\n" not in str(caught.value)


def test_code_of_two_repositories_is_refused(borrowing: Path, hub: HubServer) -> None:
    edit_config(borrowing, auto_map={"AutoConfig": "org/a--x.C", "AutoModelForCausalLM": "org/b--x.M"})
    with pytest.raises(UnusableError, match="takes its code from org/a and org/b, and only one repository can be"):
        find(borrowing, trust_remote_code=True)
