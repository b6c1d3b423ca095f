"""`hf-llc publish` and `--push-to-hub` over HTTP: what is printed, asked, refused, and there afterwards."""

import io
import json
import re
import shlex
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import yaml  # type: ignore[import-untyped]

from hf_llc.report.card.escaping import rounded
from hf_llc.results.curve import Curve, Point
from tests.helpers.command_line import SMALL, Run, refused
from tests.helpers.estimates import estimate
from tests.helpers.fake_runs import quick_picture, write_run
from tests.helpers.hostile_cards import HOSTILE
from tests.helpers.tiny_model import jsonl, read_files, save_tiny_model
from tests.hub_server.environment import use_hub
from tests.hub_server.repository import Repository
from tests.hub_server.server import HubServer
from tests.report.card.test_merge import front, ours

JSONL = jsonl(200)
SETTINGS = ["--dataset", "alice/text", *SMALL, "--gamma", "1000", "--num-processes", "1"]
CARD = HOSTILE["trainer"].card
PATHS = ["README.md", "llc/results.jsonl", "llc/settings.yaml", "llc/curve.png", "llc/curve.svg"]


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, bytes]]:
    """The files of two different checkpoints."""
    folder = tmp_path_factory.mktemp("published")
    return [read_files(save_tiny_model(folder / str(seed), seed)) for seed in range(2)]


@pytest.fixture
def model(hub: HubServer, checkpoints: list[dict[str, bytes]]) -> Repository:
    """`alice/tiny` with a card of its own and the branches step0 and step8, and the dataset `alice/text`."""
    hub.add_dataset("alice/text", {"train.jsonl": JSONL})
    repo = hub.add_model("alice/tiny", {"README.md": CARD, **checkpoints[1]})
    repo.commit(checkpoints[0], "step0")
    repo.commit(checkpoints[1], "step8")
    return repo


@pytest.fixture
def scanned(run: Run, model: Repository) -> Path:
    """The folder of a scan of both."""
    ran = run("scan", "alice/tiny", *SETTINGS, "--output-dir", "out", "--json")
    assert ran.code == 0, ran.err
    return Path(ran.json["run_dir"])


@pytest.fixture
def kept(model: Repository, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a scan of both that nobody had to wait for."""
    monkeypatch.setattr("hf_llc.results.figures.plots.series", quick_picture)
    points = [
        Point(revision=each.revision or "", sha=model.at(each.revision or "").sha, step=each.step, estimate=each)
        for each in (replace(estimate(step, 1.5 + step), model="alice/tiny") for step in (0, 8))
    ]
    return write_run(Path("out"), Curve.of_points("alice/tiny", points, run_dir="", versions={}))


@pytest.fixture
def answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Someone at a terminal who says yes."""
    typed = io.StringIO("y\n")
    typed.isatty = lambda: True  # type: ignore[method-assign]
    monkeypatch.setattr(sys, "stdin", typed)


def card_of(repo: Repository) -> bytes:
    return repo.at().files["README.md"].read()


def test_json_says_what_was_published(run: Run, hub: HubServer, model: Repository, kept: Path) -> None:
    ran = run("publish", kept, "--yes", "--json")
    assert ran.code == 0, ran.err
    assert ran.json == {
        "schema": 1,
        "repo": "alice/tiny",
        "repo_type": "model",
        "commit": model.at().sha,
        "pull_request": None,
        "url": f"{hub.url}/alice/tiny",
        "files": PATHS,
        "changed": PATHS,
    }
    assert ran.err.splitlines() == ["A copy of the files is in out/publish/alice__tiny."]
    again = run("publish", kept, "--yes", "--json")
    assert again.json == {**ran.json, "changed": []}


def test_every_form_names_the_page(run: Run, hub: HubServer, kept: Path) -> None:
    human = run("publish", kept, "--yes")
    assert human.code == 0
    assert human.out.splitlines()[0].strip() == "Published"
    assert re.search(rf"^page +{hub.url}/alice/tiny *$", human.out, flags=re.MULTILINE)
    assert "changed     README.md, llc/results.jsonl" in human.out
    assert run("publish", kept, "--yes").out.startswith("Already published, nothing changed")
    quiet = run("publish", kept, "--yes", "-q")
    assert (quiet.out, quiet.err) == (f"{hub.url}/alice/tiny\n", "")
    pairs = dict(line.split("=", 1) for line in run("publish", kept, "-y", "--format", "agent").out.splitlines())
    assert (pairs["repo"], pairs["pull_request"]) == ("alice/tiny", "")


def test_a_dry_run_prints_the_full_diff_and_writes_nothing(run: Run, model: Repository, kept: Path) -> None:
    head = model.at().sha
    ran = run("publish", kept, "--dry-run", "--headline", "step0")
    assert ran.code == 0
    files = re.findall(r"^\+\+\+ b/(.*)$", ran.out, flags=re.MULTILINE)
    assert files == PATHS[:3]
    assert [line for line in ran.out.splitlines() if line.startswith("-") and not line.startswith("---")] == [
        "-  results: []"
    ]
    assert "+        model_revision: step0" in ran.out
    assert ran.err.splitlines()[0].endswith("/alice/tiny, as one commit:")
    assert re.search(r"llc/curve\.png: new, [\d.]+ k?B", ran.err)
    assert model.at().sha == head
    plan = run("publish", kept, "--dry-run", "--json", "--headline", "step0").json
    assert (plan["commit"], plan["changed"], plan["diff"]) == (None, PATHS, ran.out)


@pytest.mark.usefixtures("answer")
def test_at_a_terminal_it_says_where_shows_the_card_and_asks(
    run: Run, hub: HubServer, model: Repository, kept: Path
) -> None:
    ran = run("publish", kept)
    assert ran.code == 0, ran.err
    assert f"To {hub.url}/alice/tiny, as one commit:" in ran.err
    assert "+- llc" in ran.err
    assert "Publish this? [y/N]" in ran.err
    assert ran.out.startswith("Published")
    assert len(ours(front(card_of(model)))) == 1


@pytest.mark.parametrize("typed", ["n\n", "\n", "", "yesterday\n"])
def test_anything_but_yes_is_no(
    run: Run, model: Repository, kept: Path, monkeypatch: pytest.MonkeyPatch, typed: str
) -> None:
    stdin = io.StringIO(typed)
    stdin.isatty = lambda: True  # type: ignore[method-assign]
    monkeypatch.setattr(sys, "stdin", stdin)
    ran = run("publish", kept)
    assert (ran.code, ran.out) == (1, "")
    assert "Nothing was written to the Hub." in ran.err
    assert card_of(model) == CARD
    assert (kept / "publish" / "alice__tiny" / "README.md").is_file()


@pytest.mark.usefixtures("answer")
def test_without_anybody_to_ask_it_refuses(
    run: Run, hub: HubServer, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.log.clear()
    refused(run("publish", kept, "--json"), 2, "--dry-run, then publish with --yes")
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    refused(run("publish", kept), 2, "needs a confirmation")
    monkeypatch.setattr(sys, "stdin", None)
    refused(run("publish", kept), 2, "needs a confirmation")
    assert hub.requests() == []


def test_an_interrupt_at_the_question_writes_nothing(
    run: Run, model: Repository, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Interrupting(io.StringIO):
        def isatty(self) -> bool:
            return True

        def readline(self, *_: object) -> str:  # type: ignore[override]
            raise KeyboardInterrupt

    monkeypatch.setattr(sys, "stdin", Interrupting())
    ran = run("publish", kept)
    assert (ran.code, ran.out) == (130, "")
    assert ran.err.splitlines()[-1] == "Nothing was written to the Hub. The files are in out/publish/alice__tiny."
    assert card_of(model) == CARD


@pytest.mark.parametrize(
    ("arguments", "token", "code", "message"),
    [
        (["nowhere"], "hf_test", 1, "holds no finished run"),
        (["out", "--repo", "bob/m"], "hf_test", 1, "may not write to the model bob/m"),
        (["out", "--repo", "alice/none"], "hf_test", 1, "no model alice/none"),
        (["out", "--repo", "alice/text"], "hf_test", 1, "alice/text is a dataset"),
        (["out", "--dataset-repo", "bob/x"], "hf_test", 1, "no dataset bob/x"),
        (["out", "--repo", "alice/tiny", "--private"], "hf_test", 2, "--private is for"),
        (["out", "--headline", "step1"], "hf_test", 2, "step1 is not in the run; did you mean step"),
        (["out"], "hf_read", 1, "token in use may only read"),
        (["out"], "hf_nobody", 1, "does not know the token"),
        (["out"], None, 1, "needs a token"),
    ],
)
@pytest.mark.usefixtures("kept")
def test_what_cannot_be_done_is_one_line(
    run: Run,
    hub: HubServer,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    arguments: list[str],
    token: str | None,
    code: int,
    message: str,
) -> None:
    hub.add_model("bob/m")
    use_hub(monkeypatch, hub.url, tmp_path / "hf_home", token)
    line = refused(run("publish", *arguments, "--yes"), code, message)
    assert token is None or token not in line


def test_offline_it_says_so(run: Run, kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    refused(run("publish", kept, "--yes"), 1, "HF_HUB_OFFLINE is set, so nothing can be published now")


def test_a_failed_push_is_one_line_with_the_command_that_then_works(
    run: Run, hub: HubServer, model: Repository, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    hub.faults.add("/commit/", "error", times=None, status=500)
    ran = run("publish", kept, "--repo", "alice/tiny", "--headline", "step0", "--yes", "-q")
    line = ran.err.strip()
    assert (ran.code, ran.out, line.count("\n")) == (1, "", 0)
    assert len(hub.requests("/commit/")) == 5
    assert (kept / "publish" / "alice__tiny" / "llc" / "curve.png").is_file()
    hub.faults.clear()
    arguments = shlex.split(line.partition("To try again: ")[2])
    assert arguments[0] == "hf-llc"
    assert run(*arguments[1:]).code == 0
    assert [metric["args"]["model_revision"] for metric in ours(front(card_of(model)))] == ["step0", "step8"]


def test_what_was_published_is_shown_as_it_was_computed(run: Run, scanned: Path) -> None:
    run("publish", scanned, "--yes")
    here, results = run("show", scanned), run("show", "hf://alice/tiny")
    assert results.out == here.out
    assert "hf-llc-runs/models--alice__tiny/llc.png" in results.err
    assert Path("hf-llc-runs/models--alice__tiny/llc.png").read_bytes() == (scanned / "llc.png").read_bytes()
    assert run("show", "hf://alice/tiny", "--json").json["points"][1]["llc"] == run(
        "show", scanned, "--json").json["points"][1]["llc"]  # fmt: skip
    beside = run("compare", scanned, "hf://alice/tiny", "--json").json
    assert beside["comparable"] is True
    assert beside["runs"][0]["points"] == beside["runs"][1]["points"]


def test_the_command_on_the_card_makes_the_same_numbers(run: Run, model: Repository, scanned: Path) -> None:
    run("publish", scanned, "--yes")
    body = card_of(model).decode().partition("\n---\n")[2]
    arguments = shlex.split(re.findall(r"```bash\n(hf-llc scan .*)\n```", body)[0])
    again = run(*arguments[1:], "--output-dir", "again", "--json")
    assert again.code == 0, again.err
    before = json.loads((scanned / "scan.json").read_text())
    assert [point["llc"] for point in again.json["points"]] == [point["llc"] for point in before["points"]]
    settings = Path("out/publish/alice__tiny/llc/settings.yaml")
    assert yaml.safe_load(settings.read_text())["command"] == shlex.join(arguments)
    single = run(
        "estimate", "alice/tiny@step8", "--settings", settings, "--dataset", "alice/text", "--no-checks", "--json"
    )
    assert single.json["llc"] == before["points"][1]["llc"]


def test_an_estimate_is_published_at_its_end(run: Run, hub: HubServer, model: Repository) -> None:
    ran = run("estimate", "alice/tiny@step8", *SETTINGS, "--push-to-hub", "--json")
    assert ran.code == 0, ran.err
    (metric,) = ours(front(card_of(model)))
    assert (float(metric["value"]), metric["args"]["model_revision"]) == (
        rounded(ran.json["llc"], ran.json["stderr"])[0],
        "step8",
    )
    assert f"Published at {hub.url}/alice/tiny." in ran.err
    card = card_of(model)
    run("estimate", "alice/tiny@step8", *SETTINGS, "--push-to-hub", "-q")
    assert card_of(model) == card


def test_a_scan_is_published_at_its_end(run: Run, hub: HubServer, model: Repository) -> None:
    ran = run("scan", "alice/tiny", *SETTINGS, "--push-to-hub", "--dataset-repo", "llc-tiny", "--private", "-q")
    assert ran.code == 0, ran.err
    result = hub.find("dataset", "alice/llc-tiny")
    assert result is not None
    assert result.private
    assert len(result.at().files["llc/results.jsonl"].read().splitlines()) == 2
    assert card_of(model) == CARD


@pytest.mark.parametrize("command", ["estimate", "scan"])
def test_permission_is_asked_for_before_the_work(run: Run, hub: HubServer, model: Repository, command: str) -> None:
    ran = run(command, "alice/tiny", *SETTINGS, "--push-to-hub", "--repo", "bob/m")
    refused(ran, 1, "no model bob/m")
    assert hub.requests("/resolve/") == []
    assert not Path("hf-llc-runs").exists()


@pytest.mark.parametrize("command", ["estimate", "scan"])
def test_a_failed_push_never_loses_the_run(
    run: Run, hub: HubServer, model: Repository, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    hub.faults.add("/paths-info/", "error", times=None, status=503)
    ran = run(command, "alice/tiny", *SETTINGS, "--push-to-hub", "--json")
    assert ran.code == 1
    assert ran.json["run_dir"] in ran.err
    line = ran.err.strip().splitlines()[-1]
    assert "The run is kept in " in line
    hub.faults.clear()
    arguments = shlex.split(line.partition("To publish it: ")[2])
    assert run(*arguments[1:]).code == 0
    assert len(ours(front(card_of(model)))) == 1


def test_options_of_a_push_without_it_are_refused(run: Run) -> None:
    refused(run("estimate", "alice/tiny", "--repo", "alice/tiny"), 2, "need --push-to-hub")
    refused(run("scan", "alice/tiny", "--create-pr"), 2, "need --push-to-hub")
