"""A wheel of this project in an environment of its own: it works in whatever folder the user stands."""

import os
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from tests.helpers.command_line import SMALL
from tests.helpers.tiny_model import jsonl, save_tiny_model
from tests.hub_server.environment import client_environment

pytestmark = pytest.mark.processes

ROOT = Path(__file__).parent.parent
SHADOWS = ("torch", "datasets", "transformers", "accelerate", "json")
"""Modules of which a file in the working folder must not take the place."""
START = """
import os, sys
from hf_llc.execution.distributed.launcher import launch
for place in sys.argv[1:]:
    os.chdir(place)
    launch("hf_llc.cli", ["--version"], processes=2, device="cpu", threads=1)
"""
LEFT_OUT = shutil.ignore_patterns(".*", "build", "dist", "*.egg-info", "__pycache__", "hf-llc-*")


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The console script of a wheel that was built from a copy of this tree; the libraries are those in use here."""
    place = tmp_path_factory.mktemp("installed")
    shutil.copytree(ROOT, place / "clone", ignore=LEFT_OUT)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", place / "venv"], check=True)
    python = place / "venv/bin/python"
    (packages,) = (place / "venv/lib").glob("python*/site-packages")
    (packages / "libraries.pth").write_text("\n".join(path for path in sys.path if path.endswith("site-packages")))
    pip: list[str | Path] = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        python,
        "install",
        "--quiet",
        "--disable-pip-version-check",
    ]
    subprocess.run(
        [*pip, "--no-deps", "--no-build-isolation", "--no-index", "--ignore-installed", place / "clone"], check=True
    )
    assert (packages / "hf_llc/cli/app.py").is_file()
    return python.with_name("hf-llc")


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """A folder with files that are called like libraries, and a package that is called like this one."""
    folder = tmp_path / "hostile"
    shutil.copytree(ROOT / "hf_llc", folder / "hf_llc", ignore=LEFT_OUT)
    for path in [*(folder / f"{name}.py" for name in SHADOWS), folder / "hf_llc/errors.py"]:
        path.write_text(f"raise SystemExit('imported from the working folder: {path.name}')\n")
    return folder


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Of a user without a Hub; Python is told nothing there."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "COV_", "PYTHON"))}
    kept |= client_environment("http://127.0.0.1:9", tmp_path / "home")
    return kept | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "GOMP_SPINCOUNT": "0"}


def test_two_processes_estimate_in_a_folder_with_files_named_like_libraries(
    program: Path, hostile: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    save_tiny_model(tmp_path / "model")
    (tmp_path / "text.jsonl").write_text(jsonl(60))
    command: list[str | Path] = [program, "estimate", tmp_path / "model", "--dataset", tmp_path / "text.jsonl", *SMALL]
    command += ["--gamma", "1000", "--lr", "1e-4", "--num-processes", "2", "--output-dir", tmp_path / "run", "--json"]
    ran = subprocess.run(command, cwd=hostile, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert (tmp_path / "run/plans.json").is_file(), "one process did it alone"
    assert not list(hostile.rglob("__pycache__"))


def test_processes_start_in_a_clone_and_in_any_other_folder(
    program: Path, hostile: Path, environment: dict[str, str]
) -> None:
    # Started as the console script starts: its own folder, and not the working one, is the first to import from.
    script = program.with_name("start.py")
    script.write_text(START)
    python = program.with_name("python")
    ran = subprocess.run(
        [python, script, ROOT, "/", hostile], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.split() == [version("hf-llc")] * 6
