"""The Hub through real HTTP: names to commits, listings, downloads, and every way in which they fail."""

import re
import time
from collections.abc import Callable
from pathlib import Path

import huggingface_hub
import pytest

from hf_llc.errors import AccessError, NotFoundError, OfflineError, SourceError
from hf_llc.hub import client as repositories
from hf_llc.hub import download as downloads
from hf_llc.hub import errors as hub_errors
from hf_llc.hub.client import RemoteFile
from hf_llc.hub.listings import files_of_commit
from tests.hub_server import fixtures
from tests.hub_server.environment import use_hub
from tests.hub_server.faults import Kind as Fault
from tests.hub_server.server import HubServer

hub_server, hub = fixtures.hub_server, fixtures.hub

WEIGHTS = b"w" * 5000
FILES = {"config.json": b"{}", "model.safetensors": WEIGHTS}


@pytest.fixture
def told() -> list[str]:
    """What the user was told; its `append` is the `tell` of these tests."""
    return []


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that retries, ours and the client's, would have waited for; nobody waits."""
    results: list[float] = []

    def note(seconds: float) -> None:
        if seconds > 0:
            results.append(seconds)

    monkeypatch.setattr(time, "sleep", note)
    return results


def go_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """What HF_HUB_OFFLINE=1 does to a process that starts with it."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)


def fetch(repo_id: str, sha: str, tell: Callable[[str], None] = pytest.fail) -> Path:
    """The folder with all files of the commit."""
    return downloads.download(repo_id, sha, files_of_commit(repo_id, sha, tell), tell)


def test_a_revision_is_resolved_by_one_request(hub: HubServer, told: list[str]) -> None:
    repo = hub.add_model("org/m", FILES)
    step = repo.commit({"config.json": b"{}", "model.safetensors": b"x"}, "step1")
    tag = repo.tag("v1")
    assert repositories.resolve("org/m", None, "model", told.append) == repo.at().sha
    assert len(hub.requests()) == 1
    assert repositories.resolve("org/m", "step1", "model", told.append) == step
    assert repositories.resolve("org/m", "v1", "model", told.append) == tag
    assert repositories.resolve("org/m", step[:8], "model", told.append) == step
    assert repositories.resolve("org/m", step, "model", told.append) == step
    assert told == []


def test_datasets_are_resolved_as_datasets(hub: HubServer) -> None:
    repo = hub.add_dataset("org/d", {"a.jsonl": b"{}"})
    assert repositories.resolve("org/d", "main", "dataset", pytest.fail) == repo.at().sha
    with pytest.raises(NotFoundError, match="no model org/d"):
        repositories.resolve("org/d", "main", "model", pytest.fail)


def test_a_known_commit_needs_no_request(hub: HubServer) -> None:
    sha = hub.add_model("org/m", FILES).at().sha
    repositories.resolve("org/m", "main", "model", pytest.fail)
    before = len(hub.requests())
    assert repositories.resolve("org/m", sha, "model", pytest.fail) == sha
    assert len(hub.requests()) == before


def test_an_unknown_revision_names_near_ones(hub: HubServer) -> None:
    repo = hub.add_model("org/m", FILES)
    for name in ("step512", "step1000", "other"):
        repo.branch(name)
    with pytest.raises(NotFoundError, match=r"no revision step513; did you mean step512.*Choose with --revision"):
        repositories.resolve("org/m", "step513", "model", pytest.fail)


def test_an_unknown_commit_is_an_unknown_revision(hub: HubServer) -> None:
    hub.add_model("org/m", FILES)
    with pytest.raises(NotFoundError, match="no revision " + "0" * 40):
        repositories.resolve("org/m", "0" * 40, "model", pytest.fail)


def test_an_unknown_dataset_revision_names_its_own_option(hub: HubServer) -> None:
    hub.add_dataset("org/d", {"a.jsonl": b"{}"}).tag("v1.0")
    with pytest.raises(NotFoundError, match=r"did you mean v1\.0.*--dataset-revision"):
        repositories.resolve("org/d", "v1.1", "dataset", pytest.fail)


@pytest.mark.parametrize("token", ["hf_test", None])
def test_an_unknown_repository_may_be_private(
    hub_server: HubServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, token: str | None
) -> None:
    use_hub(monkeypatch, hub_server.url, tmp_path, token=token)
    with pytest.raises(NotFoundError, match=r"There is no model org/nothing at .*, or it is private.*hf auth login"):
        repositories.resolve("org/nothing", None, "model", pytest.fail)


def test_a_private_repository_of_others_is_not_told_from_a_missing_one(hub: HubServer) -> None:
    hub.add_model("bob/m", FILES).private = True
    with pytest.raises(NotFoundError, match="or it is private"):
        repositories.resolve("bob/m", None, "model", pytest.fail)


def test_a_private_repository_of_ones_own_is_read(hub: HubServer) -> None:
    repo = hub.add_model("org/m", FILES)
    repo.private = True
    sha = repositories.resolve("org/m", None, "model", pytest.fail)
    assert (fetch("org/m", sha) / "model.safetensors").read_bytes() == WEIGHTS


@pytest.mark.parametrize("token", ["hf_other", None])
def test_a_gated_repository_names_the_page_to_ask_at(
    hub_server: HubServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, token: str | None
) -> None:
    use_hub(monkeypatch, hub_server.url, tmp_path, token=token)
    repo = hub_server.add_model("org/m", FILES)
    repo.gated = "manual"
    page = re.escape(f"{hub_server.url}/org/m")
    with pytest.raises(AccessError, match=f"gated: ask for access at {page}, then .*hf auth login"):
        fetch("org/m", repo.at().sha)


def test_a_token_that_nobody_has_is_an_access_error_without_the_token(
    hub_server: HubServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    use_hub(monkeypatch, hub_server.url, tmp_path, token="hf_secret_and_wrong")
    hub_server.add_model("org/m", FILES)
    with pytest.raises(AccessError, match="hf auth login") as caught:
        repositories.resolve("org/m", None, "model", pytest.fail)
    assert "hf_secret" not in str(caught.value)


@pytest.mark.parametrize("kind", ["retry-after", "rate-limit"])
def test_a_rate_limit_is_waited_out_for_as_long_as_the_hub_says(
    hub: HubServer, told: list[str], waits: list[float], kind: Fault
) -> None:
    sha = hub.add_model("org/m", FILES).at().sha
    hub.faults.add("/api/models/org/m", kind, times=2, seconds=7)
    assert repositories.resolve("org/m", None, "model", told.append) == sha
    assert waits == [7, 7]
    assert "limits requests (429); trying again in 7 s (2 of 5)." in told[0]


def test_no_wait_is_longer_than_a_minute_and_all_of_them_end(
    hub: HubServer, told: list[str], waits: list[float]
) -> None:
    hub.add_model("org/m", FILES)
    hub.faults.add("/api/models/org/m", "retry-after", times=None, seconds=900)
    with pytest.raises(SourceError, match="limits requests"):
        repositories.resolve("org/m", None, "model", told.append)
    assert max(waits) <= 60
    assert sum(waits) <= hub_errors.MAX_TOTAL_WAIT


def test_server_errors_are_retried(hub: HubServer, told: list[str], waits: list[float]) -> None:
    sha = hub.add_model("org/m", FILES).at().sha
    hub.faults.add("/api/models/org/m", "error", times=4, status=503)
    assert repositories.resolve("org/m", None, "model", told.append) == sha
    assert waits == [0.5, 1, 2, 4]


def test_a_server_that_stays_broken_is_one_line_after_five_tries(
    hub: HubServer, told: list[str], waits: list[float]
) -> None:
    hub.add_model("org/m", FILES)
    fault = hub.faults.add("/api/models/org/m", "error", times=None, status=500)
    with pytest.raises(SourceError, match="answered 500 when asked for the model org/m; try again later") as caught:
        repositories.resolve("org/m", None, "model", told.append)
    assert fault.hits == 5
    assert "\n" not in str(caught.value)


def test_refs_are_retried_too(hub: HubServer, told: list[str], waits: list[float]) -> None:
    repo = hub.add_model("org/m", FILES)
    repo.branch("step1")
    repo.tag("v1")
    hub.faults.add("/refs", "error", times=2, status=502)
    assert repositories.revisions("org/m", tell=told.append) == dict.fromkeys(["main", "step1", "v1"], repo.at().sha)
    assert len(told) == 2


def test_a_reset_connection_is_retried(hub: HubServer, told: list[str], waits: list[float]) -> None:
    sha = hub.add_model("org/m", FILES).at().sha
    hub.faults.add("/api/models/org/m", "reset", times=2)
    assert repositories.resolve("org/m", None, "model", told.append) == sha
    assert "cannot be reached" in told[0]


def test_a_download_is_whole_and_a_second_one_asks_nothing(hub: HubServer) -> None:
    repo = hub.add_model("org/m", {**FILES, "a[1]*.txt": b"odd name"})
    folder = fetch("org/m", repo.at().sha)
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    assert (folder / "a[1]*.txt").read_bytes() == b"odd name"
    before = len(hub.requests())
    assert fetch("org/m", repo.at().sha) == folder
    assert len(hub.requests()) == before


def test_only_the_wanted_files_are_downloaded(hub: HubServer) -> None:
    sha = hub.add_model("org/m", FILES).at().sha
    wanted = [file for file in repositories.files("org/m", sha, pytest.fail).files if file.path == "config.json"]
    folder = downloads.download("org/m", sha, wanted, pytest.fail)
    assert [path.name for path in folder.iterdir()] == ["config.json"]


def test_bytes_to_download_are_those_not_in_the_cache(hub: HubServer) -> None:
    sha = hub.add_model("org/m", FILES).at().sha
    wanted = [file for file in repositories.files("org/m", sha, pytest.fail).files if file.path in FILES]
    assert repositories.bytes_to_download("org/m", sha, wanted) == len(WEIGHTS) + 2
    downloads.download("org/m", sha, [file for file in wanted if file.path == "config.json"], pytest.fail)
    assert repositories.bytes_to_download("org/m", sha, wanted) == len(WEIGHTS)


def test_equal_contents_have_equal_oids(hub: HubServer) -> None:
    repo = hub.add_model("org/m", FILES)
    repo.commit({"model.safetensors": WEIGHTS}, "same")
    repo.commit({"model.safetensors": b"x" * 5000}, "other")
    oids = [
        {file.path: file.oid for file in repositories.files("org/m", repo.at(name).sha, pytest.fail).files}
        for name in ("main", "same", "other")
    ]
    assert oids[0]["model.safetensors"] == oids[1]["model.safetensors"] != oids[2]["model.safetensors"]


@pytest.mark.parametrize("kind", ["truncate", "reset-body"])
def test_a_download_that_breaks_off_is_finished(
    hub: HubServer, told: list[str], waits: list[float], kind: Fault
) -> None:
    sha = hub.add_model("org/m", FILES).at().sha
    fault = hub.faults.add("model.safetensors", kind, method="GET", times=2)
    assert (fetch("org/m", sha, told.append) / "model.safetensors").read_bytes() == WEIGHTS
    assert fault.hits == 2


@pytest.mark.parametrize("kind", ["truncate", "reset-body"])
def test_a_download_that_always_breaks_off_is_an_error_and_leaves_no_short_file(
    hub: HubServer, told: list[str], waits: list[float], kind: Fault
) -> None:
    sha = hub.add_model("org/m", FILES).at().sha
    hub.faults.add("model.safetensors", kind, method="GET", times=None)
    with pytest.raises(SourceError) as caught:
        fetch("org/m", sha, told.append)
    assert "\n" not in str(caught.value)
    assert not list(Path(huggingface_hub.constants.HF_HUB_CACHE).rglob("snapshots/*/model.safetensors"))


def test_server_errors_of_a_download_are_retried(hub: HubServer, told: list[str], waits: list[float]) -> None:
    sha = hub.add_model("org/m", FILES).at().sha
    hub.faults.add("model.safetensors", "error", method="GET", times=2, status=500)
    assert (fetch("org/m", sha, told.append) / "model.safetensors").read_bytes() == WEIGHTS
    assert len(told) == 2


def test_a_slow_body_is_waited_for(hub: HubServer) -> None:
    sha = hub.add_model("org/m", FILES).at().sha
    hub.faults.add("model.safetensors", "slow", method="GET", rate=20_000)
    started = time.monotonic()
    assert (fetch("org/m", sha) / "model.safetensors").read_bytes() == WEIGHTS
    assert time.monotonic() - started > 0.1


def test_a_file_cut_short_in_the_cache_is_downloaded_again(hub: HubServer, told: list[str]) -> None:
    sha = hub.add_model("org/m", FILES).at().sha
    blob = (fetch("org/m", sha) / "model.safetensors").resolve()
    blob.write_bytes(WEIGHTS[:100])
    assert (fetch("org/m", sha, told.append) / "model.safetensors").read_bytes() == WEIGHTS
    assert told == ["model.safetensors of org/m is incomplete in the cache; downloading it again."]


def test_offline_what_was_resolved_and_downloaded_is_found(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    repo = hub.add_model("org/m", FILES)
    repo.branch("step1")
    sha = repositories.resolve("org/m", "step1", "model", pytest.fail)
    folder = fetch("org/m", sha)
    go_offline(monkeypatch)
    before = len(hub.requests())
    assert repositories.resolve("org/m", "step1", "model", pytest.fail) == sha
    assert fetch("org/m", sha) == folder
    assert repositories.revisions("org/m") == {"step1": sha}
    assert len(hub.requests()) == before


def test_offline_what_was_never_seen_is_an_offline_error(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    sha = hub.add_model("org/m", FILES).at().sha
    go_offline(monkeypatch)
    for call in (
        lambda: repositories.resolve("org/m", None, "model", pytest.fail),
        lambda: repositories.files("org/m", sha, pytest.fail),
        lambda: repositories.revisions("org/m"),
        lambda: downloads.download("org/m", sha, [RemoteFile(path="a", size=1, oid="")], pytest.fail),
    ):
        with pytest.raises(OfflineError, match="HF_HUB_OFFLINE is set"):
            call()


def test_a_dead_network_falls_back_to_what_was_last_seen_and_says_so(
    hub: HubServer, told: list[str], waits: list[float]
) -> None:
    sha = hub.add_model("org/m", FILES).at().sha
    repositories.resolve("org/m", None, "model", told.append)
    hub.faults.add("", "reset", times=None)
    assert repositories.resolve("org/m", None, "model", told.append) == sha
    assert waits == []
    assert len(told) == 1
    assert told[0].endswith(f"Using main of org/m as last seen: {sha[:12]}.")


def test_a_dead_network_without_a_memory_is_an_offline_error(
    hub: HubServer, told: list[str], waits: list[float]
) -> None:
    hub.add_model("org/m", FILES)
    hub.faults.add("", "reset", times=None)
    with pytest.raises(OfflineError, match=r"cannot be reached \(\w+\), and the model org/m is not in the cache"):
        repositories.resolve("org/m", None, "model", told.append)


def test_what_another_tool_left_in_the_cache_is_found_offline(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    sha = hub.add_model("org/m", FILES).at().sha
    huggingface_hub.hf_hub_download("org/m", "config.json")
    go_offline(monkeypatch)
    assert repositories.resolve("org/m", None, "model", pytest.fail) == sha
    listing = repositories.files("org/m", sha, pytest.fail)
    assert [file.path for file in listing.files] == ["config.json"]
    assert not listing.whole
    assert (fetch("org/m", sha) / "config.json").read_bytes() == b"{}"


def test_a_damaged_memory_is_as_good_as_none(hub: HubServer) -> None:
    repo = hub.add_model("org/m", FILES)
    repositories.resolve("org/m", None, "model", pytest.fail)
    (table,) = (repositories.home() / "refs").rglob("*.json")
    table.write_text("[1, 2")
    sha = repo.commit({"config.json": b"{ }"})
    assert repositories.resolve("org/m", None, "model", pytest.fail) == sha


def test_a_memory_that_cannot_be_written_is_told_of_and_no_error(hub: HubServer, told: list[str]) -> None:
    sha = hub.add_model("org/m", FILES).at().sha
    repositories.home().mkdir(parents=True)
    (repositories.home() / "refs").write_text("a file where the folder should be")
    assert repositories.resolve("org/m", None, "model", told.append) == sha
    assert len(told) == 1
    assert "will not be known offline" in told[0]


def test_a_branch_that_moved_is_seen(hub: HubServer) -> None:
    repo = hub.add_model("org/m", FILES)
    repositories.resolve("org/m", None, "model", pytest.fail)
    sha = repo.commit({"config.json": b"{ }"})
    assert repositories.resolve("org/m", None, "model", pytest.fail) == sha


def test_a_renamed_repository_is_followed(hub: HubServer) -> None:
    repo = hub.add_model("org/old", FILES)
    repo.renamed_to = "org/new"
    sha = repositories.resolve("org/old", None, "model", pytest.fail)
    assert (fetch("org/old", sha) / "model.safetensors").read_bytes() == WEIGHTS


def test_a_disabled_repository_may_not_be_read(hub: HubServer) -> None:
    hub.add_model("org/m", FILES).disabled = True
    with pytest.raises(AccessError, match="may not read"):
        repositories.resolve("org/m", None, "model", pytest.fail)
