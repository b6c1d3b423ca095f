"""Influence, susceptibilities and WAIC on the command line: what is printed, written and drawn."""

import errno
import json
import re
from importlib import import_module
from pathlib import Path

import pandas
import pytest
from matplotlib.image import imread

import hf_llc
from tests.helpers.command_line import Run, refused
from tests.helpers.learned_model import OPTIONS, SEQUENCES, save_learned_model

RECORDED = (*OPTIONS, "--keep", "losses", "--recorded-draws", 40, "-q")


@pytest.fixture(scope="session")
def learned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a model that has learned its text, beside that; not to be changed."""
    folder = tmp_path_factory.mktemp("learned")
    save_learned_model(folder / "learned", folder / "learned.jsonl")
    return folder


@pytest.fixture
def recorded(run: Run, learned: Path) -> Run:
    """An estimate that records losses, with further options."""

    def estimate(*more: object) -> None:
        ran = run("estimate", learned / "learned", "--dataset", learned / "learned.jsonl", *RECORDED, *more)
        assert ran.code == 0, ran.err

    return estimate  # type: ignore[return-value]


def test_influence_prints_a_verdict_and_writes_the_matrix(run: Run, recorded: Run) -> None:
    recorded("--output-dir", "run")
    ran = run("influence", "run", "--top", 3)
    assert ran.code == 0, ran.err
    assert f"{SEQUENCES}, at 40 draws" in ran.out
    assert "effective draws" in ran.out
    folder = Path("run/recorded/losses")
    table = pandas.read_parquet(folder / "influence.parquet")
    assert len(table) == SEQUENCES * (SEQUENCES + 1) / 2
    numbers = ["influence", "influence_stderr", "kernel", "kernel_stderr"]
    assert list(table.columns) == ["first", "second", *numbers, "first_index", "second_index"]
    assert not table.duplicated(["first_index", "second_index"]).any()
    assert imread(folder / "influence.png").shape[0] > 500
    assert (
        ran.err.splitlines()[-1]
        == f"Written: {folder}/influence.parquet, {folder}/influence.png, {folder}/loss-kernel.png."
    )
    values = run("influence", "run", "--json", "--output-dir", "elsewhere").json
    assert values["items"] == SEQUENCES
    assert values["quality"]["verdict"] in {"resolved", "partly-resolved", "noise"}
    assert all(abs(pair["influence"]) > 3 * pair["influence_stderr"] for pair in values["pairs"])
    others = table[table["first_index"] != table["second_index"]]
    far = int((others["influence"].abs() > 3 * others["influence_stderr"]).sum())
    assert values["far_pairs"] == far == round(values["quality"]["significant"] * len(others))
    assert Path("elsewhere/influence.parquet").is_file()
    assert run("influence", "run", "-q").out.strip() == values["quality"]["verdict"]


def test_recordings_are_chosen_by_their_kind_and_copies_are_told_apart(run: Run, recorded: Run) -> None:
    text = "the copy of a text that stands twice in the probe and fills a sequence or two. " * 3
    Path("probe.jsonl").write_text(f"{json.dumps({'text': text})}\n" * 2)
    recorded("--output-dir", "run", "--keep", "token-losses", "--probe", "probe.jsonl")
    items, tokens = run("influence", "run", "--json", "--top", 10_000), run("influence", "run", "--by", "token")
    assert (items.code, tokens.code) == (0, 0), items.err + tokens.err
    folders = {path.name: path for path in Path("run/recorded").iterdir()}
    assert sorted(name.rpartition("-")[0] for name in folders) == ["losses", "token-losses"]
    assert all((folder / "influence.parquet").is_file() for folder in folders.values())
    assert all(pair["first_index"] < pair["second_index"] for pair in items.json["pairs"])
    assert run("influence", "run", "--recording", "token-losses", "--by", "token").out == tokens.out
    recorded("--output-dir", "run", "--probe", "probe.jsonl", "--probe-items", 2)
    message = refused(run("influence", "run"), 1, "has several recordings: name one with --recording, losses-")
    assert "token-losses" not in message


def test_fluctuation_prints_numbers_with_errors(run: Run, recorded: Run) -> None:
    recorded("--output-dir", "run")
    ran = run("fluctuation", "run")
    assert ran.code == 0, ran.err
    assert "ν(β) = 0." in ran.out
    assert "WAIC" in ran.out
    assert "nats per token" in ran.out
    values = run("fluctuation", "run", "--json").json
    assert values["unit"] == "nats per token"
    assert str(hf_llc.fluctuation("run")).endswith("nats per token")
    assert values["loss"] < values["bayes_loss"] < values["waic"]
    assert values["loss_gain"] > 3 * values["loss_gain_stderr"]


def test_susceptibilities_of_several_runs_and_of_tokens(run: Run, recorded: Run) -> None:
    recorded("--output-dir", "runs/full")
    recorded("--output-dir", "runs/head", "--component", "l0h0")
    ran = run("susceptibilities", "runs")
    assert ran.code == 0, ran.err
    assert "Susceptibilities of 1 components to 50 items" in ran.out
    assert "l0h0" in ran.out
    assert re.search(r"^at nβ = 0 +(differs|same|noise): ", ran.out, re.MULTILINE)
    assert len(pandas.read_parquet("runs/susceptibilities.parquet")) == SEQUENCES
    tokens = ("--keep", "token-losses", "--probe-items", 2)
    for folder, more in (("full", ()), ("head", ("--component", "l0h0"))):
        recorded("--output-dir", f"runs/{folder}", *tokens, *more)
    ran = run("susceptibilities", "runs", "--recording", "token-losses", "--output-dir", "text")
    assert ran.code == 0, ran.err
    stem = "susceptibilities-token-losses"
    assert {path.name for path in Path("text").iterdir()} == {f"{stem}.parquet", f"{stem}.png", f"{stem}-l0h0.png"}
    assert imread(f"text/{stem}-l0h0.png").shape[0] > 100


def test_a_run_that_may_only_be_read_gives_its_numbers(
    run: Run, recorded: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded("--output-dir", "run")
    before = run("influence", "run")

    def refuse(path: Path, content: bytes) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr("hf_llc.results.matrix.write_atomically", refuse)
    ran = run("influence", "run")
    assert (ran.code, ran.out) == (0, before.out)
    assert ran.err.splitlines()[-1] == (
        "Nothing is written, since run/recorded/losses cannot be: Permission denied. Name a folder by --output-dir."
    )
    assert run("influence", "run", "--output-dir", "elsewhere").code == 1


def test_what_lacks_recorded_losses_is_refused_in_one_line(run: Run, small: Run) -> None:
    assert small("--output-dir", "run").code == 0
    for command in ("influence", "fluctuation", "susceptibilities"):
        assert "run its command again with" in refused(run(command, "run"), 1, "has no recorded losses")
        refused(run(command, "nowhere"), 1, "nowhere is not there")
    refused(run("influence", "run", "--top", -1), 2, "--top")


def test_texts_of_components_have_files_of_their_own() -> None:
    text_files = import_module("hf_llc.cli.susceptibilities").text_files
    assert text_files(["l0h0", "layers.0/*"]) == ["susceptibilities-l0h0.png", "susceptibilities-layers.0_.png"]
    alike = text_files(["layers.0/*", "layers.0:*", "x" * 400])
    assert len(set(alike)) == 3
    assert max(map(len, alike)) < 120
