"""The server itself, and the libraries that load models and data from it."""

import json
import os
import re
import subprocess
import sys
from http.client import RemoteDisconnected
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub import HfApi, hf_hub_download

from tests.hub_server.blob import IN_MEMORY_BYTES
from tests.hub_server.environment import CLIENTS, client_environment, use_hub
from tests.hub_server.raw import raw
from tests.hub_server.server import HubServer

# The client's own LFS upload uses an argument its HTTP library wants renamed.
lfs_client_warning = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


def tiny_model(seed: int) -> Any:
    """A GPT-NeoX with about 50 thousand random parameters."""
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    torch.manual_seed(seed)
    config = transformers.GPTNeoXConfig(
        vocab_size=256, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=128
    )
    return transformers.GPTNeoXForCausalLM(config)


def test_equal_histories_have_equal_hashes(hub_server: HubServer) -> None:
    shas = []
    for name in ("org/a", "org/b"):
        repo = hub_server.add_model(name)
        shas.append([repo.commit({"x": "1"}), repo.commit({"y": "2"}, "step1"), repo.delete("x")])
    assert shas[0] == shas[1]
    assert all(re.fullmatch("[0-9a-f]{40}", sha) for sha in shas[0])
    assert len(set(shas[0])) == 3


def test_a_branch_starts_where_it_is_told_and_a_commit_elsewhere_starts_empty(hub_server: HubServer) -> None:
    repo = hub_server.add_model("org/m", {"a": "a"})
    repo.branch("from-main")
    repo.commit({"b": "b"}, "from-main")
    repo.commit({"b": "b"}, "alone")
    assert set(repo.at("from-main").files) == {".gitattributes", "a", "b"}
    assert set(repo.at("alone").files) == {"b"}


def test_a_large_file_stays_on_disk(hub_server: HubServer, tmp_path: Path) -> None:
    (tmp_path / "small.txt").write_text("s")
    big = tmp_path / "model.safetensors"
    big.write_bytes(bytes(IN_MEMORY_BYTES) + b"end")
    repo = hub_server.add_model("org/m")
    repo.commit_folder(tmp_path)
    files = repo.at().files
    assert (files["small.txt"].content, files["model.safetensors"].content) == (b"s", big)
    (tmp_path / "small.txt").write_text("overwritten")
    assert raw(hub_server, "/org/m/resolve/main/small.txt")[2] == b"s"
    path = "/org/m/resolve/main/model.safetensors"
    assert raw(hub_server, path, headers={"Range": "bytes=-4"})[2] == b"\x00end"
    assert len(raw(hub_server, path)[2]) == IN_MEMORY_BYTES + 3


def test_a_bug_of_the_server_fails_the_test() -> None:
    server = HubServer()
    server.start()
    server.add_model("org/m")
    server.page_size = "many"  # type: ignore[assignment]
    with pytest.raises(RemoteDisconnected):
        raw(server, "/api/models/org/m/tree/main")
    with pytest.raises(ExceptionGroup, match="the test server failed"):
        server.close()


def test_the_log_tells_who_asked_for_what(hub: HubServer) -> None:
    hub.add_model("org/m")
    HfApi(library_name="hf-llc", library_version="1").model_info("org/m", token=False)
    HfApi().model_info("org/m")
    first, second = hub.log
    assert (first.method, first.path, first.token, first.status) == ("GET", "/api/models/org/m", None, 200)
    assert first.user_agent.startswith("hf-llc/1;")
    assert second.token == "hf_test"


def test_transformers_loads_each_step_from_its_branch(hub: HubServer, tmp_path: Path) -> None:
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    repo = hub.add_model("org/tiny")
    models = {}
    for step in (0, 512):
        models[step] = tiny_model(step)
        models[step].save_pretrained(tmp_path / "save")
        repo.commit_folder(tmp_path / "save", f"step{step}")
    for step, model in models.items():
        loaded = transformers.AutoModelForCausalLM.from_pretrained("org/tiny", revision=f"step{step}")
        for name, value in model.state_dict().items():
            assert torch.equal(loaded.state_dict()[name], value), name
    total = sum(parameter.numel() for parameter in models[0].parameters())
    info = HfApi().model_info("org/tiny", revision="step0")
    assert info.safetensors is not None
    assert info.safetensors.total == total
    downloads = [entry.path for entry in hub.requests("model.safetensors", "GET")]
    assert len(downloads) == 2


@pytest.mark.parametrize("streaming", [False, True])
def test_datasets_loads_rows(hub: HubServer, streaming: bool) -> None:
    datasets = pytest.importorskip("datasets")
    rows = [{"text": f"row {number}"} for number in range(20)]
    repo = hub.add_dataset("org/d")
    sha = repo.commit({"data/train.jsonl": "".join(json.dumps(row) + "\n" for row in rows)})
    repo.commit({"data/train.jsonl": '{"text": "later"}\n'})
    loaded = datasets.load_dataset("org/d", split="train", revision=sha, streaming=streaming)
    assert list(loaded) == rows
    assert hub.requests("/datasets/org/d/resolve/")


@lfs_client_warning
def test_datasets_pushes_and_reads_back(hub: HubServer) -> None:
    datasets = pytest.importorskip("datasets")
    hub.lfs_uploads = True
    rows = [{"step": number, "llc": number / 2} for number in range(5)]
    datasets.Dataset.from_list(rows).push_to_hub("org/curve")
    repo = hub.find("dataset", "org/curve")
    assert repo is not None
    assert "data/train-00000-of-00001.parquet" in repo.at().files
    assert list(datasets.load_dataset("org/curve", split="train")) == rows


def test_a_subprocess_talks_to_the_served_folder_only(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "config.json").write_text("{}")
    root = Path(__file__).parents[2]
    command = [sys.executable, "-m", "tests.hub_server.server", "--model", f"org/m@step1={tmp_path / 'folder'}"]
    with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            url = server.stdout.readline().strip()
            code = "import huggingface_hub as h; print(h.hf_hub_download('org/m', 'config.json', revision='step1'))"
            environment = {
                **os.environ,
                "HF_HUB_CACHE": str(tmp_path / "mine"),
                **client_environment(url, tmp_path / "home"),
            }
            done = subprocess.run(
                [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True, timeout=60
            )
        finally:
            server.terminate()
    path = Path(done.stdout.strip())
    assert path.is_relative_to(tmp_path / "home")
    assert path.read_text() == "{}"


def test_no_client_keeps_the_address_after_a_test(hub_server: HubServer, tmp_path: Path) -> None:
    for name in CLIENTS:
        pytest.importorskip(name)
    with pytest.MonkeyPatch.context() as patch:
        use_hub(patch, hub_server.url, tmp_path / "home")
        hub_server.add_model("org/m", {"a.txt": "a"})
        assert Path(hf_hub_download("org/m", "a.txt")).is_relative_to(tmp_path / "home")
        assert huggingface_hub.model_info("org/m").id == "org/m"
        assert "HF_ENDPOINT" in os.environ
    left = [
        f"{name}.{key}"
        for name, module in list(sys.modules.items())
        if name.split(".")[0] in CLIENTS
        for key, value in list(vars(module).items())
        if isinstance(value, str | Path) and (hub_server.url in str(value) or str(tmp_path) in str(value))
    ]
    assert left == []
    assert hub_server.url not in (huggingface_hub.HfApi().endpoint, huggingface_hub.hf_api.api.endpoint)
