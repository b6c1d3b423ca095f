"""One commit through real HTTP: whatever goes wrong on the way, it is there once, and nothing of others is lost."""

import random
import re
import time
from collections.abc import Callable, Mapping
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub import CommitOperationAdd, HfApi

from hf_llc.errors import AccessError, HfLlcError, NotFoundError, OfflineError, SourceError, UnusableError
from hf_llc.hub import account as hub_account
from hf_llc.hub import commit as hub_writing
from hf_llc.hub import repository as hub_base
from hf_llc.hub.publication import Target
from hf_llc.report.card.merge import merge
from hf_llc.report.card.section import BEGIN
from tests.helpers.estimates import estimate
from tests.helpers.hostile_cards import HOSTILE
from tests.hub_server import fixtures
from tests.hub_server.faults import Kind as Fault
from tests.hub_server.repository import Repository
from tests.hub_server.server import HubServer
from tests.report.card.test_merge import SECTION, entries, front, ours

hub_server, hub = fixtures.hub_server, fixtures.hub

MINE = Target(repo_id="alice/m", kind="model")
CARD = HOSTILE["trainer"].card
COMMIT = "/commit/main"


@pytest.fixture(autouse=True)
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that retries, ours and the client's, would have waited for; nobody waits."""
    results: list[float] = []
    monkeypatch.setattr(time, "sleep", lambda seconds: results.append(seconds) if seconds > 0 else None)
    return results


@pytest.fixture
def repo(hub: HubServer) -> Repository:
    return hub.add_model("alice/m", {"README.md": CARD, "config.json": "{}"})


def changed_files(card: bytes | None) -> dict[str, bytes]:
    return {"README.md": merge(card or b"", entries(estimate()), SECTION), "llc/results.jsonl": b"{}\n"}


def push(
    make: Callable[[bytes | None], Mapping[str, bytes]] = changed_files,
    target: Target = MINE,
    tell: Callable[[str], None] = lambda line: None,
) -> hub_writing.Landed:
    return hub_writing.push(
        target, ["llc/results.jsonl"], make, author="alice", title="LLC", description="numbers", tell=tell
    )


def by_us(repo: Repository, revision: str = "main") -> list[str]:
    """Our commits on a branch, newest first."""
    return [commit.sha for commit in repo.history(revision) if commit.title == "LLC"]


def test_it_is_one_commit_upon_the_head_that_was_read(hub: HubServer, repo: Repository) -> None:
    before = repo.at().sha
    landed = push()
    assert by_us(repo) == [landed.commit] == [repo.at().sha]
    assert repo.at().parents == (before,)
    assert landed.changed == ("README.md", "llc/results.jsonl")
    assert repo.at().files["config.json"].read() == b"{}"
    assert len(hub.requests(COMMIT)) == 1


def test_the_same_again_makes_no_commit_and_says_so(hub: HubServer, repo: Repository) -> None:
    first = push()
    hub.log.clear()
    again = push()
    assert (again.commit, again.changed) == (first.commit, ())
    assert hub.requests("/commit/") == hub.requests("/preupload/") == []


def test_only_files_that_differ_are_sent(hub: HubServer, repo: Repository) -> None:
    push()
    landed = push(lambda card: {**changed_files(card), "llc/results.jsonl": b"other\n"})
    assert landed.changed == ("llc/results.jsonl",)
    assert len(by_us(repo)) == 2


@pytest.mark.parametrize(
    ("kind", "named"),
    [
        ("retry-after", {"seconds": 3}),
        ("rate-limit", {"seconds": 40}),
        ("error", {"status": 500}),
        ("error", {"status": 503}),
        ("lost-response", {"status": 502}),
        ("lost-reset", {}),
        ("reset", {}),
    ],
)
@pytest.mark.parametrize("times", [1, 3])
def test_a_commit_that_fails_is_made_once(
    hub: HubServer, repo: Repository, waits: list[float], kind: Fault, named: dict[str, Any], times: int
) -> None:
    told: list[str] = []
    fault = hub.faults.add(COMMIT, kind, method="POST", times=times, **named)
    landed = push(tell=told.append)
    assert by_us(repo) == [landed.commit]
    assert fault.hits == (1 if kind.startswith("lost") else times)
    assert landed.changed == ("README.md", "llc/results.jsonl")
    assert len(told) == fault.hits
    if "seconds" in named:
        assert waits == [named["seconds"]] * times


def test_after_five_tries_it_gives_up_and_nothing_is_there(hub: HubServer, repo: Repository) -> None:
    before = repo.at().sha
    hub.faults.add(COMMIT, "error", method="POST", times=None, status=503)
    with pytest.raises(OfflineError, match=r"answered 503; the model alice/m was not written to\."):
        push()
    assert len(hub.requests(COMMIT)) == 5
    assert repo.at().sha == before


def test_a_commit_that_lands_at_the_fifth_try_unheard_of_is_noticed(hub: HubServer, repo: Repository) -> None:
    hub.faults.add(COMMIT, "error", method="POST", times=4)
    hub.faults.add(COMMIT, "lost-reset", method="POST", times=None)
    landed = push()
    assert by_us(repo) == [landed.commit]
    assert len(hub.requests(COMMIT)) == 5


def test_more_patience_than_there_is_is_not_waited_for(hub: HubServer, repo: Repository, waits: list[float]) -> None:
    told: list[str] = []
    hub.faults.add(COMMIT, "retry-after", method="POST", times=None, seconds=3540)
    with pytest.raises(OfflineError, match="limits requests"):
        push(tell=told.append)
    assert len(hub.requests(COMMIT)) == 1
    assert waits == []
    assert "asks to wait 59 minutes" in told[0]


def test_a_rivals_commit_in_between_is_kept(repo: Repository) -> None:
    cards: list[bytes | None] = []

    def make(card: bytes | None) -> dict[str, bytes]:
        cards.append(card)
        if len(cards) == 1:
            repo.commit({"README.md": CARD.replace(b"Words.", b"Better words."), "new.txt": "n"}, author="bob")
        return changed_files(card)

    landed = push(make)
    assert len(cards) == 2
    text = repo.at().files["README.md"].read()
    assert b"Better words." in text
    assert len(ours(front(text))) == 1
    assert by_us(repo) == [landed.commit]
    assert "new.txt" in repo.at().files


def test_a_rival_who_never_rests_is_told_of(repo: Repository) -> None:
    def make(card: bytes | None) -> dict[str, bytes]:
        repo.commit({"count.txt": str(len(repo.commits))}, author="bob")
        return changed_files(card)

    with pytest.raises(SourceError, match="got a new commit each time"):
        push(make)
    assert by_us(repo) == []


@pytest.mark.parametrize("kind", ["truncate", "reset-body", "reset", "error"])
def test_a_card_that_does_not_arrive_whole_is_read_again(hub: HubServer, repo: Repository, kind: Fault) -> None:
    hub.faults.add("/resolve/", kind, method="GET")
    push()
    assert repo.at().files["README.md"].read() == changed_files(CARD)["README.md"]


def test_a_card_that_is_not_the_one_that_is_listed_is_read_again(
    repo: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As from a cache in between that has half of it."""
    session, cut = huggingface_hub.get_session(), [True]

    class Cache:
        def get(self, *args: Any, **named: Any) -> Any:
            response = session.get(*args, **named)
            if cut and cut.pop():
                response._content = response.content[:40]
            return response

    monkeypatch.setattr(hub_base, "get_session", Cache)
    push()
    assert repo.at().files["README.md"].read() == changed_files(CARD)["README.md"]


def test_a_card_that_cannot_be_read_is_not_taken_for_none(hub: HubServer, repo: Repository) -> None:
    before = repo.at().sha
    hub.faults.add("/paths-info/", "error", times=None, status=500)
    with pytest.raises(HfLlcError):
        push()
    assert repo.at().sha == before


def test_what_lies_in_large_storage_is_known_by_its_hash(hub: HubServer, repo: Repository) -> None:
    hub.lfs_uploads = True
    content = b"\x89PNG" + bytes(range(256))
    repo.commit({"llc/x.safetensors": content})
    base = hub_base.read(MINE, "alice", ["llc/x.safetensors"], pytest.fail)
    assert repo.at().files["llc/x.safetensors"].lfs
    assert base.has("llc/x.safetensors", content)
    assert not base.has("llc/x.safetensors", content + b"x")
    assert not base.has("README.md", b"")


def test_a_repository_that_moved_is_written_to_under_its_old_name(hub: HubServer, repo: Repository) -> None:
    repo.renamed_to = "alice/new"
    push()
    assert len(by_us(repo)) == 1


def test_what_the_hub_says_against_a_card_is_passed_on(repo: Repository) -> None:
    with pytest.raises(UnusableError, match=r"refuses the card of alice/m: .*\"license\" must be a string"):
        push(lambda card: {"README.md": b"---\nlicense: {a: 1}\n---\n"})
    assert by_us(repo) == []


PROPOSED = Target(repo_id="bob/m", kind="model", create_pr=True)


@pytest.fixture
def theirs(hub: HubServer) -> Repository:
    return hub.add_model("bob/m", {"README.md": CARD})


def test_a_pull_request_is_opened_once_and_then_updated(hub: HubServer, theirs: Repository) -> None:
    head = theirs.at().sha
    assert push(target=PROPOSED).pull_request == 1
    assert push(target=PROPOSED).changed == ()
    second = push(lambda card: {**changed_files(card), "llc/results.jsonl": b"2\n"}, PROPOSED)
    assert (second.pull_request, second.changed) == (1, ("llc/results.jsonl",))
    assert list(theirs.discussions) == [1]
    assert theirs.at().sha == head
    assert by_us(theirs, "refs/pr/1")[0] == second.commit


@pytest.mark.parametrize("kind", ["lost-response", "lost-reset", "error", "reset", "retry-after"])
def test_a_pull_request_whose_answer_was_lost_is_not_opened_again(
    hub: HubServer, theirs: Repository, kind: Fault
) -> None:
    hub.faults.add(COMMIT, kind, method="POST", times=2)
    landed = push(target=PROPOSED)
    assert landed.pull_request == 1
    assert list(theirs.discussions) == [1]


@pytest.mark.parametrize("how", ["renamed", "description edited", "other pull requests", "of the card alone"])
def test_ours_is_found_among_others(hub: HubServer, theirs: Repository, how: str) -> None:
    if how == "other pull requests":
        HfApi().create_commit(
            "bob/m", [CommitOperationAdd("other.txt", b"o")], commit_message="another proposal", create_pr=True
        )
    if how == "of the card alone":
        theirs.commit({"llc/results.jsonl": "{}\n"})
    number = push(target=PROPOSED).pull_request
    assert number is not None
    if how == "renamed":
        theirs.discussions[number].title = "other words"
    if how == "description edited":
        theirs.discussions[number].events[0]["data"]["latest"]["raw"] = "other words"
    again = push(lambda card: {"README.md": changed_files(card)["README.md"] + b"\nmore\n"}, PROPOSED)
    assert again.pull_request == number
    assert len(theirs.discussions) == number


def test_a_closed_pull_request_is_left_closed(hub: HubServer, theirs: Repository) -> None:
    push(target=PROPOSED)
    theirs.discussions[1].status = "closed"
    assert push(target=PROPOSED).pull_request == 2


def test_who_one_is_and_what_one_owns(hub: HubServer) -> None:
    owner = hub_account.account(pytest.fail)
    assert (owner.name, owner.namespaces, owner.read_only) == ("alice", frozenset({"alice", "org"}), False)
    assert owner.owns("Alice/m")
    assert owner.owns("org/m")
    assert not owner.owns("bob/m")


@pytest.mark.parametrize(
    ("token", "target", "error", "message"),
    [
        ("hf_test", Target(repo_id="bob/m", kind="model"), AccessError, r"not write to the model bob/m .*`create_pr`"),
        ("hf_test", Target(repo_id="bob/gated", kind="model", create_pr=True), AccessError, "is gated: ask for access"),
        ("hf_test", Target(repo_id="alice/no", kind="model"), NotFoundError, r"no model alice/no; create it with"),
        ("hf_test", Target(repo_id="bob/no", kind="dataset"), NotFoundError, "no dataset bob/no"),
        ("hf_test", Target(repo_id="alice/d", kind="model"), NotFoundError, "alice/d is a dataset.*--dataset-repo"),
        ("hf_test", Target(repo_id="alice/m", kind="dataset"), NotFoundError, "alice/m is a model.*--repo"),
        ("hf_read", MINE, AccessError, "token in use may only read"),
        ("hf_nobody", MINE, AccessError, "does not know the token in use"),
        ("", MINE, AccessError, "needs a token: log in"),
    ],
)
@pytest.mark.usefixtures("repo", "theirs")
def test_permission_is_refused_in_one_line(
    hub: HubServer, monkeypatch: pytest.MonkeyPatch, token: str, target: Target, error: type[HfLlcError], message: str
) -> None:
    hub.add_model("bob/gated").gated = "auto"
    hub.add_dataset("alice/d")
    monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(error, match=message) as caught:
        hub_account.require_permission(target, hub_account.account(pytest.fail), pytest.fail)
    assert "\n" not in str(caught.value)
    assert token == "" or token not in str(caught.value)
    assert hub.requests("/commit/") == hub.requests("/preupload/") == hub.requests("/create") == []


def test_a_dataset_repository_of_ones_own_is_made_private_if_asked(hub: HubServer) -> None:
    target = Target(repo_id="alice/llc-x", kind="dataset", private=True)
    assert hub_account.require_permission(target, hub_account.account(pytest.fail), pytest.fail) is False
    hub.faults.add("/api/repos/create", "lost-response")
    hub_account.create(target, lambda line: None)
    result = hub.find("dataset", "alice/llc-x")
    assert result is not None
    assert result.private


def test_a_hundred_publishes_in_bad_weather_leave_one_set_of_entries(hub: HubServer, repo: Repository) -> None:
    """Rate limits, failures before and after the commit landed, resets, and a rival who edits the same card."""
    weather = random.Random(5)
    edits = 0

    def rival() -> None:
        nonlocal edits
        edits += 1
        card = repo.at().files["README.md"].read()
        line = f"<!-- rival {edits} -->\n".encode()
        marked = card.replace(b"license:", b"# rival %d\nlicense:" % edits, 1) if edits % 2 else card + b"\n" + line
        repo.commit({"README.md": marked}, author="bob", message="rival")

    def publish(value: float) -> None:
        def make(card: bytes | None) -> dict[str, bytes]:
            if weather.random() < 0.2:
                rival()
            assert card is not None
            return {
                "README.md": merge(card, entries(estimate(512, value)), SECTION.replace("λ̂", f"λ̂ = {value}")),
                "llc/results.jsonl": f"{value}\n".encode(),
            }

        push(make)

    kinds: list[Fault] = ["retry-after", "rate-limit", "error", "lost-response", "lost-reset", "reset"]
    places = [COMMIT, "/preupload/", "/api/validate-yaml", "/api/models/alice/m", "/paths-info/", "/resolve/"]
    given_up = 0
    for number in range(100):
        hub.faults.clear()
        for _ in range(weather.randrange(4)):
            kind, place = weather.choice(kinds), re.compile(re.escape(weather.choice(places)))
            hub.faults.add(place, kind, times=weather.randrange(1, 3), status=weather.choice([500, 502, 503]))
        try:
            publish(float(number))
        except HfLlcError:
            given_up += 1
    hub.faults.clear()
    publish(1000.0)

    assert given_up <= 3
    assert edits > 10
    card = repo.at().files["README.md"].read()
    (metric,) = ours(front(card))
    assert metric["value"] == "1000.0"
    assert card.count(BEGIN.encode()) == 1
    assert card.count(b"- llc\n") == 1
    for edit in range(1, edits + 1):
        assert (b"# rival %d\n" if edit % 2 else b"<!-- rival %d -->\n") % edit in card
    assert len([commit for commit in repo.history() if commit.title == "rival"]) == edits
