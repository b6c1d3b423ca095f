"""`hf-llc revisions` over HTTP: names, steps, formats, duplicates and what has no weights; nothing is downloaded."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.command_line import Run, refused
from tests.hub_server.repository import Repository
from tests.hub_server.server import HubServer

STEPS = [0, *(2**k for k in range(10)), *range(1000, 144000, 1000)]
CONFIG = {"config.json": "{}"}


@pytest.fixture
def pythia(hub: HubServer) -> Repository:
    """154 step branches of one-line weights: step4 has those of step143000 and main, step8 none, step16 a .bin."""
    repo = hub.add_model("org/pythia", {**CONFIG, "model.safetensors": b"final"})
    for step in STEPS:
        weights = {"model.safetensors": b"final" if step in {4, 143000} else b"%d" % step}
        if step == 16:
            weights = {"pytorch_model.bin": b"16"}
        repo.commit({**CONFIG, **({} if step == 8 else weights)}, f"step{step}")
    repo.tag("v1", "step2")
    return repo


def listed(run: Run, *more: object) -> dict[str, dict[str, Any]]:
    ran = run("revisions", *more, "--json")
    assert ran.code == 0, ran.err
    return {each["name"]: each for each in json.loads(ran.out)}


def test_a_series_is_listed_in_order_with_duplicates(run: Run, hub: HubServer, pythia: Repository) -> None:
    result = listed(run, "org/pythia", "--revisions", "all,main,v1", "--tokens-per-step", 100)
    assert list(result)[:-2] == [f"step{step}" for step in STEPS]
    assert set(list(result)[-2:]) == {"main", "v1"}
    assert {name: each["duplicate_of"] for name, each in result.items() if each["duplicate_of"]} == {
        "step143000": "step4",
        "main": "step4",
        "v1": "step2",
    }
    assert [name for name, each in result.items() if each["weights"] is None] == ["step8"]
    assert [name for name, each in result.items() if each["weights"] == "bin"] == ["step16"]
    assert result["step512"]["tokens"] == 51200
    assert result["step512"]["sha"] == pythia.at("step512").sha
    assert (result["step512"]["size"], result["step512"]["cached"]) == (3, False)
    assert not hub.requests("/resolve/")


def test_the_table_names_what_has_no_weights(run: Run, pythia: Repository) -> None:
    ran = run("revisions", "org/pythia", "--revisions", "..8,143000..")
    assert ran.code == 0
    assert "6 checkpoints, 1 with the weights of another" in ran.out
    assert next(line for line in ran.out.splitlines() if line.startswith("step143000")).split()[-1] == "step4"
    assert ran.err == "step8: it has no weights (model.safetensors or pytorch_model.bin).\n"
    assert run("revisions", "org/pythia", "--revisions", "first:2", "-q").out == "step0\nstep1\n"


def test_commits_are_found_by_short_sha(run: Run, pythia: Repository) -> None:
    sha = pythia.at("step64").sha
    result = listed(run, "org/pythia", "--revisions", sha[:9])
    assert [(each["sha"], each["step"]) for each in result.values()] == [(sha, 64)]


def test_unknown_names_fail_before_any_listing(run: Run, hub: HubServer, pythia: Repository) -> None:
    refused(
        run("revisions", "org/pythia", "--revisions", "step1001"), 1, "no checkpoint step1001; did you mean step1000"
    )
    assert not hub.requests("/tree/")
    refused(run("revisions", "org/pythia@step1"), 2, "is one checkpoint")
    refused(run("revisions", "org/nothing"), 1, "org/nothing")


@pytest.mark.usefixtures("pythia")
def test_a_known_series_is_listed_offline(run: Run, hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    first = listed(run, "org/pythia", "--revisions", "log:5")
    asked = len(hub.requests("/tree/"))
    assert listed(run, "org/pythia", "--revisions", "log:5") == first
    assert len(hub.requests("/tree/")) == asked == 5
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert listed(run, "org/pythia", "--revisions", "log:5") == first


def test_commits_of_a_branch_are_a_series(run: Run, hub: HubServer) -> None:
    repo = hub.add_model("org/trainer", CONFIG)
    shas = [
        repo.commit({"model.safetensors": b"%d" % (step // 2)}, "main", title)
        for step, title in ((1, "Training in progress, step 500"), (2, "checkpoint-1000 contents"), (3, "step1500"))
    ]
    repo.commit({"README.md": "done"}, "main", "Write a card")
    result = listed(run, "org/trainer", "--revisions", "commits:main")
    assert [(each["sha"], each["step"], each["duplicate_of"]) for each in result.values()] == [
        (shas[0], 500, None),
        (shas[1], 1000, None),
        (shas[2], 1500, shas[1][:12]),
    ]
    assert list(listed(run, "org/trainer", "--revisions", "commits:main,1000..1200")) == [shas[1][:12]]
    refused(run("revisions", "org/trainer", "--revisions", "commits:mian"), 1, "no branch mian; did you mean main")


def test_names_without_an_order_get_it_from_a_file(run: Run, hub: HubServer, tmp_path: Path) -> None:
    repo = hub.add_model("org/marin", CONFIG)
    for name in ("ocelot", "kestrel", "other"):
        repo.commit({**CONFIG, "model.safetensors": name.encode()}, name)
    path = tmp_path / "steps"
    path.write_text("# phases\nocelot 2000\nkestrel, 1000\n")
    result = listed(run, "org/marin", "--step-map", path)
    assert [(name, each["step"]) for name, each in result.items()] == [("kestrel", 1000), ("ocelot", 2000)]
    path.write_text("ocelot soon\n")
    refused(run("revisions", "org/marin", "--step-map", path), 2, "line 1 must be a name and a step")
    refused(run("revisions", "org/marin", "--step-map", "nowhere"), 1, "cannot be read")


def test_a_trainer_folder_is_a_series(run: Run, tiny: Path, tmp_path: Path) -> None:
    for step in (500, 1000, 90):
        shutil.copytree(tiny, tmp_path / f"out/checkpoint-{step}")
    (tmp_path / "out/checkpoint-1000/model.safetensors").write_bytes(b"other")
    (tmp_path / "out/runs").mkdir()
    result = listed(run, tmp_path / "out")
    assert [(each["name"], each["step"], each["duplicate_of"]) for each in result.values()] == [
        ("checkpoint-90", 90, None),
        ("checkpoint-500", 500, "checkpoint-90"),
        ("checkpoint-1000", 1000, None),
    ]
    refused(run("revisions", tmp_path / "out", "--revisions", "commits:main"), 2, "without commits")
    refused(run("revisions", tmp_path / "out/runs"), 1, "holds no checkpoints")
    refused(run("revisions", tmp_path / "out", "--revisions", "checkpoint-9"), 1, "did you mean checkpoint-90")
