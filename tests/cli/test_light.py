"""What commands load before they say a word: a second is long for a help text."""

import subprocess
import sys
from pathlib import Path

import pytest

from hf_llc.report.export import curve_of, keep
from hf_llc.results.curve import Point
from tests.helpers.estimates import estimate
from tests.reference import COMMANDS

HEAVY = (
    "accelerate",
    "arviz_stats",
    "datasets",
    "huggingface_hub",
    "matplotlib",
    "numpy",
    "pyarrow",
    "torch",
    "transformers",
)
TOLD = f"""
import sys
from hf_llc.cli.app import run
code = 0
for arguments in sys.argv[1:]:
    sys.argv = ["hf-llc", *arguments.split("|")]
    code = run() or code
print(code, *(name for name in {HEAVY} if name in sys.modules), file=sys.stderr)
"""


def loaded(place: Path, *commands: str) -> set[str]:
    """Heavy packages that a process has loaded after these commands, whose arguments are joined by bars."""
    ended = subprocess.run(
        [sys.executable, "-c", TOLD, *commands], cwd=place, capture_output=True, text=True, check=True
    )
    code, *names = ended.stderr.splitlines()[-1].split()
    assert code == "0", ended.stderr
    return set(names)


def test_help_loads_nothing_heavy(tmp_path: Path) -> None:
    assert not loaded(tmp_path, *(f"{command}|--help" if command else "--help" for command in COMMANDS))


@pytest.mark.parametrize("command", ["show|saved", "compare|saved|saved"])
def test_what_is_finished_is_shown_without_torch(tmp_path: Path, command: str) -> None:
    points = [Point(revision=f"step{step}", step=step, estimate=estimate(step)) for step in (1, 2, 4)]
    keep(curve_of("org/model", points, tmp_path / "saved"), tmp_path / "saved")
    assert not loaded(tmp_path, command) & {"torch", "transformers", "datasets", "accelerate"}
