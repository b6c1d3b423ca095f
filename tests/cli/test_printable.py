"""Names and texts from outside neither steer a terminal nor forge a line, in any form of output."""

import json
import re
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hf_llc.execution.store import RunStore
from tests.helpers.command_line import SMALL, Run
from tests.helpers.tiny_model import jsonl, read_files, save_tiny_model
from tests.hub_server.server import HubServer
from tests.hub_server.wire import json_response

printing: Any = import_module("hf_llc.cli.printable")
HOSTILE = "a\x1b[31m\x1b]0;owned\x07\nverdict=converged\r\u202egnp\u2066\x9b2J\u200b\u2028\u200f\x7f\ufeff中é😀"
STEERING = re.compile(
    "[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b\u200c\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]"
)
WORKING = 8
"""How many of the commands below do something; the others are refused."""
FORMS = ("human", "agent", "json", "quiet")


def is_harmless(text: str) -> None:
    """Fails if a terminal would obey any of it, or a line was forged."""
    assert not STEERING.search(text), STEERING.findall(text)
    assert not re.search(r"^verdict=converged.*gnp", text, re.MULTILINE)


def test_each_kind_of_character() -> None:
    shown = printing.printable(HOSTILE)
    assert shown == (
        r"a\x1b[31m\x1b]0;owned\x07\nverdict=converged\r\u202egnp\u2066\x9b2J\u200b\u2028\u200f\x7f\ufeff" + "中é😀"
    )


@pytest.mark.parametrize(
    "text", ["naïve café", "中文 日本語 한국어", "😀 👨‍👩‍👧 ❤️ 👍🏽", "λ̂ ± 0.1, ΔL → 0", "مرحبا עברית", "हिन्दी"]
)
def test_ordinary_letters_stay(text: str) -> None:
    assert printing.printable(text) == text
    assert json.loads(printing.printable_json(json.dumps(text, ensure_ascii=False))) == text


def test_what_joins_emoji_joins_nothing_else() -> None:
    assert printing.printable("a\u200db") == r"a\u200db"
    assert printing.printable("\u200d😀\u200d") == r"\u200d😀\u200d"


@given(st.text(), st.text())
def test_any_text_is_one_harmless_line_and_json_loses_nothing(first: str, second: str) -> None:
    shown = printing.printable(first)
    is_harmless(shown)
    assert "\n" not in shown
    value = {first: [second, None, 1.5]}
    text = printing.printable_json(json.dumps(value, ensure_ascii=False))
    is_harmless(text)
    text.encode()
    assert json.loads(text) == value


@given(st.text())
def test_a_stream_shows_what_is_written_past_us(text: str) -> None:
    written: list[str] = []

    class Stream:
        def write(self, text: str) -> None:
            written.append(text)

    printing.Guarded(Stream()).write(f"\x1b[1mbold\x1b[0m {text}\x1b]0;title\x07")
    (results,) = written
    assert results.startswith("\x1b[1mbold\x1b[0m ")
    assert results.endswith(r"\x1b]0;title\x07")


def test_a_file_that_is_not_utf8_in_name_is_named(run: Run) -> None:
    ran = run("show", "folder-\udcff")
    assert ran.code != 0
    assert r"folder-\udcff" in ran.err


@pytest.fixture
def place(tiny: Path, text: Path, tmp_path: Path) -> Path:
    """A folder of a hostile name with a model and a text, whose column is hostile too."""
    folder = tmp_path / HOSTILE.replace("/", "")
    save_tiny_model(folder / "checkpoint-1")
    save_tiny_model(folder / "checkpoint-2", seed=1)
    lines = [json.loads(line)["text"] for line in jsonl(60).splitlines()]
    (tmp_path / "text.jsonl").write_text("".join(json.dumps({HOSTILE: line}) + "\n" for line in lines))
    return folder


def test_hostile_names_of_this_disk_are_shown_and_not_obeyed(run: Run, place: Path, tmp_path: Path) -> None:
    data: list[str | Path] = [
        "--dataset",
        tmp_path / "text.jsonl",
        "--text-column",
        HOSTILE,
        *SMALL,
        "--gamma",
        "1000",
        "--lr",
        "1e-4",
    ]
    run_dir, scan_dir = place / "run", place / "scan"
    commands: list[list[str | Path]] = [
        ["estimate", place / "checkpoint-1", *data, "--output-dir", run_dir],
        ["estimate", place / "checkpoint-1", *data, "--dry-run"],
        ["scan", place, *data, "--output-dir", scan_dir],
        ["revisions", place],
        ["show", run_dir],
        ["show", scan_dir],
        ["compare", scan_dir, run_dir, "--output-dir", place / "both"],
        ["merge", scan_dir, "--output-dir", place / "whole"],
        ["estimate", place / "none", *data],
        ["estimate", place / "checkpoint-1", *data, "--text-column", HOSTILE + "x"],
        ["scan", place, *data, "--revisions", HOSTILE],
        ["publish", run_dir, "--repo", "me/x", "--yes"],
        ["show", place / "none"],
        [HOSTILE],
        ["show", run_dir, f"--{HOSTILE}"],
    ]
    codes: list[int] = []
    for result in commands:
        for form in FORMS if len(codes) < WORKING * len(FORMS) else FORMS[:1]:
            ran = run(*result, *([] if result[0] == HOSTILE else ["--format", form]))
            is_harmless(ran.out)
            is_harmless(ran.err)
            if form == "json" and ran.out:
                json.loads(ran.out)
            codes.append(ran.code)
    assert codes[: WORKING * len(FORMS)] == [0] * WORKING * len(FORMS)
    assert 0 not in codes[WORKING * len(FORMS) :]


def test_hostile_names_and_texts_of_a_hub_are_shown_and_not_obeyed(
    run: Run, hub: HubServer, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    repository = hub.add_model("alice/tiny", read_files(tiny))
    names = [HOSTILE.replace("\n", "").replace("/", ""), "step1\x1b[2J"]
    for name in names:
        repository.branches[name] = repository.branches["main"]
    for form in FORMS:
        for result in (["revisions", "alice/tiny"], ["scan", "alice/tiny", "--revisions", "nothing"]):
            ran = run(*result, "--format", form)
            is_harmless(ran.out + ran.err)
    said = json_response({"error": HOSTILE}, 403)
    hub.faults.add("api/models/alice/tiny", "change", times=9, change=lambda answer: said)
    for result in (["revisions", "alice/tiny"], ["publish", "hf://alice/tiny", "--repo", "alice/tiny", "--yes"]):
        ran = run(*result)
        assert ran.code != 0
        is_harmless(ran.out + ran.err)


def test_a_damaged_run_cannot_forge_a_line(run: Run, tiny: Path, text: Path, tmp_path: Path) -> None:
    result = run("estimate", tiny, "--dataset", text, *SMALL, "--gamma", "1000", "--lr", "1e-4", "--output-dir", "run")
    assert result.code == 0, result.err
    store = RunStore(Path("run"), pytest.fail)
    payload = store.read("estimate")
    assert payload is not None
    for name in ("model", "revision", "verdict_reason"):
        payload[name] = HOSTILE
    store.write("estimate", payload)
    for form in FORMS:
        ran = run("show", "run", "--format", form)
        is_harmless(ran.out + ran.err)
