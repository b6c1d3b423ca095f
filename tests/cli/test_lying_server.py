"""Commands that read from a server whose answers no Hub gives: the right result, or one line and nothing changed.

`HF_LLC_LIES=2000` tries so many cases more than the few that every run does; `HF_LLC_LIES_SEED` begins elsewhere.
"""

import os
import random
import re
import shutil
import time
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from hf_llc.report.card.files import portable
from hf_llc.results.curve import Curve, Point
from hf_llc.results.jsonl import lines_of
from tests.helpers.command_line import Run
from tests.helpers.estimates import estimate
from tests.helpers.fake_runs import quick_picture, write_run
from tests.helpers.hostile_cards import HOSTILE
from tests.hub_server.environment import use_hub
from tests.hub_server.mutations import CONTENT_MUTATIONS, MUTATIONS
from tests.hub_server.repository import Repository
from tests.hub_server.server import HubServer
from tests.hub_server.wire import Response

CARD = HOSTILE["trainer"].card
COUNT = 45 + int(os.environ.get("HF_LLC_LIES", "0"))
SEED = int(os.environ.get("HF_LLC_LIES_SEED", "0"))
LINE = re.compile(r"Error: .{10,600}")


@dataclass(frozen=True)
class Case:
    """A command, what it asks the Hub for, and the answers to it: one of them or all."""

    command: str
    endpoint: str
    mutation: str
    once: bool


COMMANDS: dict[str, tuple[list[str], list[str]]] = {
    "publish": (
        ["publish", "out", "--yes", "--json"],
        [
            "/whoami-v2", "/auth-check", "/api/models/alice/m?", "/paths-info/", "/resolve/", "/validate-yaml",
            "/preupload/", "/commit/",
        ],
    ),
    "propose": (
        ["publish", "out", "--repo", "bob/m", "--create-pr", "--yes", "--json"],
        ["/discussions", "/paths-info/", "/resolve/", "/commit/"],
    ),
    "publish data": (
        ["publish", "out", "--dataset-repo", "alice/new", "--yes", "--json"],
        ["/auth-check", "/repos/create", "/tree/", "/paths-info/", "/commit/", "/api/datasets/alice/new"],
    ),
    "revisions": (["revisions", "alice/tiny", "--json"], ["/refs", "/tree/"]),
    "show": (["show", "hf://alice/published", "--json"], ["/revision/", "/tree/", "/resolve/", "/api/models/"]),
    "compare": (
        ["compare", "hf://alice/published", "out", "--json"],
        ["/revision/", "/tree/", "/resolve/", "/api/models/"],
    ),
}  # fmt: skip


def cases(count: int, seed: int) -> list[Case]:
    """So many cases drawn at random from all that there are."""
    every = [
        Case(command, endpoint, mutation, once)
        for command, (_, endpoints) in COMMANDS.items()
        for endpoint in endpoints
        for mutation in (*MUTATIONS, *(CONTENT_MUTATIONS if endpoint == "/resolve/" else ()))
        for once in (True, False)
    ]
    return random.Random(seed).sample(every * (1 + count // len(every)), count)


@dataclass(frozen=True)
class World:
    """The server with everything that the commands need, and the repositories that they must not harm."""

    hub: HubServer
    mine: Repository
    theirs: Repository
    results: bytes


@pytest.fixture
def world(hub_server: HubServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> World:
    monkeypatch.setattr("hf_llc.results.figures.plots.series", quick_picture)
    monkeypatch.setattr("hf_llc.results.figures.comparison.comparison", lambda path, *others, **named: path.touch())
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    use_hub(monkeypatch, hub_server.url, tmp_path / "hf_home")
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    curve = Curve.of_points(
        "alice/m",
        [Point(revision="step512", sha="a" * 40, step=512, estimate=replace(estimate(512, 2.0), model="alice/m"))],
        run_dir="",
        versions={"hf-llc": "0.1.0"},
    )
    write_run(Path("out"), curve)
    results = lines_of(portable(curve, Path("out"))).encode()
    hub_server.add_model("alice/published", {"README.md": CARD, "llc/results.jsonl": results})
    tiny = hub_server.add_model("alice/tiny", {"config.json": "{}", "model.safetensors": b"x" * 2000})
    for step in (1, 2):
        tiny.commit({"config.json": "{}", "model.safetensors": bytes([step]) * 2000}, f"step{step}")
    hub_server.add_dataset("alice/new", {"README.md": CARD})
    return World(
        hub=hub_server,
        mine=hub_server.add_model("alice/m", {"README.md": CARD}),
        theirs=hub_server.add_model("bob/m", {"README.md": CARD}),
        results=results,
    )


def lied(case: Case, world: World, chance: random.Random) -> None:
    """Makes the server give the wrong answers of a case."""
    mutate = {**MUTATIONS, **CONTENT_MUTATIONS}[case.mutation]

    def change(response: Response) -> Response:
        result = mutate(response, chance)
        here = f"{world.hub.url}/api/models/alice/m"
        return replace(result, headers={name: each.replace("SELF", here) for name, each in result.headers.items()})

    pattern = re.compile(re.escape(case.endpoint).replace(r"m\?", r"m(\?|$)"))
    world.hub.faults.add(pattern, "change", times=1 if case.once else None, change=change)


def require_unharmed(repo: Repository, results: bytes, revision: str = "main") -> bool:
    """True if everything of ours was added to a repository, False if it is as it was; anything else fails."""
    commit = repo.at(revision)
    card = commit.files["README.md"].read()
    if card == CARD:
        assert "llc/results.jsonl" not in commit.files
        return False
    assert [line for line in CARD.splitlines() if line not in card.splitlines()] in ([], [b"  results: []"])
    assert card.count(b"<!-- hf-llc:begin -->") == 1
    assert commit.files["llc/results.jsonl"].read() == results
    assert len([each for each in repo.history(revision) if "Local learning" in each.title]) == 1
    return True


@pytest.mark.parametrize("case", cases(COUNT, SEED), ids=str)
def test_a_wrong_answer_harms_nothing(case: Case, world: World, run: Run, tmp_path: Path) -> None:
    result = COMMANDS[case.command][0]
    expected = "" if "publish" in case.command or case.command == "propose" else run(*result).out
    for folder in ("hf_home", "work/hf-llc-runs"):  # what the first run remembers
        shutil.rmtree(tmp_path / folder, ignore_errors=True)
    before = {path.name for path in tmp_path.iterdir()} | {"hf_home"}
    lied(case, world, random.Random(str(case)))
    ran = run(*result)
    assert {path.name for path in tmp_path.iterdir()} <= before
    assert not Path("/tmp/outside").exists()
    assert not Path("/tmp/outside.txt").exists()
    written = [
        require_unharmed(repo, world.results, branch)
        for repo in (world.mine, world.theirs, *filter(None, [world.hub.find("dataset", "alice/new")]))
        for branch in ("main", *(f"refs/pr/{number}" for number in repo.discussions))
    ]
    if ran.code == 0:
        assert any(written) if not expected else ran.out == expected
        return
    assert ran.out == ""
    lines = [line for line in ran.err.splitlines() if line.startswith("Error: ")]
    assert len(lines) == 1
    assert LINE.fullmatch(lines[0])
    assert "Traceback" not in ran.err
    assert "\x1b" not in ran.err
