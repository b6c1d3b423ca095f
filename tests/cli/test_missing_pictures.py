"""Commands whose pictures cannot be drawn: every number is there, one line says what is not, and the exit code is 0."""

from pathlib import Path

import pytest

from tests.helpers.command_line import SMALL, Run

FIXED = ["--gamma", "1000", "--lr", "1e-4", "--sampler", "sgld-lm", "--start", "anchor"]


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """matplotlib that fails as it does where its settings ask for what is not installed."""

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("Failed to process string with tex because latex could not be found")

    for name in ("plots.series", "plots.traces", "calibration.sweep", "comparison.comparison"):
        monkeypatch.setattr(f"hf_llc.results.figures.{name}", fail)


@pytest.mark.usefixtures("undrawn")
def test_the_number_is_there_without_the_picture(run: Run, tiny: Path, text: Path) -> None:
    data: list[str | Path] = ["--dataset", text, *SMALL, *FIXED]
    calibrated: list[str | Path] = [
        "--dataset",
        text,
        "--chains",
        "2",
        "--pilot-draws",
        "8",
        "--batch-size",
        "4",
        "--budget",
        "200",
    ]
    commands: dict[str, list[str | Path]] = {
        "estimate": ["estimate", tiny, *data, "--output-dir", "one"],
        "scan": ["scan", tiny.parent, *data, "--output-dir", "two"],
        "show": ["show", "one"],
        "compare": ["compare", "one", "two"],
        "calibrate": ["calibrate", tiny, *calibrated, "--output-dir", "three"],
    }
    for name, arguments in commands.items():
        ran = run(*arguments, "--json")
        assert ran.code == 0, (name, ran.err)
        assert ran.json
        lines = [line for line in ran.err.splitlines() if "picture could be drawn" in line]
        assert len(lines) == 1, (name, ran.err)
        assert lines[0].endswith("latex could not be found); the numbers are complete without it.")
    assert not [*Path().rglob("*.png"), *Path().rglob("*.svg")]
