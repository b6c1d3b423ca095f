"""What the real clients read: revisions, listings and files."""

import json
from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub import CommitOperationAdd, HfApi, hf_hub_download, snapshot_download
from huggingface_hub.errors import (
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from tests.hub_server.raw import raw
from tests.hub_server.server import HubServer

CARD = "---\nlicense: mit\ntags:\n- llc\ndate: 2024-01-01\n---\n# A model\n"


def test_every_kind_of_revision_leads_to_its_commit(hub: HubServer) -> None:
    repo = hub.add_model("org/m")
    first = repo.commit({"a.txt": "one"})
    second = repo.commit({"a.txt": "two"})
    repo.branch("a/b", first)
    repo.tag("v1", first)
    api = HfApi()
    pull = api.create_commit("org/m", [CommitOperationAdd("a.txt", b"three")], commit_message="propose", create_pr=True)
    expected = {
        "main": second,
        "a/b": first,
        "v1": first,
        first: first,
        first[:7]: first,
        "refs/pr/1": pull.oid,
        "refs/heads/a/b": first,
    }
    assert {name: api.model_info("org/m", revision=name).sha for name in expected} == expected
    path = hf_hub_download("org/m", "a.txt", revision="refs/pr/1")
    assert Path(path).read_text() == "three"
    assert [entry.path for entry in api.list_repo_tree("org/m", revision="a/b")] == [".gitattributes", "a.txt"]


def test_refs_map_every_name_to_its_commit(hub: HubServer) -> None:
    repo = hub.add_model("org/m")
    steps = {f"step{step}": repo.commit({"w.bin": b"%d" % step}, f"step{step}") for step in (0, 1, 512)}
    tagged = repo.tag("v1", "step1")
    refs = HfApi().list_repo_refs("org/m", include_pull_requests=True)
    assert {branch.name: branch.target_commit for branch in refs.branches} == steps | {"main": repo.at("main").sha}
    assert [(tag.name, tag.ref, tag.target_commit) for tag in refs.tags] == [("v1", "refs/tags/v1", tagged)]
    assert (refs.converts, refs.pull_requests) == ([], [])


def test_history_lists_commits_newest_first(hub: HubServer) -> None:
    repo = hub.add_model("org/m")
    shas = [repo.commit({"a": str(number)}, message=f"number {number}") for number in range(3)]
    commits = HfApi().list_repo_commits("org/m")
    assert [commit.title for commit in commits] == ["number 2", "number 1", "number 0", "initial commit"]
    assert [commit.commit_id for commit in commits[:3]] == shas[::-1]
    assert commits[0].authors == ["org"]
    assert commits[0].created_at > commits[1].created_at


def test_a_tree_lists_files_folders_and_large_files(hub: HubServer) -> None:
    repo = hub.add_model("org/m")
    before = repo.commit({"model.safetensors": b"weights", "data/x/one.txt": "1"})
    after = repo.commit({"data/two.txt": "2"})
    api = HfApi()
    flat = {entry.path for entry in api.list_repo_tree("org/m")}
    deep = {entry.path: entry for entry in api.list_repo_tree("org/m", recursive=True, expand=True)}
    assert flat == {".gitattributes", "data", "model.safetensors"}
    assert deep.keys() == flat | {"data/x", "data/x/one.txt", "data/two.txt"}
    assert {entry.path for entry in api.list_repo_tree("org/m", "data")} == {"data/x", "data/two.txt"}
    weights = deep["model.safetensors"]
    assert isinstance(weights, huggingface_hub.RepoFile)
    # From sha256sum of coreutils.
    assert weights.lfs is not None
    assert weights.lfs.sha256 == "9a129038d9a00aed0cf6a7ea059ca50a813449061ab87848cf1a13eafdf33b2c"
    assert weights.size == 7
    assert weights.last_commit is not None
    assert weights.last_commit.oid == before
    assert deep["data"].last_commit is not None
    assert deep["data"].last_commit.oid == after
    with pytest.raises(RemoteEntryNotFoundError):
        list(api.list_repo_tree("org/m", "nowhere"))


def test_long_listings_come_in_pages(hub: HubServer) -> None:
    repo = hub.add_model("org/m")
    repo.commit({f"folder/{number}": "" for number in range(5)}, "a/b")
    for number in range(4):
        repo.commit({"a": str(number)})
    hub.page_size = 2
    api = HfApi()
    paths = [entry.path for entry in api.list_repo_tree("org/m", "folder", revision="a/b", recursive=True)]
    assert paths == [f"folder/{number}" for number in range(5)]
    assert len(hub.requests("/tree/a%2Fb/folder")) == 3
    assert len(api.list_repo_commits("org/m")) == 5
    assert len(hub.requests("/commits/main")) == 3


def test_paths_info_leaves_out_what_does_not_exist(hub: HubServer) -> None:
    hub.add_model("org/m", {"a.txt": "a", "d/b.txt": "b"})
    result = HfApi().get_paths_info("org/m", ["a.txt", "d", "c.txt"], expand=True)
    assert [item.path for item in result] == ["a.txt", "d"]
    assert result[0].last_commit is not None
    assert result[0].last_commit.title == "Update files"


def test_a_description_counts_parameters_and_reads_the_card(hub: HubServer) -> None:
    header = json.dumps(
        {
            "__metadata__": {"format": "pt"},
            "a": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]},
            "b": {"dtype": "F16", "shape": [], "data_offsets": [24, 26]},
        }
    ).encode()
    weights = len(header).to_bytes(8, "little") + header + bytes(26)
    config = json.dumps({"model_type": "gpt_neox", "hidden_size": 1})
    hub.add_model("org/m", {"model.safetensors": weights, "config.json": config, "README.md": CARD})
    info = HfApi().model_info("org/m", files_metadata=True)
    assert info.safetensors is not None
    assert (info.safetensors.parameters, info.safetensors.total) == ({"F32": 6, "F16": 1}, 7)
    assert info.config == {"model_type": "gpt_neox"}
    assert info.card_data is not None
    assert info.card_data.license == "mit"
    assert info.tags == ["llc"]
    assert info.siblings is not None
    sizes = {sibling.rfilename: sibling.size for sibling in info.siblings}
    assert sizes["model.safetensors"] == len(weights)
    only = HfApi().model_info("org/m", expand=["safetensors"])
    assert only.safetensors is not None
    assert only.siblings is None
    assert HfApi().get_safetensors_metadata("org/m").parameter_count == {"F32": 6, "F16": 1}


def test_a_file_is_named_by_its_content_and_fetched_once(hub: HubServer) -> None:
    repo = hub.add_model("org/m", {"a.txt": "same", "b.safetensors": b"large"})
    other = repo.commit({"a.txt": "same", "b.safetensors": b"large"}, "other")
    hf_hub_download("org/m", "b.safetensors")
    path = Path(hf_hub_download("org/m", "b.safetensors", revision=other))
    assert path.read_bytes() == b"large"
    assert len(hub.requests("/resolve/", "GET")) == 1
    _, headers, _ = raw(hub, "/org/m/resolve/main/a.txt", "HEAD")
    assert headers["X-Repo-Commit"] == repo.at().sha
    assert headers["ETag"] == f'"{repo.at().files["a.txt"].git_sha1}"'
    assert headers["Content-Length"] == "4"
    _, headers, _ = raw(hub, "/org/m/resolve/main/b.safetensors", "HEAD")
    assert headers["X-Linked-Etag"] == f'"{repo.at().files["b.safetensors"].sha256}"'
    assert headers["X-Linked-Size"] == "5"


def test_a_missing_file_is_remembered_as_missing(hub: HubServer) -> None:
    sha = hub.add_model("org/m").at().sha
    with pytest.raises(RemoteEntryNotFoundError):
        hf_hub_download("org/m", "nothing.json")
    cache = Path(huggingface_hub.constants.HF_HUB_CACHE)
    assert (cache / "models--org--m" / ".no_exist" / sha / "nothing.json").exists()


@pytest.mark.parametrize(
    ("asked", "status", "part", "content_range"),
    [
        ("bytes=2-4", 206, b"234", "bytes 2-4/10"),
        ("bytes=7-", 206, b"789", "bytes 7-9/10"),
        ("bytes=-2", 206, b"89", "bytes 8-9/10"),
        ("bytes=8-100", 206, b"89", "bytes 8-9/10"),
        ("bytes=10-", 416, None, "bytes */10"),
        ("lines=1-2", 200, b"0123456789", None),
    ],
)
def test_a_range_is_answered_with_that_part(
    hub_server: HubServer, asked: str, status: int, part: bytes | None, content_range: str | None
) -> None:
    hub_server.add_dataset("org/d", {"x.txt": "0123456789"})
    got, headers, body = raw(hub_server, "/datasets/org/d/resolve/main/x.txt", headers={"Range": asked})
    assert (got, headers.get("Content-Range")) == (status, content_range)
    assert part is None or body == part


def test_a_snapshot_asks_nothing_when_it_is_cached(hub: HubServer) -> None:
    repo = hub.add_model("org/m")
    sha = repo.commit({"a.txt": "a", "d/b.txt": "b"}, "step1")
    folder = Path(snapshot_download("org/m", revision="step1"))
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*.txt")} == {"a.txt", "d/b.txt"}
    hub.log.clear()
    assert Path(snapshot_download("org/m", revision=sha)) == folder
    assert hub.log == []


def test_errors_name_what_was_not_found(hub: HubServer) -> None:
    hub.add_model("org/m")
    api = HfApi()
    with pytest.raises(RevisionNotFoundError, match="Invalid rev id: step7"):
        api.model_info("org/m", revision="step7")
    with pytest.raises(RevisionNotFoundError):
        hf_hub_download("org/m", "a.txt", revision="step7")
    with pytest.raises(RepositoryNotFoundError, match="404") as caught:
        api.model_info("org/nothing")
    assert "Request ID: Root=1-" in str(caught.value)
    with pytest.raises(RepositoryNotFoundError, match="401"):
        api.model_info("org/nothing", token=False)
    with pytest.raises(RepositoryNotFoundError):
        api.dataset_info("org/m")


def test_a_repository_without_a_namespace_is_found(hub: HubServer) -> None:
    hub.add_model("gpt2", {"config.json": "{}"})
    assert HfApi().model_info("gpt2", revision="main").id == "gpt2"
    assert Path(hf_hub_download("gpt2", "config.json")).read_text() == "{}"
