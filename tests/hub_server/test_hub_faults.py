"""What goes wrong on demand, and how the real clients take it."""

import re
import threading
import time
from pathlib import Path

import httpx2
import huggingface_hub
import pytest
from huggingface_hub import CommitOperationAdd, HfApi, hf_hub_download
from huggingface_hub.errors import (
    HfHubHTTPError,
)
from huggingface_hub.utils._http import parse_ratelimit_headers

from tests.hub_server.raw import raw
from tests.hub_server.server import HubServer


def add(path: str, content: bytes | str) -> CommitOperationAdd:
    """The operation that adds a file."""
    return CommitOperationAdd(path, content.encode() if isinstance(content, str) else content)


def test_a_rate_limit_with_retry_after_is_waited_for(hub: HubServer) -> None:
    hub.add_model("org/m")
    fault = hub.faults.add("/tree/", "retry-after", seconds=0)
    assert [entry.path for entry in HfApi().list_repo_tree("org/m")] == [".gitattributes"]
    assert fault.hits == 1
    assert [entry.status for entry in hub.requests("/tree/")] == [429, 200]
    hub.faults.add("/refs", "retry-after", seconds=7)
    with pytest.raises(HfHubHTTPError, match="429") as caught:
        HfApi().list_repo_refs("org/m")
    assert caught.value.response.headers["Retry-After"] == "7"


def test_a_rate_limit_in_the_draft_headers_says_how_long(hub: HubServer) -> None:
    hub.add_model("org/m")
    hub.faults.add("/api/models/org/m", "rate-limit", seconds=55)
    with pytest.raises(HfHubHTTPError, match="Retry after 55 seconds") as caught:
        HfApi().model_info("org/m")
    limits = parse_ratelimit_headers(caught.value.response.headers)
    assert limits is not None
    assert (limits.remaining, limits.reset_in_seconds, limits.limit, limits.window_seconds) == (0, 55, 1000, 300)
    assert HfApi().model_info("org/m").id == "org/m"


@pytest.mark.parametrize("status", [500, 502, 503])
def test_an_error_before_the_commit_leaves_nothing_behind(hub: HubServer, status: int) -> None:
    repo = hub.add_model("org/m")
    hub.faults.add("/commit/main", "error", method="POST", status=status)
    with pytest.raises(HfHubHTTPError) as caught:
        HfApi().create_commit("org/m", [add("a", "a")], commit_message="a")
    assert caught.value.response.status_code == status
    assert len(repo.history()) == 1


def test_a_lost_response_leaves_the_commit_behind(hub: HubServer) -> None:
    repo = hub.add_model("org/m")
    hub.faults.add("/commit/main", "lost-response", method="POST")
    with pytest.raises(HfHubHTTPError) as caught:
        HfApi().create_commit("org/m", [add("a", "a")], commit_message="a")
    assert caught.value.response.status_code == 500
    assert repo.history()[0].title == "a"
    hub.faults.add("/commit/main", "lost-reset", method="POST")
    with pytest.raises(httpx2.NetworkError):
        HfApi().create_commit("org/m", [add("b", "b")], commit_message="b")
    assert repo.history()[0].title == "b"
    assert [entry.status for entry in hub.requests("/commit/main")] == [500, None]


def test_a_reset_connection_is_a_network_error(hub: HubServer) -> None:
    hub.add_model("org/m")
    hub.faults.add(re.compile(r"/refs$"), "reset")
    with pytest.raises(httpx2.NetworkError):
        HfApi().list_repo_refs("org/m")
    assert [branch.name for branch in HfApi().list_repo_refs("org/m").branches] == ["main"]
    hub.faults.add("/tree/", "reset")
    assert len(list(HfApi().list_repo_tree("org/m"))) == 1
    assert [entry.status for entry in hub.requests("/tree/")] == [None, 200]


def test_a_truncated_download_is_resumed(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    # The client keeps only whole chunks, 10 MiB each by default, of what came before the end.
    monkeypatch.setattr(huggingface_hub.constants, "DOWNLOAD_CHUNK_SIZE", 1000)
    content = bytes(range(256)) * 4000
    hub.add_model("org/m", {"w.safetensors": content})
    hub.faults.add("w.safetensors", "truncate", method="GET")
    path = hf_hub_download("org/m", "w.safetensors")
    assert Path(path).read_bytes() == content
    first, second = hub.requests("/resolve/", "GET")
    assert "range" not in first.headers
    assert second.headers["range"] == f"bytes={len(content) // 2}-"
    assert second.status == 206


def test_a_reset_in_the_middle_of_a_download_is_an_error(hub: HubServer) -> None:
    content = bytes(2**20)
    hub.add_model("org/m", {"w.safetensors": content})
    hub.faults.add("w.safetensors", "reset-body")
    with pytest.raises(httpx2.NetworkError):
        hf_hub_download("org/m", "w.safetensors")
    assert Path(hf_hub_download("org/m", "w.safetensors")).stat().st_size == len(content)


def test_a_slow_body_and_a_late_answer_take_their_time(hub_server: HubServer) -> None:
    hub_server.add_model("org/m", {"x.txt": "x" * 300})
    hub_server.faults.add("x.txt", "slow", rate=1000)
    hub_server.faults.add("x.txt", "latency", seconds=0.3)
    for least in (0.29, 0.29):
        start = time.monotonic()
        assert raw(hub_server, "/org/m/resolve/main/x.txt")[2] == b"x" * 300
        assert time.monotonic() - start > least
    assert raw(hub_server, "/org/m/resolve/main/x.txt")[0] == 200


def test_a_fault_spares_the_first_requests_and_ends_after_its_last(hub_server: HubServer) -> None:
    hub_server.add_model("org/m")
    hub_server.faults.add("/api/models/", "error", skip=1, times=2, status=502)
    path = "/api/models/org/m"
    assert [raw(hub_server, path)[0] for _ in range(4)] == [200, 502, 502, 200]
    hub_server.faults.add("refs/pr/1", "error", times=None, status=503)
    assert [raw(hub_server, f"{path}/revision/refs%2Fpr%2F1")[0] for _ in range(3)] == [503] * 3
    hub_server.faults.clear()
    assert raw(hub_server, f"{path}/revision/refs%2Fpr%2F1")[0] == 404


def test_bandwidth_is_shared_and_latency_is_everywhere(hub_server: HubServer) -> None:
    hub_server.add_model("org/m", {"x.txt": "x" * 20_000})
    hub_server.bandwidth = 100_000
    hub_server.latency = 0.1
    bodies: list[int] = []
    threads = [
        threading.Thread(target=lambda: bodies.append(len(raw(hub_server, "/org/m/resolve/main/x.txt")[2])))
        for _ in range(2)
    ]
    start = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # 0.1 s of latency, then twice 20 kB through a line of 100 kB/s.
    assert time.monotonic() - start > 0.49
    assert bodies == [20_000, 20_000]


def test_a_closed_server_refuses_and_comes_back_at_the_same_address(hub: HubServer) -> None:
    hub.add_model("org/m")
    api = HfApi()
    assert api.model_info("org/m").id == "org/m"
    hub.close()
    with pytest.raises(httpx2.ConnectError):
        api.model_info("org/m")
    hub.start()
    assert api.model_info("org/m").id == "org/m"
