"""Options from the fields of settings: what `--help` lists, `--set`, and which of several sources wins."""

from pathlib import Path

import pytest

from hf_llc.settings.data import DataSettings
from hf_llc.settings.file import parse_assignments, read_settings
from hf_llc.settings.option import settings_in
from hf_llc.settings.sampler import SamplerSettings
from tests.helpers.command_line import Run, refused

COMMON = 25
"""Options that `estimate --help` and `scan --help` may list at most."""


def listed(text: str) -> set[str]:
    """The options in the boxes of a help text."""
    rows = [line.strip("│ ").split() for line in text.splitlines() if line.startswith("│ --")]
    return {row[0] for row in rows}


@pytest.mark.parametrize("command", ["estimate", "scan"])
def test_help_lists_what_people_touch_and_help_all_every_setting(run: Run, command: str) -> None:
    few, every = listed(run(command, "--help").out), listed(run(command, "--help-all").out)
    settings = {each.flag for kind in (DataSettings, SamplerSettings) for each in settings_in(kind)}
    assert settings <= every
    assert few < every
    assert len(few) <= COMMON
    assert {"--dataset", "--gamma", "--n-beta", "--num-processes", "--device", "--dtype", "--output-dir"} <= few
    assert "--burn-in-lr" not in few


@pytest.mark.parametrize("command", ["estimate", "scan", "calibrate"])
def test_help_fits_eighty_columns(run: Run, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    lines = run(command, "--help-all").out.splitlines()
    assert max(map(len, lines)) <= 80
    assert "…" not in "".join(lines)
    # A paragraph is one piece of text, and not the lines of a docstring, each wrapped by itself.
    start = next(place for place, line in enumerate(lines) if line.strip()) + 2
    paragraphs = "\n".join(line.strip() for line in lines[start:]).split("Examples:")[0].split("\n\n")
    assert all(len(line) > 50 for paragraph in paragraphs for line in paragraph.splitlines()[:-1])


def test_set_gives_any_setting_and_the_options_of_its_own_win(small: Run) -> None:
    settings = small("--set", "seed=3", "--set", "burn-in=4", "--set", "burn_in_lr=2e-4", "--lr", "1e-4", "--json").json
    assert (settings["settings"]["seed"], settings["settings"]["burn_in_lr"]) == (3, 2e-4)
    # `small` gives --burn-in 2.
    assert settings["settings"]["burn_in"] == 2


def test_set_wins_over_the_settings_file(small: Run) -> None:
    Path("settings.yaml").write_text("seed: 5\ngamma: 500\n")
    result = small("--settings", "settings.yaml", "--set", "seed=6", "--json").json["settings"]
    assert (result["seed"], result["gamma"]) == (6, 500)


@pytest.mark.parametrize(
    ("word", "value"), [("no", False), ("Yes", True), ("false", False), ("true", True), ("off", False)]
)
def test_a_switch_is_set_by_yes_and_no_as_by_true_and_false(tmp_path: Path, word: str, value: bool) -> None:
    assert parse_assignments([f"checks={word}"]) == {"checks": value}
    (tmp_path / "settings.yaml").write_text(f"checks: {word}\n")
    assert read_settings(tmp_path / "settings.yaml") == {"checks": value}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("checks=perhaps", "--set: --checks must be yes, no, true or false, got 'perhaps'"),
        ("checks=1", "--set: --checks must be True or False, got 1"),
        ("seed", r"--set takes NAME=VALUE, such as --set burn_in=400, got 'seed'"),
        ("sede=3", "--set: no setting sede; did you mean seed"),
        ("seed=many", "--set: --seed must be a whole number, got 'many'"),
        ("gamma=[1, 2]", "--gamma must be a number"),
        ("gamma={", "is not YAML"),
    ],
)
def test_what_set_cannot_take_is_one_line(small: Run, text: str, message: str) -> None:
    refused(small("--set", text), 2, message)
