"""Answers that no Hub gives are refused in words; a card that one answer hides is never written over."""

import re
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import huggingface_hub
import pytest

from hf_llc.errors import HfLlcError, OfflineError, SettingsError, SourceError
from hf_llc.hub import account as hub_account
from hf_llc.hub import client as repositories
from hf_llc.hub import download as downloads
from hf_llc.hub import repository as hub_base
from hf_llc.hub.address import require_web_address
from hf_llc.hub.answers import AnswerError, inner_path, revision_of
from hf_llc.hub.listings import commits, files_of_commit
from tests.hub.test_commit import CARD, MINE, by_us, changed_files, push
from tests.hub_server import fixtures
from tests.hub_server.mutations import LOGIN_PAGE
from tests.hub_server.repository import Repository
from tests.hub_server.server import HubServer
from tests.hub_server.wire import Response

hub_server, hub = fixtures.hub_server, fixtures.hub


@pytest.fixture(autouse=True)
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that retries would have waited for; nobody waits."""
    asked: list[float] = []
    monkeypatch.setattr(time, "sleep", lambda seconds: asked.append(seconds) if seconds > 0 else None)
    return asked


@pytest.fixture
def repo(hub: HubServer) -> Repository:
    return hub.add_model("alice/m", {"README.md": CARD, "config.json": "{}"})


def answering(body: bytes, status: int = 200) -> Callable[[Response], Response]:
    return lambda response: Response(status, {"Content-Type": "text/html"}, body)


def quietly(line: str) -> None:
    """What nobody reads."""


@pytest.mark.parametrize("times", [1, None])
def test_an_empty_listing_is_no_proof_that_there_is_no_card(
    hub: HubServer, repo: Repository, times: int | None
) -> None:
    before = repo.at().sha
    hub.faults.add("/paths-info/", "change", times=times, change=answering(b"[]"))
    with pytest.raises(SourceError, match=r"does not list a README.md in the model alice/m, but sends one"):
        push(lambda card: {"README.md": card or b"# New\n"})
    assert repo.at().sha == before


@pytest.mark.parametrize("status", [200, 204, 404, 500])
def test_a_listing_without_a_card_and_an_address_that_says_nothing_write_nothing(
    hub: HubServer, repo: Repository, status: int
) -> None:
    before = repo.at().sha
    hub.faults.add("/paths-info/", "change", times=None, change=answering(b"[]"))
    hub.faults.add("/resolve/", "change", times=None, change=answering(LOGIN_PAGE, status))
    with pytest.raises(HfLlcError):
        push(lambda card: {"README.md": card or b"# New\n"})
    assert repo.at().sha == before


def test_a_card_is_made_where_both_routes_say_that_there_is_none(hub: HubServer) -> None:
    repo = hub.add_model("alice/m")
    told: list[str] = []
    push(lambda card: {"README.md": b"# New\n" if card is None else b"# Old\n"}, tell=told.append)
    assert repo.at().files["README.md"].read() == b"# New\n"
    assert told == [f"{hub.url} on the card: empty or missing yaml metadata in repo card"]
    assert [entry.status for entry in hub.requests("/resolve/", "HEAD")] == [404]


@pytest.mark.parametrize("body", [b"", CARD[:40], CARD[::-1], LOGIN_PAGE])
def test_a_card_whose_content_is_not_the_listed_one_is_not_merged(
    hub: HubServer, repo: Repository, body: bytes
) -> None:
    before = repo.at().sha
    hub.faults.add("/resolve/", "change", times=None, change=answering(body))
    with pytest.raises(SourceError, match=r"what it sends as README.md is not the file that it lists"):
        push()
    assert repo.at().sha == before


def test_a_commit_that_is_confirmed_as_another_one_is_found(hub: HubServer, repo: Repository) -> None:
    before = repo.at().sha
    answer = f'{{"success": true, "commitOid": "{before}", "commitUrl": "{hub.url}/alice/m/commit/{before}"}}'.encode()
    hub.faults.add("/commit/main", "change", times=None, change=answering(answer))
    landed = push()  # the server changed_files the commit and lied about it; the next look finds it
    assert by_us(repo) == [repo.at().sha] == [landed.commit]
    assert repo.at().files["README.md"].read() == changed_files(CARD)["README.md"]


def test_a_commit_without_its_files_is_not_believed(
    hub: HubServer, repo: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = repo.at().sha
    answer = f'{{"success": true, "commitOid": "{before}", "commitUrl": "{hub.url}/alice/m/commit/{before}"}}'.encode()
    monkeypatch.setattr("tests.hub_server.writing.commit", None)
    fault = hub.faults.add("/commit/main", "error", times=None, status=200)
    monkeypatch.setattr(fault, "refusal", lambda: Response(200, {"Content-Type": "application/json"}, answer))
    with pytest.raises(SourceError, match=r"the commit that it confirms does not hold README\.md"):
        push()
    assert repo.at().sha == before


def test_a_failure_of_the_server_while_reading_is_waited_out_and_named(
    hub: HubServer, repo: Repository, waits: list[float]
) -> None:
    for part in ("/paths-info/", "/resolve/", "/api/models/alice/m"):
        hub.faults.add(part, "error", times=2, status=500)
    push()
    assert len(by_us(repo)) == 1
    assert len(waits) >= 6
    hub.faults.add("/validate-yaml", "change", times=None, change=answering(LOGIN_PAGE, 500))
    with pytest.raises(HfLlcError) as caught:
        push(lambda card: {"README.md": b"# Another\n"})
    assert "refuses the card" not in str(caught.value)
    assert "gave an invalid answer (it is not JSON)" in str(caught.value)


@pytest.mark.parametrize(
    ("endpoint", "body", "message"),
    [
        ("/whoami-v2", b"[]", "AttributeError"),
        ("/whoami-v2", b'{"type": "user"}', "it lacks 'name'"),
        ("/whoami-v2", b'{"name": 5}', "5 is no name of an account"),
        ("/whoami-v2", b'{"name": "a\\u001b[2J"}', "is no name of an account"),
        ("/whoami-v2", b'{"name": "../../etc"}', "'../../etc' is no name of an account"),
        ("/whoami-v2", b'{"name": "' + b"a" * 100_000 + b'"}', "is no name of an account"),
        ("/whoami-v2", LOGIN_PAGE, "it is not JSON"),
        ("/whoami-v2", b'{"name": "\xff"}', "it is not UTF-8"),
        ("/whoami-v2", b"[" * 100_000 + b"]" * 100_000, "RecursionError"),
    ],
)
def test_who_one_is_is_not_guessed(hub: HubServer, endpoint: str, body: bytes, message: str) -> None:
    hub.faults.add(endpoint, "change", times=None, change=answering(body))
    with pytest.raises(OfflineError, match=re.escape(message)):
        hub_account.account(quietly)


@pytest.mark.parametrize(
    ("endpoint", "body", "message"),
    [
        ("/refs", b'{"branches": [{"name": "a", "ref": "b", "targetCommit": "c"}], "tags": [], "converts": []}', "'c'"),
        (
            "/refs",
            b'{"branches": [{"name": null, "ref": "b", "targetCommit": "c"}], "tags": [], "converts": []}',
            "None",
        ),
        (
            "/refs",
            b'{"branches": [{"name": "a..b", "ref": "b", "targetCommit": "c"}], "tags": [], "converts": []}',
            "a..",
        ),
        ("/refs", b"[]", "TypeError"),
        ("/refs", b"{}", "it lacks 'branches'"),
        ("/refs", LOGIN_PAGE, "it is not JSON"),
    ],
)
def test_names_of_revisions_are_not_guessed(hub: HubServer, endpoint: str, body: bytes, message: str) -> None:
    hub.add_model("org/m")
    hub.faults.add(endpoint, "change", times=None, change=answering(body))
    with pytest.raises(SourceError, match=r"gave an invalid answer \(.*" + re.escape(message)):
        repositories.revisions("org/m", "model", quietly)


@pytest.mark.parametrize("sha", [b"null", b"5", b'"main"', b'["a"]'])
def test_a_revision_without_a_commit_is_refused(hub: HubServer, sha: bytes) -> None:
    hub.add_model("org/m")
    hub.faults.add("/api/models/", "change", times=None, change=answering(b'{"id": "org/m", "sha": ' + sha + b"}"))
    with pytest.raises(SourceError, match=r"no commit"):
        repositories.resolve("org/m", None, "model", quietly)


@pytest.mark.parametrize("body", [b"[]", b"{}"])
def test_a_commit_without_files_is_asked_for_in_two_ways(hub: HubServer, body: bytes) -> None:
    repo = hub.add_model("org/m", {"config.json": "{}"})
    hub.faults.add("/tree/", "change", times=None, change=answering(body))
    with pytest.raises(SourceError, match="it lists no file of org/m, and describes 2"):
        files_of_commit("org/m", repo.at().sha, quietly)
    hub.faults.clear()
    assert len(files_of_commit("org/m", repo.at().sha, quietly)) == 2
    repo.delete("config.json", ".gitattributes")
    assert files_of_commit("org/m", repo.at().sha, quietly) == []


OUTSIDE = [
    "../../x",
    "/x",
    "a/../../x",
    "..",
    "a//b",
    "",
    "a\\..\\..\\x",
    "C:/x",
    ".git/config",
    "a\0b",
    None,
    5,
    ["a"],
]


@pytest.mark.parametrize("path", OUTSIDE)
def test_a_path_that_leads_out_is_refused(path: object) -> None:
    with pytest.raises(AnswerError):
        inner_path(path)


@pytest.mark.parametrize("name", ["a//b", "/a", "a/", "a..b", "a b", "a\nb", "a\x1b", "", None, "..\\a", "a\0"])
def test_a_name_that_git_does_not_allow_is_no_revision(name: object) -> None:
    with pytest.raises(AnswerError):
        revision_of(name)


@pytest.mark.parametrize("name", ["main", "step0", "stage1-step1000-tokens4B", "refs/pr/1", "v1.0", "größe", "a@b"])
def test_a_name_that_git_allows_is_a_revision(name: str) -> None:
    assert revision_of(name) == name


@pytest.mark.parametrize("path", ["a", "a/b.json", "..a", "a..b/c", "a b/ü.txt", ".gitattributes", "a\\b"])
def test_a_path_inside_is_taken(path: str) -> None:
    assert inner_path(path) == path


def test_a_listing_with_a_path_that_leads_out_downloads_nothing(hub: HubServer, tmp_path: Path) -> None:
    repo = hub.add_model("org/m", {"config.json": "{}"})
    listing = b'[{"type": "file", "path": "../../../../outside.txt", "size": 2, "oid": "' + b"a" * 40 + b'"}]'
    hub.faults.add("/tree/", "change", times=None, change=answering(listing))
    with pytest.raises(SourceError, match="leads out of the repository"):
        files_of_commit("org/m", repo.at().sha, quietly)
    assert not list(tmp_path.rglob("outside*"))


@pytest.mark.parametrize("header", ["ETag", "X-Linked-Etag", "X-Repo-Commit", "X-Xet-Hash"])
@pytest.mark.parametrize("name", ["../../../../../outside", "/tmp/outside-of-hf-llc/x"])
def test_a_header_that_leads_out_of_the_cache_is_refused(
    hub: HubServer, tmp_path: Path, header: str, name: str
) -> None:
    repo = hub.add_model("org/m", {"config.json": "{}"})
    files = files_of_commit("org/m", repo.at().sha, quietly)
    hub.faults.add(
        "/resolve/", "change", times=None, change=lambda each: replace(each, headers=each.headers | {header: name})
    )
    with pytest.raises(SourceError, match=r"gave an invalid answer \(.*outside"):
        downloads.download("org/m", repo.at().sha, files, quietly)
    assert not list(tmp_path.rglob("outside*"))
    assert not Path("/tmp/outside-of-hf-llc").exists()


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
@pytest.mark.parametrize("inside", [True, False])
def test_a_download_of_another_content_is_refused_and_not_kept(
    hub: HubServer, tmp_path: Path, name: str, inside: bool
) -> None:
    true = {"config.json": b"{}", "model.safetensors": bytes(range(256)) * 8}
    repo = hub.add_model("org/m", true)
    wanted = [file for file in files_of_commit("org/m", repo.at().sha, quietly) if file.path == name]
    into = tmp_path / "own" if inside else None
    fault = hub.faults.add(
        f"/{name}", "change", method="GET", times=None, change=lambda each: replace(each, body=true[name][::-1])
    )
    with pytest.raises(SourceError, match=f"{name} of org/m arrived with another content than the Hub lists"):
        downloads.download("org/m", repo.at().sha, wanted, quietly, into=into)
    assert fault.hits == 2
    hub.faults.clear()
    folder = downloads.download("org/m", repo.at().sha, wanted, quietly, into=into)
    assert (folder / name).read_bytes() == true[name]


@pytest.mark.parametrize("address", ["http://127.0.0.1:x/", "http://a\x7f/", "/" + "a" * 70_000])
def test_a_next_page_that_is_no_address_is_refused(hub: HubServer, repo: Repository, address: str) -> None:
    def linked(response: Response) -> Response:
        return replace(response, headers={**response.headers, "Link": f'<{address}>; rel="next"'})

    hub.faults.add("/tree/", "change", times=None, change=linked)
    with pytest.raises(HfLlcError, match=r"an invalid answer|cannot be reached"):
        repositories.files("alice/m", repo.at().sha, quietly)


def test_pages_in_a_circle_end(hub: HubServer) -> None:
    repo = hub.add_model("org/m", {"config.json": "{}"})
    pages = ["0", "1"]

    def circle(path: str) -> Callable[[Response], Response]:
        def change(response: Response) -> Response:
            pages.append(pages.pop(0))
            link = f'<{hub.url}/api/models/org/m/{path}?cursor={pages[0]}>; rel="next"'
            return Response(200, response.headers | {"Link": link}, b"[]")

        return change

    hub.faults.add("/commits/", "change", times=None, change=circle("commits/main"))
    with pytest.raises(SourceError, match="its pages refer to each other in a circle"):
        commits("org/m", "main", quietly)
    hub.faults.add("/tree/", "change", times=None, change=circle("tree/main"))
    with pytest.raises(SourceError, match="its pages refer to each other in a circle"):
        files_of_commit("org/m", repo.at().sha, quietly)


def test_a_page_that_breaks_off_is_no_circle(hub: HubServer, waits: list[float]) -> None:
    repo = hub.add_model("org/m", {f"{number}.txt": "x" for number in range(9)})
    hub.page_size = 4
    fault = hub.faults.add("/tree/", "reset-body", times=1)
    told: list[str] = []
    assert len(files_of_commit("org/m", repo.at().sha, told.append)) == 10
    assert (fault.hits, told) == (1, [])


def test_pages_without_end_end(hub: HubServer, repo: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hf_llc.hub.answers.MOST_REQUESTS", 20)
    body = b'{"discussions": [], "count": 9, "start": 0}'
    hub.faults.add("/discussions", "change", times=None, change=answering(body))
    with pytest.raises(SourceError, match="its pages do not end after 20 requests"):
        hub_base.read(replace(MINE, create_pr=True), "alice", [], quietly)


@pytest.mark.parametrize(
    "address",
    [
        "", "huggingface.co", "localhost:8000", "/mnt/hub", "file:///etc", "ftp://a.b", "http://", "https:///x",
        "http://a b.c", " http://a.b", "http://a.b\n", "http://[::1", "http://a.b:port", "http://a.b:99999",
        "http://a.b?x=1", "http://a.b#x", "javascript:alert(1)", "http://\x1b[31m.b",
    ],
)  # fmt: skip
def test_an_endpoint_that_is_no_web_address_is_named(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", address)
    with pytest.raises(
        SettingsError, match=r"^HF_ENDPOINT must be a web address such as https://huggingface\.co, got '"
    ) as caught:
        repositories.resolve("org/m", None, "model", quietly)
    assert str(caught.value).isprintable()


def test_an_endpoint_in_a_message_has_no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "ftp://me:secret@a.b")
    with pytest.raises(SettingsError) as caught:
        require_web_address(huggingface_hub.constants.ENDPOINT)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "address", ["https://huggingface.co", "http://127.0.0.1:8000", "http://[::1]:80", "https://host/artifactory/hf"]
)
def test_a_web_address_is_taken(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", address)
    require_web_address(huggingface_hub.constants.ENDPOINT)


def test_a_proxy_that_is_no_address_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    huggingface_hub.utils.close_session()  # type: ignore[attr-defined]
    monkeypatch.setenv("HTTPS_PROXY", "nonsense://me:secret@proxy")
    with pytest.raises(SettingsError, match=r"check HTTP_PROXY, HTTPS_PROXY") as caught:
        repositories.resolve("org/m", None, "model", quietly)
    assert "secret" not in str(caught.value)
