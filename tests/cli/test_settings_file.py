"""`--settings FILE`: options by name, overruled by what the command line says."""

import json
import shutil
from pathlib import Path

import pytest

from hf_llc.settings.file import known_settings
from hf_llc.settings.sampler import SamplerSettings
from tests.helpers.command_line import Run, refused


def test_the_file_sets_what_the_command_line_leaves_open(run: Run, tiny: Path, text: Path) -> None:
    Path("settings.yaml").write_text(
        "# of the pilot\nbatch_size: 4\nchains: 2\ndraws: 8\nburn_in: 2\nchecks: false\ngamma: 100\nseed: 7\n"
        f"dataset: {text}\nsampler: sgld\nparams: ['*.layers.0.*']\n"
    )
    result = run("estimate", tiny, "--settings", "settings.yaml", "--draws", 12, "--json").json["settings"]
    assert {name: result[name] for name in ("gamma", "draws", "seed", "sampler", "chains", "params")} == {
        "gamma": 100.0,
        "draws": 12,
        "seed": 7,
        "sampler": "sgld",
        "chains": 2,
        "params": "*.layers.0.*",
    }


def test_a_default_given_on_the_command_line_wins_over_the_file(small: Run) -> None:
    Path("settings.yaml").write_text("seed: 7\n")
    default = SamplerSettings().seed
    assert small("--settings", "settings.yaml", "--json").json["settings"]["seed"] == 7
    assert small("--settings", "settings.yaml", "--seed", default, "--json").json["settings"]["seed"] == default


@pytest.mark.parametrize("whole", [True, False])
def test_a_result_is_a_settings_file_and_gives_the_same_number(small: Run, whole: bool) -> None:
    first = small("--json", "--gamma", 100, "--seed", 3).json
    Path("result.json").write_text(json.dumps(first if whole else first["settings"]))
    again = small("--settings", "result.json", "--json", "--output-dir", "again").json
    assert again["llc"] == first["llc"]
    assert again["settings"] == first["settings"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("gama: 3\n", "no setting gama; did you mean gamma"),
        ("draws: many\n", "settings.yaml: --draws must be a whole number, got 'many'"),
        ("params: [1, 2]\n", r"settings.yaml: --params must be a string, got 1"),
        (f"gamma: 1{'0' * 400}\n", "settings.yaml: --gamma must be a finite number, got about 10\\^400"),
        (f"seed: 1{'0' * 5000}\n", "is not YAML"),
        ("[" * 3000, "is not YAML"),
        ("checks: 1\n", "checks must be True or False, got 1"),
        ("draws: true\n", "draws must be a whole number, got True"),
        ("gamma: -1\n", "gamma must be ≥ 0, got -1.0"),
        ("- 3\n", "holds no settings"),
        ("gamma: [\n", "line 2 is not YAML"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_in_words(small: Run, content: str, message: str) -> None:
    Path("settings.yaml").write_text(content)
    ran = small("--settings", "settings.yaml")
    refused(ran, ran.code, message)
    assert ran.code in {1, 2}


def test_a_file_that_is_not_there_is_named(small: Run) -> None:
    refused(small("--settings", "none.yaml"), 1, "No file none.yaml")


def test_every_setting_has_a_type() -> None:
    assert {"n_beta", "gamma", "lr", "dataset", "dataset_revision", "params", "start"} <= set(known_settings())


def test_a_scan_takes_the_same_file(run: Run, tiny: Path, text: Path) -> None:
    Path("series").mkdir()
    for name in ("checkpoint-1", "checkpoint-2"):
        shutil.copytree(tiny, Path("series") / name)
    Path("settings.yaml").write_text("batch_size: 4\nchains: 2\ndraws: 8\nburn_in: 2\nchecks: false\ngamma: 100\n")
    ran = run("scan", "series", "--dataset", text, "--settings", "settings.yaml", "--draws", 6, "--json")
    settings = ran.json["settings"]
    assert (settings["gamma"], settings["draws"], settings["chains"]) == (100.0, 6, 2)
