"""`hf-llc scan --with` and `--without`: which measures are taken, what is printed, and what is refused."""

import json
import re
from pathlib import Path

import pytest

from tests.helpers.command_line import SMALL, Run, refused
from tests.helpers.tiny_model import jsonl, save_tiny_model

pytestmark = pytest.mark.usefixtures("blank_pictures")
TEXT = ["--dataset", "text.jsonl", "--num-processes", "1", "--output-dir", "out"]


@pytest.fixture(autouse=True)
def here() -> None:
    """Two checkpoints and a text."""
    for seed, step in enumerate((1, 2)):
        save_tiny_model(Path("run") / f"checkpoint-{step}", seed)
    Path("text.jsonl").write_text(jsonl(60))


def test_measures_alone_have_a_line_each_and_end_with_0(run: Run) -> None:
    ran = run("scan", "run", *TEXT, "--with", "rank,positions", "--without", "llc")
    assert ran.code == 0, ran.err
    lines = ran.out.splitlines()
    assert lines[0] == "Measures over the training of run, 2 checkpoints"
    assert [line.split()[0] for line in lines[2:8]] == [
        "in_context_score", "text_loss", "bigram_kl", "stable_rank", "effective_rank", "weight_norm"
    ]  # fmt: skip
    assert "(stable_rank_null " in lines[5]
    assert run("show", "out").out.splitlines() == lines


def test_the_table_of_llc_has_the_lines_of_measures_below(run: Run) -> None:
    ran = run("scan", "run", *TEXT, *SMALL, "--gamma", "1000", "--with", "rank,quantisation", "--json")
    assert [point["llc"] is not None and point["stable_rank"] > 1 for point in ran.json["points"]] == [True, True]
    assert sorted(ran.json["measures"]) == ["quantisation", "rank"]
    assert [fit["r_squared"] for fit in ran.json["line_fits"].values()] == [None, None]
    shown = run("show", "out").out
    assert shown.index("λ̂ ") < shown.index("stable_rank ") < shown.index("weight_norm ")
    # Of two checkpoints every line is exact.
    assert re.search(r"^R² of λ̂ and quantisation_bits_10: none, \d checkpoints? to compare", shown, re.M)
    assert Path("out/quantisation.svg").is_file()
    rows = [json.loads(line) for line in Path("out/results.jsonl").read_text().splitlines()]
    assert rows[1]["rank_matrices"][0] == "gpt_neox.embed_in.weight"


def test_names_that_make_no_sense_are_refused(run: Run) -> None:
    refused(run("scan", "run", *TEXT, "--with", "ranks"), 2, "with must be one of all, activations")
    refused(run("scan", "run", *TEXT, "--without", "llc"), 2, "without leaves no measure; name one with --with.")
