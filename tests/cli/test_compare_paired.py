"""`hf-llc compare --paired`: differences of LLC with the error that common random numbers leave."""

import json
import shutil
from pathlib import Path
from typing import Any

import hf_llc
from tests.helpers.command_line import Run, refused
from tests.helpers.tiny_model import jsonl, save_neighbours


def test_a_scan_is_compared_from_each_checkpoint_to_the_next(run: Run) -> None:
    save_neighbours(Path())
    Path("text.jsonl").write_text(jsonl(200))
    Path("series").mkdir()
    for step, name in enumerate("ab", start=1):
        shutil.move(name, Path("series") / f"step{step}")
    options = ["--dataset", "text.jsonl", "--gamma", 2000, "--sampler", "importance", "--draws", 4]
    run("scan", "series", *options, "--batch-size", 16, "--threads", 1, "--output-dir", "curve", "--num-processes", 1)
    row: dict[str, Any] = json.loads(run("compare", "--paired", "curve", "--json").out)[0]
    assert (row["first"], row["second"], row["pairs"], row["reason"]) == ("step2", "step1", 16, None)
    assert row["stderr"] < row["unpaired_stderr"] / 2
    table = run("compare", "--paired", "curve").out
    assert "step2" in table
    assert "LLC of the first minus LLC of the second" in table
    assert run("compare", "--paired", "curve", "--quiet").out == f"{row['difference']} {row['stderr']}\n"
    assert hf_llc.compare_paired("curve")[0].difference == row["difference"]
    refused(run("compare", "--paired", "curve", "a", "b"), 2, "--paired takes one scan or two runs, got 3")
