"""Who may read, create, move and configure."""

from pathlib import Path

import pytest
from huggingface_hub import HfApi, hf_hub_download
from huggingface_hub.errors import (
    DisabledRepoError,
    GatedRepoError,
    HfHubHTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from tests.hub_server.server import HubServer


def test_a_private_repository_exists_for_its_readers_only(hub: HubServer) -> None:
    repo = hub.add_model("org/m", {"a.txt": "a"})
    repo.private = True
    assert HfApi().model_info("org/m").private is True
    for token, status in ((False, 401), ("hf_other", 404)):
        with pytest.raises(RepositoryNotFoundError) as caught:
            HfApi(token=token).model_info("org/m")
        assert caught.value.response.status_code == status
        with pytest.raises(RepositoryNotFoundError):
            hf_hub_download("org/m", "a.txt", token=token)
    repo.readers.add("bob")
    assert HfApi(token="hf_other").model_info("org/m").id == "org/m"


def test_a_gated_repository_shows_its_description_but_not_its_files(hub: HubServer) -> None:
    repo = hub.add_model("org/m", {"a.txt": "a"})
    repo.gated = "manual"
    for token, status in ((False, 401), ("hf_other", 403)):
        assert HfApi(token=token).model_info("org/m").gated == "manual"
        with pytest.raises(GatedRepoError) as caught:
            hf_hub_download("org/m", "a.txt", token=token)
        assert caught.value.response.status_code == status
        with pytest.raises(GatedRepoError):
            HfApi(token=token).auth_check("org/m")
    repo.granted.add("bob")
    HfApi(token="hf_other").auth_check("org/m")
    assert Path(hf_hub_download("org/m", "a.txt", token="hf_other")).read_text() == "a"


def test_a_disabled_repository_says_so(hub: HubServer) -> None:
    hub.add_model("org/m").disabled = True
    with pytest.raises(DisabledRepoError):
        HfApi().model_info("org/m")


def test_an_unknown_token_is_an_error_even_for_a_public_repository(hub: HubServer) -> None:
    hub.add_model("org/m")
    with pytest.raises(HfHubHTTPError, match="Invalid credentials") as caught:
        HfApi(token="hf_stale").model_info("org/m")
    assert caught.value.response.status_code == 401
    assert not isinstance(caught.value, RepositoryNotFoundError)


def test_a_renamed_repository_is_found_under_its_old_name(hub: HubServer) -> None:
    hub.add_model("org/old", {"a.txt": "a"}).renamed_to = "org/new"
    assert HfApi().model_info("org/old").id == "org/new"
    assert Path(hf_hub_download("org/old", "a.txt")).read_text() == "a"
    assert Path(hf_hub_download("org/new", "a.txt")).read_text() == "a"
    moved = [entry.path for entry in hub.log if entry.status == 307]
    assert moved == ["/api/models/org/old", "/org/old/resolve/main/a.txt"]
    assert all(entry.token == "hf_test" for entry in hub.log)


def test_whoami_and_the_permission_check(hub: HubServer) -> None:
    hub.add_model("org/m")
    who = HfApi().whoami()
    assert (who["name"], [org["name"] for org in who["orgs"]]) == ("alice", ["org"])
    HfApi().auth_check("org/m", write=True)
    HfApi(token="hf_read").auth_check("org/m")
    for token in ("hf_read", "hf_other"):
        with pytest.raises(HfHubHTTPError) as caught:
            HfApi(token=token).auth_check("org/m", write=True)
        assert caught.value.response.status_code == 403
    with pytest.raises(HfHubHTTPError):
        HfApi().whoami(token="hf_stale")


def test_create_delete_and_configure_a_repository(hub: HubServer) -> None:
    api = HfApi()
    url = api.create_repo("org/new", private=True, repo_type="dataset")
    assert str(url) == f"{hub.url}/datasets/org/new"
    with pytest.raises(HfHubHTTPError, match="already created"):
        api.create_repo("org/new", repo_type="dataset")
    assert api.create_repo("org/new", repo_type="dataset", exist_ok=True) == url
    with pytest.raises(HfHubHTTPError, match="don't have the rights"):
        api.create_repo("bob/new")
    with pytest.raises(HfHubHTTPError, match="no write permission"):
        api.create_repo("org/other", token="hf_read")
    assert api.dataset_info("org/new").private is True
    api.update_repo_settings("org/new", repo_type="dataset", private=False, gated="auto")
    info = api.dataset_info("org/new", token=False)
    assert (info.private, info.gated) == (False, "auto")
    api.delete_repo("org/new", repo_type="dataset")
    assert not api.repo_exists("org/new", repo_type="dataset")


def test_move_a_repository(hub: HubServer) -> None:
    hub.add_model("org/old", {"a.txt": "a"})
    HfApi().move_repo("org/old", "alice/new")
    assert [model.id for model in HfApi().list_models()] == ["alice/new"]
    assert HfApi().model_info("org/old").id == "alice/new"


def test_branches_and_tags(hub: HubServer) -> None:
    repo = hub.add_model("org/m")
    first, second = repo.commit({"a": "1"}), repo.commit({"a": "2"})
    api = HfApi()
    api.create_branch("org/m", branch="step/1", revision=first)
    api.create_branch("org/m", branch="step/1", exist_ok=True)
    with pytest.raises(HfHubHTTPError, match="Reference already exists"):
        api.create_branch("org/m", branch="step/1")
    with pytest.raises(RevisionNotFoundError):
        api.create_branch("org/m", branch="x", revision="nowhere")
    api.create_tag("org/m", tag="v/1")
    with pytest.raises(HfHubHTTPError):
        api.create_tag("org/m", tag="v/1")
    assert (repo.branches["step/1"], repo.tags["v/1"]) == (first, second)
    api.delete_branch("org/m", branch="step/1")
    api.delete_tag("org/m", tag="v/1")
    assert (list(repo.branches), repo.tags) == (["main"], {})
    api.super_squash_history("org/m")
    assert len(api.list_repo_commits("org/m")) == 1
    assert repo.at().files["a"].read() == b"2"
