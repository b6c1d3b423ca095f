"""What the real clients write: commits, pull requests and discussions."""

import json
import re
from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, hf_hub_download
from huggingface_hub._commit_api import CommitOperation
from huggingface_hub.errors import (
    BadRequestError,
    HfHubHTTPError,
    RemoteEntryNotFoundError,
    RevisionNotFoundError,
)

from tests.hub_server.server import HubServer

# The client's own LFS upload uses an argument its HTTP library wants renamed.
lfs_client_warning = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

CARD = "---\nlicense: mit\ntags:\n- llc\n---\n# A model\n"


def add(path: str, content: bytes | str) -> CommitOperationAdd:
    """The operation that adds a file."""
    return CommitOperationAdd(path, content.encode() if isinstance(content, str) else content)


def test_a_commit_adds_replaces_and_deletes(hub: HubServer) -> None:
    repo = hub.add_model("org/m", {"a.txt": "old", "b.txt": "b", "d/one": "1", "d/two": "2", "keep": "k"})
    operations: list[CommitOperation] = [
        add("a.txt", "new"),
        add("e/f.bin", b"\x00\xff"),
        CommitOperationDelete("b.txt"),
        CommitOperationDelete("d/"),
    ]
    done = HfApi().create_commit("org/m", operations, commit_message="all", commit_description="at once")
    files = {path: blob.read() for path, blob in repo.at().files.items() if path != ".gitattributes"}
    assert files == {"a.txt": b"new", "e/f.bin": b"\x00\xff", "keep": b"k"}
    newest = repo.history()[0]
    assert (newest.sha, newest.title, newest.description, newest.author) == (done.oid, "all", "at once", "alice")
    assert done.commit_url == f"{hub.url}/org/m/commit/{done.oid}"
    with pytest.raises(RemoteEntryNotFoundError):
        HfApi().delete_file("b.txt", "org/m")


def test_nothing_changed_makes_no_commit(hub: HubServer) -> None:
    repo = hub.add_model("org/m", {"a.txt": "a", "w.safetensors": b"w"})
    head = repo.at().sha
    done = HfApi().create_commit("org/m", [add("a.txt", "a"), add("w.safetensors", b"w")], commit_message="again")
    assert done.oid == head
    assert hub.requests("/commit/main", "POST") == []


@lfs_client_warning
def test_large_files_go_to_lfs_without_the_token(hub: HubServer) -> None:
    hub.lfs_uploads = True
    repo = hub.add_dataset("org/d")
    api = HfApi()
    content = bytes(range(256)) * 5000
    api.upload_file(path_or_fileobj=content, path_in_repo="data/x.parquet", repo_id="org/d", repo_type="dataset")
    (put,) = hub.requests("/_storage/", "PUT")
    assert put.token is None
    path = hf_hub_download("org/d", "data/x.parquet", repo_type="dataset")
    assert Path(path).read_bytes() == content
    assert repo.at().files["data/x.parquet"].lfs
    api.upload_file(path_or_fileobj=content, path_in_repo="copy.parquet", repo_id="org/d", repo_type="dataset")
    assert len(hub.requests("/_storage/", "PUT")) == 1
    assert repo.at().files["copy.parquet"].read() == content


def test_a_stale_parent_is_refused(hub: HubServer) -> None:
    repo = hub.add_model("org/m", {"a": "1"})
    stale = repo.at().sha
    head = repo.commit({"a": "2"})
    with pytest.raises(HfHubHTTPError, match="The branch was updated") as caught:
        HfApi().create_commit("org/m", [add("b", "b")], commit_message="b", parent_commit=stale)
    assert caught.value.response.status_code == 412
    assert repo.at().sha == head
    HfApi().create_commit("org/m", [add("b", "b")], commit_message="b", parent_commit=head)
    assert repo.history()[0].parents == (head,)


def test_a_commit_needs_the_right_and_a_branch(hub: HubServer) -> None:
    repo = hub.add_model("org/m")
    head = repo.at().sha
    for token in ("hf_other", "hf_read"):
        with pytest.raises(HfHubHTTPError) as caught:
            HfApi(token=token).create_commit("org/m", [add("a", "a")], commit_message="a")
        assert caught.value.response.status_code == 403
    with pytest.raises(RevisionNotFoundError):
        HfApi().create_commit("org/m", [add("a", "a")], commit_message="a", revision="nowhere")
    with pytest.raises(HfHubHTTPError):
        HfApi().create_commit("org/m", [add("a", "a")], commit_message="a", token=False)
    with pytest.raises(BadRequestError, match="a file and a folder"):
        HfApi().create_commit("org/m", [add("a", "a"), add("a/b", "b")], commit_message="a")
    assert repo.at().sha == head
    repo.writers.add("bob")
    HfApi(token="hf_other").create_commit("org/m", [add("a", "a")], commit_message="a")
    assert repo.at().files["a"].read() == b"a"


def test_a_card_with_invalid_metadata_is_refused(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    repo = hub.add_model("org/m")
    with pytest.raises(ValueError, match="Invalid metadata"):
        HfApi().create_commit("org/m", [add("README.md", "---\na: [1\n---\n")], commit_message="card")
    index = [{"name": "m", "results": [{"task": {"type": "t"}, "dataset": {"type": "d"}, "metrics": []}]}]
    incomplete = "---\n" + json.dumps({"model-index": index}) + "\n---\n"
    with pytest.raises(ValueError, match=re.escape('"model-index[0].results[0].dataset.name" is required')):
        HfApi().create_commit("org/m", [add("README.md", incomplete)], commit_message="card")
    assert [entry.status for entry in hub.requests("/api/validate-yaml")] == [400, 400]
    with monkeypatch.context() as patch:
        patch.setattr(HfApi, "_validate_yaml", lambda *_, **__: None)
        with pytest.raises(BadRequestError, match="Invalid metadata"):
            HfApi().create_commit("org/m", [add("README.md", "---\na: [1\n---\n")], commit_message="card")
    assert len(repo.history()) == 1
    huggingface_hub.ModelCard(CARD).push_to_hub("org/m")
    assert repo.at().files["README.md"].read().decode() == CARD


def test_a_pull_request_is_opened_updated_and_merged(hub: HubServer) -> None:
    repo = hub.add_model("org/m", {"a.txt": "a\n"})
    head = repo.at().sha
    bob, alice = HfApi(token="hf_other"), HfApi()
    opened = bob.create_commit("org/m", [add("a.txt", "b\n")], commit_message="propose", create_pr=True)
    assert (opened.pr_num, opened.pr_url) == (1, f"{hub.url}/org/m/discussions/1")
    assert repo.at().sha == head
    pushed = bob.create_commit("org/m", [add("new.txt", "n")], commit_message="more", revision="refs/pr/1")
    assert repo.pulls == {1: pushed.oid}
    (listed,) = alice.get_repo_discussions("org/m", discussion_type="pull_request", discussion_status="open")
    assert (listed.num, listed.title, listed.author, listed.is_pull_request) == (1, "propose", "bob", True)
    details = alice.get_discussion_details("org/m", 1)
    assert details.diff is not None
    assert "-a\n+b\n" in details.diff
    assert (details.target_branch, details.conflicting_files) == ("refs/heads/main", [])
    repo.commit({"other.txt": "o"})
    with pytest.raises(HfHubHTTPError):
        bob.merge_pull_request("org/m", 1)
    alice.merge_pull_request("org/m", 1)
    assert {path: blob.read() for path, blob in repo.at().files.items() if path.endswith(".txt")} == {
        "a.txt": b"b\n",
        "new.txt": b"n",
        "other.txt": b"o",
    }
    merged = alice.get_discussion_details("org/m", 1)
    assert (merged.status, merged.merge_commit_oid) == ("merged", repo.at().sha)
    assert list(alice.get_repo_discussions("org/m", discussion_status="open")) == []


def test_a_conflicting_pull_request_cannot_be_merged(hub: HubServer) -> None:
    repo = hub.add_model("org/m", {"a.txt": "a"})
    HfApi().create_commit("org/m", [add("a.txt", "b")], commit_message="propose", create_pr=True)
    head = repo.commit({"a.txt": "c"})
    assert HfApi().get_discussion_details("org/m", 1).conflicting_files == ["a.txt"]
    with pytest.raises(HfHubHTTPError, match=r"conflicts in a\.txt"):
        HfApi().merge_pull_request("org/m", 1)
    assert repo.at().sha == head


def test_only_the_author_or_an_owner_pushes_to_a_pull_request(hub: HubServer) -> None:
    hub.users["hf_third"] = type(hub.users["hf_other"])("carol")
    repo = hub.add_model("org/m")
    HfApi(token="hf_other").create_commit("org/m", [add("a", "a")], commit_message="a", create_pr=True)
    before = repo.pulls[1]
    with pytest.raises(HfHubHTTPError):
        HfApi(token="hf_third").create_commit("org/m", [add("a", "b")], commit_message="b", revision="refs/pr/1")
    assert repo.pulls[1] == before
    HfApi().create_commit("org/m", [add("a", "b")], commit_message="b", revision="refs/pr/1")
    assert repo.commits[repo.pulls[1]].parents == (before,)


def test_a_discussion_is_commented_renamed_and_closed(hub: HubServer) -> None:
    hub.add_model("org/m")
    api = HfApi()
    for number in range(12):
        api.create_discussion("org/m", f"question {number}", description="why?")
    assert [item.num for item in api.get_repo_discussions("org/m")] == list(range(12, 0, -1))
    api.comment_discussion("org/m", 3, "because")
    api.rename_discussion("org/m", 3, "answer")
    api.change_discussion_status("org/m", 3, "closed", comment="done")
    details = api.get_discussion_details("org/m", 3)
    said = [event.content for event in details.events if isinstance(event, huggingface_hub.DiscussionComment)]
    assert said == ["why?", "because", "done"]
    assert (details.title, details.status) == ("answer", "closed")
    assert [item.num for item in api.get_repo_discussions("org/m", discussion_status="closed")] == [3]


def test_a_folder_is_proposed_as_a_pull_request(hub: HubServer, tmp_path: Path) -> None:
    repo = hub.add_dataset("org/d", {"old.txt": "o"})
    (tmp_path / "up" / "sub").mkdir(parents=True)
    (tmp_path / "up" / "sub" / "x.txt").write_text("x")
    HfApi().upload_folder(repo_id="org/d", repo_type="dataset", folder_path=tmp_path / "up", create_pr=True)
    assert set(repo.at("refs/pr/1").files) == {".gitattributes", "old.txt", "sub/x.txt"}
    assert "sub/x.txt" not in repo.at().files
