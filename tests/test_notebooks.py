"""The example notebooks run as they are, here on tiny models in place of the demo's checkpoints."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.helpers.learned_model import save_learned_model
from tests.notebooks import NOTEBOOKS, run

SHORT = {"06_grokking": {"MODULUS": 7, "WIDTH": 8, "STEPS": (0, 1, 2)}}
"""Parameters in place of those that take minutes."""


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder like that of the demo, with four checkpoints of the same tiny model: a scan estimates it once."""
    folder = tmp_path_factory.mktemp("examples")
    checkpoints = folder / "hf-llc-demo/checkpoints"
    checkpoints.mkdir(parents=True)
    last = save_learned_model(checkpoints / "step1000", folder / "hf-llc-demo/text.jsonl")
    for step in (0, 8, 128):
        shutil.copytree(last, checkpoints / f"step{step}")
    return folder


def cells_of(path: Path) -> list[dict[str, Any]]:
    cells: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return cells


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_from_the_first_cell_to_the_last(
    path: Path, demo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(demo)
    monkeypatch.setenv("MPLBACKEND", "Agg")
    # A training of transformers draws from the global stream.
    with torch.random.fork_rng(devices=[]):
        outputs = run({"cells": cells_of(path)}, parameters=SHORT.get(path.stem))
    printed = ["".join(output["text"]) for cell in outputs for output in cell if "text" in output]
    stored = [output for cell in cells_of(path) for output in cell.get("outputs", []) if "text" in output]
    assert len(printed) == len(stored), "run: python -m tests.notebooks, in a folder with hf-llc-demo"
    # The numbers are those of other models; how many lines a cell prints is not, unless there are fewer checkpoints.
    assert path.stem in SHORT or [text.count("\n") for text in printed] == [len(output["text"]) for output in stored]


def test_stored_outputs_name_no_folder_of_a_machine() -> None:
    assert len(NOTEBOOKS) == 6
    for path in NOTEBOOKS:
        code = [cell for cell in cells_of(path) if cell["cell_type"] == "code"]
        assert all(cell["execution_count"] for cell in code)
        text = path.read_text(encoding="utf-8")
        assert not any(name in text for name in ("/tmp/", "/root", "/home", "/work", "Traceback"))
